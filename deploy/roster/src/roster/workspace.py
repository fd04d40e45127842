"""The members as Python packages, for uv, mypy and import-linter."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Package:
    """A member of the workspace: its project's name, its package, and its folder from the root."""

    project: str
    name: str
    folder: str


def packages(root: Path, kind: str) -> list[Package]:
    """The members in one of the folders libs, services, simulators, deploy, in the order of their folders."""
    found = []
    for path in sorted((root / kind).glob("*/pyproject.toml")):
        project = tomllib.loads(path.read_text(encoding="utf-8"))
        wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
        found += [
            Package(project["project"]["name"], Path(package).name, f"{kind}/{path.parent.name}")
            for package in wheel["packages"]
        ]
    return found


def all_packages(root: Path) -> list[Package]:
    return [one for kind in ("libs", "services", "simulators", "deploy") for one in packages(root, kind)]


def names(root: Path, *kinds: str) -> Iterator[str]:
    for kind in kinds:
        yield from (one.name for one in packages(root, kind))


def uv_sources(root: Path) -> Iterator[str]:
    for one in all_packages(root):
        yield f"{one.project} = {{ workspace = true }}"


def mypy_path(root: Path) -> Iterator[str]:
    for one in all_packages(root):
        yield f'"{one.folder}/src",'
