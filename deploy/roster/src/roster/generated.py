"""Every file that is derived from the roster, and the derived parts of other files.

A part lies between a line ``roster: NAME`` and the next line ``roster: end``, both comments of the file's language.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from roster import compose, kafka, kubernetes, workspace
from roster.members import Roster

COMMAND: Final = "python -m roster generate"
HEAD: Final = f"# Made by `{COMMAND}`; edit the members' service.toml and simulator.toml instead.\n"
_KINDS: Final = ("libs", "services", "simulators", "deploy")
_BLOCK: Final = re.compile(
    r"^(?P<indent>[ \t]*)(?P<sign>[#;]) roster: (?P<name>[a-z-]+(?: [a-z]+)?)\n"
    r"(?P<body>.*?)"
    r"^[ \t]*(?P=sign) roster: end$",
    re.MULTILINE | re.DOTALL,
)
FILES_WITH_PARTS: Final = (
    ".importlinter",
    "pyproject.toml",
    "docker-compose.yml",
    "deploy/k8s/local/jobs.yaml",
    "deploy/k8s/local/kustomization.yaml",
    "deploy/k8s/production/kustomization.yaml",
)


class PartError(ValueError):
    """A required part is missing in a file, or a part has no generator; the text gives the remedy."""


def parts(roster: Roster, root: Path) -> Mapping[str, Callable[[], Iterable[str]]]:
    """The function that makes each part's lines, by the part's name."""
    return {
        "packages": lambda: workspace.names(root, *_KINDS),
        **{f"packages {kind}": partial(workspace.names, root, kind) for kind in _KINDS},
        "simulators": lambda: (one.package for one in roster.simulators),
        "uv-sources": lambda: workspace.uv_sources(root),
        "mypy-path": lambda: workspace.mypy_path(root),
        "compose": lambda: compose.included(roster),
        "alarm-rules": lambda: compose.alarm_rules(roster),
        "store-passwords": lambda: kubernetes.store_passwords(roster),
        "overlays local": lambda: kubernetes.overlays(roster, "local"),
        "overlays production": lambda: kubernetes.overlays(roster, "production"),
        "images": lambda: kubernetes.images(roster),
    }


def files(roster: Roster, root: Path) -> dict[Path, str]:
    """Each file and its text: whole files, and files with parts. Raises ``PartError``."""
    whole = {f"{member.place}/compose.yaml": compose.member_file(member, roster) for member in roster.members}
    whole["deploy/observability/prometheus.yml"] = compose.scraped(roster)
    whole["deploy/k8s/local/simulators/simulators.yaml"] = kubernetes.simulators(roster)
    whole["deploy/k8s/local/partners.yaml"] = kubernetes.partners(roster)
    whole |= {f"deploy/k8s/kafka/{name}": text for name, text in kafka.files(roster).items()}
    for service in roster.services:
        whole[f"{service.place}/k8s/local/kustomization.yaml"] = kubernetes.local_overlay(service, roster)
        for name, text in kubernetes.autoscaling(service).items():
            whole[f"{service.place}/k8s/autoscaling/{name}"] = text
    made = {root / name: HEAD + text for name, text in whole.items()}
    known, used = parts(roster, root), set()
    for name in FILES_WITH_PARTS:
        text, found = _with_parts(name, (root / name).read_text(encoding="utf-8"), known)
        made[root / name] = text
        used |= found
    if missing := known.keys() - used:
        raise PartError(f"no file has the part `roster: {min(missing)}`: put it back")
    return made


def _with_parts(place: str, text: str, known: Mapping[str, Callable[[], Iterable[str]]]) -> tuple[str, set[str]]:
    found: set[str] = set()

    def filled(match: re.Match[str]) -> str:
        name, indent, sign = match["name"], match["indent"], match["sign"]
        if name not in known:
            raise PartError(f"{place}: `roster: {name}` is no part; there are {', '.join(sorted(known))}")
        if f"{sign} roster: " in match["body"]:
            raise PartError(f"{place}: the part `roster: {name}` has no line `roster: end`: put it back")
        found.add(name)
        lines = "".join(f"{indent}{line}\n" for line in known[name]())
        return f"{indent}{sign} roster: {name}\n{lines}{indent}{sign} roster: end"

    return _BLOCK.sub(filled, text), found


def drifted(roster: Roster, root: Path) -> Iterator[Path]:
    """The files that differ from the roster. Raises ``PartError``."""
    for path, text in files(roster, root).items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            yield path


def write(roster: Roster, root: Path) -> list[Path]:
    """Writes the files that differ and returns them. Raises ``PartError``."""
    changed = list(drifted(roster, root))
    made = files(roster, root)
    for path in changed:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(made[path], encoding="utf-8")
    return changed
