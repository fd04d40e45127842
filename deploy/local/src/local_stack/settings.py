"""Settings of the local stack: its folder, its ports, its secrets. Every setting has a default."""

import json
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from roster.members import ROOT, SERVERS, port_variable, roster

__all__ = ["ROOT", "GivenServers", "Ports", "Settings", "SettingsError", "service_databases", "write_secret"]


class SettingsError(ValueError):
    """A setting of the local stack cannot be used; the text names it and its value."""


def default_ports() -> dict[str, int]:
    """The servers' ports, then each member's."""
    members = roster().members
    own = {str(member.target(name)): port for member in members for name, port in member.ports.items()}
    return {**SERVERS, **own}


@dataclass(frozen=True)
class Ports:
    """TCP ports on 127.0.0.1 by listener: ``kafka``, ``scheduler-sync``, ``scheduler-sync.mllp``.

    Each is set by ``SUITE_<NAME>_PORT`` (``roster.members.port_variable``); its default is the roster's.
    """

    numbers: Mapping[str, int] = field(default_factory=default_ports)

    def __getitem__(self, name: str) -> int:
        return self.numbers[name]

    @classmethod
    def each(cls, find: Callable[[], int]) -> Self:
        """Every port as ``find`` gives it."""
        return cls({name: find() for name in default_ports()})

    @classmethod
    def from_environment(cls) -> Self:
        """Raises ``SettingsError``."""
        numbers = default_ports()
        for name in numbers:
            variable = port_variable(name)
            text = os.environ.get(variable)
            if text is None:
                continue
            if not text.isdigit() or not 1 <= int(text) <= 65535:
                raise SettingsError(f"{variable}={text!r} is not a port (1 to 65535)")
            numbers[name] = int(text)
        used: dict[int, str] = {}
        for name, port in numbers.items():
            other = used.setdefault(port, name)
            if other != name:
                raise SettingsError(f"{port_variable(name)} and {port_variable(other)} are both {port}")
        return cls(numbers)

    def variables(self) -> dict[str, str]:
        """The environment that sets these ports."""
        return {port_variable(name): str(port) for name, port in self.numbers.items()}


def service_databases() -> list[str]:
    """One database and one role of the same name per service; no role may connect to another role's database."""
    return [service.database for service in roster().services]


@dataclass(frozen=True)
class GivenServers:
    """A running Postgres and Kafka; with these, the embedded stack starts no servers."""

    postgres_admin_url: str
    kafka_bootstrap: str

    @classmethod
    def from_environment(cls) -> "GivenServers | None":
        """``POSTGRES_ADMIN_URL`` and ``KAFKA_BOOTSTRAP_SERVERS``, both or neither. Raises ``SettingsError``."""
        names = ("POSTGRES_ADMIN_URL", "KAFKA_BOOTSTRAP_SERVERS")
        url, bootstrap = (os.environ.get(name) for name in names)
        if not url and not bootstrap:
            return None
        if not url or not bootstrap:
            raise SettingsError(f"{names[1] if url else names[0]} is not set: give both servers, or neither")
        return cls(url, bootstrap)


@dataclass(frozen=True)
class Settings:
    """The stack's folder (``SUITE_LOCAL_DIR``, default ``.local``) and ports."""

    base: Path
    ports: Ports
    given: GivenServers | None = None

    @classmethod
    def from_environment(cls) -> Self:
        base = Path(os.environ.get("SUITE_LOCAL_DIR", ROOT / ".local")).resolve()
        return cls(base, Ports.from_environment(), GivenServers.from_environment())

    @property
    def logs(self) -> Path:
        return self.base / "log"

    @property
    def data(self) -> Path:
        return self.base / "data"

    @property
    def state_file(self) -> Path:
        return self.base / "run" / "state.json"

    @property
    def stack_file(self) -> Path:
        """The file that names the stack that is up."""
        return self.base / "run" / "stack"

    @property
    def secrets(self) -> Path:
        """The secrets of containers."""
        return self.base / "secrets"

    @property
    def jars(self) -> Path:
        return Path(os.environ.get("KAFKA_JARS_DIR", self.base / "kafka-jars"))

    def passwords(self) -> dict[str, str]:
        """The role passwords of the services' databases, made on first use and kept readable for the owner only."""
        path = self.base / "secrets.json"
        known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        missing = [name for name in service_databases() if name not in known]
        if missing:
            known |= {name: secrets.token_urlsafe(24) for name in missing}
            self.base.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.write_text(json.dumps(known, indent=1))
        return known

    def database_url(self, name: str) -> str:
        own = f"127.0.0.1:{self.ports['postgres']}"
        where = urlsplit(self.given.postgres_admin_url).netloc.rpartition("@")[2] if self.given else ""
        return f"postgresql://{name}:{self.passwords()[name]}@{where or own}/{name}"

    @property
    def kafka_bootstrap(self) -> str:
        return self.given.kafka_bootstrap if self.given else f"127.0.0.1:{self.ports['kafka']}"


def write_secret(path: Path, value: str | None = None) -> None:
    """Writes ``value``, or a new secret where the file is missing.

    Only the owner may enter the folder. The file itself is readable, because a container's own user must read it.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if value is None:
        if path.exists():
            return
        value = secrets.token_urlsafe(24)
    path.write_text(value)
    path.chmod(0o444)
