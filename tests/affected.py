"""``make test AFFECTED=main``: runs the tests that a change can reach, and gives the reason for each.

A test file reaches a member that its text names: by import, as a process, or by a path. Then the members' imports are
followed (import-linter's graph). A file that reads through the whole tree reaches everything. A change outside the
members, such as in the lock or the Makefile, is reached by all tests.
"""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

import grimp

ROOT: Final = Path(__file__).resolve().parents[1]
_LOOKS: Final = re.compile(r"\br?glob\(|ls-files|os\.walk")
_FROM_ABOVE: Final = re.compile(r"\bROOT\b|parents\[[234]\]")
"""A glob within a member's own folder does not count as reading through the tree."""
_PROSE: Final = (".md", "LICENSE")


@dataclass(frozen=True)
class Member:
    """``names``: the names by which a text may mention the member: its package, its project, its folder."""

    folder: Path
    package: str
    names: frozenset[str]

    def named_in(self, text: str) -> bool:
        return any(re.search(rf"(?<![\w-]){re.escape(one)}(?![\w-])", text) for one in self.names if one in text)


@cache
def members(root: Path) -> tuple[Member, ...]:
    """The workspace's members."""
    found = []
    for pattern in tomllib.loads((root / "pyproject.toml").read_text())["tool"]["uv"]["workspace"]["members"]:
        for project in sorted(root.glob(f"{pattern}/pyproject.toml")):
            folder = project.parent
            package = next((one.parent.name for one in sorted(folder.glob("src/*/__init__.py"))), "")
            name = tomllib.loads(project.read_text())["project"]["name"]
            path = str(folder.relative_to(root))
            found.append(Member(folder, package, frozenset({package, name, path}) - {""}))
    return tuple(found)


@cache
def imports_of(all_members: tuple[Member, ...]) -> Mapping[str, set[str]]:
    """Each package with the packages that it reaches by imports, itself included."""
    packages = [one.package for one in all_members if one.package]
    graph = grimp.build_graph(*packages)
    direct = {package: {package} for package in packages}
    for module in graph.modules:
        above = module.partition(".")[0]
        direct[above] |= {one.partition(".")[0] for one in graph.find_modules_directly_imported_by(module)}
    while True:
        wider = {one: set().union(*(direct[other] for other in reached)) for one, reached in direct.items()}
        if wider == direct:
            return direct
        direct = wider


@cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def _imported_by(path: Path) -> frozenset[str]:
    """The last words of a file's imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(_text(path))):
        if isinstance(node, ast.ImportFrom):
            found |= {(node.module or "").rpartition(".")[2], *(alias.name for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name.rpartition(".")[2] for alias in node.names}
    return frozenset(found)


@cache
def _helpers_of(path: Path) -> frozenset[Path]:
    """``path``, the helpers beside it that it imports, their helpers, and the folder's ``conftest.py``."""
    found: set[Path] = set()
    left = [path, path.with_name("conftest.py")]
    while left:
        one = left.pop()
        if one in found or not one.exists():
            continue
        found.add(one)
        left += [one.with_name(f"{name}.py") for name in _imported_by(one)]
    return frozenset(found)


@dataclass(frozen=True)
class Chosen:
    """``why``: the change that reached each chosen test file.

    ``all_because``: the reason to choose all files, else None.
    """

    why: Mapping[Path, str]
    all_because: str | None = None


@dataclass
class Changed:
    """A change, sorted. ``folders``: test folders in which a file other than a test changed."""

    packages: set[str] = field(default_factory=set)
    tests: set[Path] = field(default_factory=set)
    folders: set[Path] = field(default_factory=set)
    prose: set[str] = field(default_factory=set)
    other: Path | None = None

    def add(self, root: Path, path: Path, all_members: tuple[Member, ...]) -> None:
        member = next((one for one in all_members if (root / path).is_relative_to(one.folder)), None)
        tests = None if member is None else member.folder / "tests"
        if path.name.endswith(_PROSE) or path.parts[0] == "changelog.d":
            self.prose.add(path.name)
        elif tests is not None and (root / path).is_relative_to(tests):
            self.tests.add(root / path)
            self.folders |= set() if path.suffix == ".py" else {tests}
        elif member is not None:
            self.packages.add(member.package)
        elif path.parts[0] == "tests" and len(path.parts) > 2:
            self.folders.add(root / Path(*path.parts[:2]))
        else:
            self.other = path


def choose(root: Path, paths: Iterable[Path]) -> Chosen:
    """``paths``: the changed files, relative to ``root``."""
    all_members = members(root)
    changed = Changed()
    for path in paths:
        changed.add(root, path, all_members)
    if changed.other is not None:
        return Chosen({}, f"{changed.other} belongs to no member")
    reached = imports_of(all_members)
    files = [
        path
        for path in sorted(root.glob("*/**/test_*.py"))
        if not {".venv", "template"} & set(path.relative_to(root).parts)
    ]
    return Chosen({path: why for path in files if (why := _why(path, changed, all_members, reached))})


def _why(path: Path, changed: Changed, all_members: tuple[Member, ...], reached: Mapping[str, set[str]]) -> str | None:
    """The part of the change that the test file reaches; None without any."""
    files = _helpers_of(path)
    text = "".join(_text(one) for one in files)
    if files & changed.tests or any(path.is_relative_to(folder) for folder in changed.folders):
        return "the test or its helpers changed"
    if "roster(" in text or (_LOOKS.search(text) and _FROM_ABOVE.search(text)):
        return "it looks through the tree"
    if named := sorted(name for name in changed.prose if name in text):
        return f"it reads {named[0]}"
    starts = [
        one.package for one in all_members if one.package and (path.is_relative_to(one.folder) or one.named_in(text))
    ]
    hit = sorted(changed.packages & {other for one in starts for other in reached[one]})
    return f"it reaches {', '.join(hit)}" if hit else None


def changed_since(base: str) -> list[Path]:
    """The files that changed since ``base`` and this branch parted, uncommitted ones included."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout

    parted = git("merge-base", base, "HEAD").strip()
    names = git("diff", "--name-only", "--no-renames", parted) + git("ls-files", "--others", "--exclude-standard")
    return [Path(name) for name in names.splitlines()]


def main(base: str, arguments: list[str]) -> int:
    """Prints the choice and its reasons, then runs it. 0 when no test can be reached."""
    changed = changed_since(base)
    chosen = choose(ROOT, changed)
    print(f"{len(changed)} files changed since {base}")
    if chosen.all_because is not None:
        print(f"all tests: {chosen.all_because}", flush=True)
        paths: list[str] = []
    else:
        for path, why in chosen.why.items():
            print(f"  {path.relative_to(ROOT)}: {why}")
        print(f"{len(chosen.why)} test files are reached", flush=True)
        if not chosen.why:
            return 0
        paths = [str(path.relative_to(ROOT)) for path in chosen.why]
    return subprocess.run([sys.executable, "-m", "pytest", *arguments, *paths], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
