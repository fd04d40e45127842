"""Reads and checks ``service.toml`` and ``simulator.toml``. Every mistake gives one line: file, key, remedy."""

import difflib
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final, Literal

from contracts.topics import TOPICS, Topic

ROOT: Final = Path(__file__).resolve().parents[4]
Kind = Literal["service", "simulator"]
SERVERS: Final[Mapping[str, int]] = {"kafka": 29092, "kafka.controller": 29093, "postgres": 25432}
"""Default local ports of the stack's servers, which are no members."""
RESERVED: Final = frozenset(
    {"kafka", "postgres", "databases", "topics", "otel-collector", "jaeger", "prometheus", "grafana", "all"}
    | {"public", "none", "template0", "template1"}  # of Postgres
)
"""Names that the stacks use for other things."""
OF_POSTGRES: Final = "pg-"
"""A role's name (with ``_`` for ``-``) may not begin with this."""
LONGEST_NAME: Final = 40
_MADE_OF_A_NAME: Final = ("", "-2", "-migrate", "-store", "-settings", "-kafka")
"""Suffixes of a service's name in names of containers and secrets."""
LEAST_MEMORY_MB: Final = 64
SESSION_TIMEOUT_SECONDS: Final = 3
"""For a service that hears: the time that a killed consumer's partitions wait. The local brokers allow 2 s and more."""
PUBLIC: Final = "public"
"""The name in a service's ``listens`` of its port for the internet (HTTP__PUBLIC_PORT)."""
_LIBRARIES: Final = ("simulators/kit",)
"""Workspace members in those folders that are not in the roster: they run nothing."""
IDENTITY: Final = "identity"
"""The simulator through which people log in to every service's pages."""
_FOLDERS: Final[Mapping[Kind, str]] = {"service": "services", "simulator": "simulators"}
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_PACKAGE: Final = re.compile(r"[a-z][a-z0-9_]*")
_PORT_NAME: Final = re.compile(r"[a-z][a-z0-9]*")
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_ASPECTS: Final = ("host", "port", "browser")
SITE_FILE: Final = "site_file"


class RosterError(ValueError):
    """Files of the roster are invalid. ``problems`` has one line for each mistake."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, order=True)
class Target:
    """A port of a member: ``omegaai`` is its HTTP port, ``powerserver.mllp`` a further one."""

    member: str
    port: str = "http"

    @classmethod
    def of(cls, text: str) -> "Target":
        member, _, port = text.partition(".")
        return cls(member, port or "http")

    def __str__(self) -> str:
        return self.member if self.port == "http" else f"{self.member}.{self.port}"


def port_variable(target: Target | str) -> str:
    """The environment variable of a local port, such as ``SUITE_SCHEDULER_SYNC_MLLP_PORT``."""
    return f"SUITE_{re.sub('[-.]', '_', str(target)).upper()}_PORT"


@dataclass(frozen=True)
class Place:
    """The addresses of targets for a member that runs on one of the stacks."""

    host: Callable[[Target], str]
    port: Callable[[Target], str]
    browser_port: Callable[[Target], str]
    """The port on this machine at which a person's browser reaches the target."""
    site_file: str


@dataclass(frozen=True)
class Member:
    """A service or a simulator, as its file describes it."""

    kind: Kind
    folder: Path
    name: str
    package: str
    http: int
    memory_mb: int
    listens: Mapping[str, int] = field(default_factory=dict)
    hears: tuple[str, ...] = ()
    """Names of topics, with each glob replaced by its matches."""
    talks_to: tuple[Target, ...] = ()
    local: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_service(self) -> bool:
        return self.kind == "service"

    @property
    def place(self) -> str:
        """The member's folder from the workspace's root, such as ``services/form-router``."""
        return f"{_FOLDERS[self.kind]}/{self.name}"

    @property
    def prefix(self) -> str:
        """The prefix of the member's settings, without the underscore: ``SCHEDULER_SYNC``, ``POWERSERVER_SIM``."""
        return (self.name.replace("-", "_") if self.is_service else self.package).upper()

    @property
    def database(self) -> str:
        """The name of the member's database and of the role that owns it."""
        return self.name.replace("-", "_")

    @property
    def ports(self) -> Mapping[str, int]:
        """The member's default ports by name, ``http`` first."""
        return {"http": self.http, **self.listens}

    def target(self, port: str = "http") -> Target:
        return Target(self.name, port)

    @property
    def produces(self) -> tuple[Topic, ...]:
        return tuple(topic for topic in TOPICS.values() if topic.producer == self.name)

    def settings(self, place: Place) -> dict[str, str]:
        """``[local]`` with the addresses of ``place`` filled in."""
        return {key: _PLACEHOLDER.sub(lambda found: _filled(found[1], place), text) for key, text in self.local.items()}

    @property
    def reads_site_file(self) -> bool:
        return any(f"{{{SITE_FILE}}}" in text for text in self.local.values())


