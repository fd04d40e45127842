"""What can be set about the local stack: its folder, its ports, its secrets. Everything has a default."""

import json
import os
import secrets
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[4]
SERVICE_DATABASES = ("scheduler_sync", "notifier")
"""One database and one role of the same name per service; no role may connect to another's database."""


class SettingsError(ValueError):
    """A setting of the local stack cannot be used; the text names it and its value."""


@dataclass(frozen=True)
class Ports:
    """TCP ports on 127.0.0.1; each is set by ``SUITE_<NAME>_PORT``."""

    kafka: int = 29092
    kafka_controller: int = 29093
    postgres: int = 25432
    scheduler_sync: int = 8101
    scheduler_sync_mllp: int = 12575
    notifier: int = 8102
    powerserver: int = 8201
    powerserver_mllp: int = 12576
    omegaai: int = 8202
    mailsink: int = 8203
    mailsink_smtp: int = 11025

    @classmethod
    def from_environment(cls) -> Self:
        values = {}
        for field in fields(cls):
            name = f"SUITE_{field.name.upper()}_PORT"
            text = os.environ.get(name)
            if text is None:
                continue
            if not text.isdigit() or not 1 <= int(text) <= 65535:
                raise SettingsError(f"{name}={text!r} is not a port (1 to 65535)")
            values[field.name] = int(text)
        ports = cls(**values)
        used: dict[int, str] = {}
        for field in fields(cls):
            port = getattr(ports, field.name)
            if port in used:
                names = f"SUITE_{field.name.upper()}_PORT and SUITE_{used[port].upper()}_PORT"
                raise SettingsError(f"{names} are both {port}")
            used[port] = field.name
        return ports


@dataclass(frozen=True)
class GivenServers:
    """A Postgres and a Kafka that run already; the embedded stack then starts none of its own."""

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
        """Which of the stacks is up."""
        return self.base / "run" / "stack"

    @property
    def secrets(self) -> Path:
        """What containers read as secrets."""
        return self.base / "secrets"

    @property
    def jars(self) -> Path:
        return Path(os.environ.get("KAFKA_JARS_DIR", self.base / "kafka-jars"))

    def passwords(self) -> dict[str, str]:
        """The role passwords of the services' databases, made on first use and kept readable for the owner only."""
        path = self.base / "secrets.json"
        known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        missing = [name for name in SERVICE_DATABASES if name not in known]
        if missing:
            known |= {name: secrets.token_urlsafe(24) for name in missing}
            self.base.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.write_text(json.dumps(known, indent=1))
        return known

    def database_url(self, name: str) -> str:
        where = urlsplit(self.given.postgres_admin_url).netloc.rpartition("@")[2] if self.given else ""
        return f"postgresql://{name}:{self.passwords()[name]}@{where or f'127.0.0.1:{self.ports.postgres}'}/{name}"

    @property
    def kafka_bootstrap(self) -> str:
        return self.given.kafka_bootstrap if self.given else f"127.0.0.1:{self.ports.kafka}"


def write_secret(path: Path, value: str | None = None) -> None:
    """Writes ``value``; without one, a new secret where there is none yet.

    The folder is the owner's alone; the file in it is readable, because a container's own user must read it there.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if value is None:
        if path.exists():
            return
        value = secrets.token_urlsafe(24)
    path.write_text(value)
    path.chmod(0o444)
