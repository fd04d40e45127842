"""``make new-service NAME=x``: makes a folder that passes every check, and the files generated from its service.toml.

The template has one file for each of the service's; ``@name@`` and similar words stand for values derived from the
name. On failure no folder remains.
"""

import importlib.util
import keyword
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final

from roster import generated
from roster.members import OF_POSTGRES, Roster, is_name, names_taken, read

TEMPLATE: Final = Path(__file__).parent / "template"
SUFFIX: Final = ".in"
LONGEST_NAME: Final = 24
"""A longer name would make lines of the template too long."""
PORTS: Final = range(8103, 8200)
"""Ports of services; simulators have the ports from 8200 on."""


class NewServiceError(ValueError):
    """The service cannot be made; the text gives the reason and the remedy in one line."""


def make(root: Path, name: str) -> list[Path]:
    """Makes the service and the files generated from it. Returns the files written.

    Raises ``NewServiceError``, ``RosterError`` and ``PartError``.
    """
    roster = read(root)
    folder = root / "services" / name
    if problem := why_not(root, roster, name):
        raise NewServiceError(problem)
    made = root / "services" / f".{name}.new"
    shutil.rmtree(made, ignore_errors=True)
    try:
        for path, text in rendered(words(roster, name)).items():
            (made / path).parent.mkdir(parents=True, exist_ok=True)
            (made / path).write_text(text, encoding="utf-8")
        _tidy(root, made)
        made.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    own = sorted(path for path in folder.rglob("*") if path.is_file())
    return [*own, *(path for path in generated.write(read(root), root) if path not in own)]


def why_not(root: Path, roster: Roster, name: str) -> str | None:
    """The reason why no service can have this name; None for a usable name."""
    package = name.replace("-", "_")
    if not is_name(name) or len(name) > LONGEST_NAME:
        return (
            f"{name!r} cannot name a service: small letters, digits and single hyphens, a letter first, "
            f"at most {LONGEST_NAME} characters"
        )
    if name.startswith(OF_POSTGRES):
        return f"{name!r} cannot name a service: Postgres keeps names with {OF_POSTGRES.replace('-', '_')} for itself"
    is_package = any(package.upper() == one.prefix or package == one.package for one in roster.members)
    reasons = {
        f"services/{name} is there already: choose another name, or remove the folder": (
            root / "services" / name
        ).exists(),
        f"{name!r} is taken by the stack or one of its members: choose another name": (
            name in names_taken(roster.members)
        ),
        f"{package!r} is the name of another Python package: choose another name": (
            is_package or keyword.iskeyword(package) or importlib.util.find_spec(package) is not None
        ),
        f"no port from {PORTS.start} to {PORTS.stop - 1} is free: widen PORTS in {Path(__file__).name}": (
            _free_port(roster) is None
        ),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def words(roster: Roster, name: str) -> Mapping[str, str]:
    """The value of each ``@word@`` of the template."""
    package = name.replace("-", "_")
    return {
        "name": name,
        "package": package,
        "database": package,
        "PREFIX": package.upper(),
        "Name": "".join(part.capitalize() for part in name.split("-")),
        "http": str(_free_port(roster)),
    }


def rendered(given: Mapping[str, str]) -> dict[str, str]:
    """The service's files by their paths in its folder."""
    made = {}
    for path in sorted(TEMPLATE.rglob(f"*{SUFFIX}")):
        place = str(path.relative_to(TEMPLATE)).removesuffix(SUFFIX)
        text = path.read_text(encoding="utf-8")
        for more in _migrations() if "revision@" in place else [{}]:
            both = {**given, **more}
            if "@chassis_revision@" in place and "chassis_revision" not in more:
                continue
            if "@own_revision@" in place and "own_revision" not in more:
                continue
            made[_filled(place, both)] = _filled(text, both)
    return made


def _migrations() -> Iterator[dict[str, str]]:
    """One revision for each version of the chassis' tables, then one for the service's own tables."""
    schema = files("chassis.store.schema")
    versions = sorted(path.name.removesuffix(".sql") for path in schema.iterdir() if path.name.endswith(".sql"))
    before = "None"
    for number, version in enumerate([*versions, None], 1):
        revision = f"s{number:03d}"
        found = {"revision": revision, "down_revision": before}
        if version is None:
            yield {**found, "own_revision": f"{revision}_appointments"}
        else:
            yield {**found, "chassis_version": version, "chassis_revision": f"{revision}_chassis_{version}"}
        before = f'"{revision}"'


def _filled(text: str, given: Mapping[str, str]) -> str:
    for word, value in given.items():
        text = text.replace(f"@{word}@", value)
    return text


def _free_port(roster: Roster) -> int | None:
    used = {port for member in roster.members for port in member.ports.values()}
    return next((port for port in PORTS if port not in used), None)


def _tidy(root: Path, folder: Path) -> None:
    """Sorts imports and breaks lines, which depend on the name."""
    ruff = str(Path(sys.executable).with_name("ruff"))
    for command in (["check", "-q", "--fix", "--select", "I"], ["format", "-q"]):
        done = subprocess.run(
            [ruff, *command, "--config", str(root / "pyproject.toml"), str(folder)],
            cwd=root, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            lines = (done.stdout + done.stderr).strip().splitlines() or ["it said nothing"]
            raise NewServiceError(f"ruff could not tidy the new files: {lines[-1]}")
