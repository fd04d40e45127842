"""A wall that import-linter lacks: these modules may import themselves, the standard library and what is listed.

What is not listed is refused, so a new dependency of the domain or of a library is a decision and not an accident.
"""

import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class OnlyImports(Contract):
    """``source_modules`` (patterns; packages with all below) import only ``allowed`` and the standard library."""

    type_name = "only_imports"

    source_modules = fields.SetField(subfield=fields.StringField())
    allowed = fields.SetField(subfield=fields.StringField(), required=False, default=set())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002, FBT001 - import-linter calls it so
        """Every import that leaves its package for something that is not allowed."""
        forbidden = [
            f"{module} imports {imported}"
            for package in self._packages(graph)
            for module in sorted({package} | graph.find_descendants(package))
            for imported in sorted(graph.find_modules_directly_imported_by(module))
            if not self._may_import(package, imported)
        ]
        return ContractCheck(kept=not forbidden, metadata={"forbidden": forbidden})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """One line per import, and what is allowed."""
        for line in check.metadata["forbidden"]:
            output.print_error(line, bold=False)
        output.print_error(", ".join(["Allowed: the standard library", *sorted(self._names("allowed"))]))

    def _packages(self, graph: ImportGraph) -> Iterator[str]:
        patterns = self._names("source_modules")
        for module in sorted(graph.modules):
            if not graph.is_module_squashed(module) and any(fnmatchcase(module, pattern) for pattern in patterns):
                yield module

    def _may_import(self, package: str, imported: str) -> bool:
        own = imported == package or imported.startswith(f"{package}.")
        top_level = imported.partition(".")[0]
        return own or top_level in sys.stdlib_module_names or top_level in self._names("allowed")

    def _names(self, field: str) -> set[str]:
        """A field's value: import-linter puts it where the field stood."""
        names: set[str] = getattr(self, field)
        return names
