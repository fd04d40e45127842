"""Prints the part of requirements.lock that one workspace member or tool needs, with its hashes.

A member's part is its declared packages, those of the workspace packages that it needs, and all packages reachable from
there along the lock's own lines (``# via`` names the package that asked). So a new member needs no new lock as long as
it adds no package. Standard library only: the script runs in an image's build stage.
"""

import argparse
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VIA = re.compile(r"^    # (?:via )?( *)([A-Za-z0-9][A-Za-z0-9._-]*)$")


class LockError(Exception):
    """The lock does not fit the member; the text says what to do."""


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def entries(lock: str) -> Iterator[tuple[str, str, set[str]]]:
    """Each package of the lock: its name, its lines, and the packages that asked for it."""
    for block in re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)[1:]:
        head = _NAME.match(block)
        lines = block.rstrip().splitlines()
        via = {normalized(found.group(2)) for line in lines if (found := _VIA.match(line)) and found.group(2) != "via"}
        kept = "\n".join(line for line in lines if not line.startswith("    #"))
        yield normalized(head.group() if head else ""), kept, via


def members_of(root: Path, member: Path) -> list[Path]:
    """``member`` and the workspace packages that it needs, dependencies first."""
    own = {}
    for project in root.glob("*/*/pyproject.toml"):
        own[normalized(_project(project)["name"])] = project.parent
    ordered: list[Path] = []

    def visit(folder: Path) -> None:
        if folder in ordered:
            return
        for requirement in _project(folder / "pyproject.toml").get("dependencies", []):
            name = _NAME.match(requirement)
            needed = own.get(normalized(name.group())) if name else None
            if needed is not None:
                visit(needed)
        ordered.append(folder)

    visit(root / member)
    return ordered


def requirements_of(root: Path, member: Path) -> str:
    """The lock's entries that ``member`` needs. Raises ``LockError`` when a declared package is not in the lock."""
    folders = members_of(root, member)
    own = {normalized(_project(folder / "pyproject.toml")["name"]) for folder in folders}
    packages = _packages(root)
    declared: set[str] = set()
    for folder in folders:
        for requirement in _project(folder / "pyproject.toml").get("dependencies", []):
            found = _NAME.match(requirement)
            if found is None or normalized(found.group()) in own:
                continue
            if normalized(found.group()) not in packages:
                raise LockError(
                    f"requirements.lock has no {found.group()}, which {folder.name} asks for: run make lock"
                )
            declared.add(normalized(found.group()))
    return _written(packages, _reached(packages, declared))


def requirements_for(root: Path, tools: list[str]) -> str:
    """The lock's entries of ``tools`` and of all packages that they need."""
    packages = _packages(root)
    missing = sorted(set(tools) - packages.keys())
    if missing:
        raise LockError(f"requirements.lock has no {missing[0]}: run make lock")
    return _written(packages, _reached(packages, set(tools)))


def _packages(root: Path) -> dict[str, tuple[str, set[str]]]:
    return {name: (lines, via) for name, lines, via in entries((root / "requirements.lock").read_text())}


def _reached(packages: dict[str, tuple[str, set[str]]], roots: set[str]) -> set[str]:
    reached = set(roots)
    while found := {name for name, (_, via) in packages.items() if via & reached} - reached:
        reached |= found
    return reached


def _written(packages: dict[str, tuple[str, set[str]]], names: set[str]) -> str:
    return "".join(f"{packages[name][0]}\n" for name in sorted(names))


def _project(path: Path) -> dict[str, Any]:
    try:
        project: dict[str, Any] = tomllib.loads(path.read_text())["project"]
    except FileNotFoundError:
        raise LockError(f"{path.parent} is no workspace member: it has no pyproject.toml") from None
    return project


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--member", type=Path, help="what a member needs: its folder, such as services/<name>")
    wanted.add_argument(
        "--members-of", type=Path, help="the workspace packages that a member needs, dependencies first"
    )
    wanted.add_argument("--tools", nargs="+", help="what these packages need, such as hatchling")
    options = parser.parse_args()
    root = Path(__file__).resolve().parents[2]
    try:
        if options.members_of:
            print("\n".join(str(folder.relative_to(root)) for folder in members_of(root, options.members_of)))
        elif options.tools:
            print(requirements_for(root, options.tools), end="")
        else:
            print(requirements_of(root, options.member), end="")
    except LockError as error:
        print(f"images: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
