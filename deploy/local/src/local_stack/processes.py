"""The processes of the stack: each with its command, environment, dependencies and health check."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from local_stack.kafka import EmbeddedKafka
from local_stack.postgres import EmbeddedPostgres, reachable
from local_stack.settings import ROOT, Ports, Settings
from roster import Member, Place, roster
from roster.members import PUBLIC, SESSION_TIMEOUT_SECONDS, consoles

SERVICE_HEALTH = "/readyz?exclude=deliveries"
SIMULATOR_HEALTH = "/healthz"


@dataclass(frozen=True)
class Process:
    """One supervised process.

    ``after`` names processes that must be healthy first; ``jobs`` run to their end before it.
    """

    name: str
    spawn: Callable[[Path], "subprocess.Popen[bytes]"]
    healthy: Callable[[], Awaitable[bool]]
    ports: Mapping[str, int]
    after: tuple[str, ...] = ()
    jobs: tuple[tuple[str, ...], ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    address: str = ""
    arguments: tuple[str, ...] = ()
    """The arguments after ``python -m``; empty for a server that is no Python program."""

    def changed(
        self,
        *,
        name: str = "",
        arguments: tuple[str, ...] = (),
        environment: Mapping[str, str],
        health: str = "",
    ) -> "Process":
        """The same Python program with ``environment`` added: a replica, or one told to misbehave."""
        arguments, environment = arguments or self.arguments, {**self.environment, **environment}
        return replace(
            self,
            name=name or self.name,
            arguments=arguments,
            environment=environment,
            spawn=spawner(module_command(*arguments), environment),
            healthy=answers(health) if health else self.healthy,
        )


def module_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", *arguments]


def spawner(command: list[str], environment: Mapping[str, str]) -> Callable[[Path], "subprocess.Popen[bytes]"]:
    def spawn(log: Path) -> "subprocess.Popen[bytes]":
        with log.open("ab") as output:
            return subprocess.Popen(
                command,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                process_group=0,
            )

    return spawn


def answers(url: str) -> Callable[[], Awaitable[bool]]:
    """Healthy when a GET of ``url`` gives 200 within two seconds (plain HTTP/1.0, without a client library)."""
    parts = urlsplit(url)

    async def healthy() -> bool:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
                try:
                    writer.write(f"GET {parts.path} HTTP/1.0\r\nHost: {parts.netloc}\r\n\r\n".encode())
                    return b" 200 " in await reader.readline()
                finally:
                    writer.close()
        return False

    return healthy


def postgres_data(settings: Settings) -> Path:
    """The data folder of Postgres: below the stack's folder, unless its account cannot enter there."""
    return reachable(settings.data / "postgres")


def servers(settings: Settings) -> tuple[EmbeddedPostgres, EmbeddedKafka]:
    """The stack's own Postgres and Kafka; unused when given servers are used."""
    ports = settings.ports
    return (
        EmbeddedPostgres(postgres_data(settings), ports["postgres"]),
        EmbeddedKafka(settings.data / "kafka", ports["kafka"], ports["kafka.controller"], settings.jars),
    )


def place_of(partners: Ports, browser: Ports) -> Place:
    """The addresses of members that run as processes: for each other, and for a person's browser."""
    return Place(
        host=lambda _target: "127.0.0.1",
        port=lambda target: str(partners[str(target)]),
        browser_port=lambda target: str(browser[str(target)]),
        site_file=os.environ.get("SUITE_SITE_FILE", str(ROOT / "deploy" / "site" / "northside.yaml")),
    )


def environment(settings: Settings, member: Member, others: Settings | None = None) -> dict[str, str]:
    """The member's settings as a process. ``others`` has the ports of Kafka, Postgres and partners."""
    others = others or settings
    own, prefix = settings.ports, member.prefix
    if not member.is_service:
        listening = {f"{prefix}_{name.upper()}_PORT": str(own[str(member.target(name))]) for name in member.ports}
        where = {f"{prefix}_DATA_DIR": str(settings.data / member.name), **listening}
    else:
        where = {
            f"{prefix}_ENVIRONMENT": "development",
            f"{prefix}_STORE__URL": others.database_url(member.database),
            f"{prefix}_KAFKA__BOOTSTRAP_SERVERS": others.kafka_bootstrap,
            f"{prefix}_HTTP__PORT": str(own[member.name]),
        }
        if others_consoles := consoles(member, {one.name: own[one.name] for one in roster().services}):
            where[f"{prefix}_HTTP__CONSOLES"] = others_consoles
        for name in member.listens:
            group = f"{prefix}_HTTP__PUBLIC_" if name == PUBLIC else f"{prefix}_{name.upper()}__"
            where |= {f"{group}HOST": "127.0.0.1", f"{group}PORT": str(own[str(member.target(name))])}
        if member.hears and not settings.given:  # allowed by our own broker; unknown for a given one
            where[f"{prefix}_KAFKA__SESSION_TIMEOUT_SECONDS"] = str(SESSION_TIMEOUT_SECONDS)
    return {**where, **member.settings(place_of(others.ports, own))}


def processes(settings: Settings) -> list[Process]:
    """Every process that ``make up`` starts, in a valid start order."""
    ports = settings.ports
    postgres, kafka = servers(settings)
    own_servers = [
        Process("postgres", postgres.spawn, postgres.ready, {"": ports["postgres"]}, stop_signal=signal.SIGINT,
                address=f"postgresql://127.0.0.1:{ports['postgres']}"),
        Process("kafka", kafka.spawn, kafka.ready, {"": ports["kafka"], "controller": ports["kafka.controller"]},
                address=f"127.0.0.1:{ports['kafka']}"),
    ]  # fmt: skip
    after = ("databases",) if settings.given else ("postgres", "kafka")
    return [
        *([] if settings.given else own_servers),
        *(_process(settings, member) for member in roster().simulators),
        *(_process(settings, member, after) for member in roster().services),
    ]


def _process(settings: Settings, member: Member, after: tuple[str, ...] = ()) -> Process:
    http = f"http://127.0.0.1:{settings.ports[member.name]}"
    values = environment(settings, member)
    arguments = (member.package, "run") if member.is_service else (member.package,)
    return Process(
        name=member.name,
        spawn=spawner(module_command(*arguments), values),
        healthy=answers(http + (SERVICE_HEALTH if member.is_service else SIMULATOR_HEALTH)),
        ports={name.upper(): settings.ports[str(member.target(name))] for name in member.ports},
        after=after,
        jobs=((member.package, "migrate"), (member.package, "topics")) if member.is_service else (),
        environment=values,
        address=http + ("/console" if member.is_service else "/"),
        arguments=arguments,
    )