@dataclass(frozen=True)
class Roster:
    """All members; services and simulators each in the order of their ports."""

    services: tuple[Member, ...]
    simulators: tuple[Member, ...]

    @property
    def members(self) -> tuple[Member, ...]:
        return (*self.services, *self.simulators)

    @cached_property
    def by_name(self) -> Mapping[str, Member]:
        return {member.name: member for member in self.members}

    def partners_of(self, target: Target) -> tuple[Member, ...]:
        """The members that talk to ``target``."""
        return tuple(member for member in self.members if target in member.talks_to)


def consoles(member: Member, ports: Mapping[str, int | str]) -> str:
    """A service's ``HTTP__CONSOLES``: the other services' consoles by name; ``ports`` are those on this machine."""
    others = {name: f"http://127.0.0.1:{port}/console" for name, port in ports.items() if name != member.name}
    return json.dumps(others) if others else ""


@cache
def roster() -> Roster:
    """The roster of this workspace. Raises ``RosterError``."""
    return read(ROOT)


def read(root: Path, topics: Mapping[str, Topic] = TOPICS) -> Roster:
    """The roster of the workspace in ``root``. Raises ``RosterError``."""
    problems: list[str] = []
    members = [
        member
        for kind, folder in _FOLDERS.items()
        for path in sorted((root / folder).glob("*/pyproject.toml"))
        if path.parent.relative_to(root).as_posix() not in _LIBRARIES
        and (member := _read(root, kind, path.parent, topics, problems)) is not None
    ]
    problems += _of_all(root, members, topics)
    if problems:
        raise RosterError(problems)
    members.sort(key=lambda one: one.http)
    return Roster(tuple(one for one in members if one.is_service), tuple(one for one in members if not one.is_service))


def names_taken(members: Iterable[Member]) -> set[str]:
    """Names that a new member must not have."""
    made = {member.name + suffix for member in members if member.is_service for suffix in _MADE_OF_A_NAME}
    return {*RESERVED, *made, *(member.name for member in members)}


def file_of(member: Member) -> Path:
    return member.folder / f"{member.kind}.toml"


def _read(root: Path, kind: Kind, folder: Path, topics: Mapping[str, Topic], problems: list[str]) -> Member | None:
    path = folder / f"{kind}.toml"
    place = path.relative_to(root)
    if not path.exists():
        problems.append(f"{place}: is missing: every {kind} has one (CONTRIBUTING.md, Add a service)")
        return None
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"{place}: is not TOML: {str(error).splitlines()[0]}")
        return None
    found = [f"{place}: {line}" for line in _problems(kind, folder, values, topics)]
    problems += found
    if found:
        return None
    logs_in = kind == "service" and (root / _FOLDERS["simulator"] / IDENTITY / "simulator.toml").exists()
    hears = [name for pattern in values.get("hears", []) for name in topics if fnmatchcase(name, pattern)]
    return Member(
        kind=kind,
        folder=folder,
        name=values["name"],
        package=values["package"],
        http=values["http"],
        memory_mb=values["memory_mb"],
        listens=values.get("listens", {}),
        hears=tuple(name for name in topics if name in hears),
        talks_to=(*(Target.of(text) for text in values.get("talks_to", [])), *([Target(IDENTITY)] if logs_in else [])),
        local={**(_log_in(values["name"]) if logs_in else {}), **values.get("local", {})},
    )


def _log_in(service: str) -> dict[str, str]:
    """The log-in settings of every service on the local stacks; the secret is the development default."""
    prefix = f"{service.replace('-', '_').upper()}_HTTP__OIDC__"
    return {
        f"{prefix}ISSUER": f"http://{{{IDENTITY}.browser}}",
        f"{prefix}INTERNAL_URL": f"http://{{{IDENTITY}}}",
        f"{prefix}CLIENT_ID": service,
    }


_KEYS: Final[Mapping[str, tuple[type, str]]] = {
    "name": (str, "a text"),
    "package": (str, "a text"),
    "http": (int, "a whole number"),
    "memory_mb": (int, "a whole number"),
    "hears": (list, "a list of texts"),
    "listens": (dict, "a table of port names and numbers"),
    "talks_to": (list, "a list of texts"),
    "local": (dict, "a table of texts"),
}
_OPTIONAL: Final = {"hears", "listens", "talks_to", "local"}


def _problems(kind: Kind, folder: Path, values: Mapping[str, Any], topics: Mapping[str, Topic]) -> Iterator[str]:
    """The mistakes within one file. Values are checked only when every type is right."""
    known = [key for key in _KEYS if kind == "service" or key != "hears"]
    wrong = [f"{key}: unknown key{_instead(key, known)}" for key in values if key not in known]
    wrong += [f"{key}: is missing" for key in known if key not in values and key not in _OPTIONAL]
    for key, (wanted, words) in _KEYS.items():
        if key in values and key in known and not _is_a(values[key], wanted):
            wrong.append(f"{key}: {values[key]!r} is not {words}")
    wrong += [
        f"{key}.{name}: {value!r} is not {words}"
        for key, wanted, words in (("listens", int, "a whole number"), ("local", str, "a text (in quotes)"))
        for name, value in (values[key].items() if isinstance(values.get(key), dict) else ())
        if not _is_a(value, wanted)
    ]
    wrong += [
        f"{key}: {value!r} is not a text"
        for key in ("hears", "talks_to")
        for value in (values[key] if isinstance(values.get(key), list) else ())
        if not isinstance(value, str)
    ]
    yield from wrong
    if not wrong:
        yield from _wrong_values(kind, folder, values, topics)


def _is_a(value: Any, wanted: type) -> bool:
    return isinstance(value, wanted) and not (wanted is int and isinstance(value, bool))


def _instead(key: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(key, known, 1)
    return f": did you mean {close[0]}?" if close else f"; the keys are {', '.join(known)}"


def _wrong_values(kind: Kind, folder: Path, values: Mapping[str, Any], topics: Mapping[str, Topic]) -> Iterator[str]:
    yield from _wrong_names(folder, values["name"], values["package"])
    yield from _wrong_ports({"http": values["http"], **values.get("listens", {})})
    if values["memory_mb"] < LEAST_MEMORY_MB:
        yield f"memory_mb: {values['memory_mb']} is less than {LEAST_MEMORY_MB}"
    for pattern in values.get("hears", []):
        if not any(fnmatchcase(topic, pattern) for topic in topics):
            yield f"hears: {pattern!r} is no topic of the contracts: one of {', '.join(topics)}, or a pattern of them"
    prefix = (values["name"].replace("-", "_") if kind == "service" else values["package"]).upper()
    for key in values.get("local", {}):
        if not re.fullmatch(rf"{prefix}_[A-Z0-9_]+", key):
            yield f"local.{key}: a setting of {values['name']} begins with {prefix}_"


def _wrong_names(folder: Path, name: str, package: str) -> Iterator[str]:
    if name != folder.name:
        yield f"name: {name!r} is not the folder's name, {folder.name!r}"
    if name.startswith(OF_POSTGRES):
        yield f"name: {name!r} begins with {OF_POSTGRES}, which Postgres keeps for itself"
    if not is_name(name):
        yield f"name: {name!r} is not small letters, digits and single hyphens, a letter first"
    if not _PACKAGE.fullmatch(package):
        yield f"package: {package!r} is no Python package's name (small letters, digits, _)"
    elif not (folder / "src" / package).is_dir():
        yield f"package: there is no folder src/{package}"


def is_name(text: str) -> bool:
    """Whether ``text`` can name a folder, a container, a Kubernetes object and, with ``_`` for ``-``, a database."""
    return len(text) <= LONGEST_NAME and _NAME.fullmatch(text) is not None


def _wrong_ports(ports: Mapping[str, int]) -> Iterator[str]:
    for name, port in ports.items():
        key = name if name == "http" else f"listens.{name}"
        if not 1024 <= port <= 65535:
            yield f"{key}: {port} is no port from 1024 to 65535"
        if not _PORT_NAME.fullmatch(name) or name in _ASPECTS:
            yield f"{key}: a port's name is small letters and digits, and none of {', '.join(_ASPECTS)}"


def _of_all(root: Path, members: Sequence[Member], topics: Mapping[str, Topic]) -> Iterator[str]:
    """The mistakes between the files."""
    places = {member.name: file_of(member).relative_to(root) for member in members}
    yield from _taken_twice(members, places)
    known = {member.target(port) for member in members for port in member.ports}
    services = {member.name for member in members if member.is_service}
    for member in members:
        place = places[member.name]
        for topic in member.hears:
            if topics[topic].producer not in services:
                yield f"{place}: hears: {topic!r} is produced by {topics[topic].producer!r}, which is no service"
        for target in member.talks_to:
            if target not in known or target.member == member.name:
                others = ", ".join(str(one) for one in sorted(known) if one.member != member.name)
                yield f"{place}: talks_to: {str(target)!r} is no partner: one of {others}"
        for key, text in member.local.items():
            for placeholder in _PLACEHOLDER.findall(text):
                if problem := _wrong_placeholder(placeholder, member, known):
                    yield f"{place}: local.{key}: {problem}"


def _taken_twice(members: Sequence[Member], places: Mapping[str, Path]) -> Iterator[str]:
    """Ports, names and derived names that two members claim."""
    taken: dict[tuple[str, int | str], str] = {("port", port): name for name, port in SERVERS.items()}
    taken |= {("name", name): "the stack itself" for name in RESERVED}
    for member in members:
        whose = f"{member.kind} {member.name}"
        claims: list[tuple[str, str, int | str]] = [
            ("name", "name", member.name),
            ("package", "package", member.package),
            ("package", "prefix of settings", member.prefix),
        ]
        made = [member.name + suffix for suffix in (_MADE_OF_A_NAME if member.is_service else ("",))]
        claims += [("name", "name of a container or secret", name) for name in made]
        for name, port in member.ports.items():
            key = name if name == "http" else f"listens.{name}"
            claims += [(key, "port", port), (key, "variable", port_variable(member.target(name)))]
        for key, what, value in claims:
            other = taken.setdefault((what, value), whose)
            if other != whose:
                yield f"{places[member.name]}: {key}: the {what} {value} is taken by {other}: choose another"


def _wrong_placeholder(text: str, member: Member, known: set[Target]) -> str | None:
    if text == SITE_FILE:
        return None
    target, aspect = _split(text)
    if target not in known:
        return f"{{{text}}} is no address: {{partner}}, {{partner.port-name}}, either with .host, .port or .browser"
    if aspect != "browser" and target not in member.talks_to and target.member != member.name:
        return f"{{{text}}}: add {str(target)!r} to talks_to"
    return None


def _split(text: str) -> tuple[Target, str]:
    """A placeholder's target and its aspect: host, port, browser, or empty for host and port."""
    head, _, last = text.rpartition(".")
    return (Target.of(head), last) if head and last in _ASPECTS else (Target.of(text), "")


def _filled(text: str, place: Place) -> str:
    if text == SITE_FILE:
        return place.site_file
    target, aspect = _split(text)
    if aspect == "host":
        return place.host(target)
    if aspect == "port":
        return place.port(target)
    if aspect == "browser":
        return f"127.0.0.1:{place.browser_port(target)}"
    return f"{place.host(target)}:{place.port(target)}"
