"""What the stack consists of: each process, its command and environment, what it waits for, how it shows health."""

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
from local_stack.settings import ROOT, Settings


@dataclass(frozen=True)
class Process:
    """One supervised process. ``after`` names what must be healthy first; ``jobs`` run to their end before it."""

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
    """What follows ``python -m``; empty for a server that is no Python program."""

    def changed(
        self,
        *,
        name: str = "",
        arguments: tuple[str, ...] = (),
        environment: Mapping[str, str],
        health: str = "",
    ) -> "Process":
        """The same Python program, run with ``environment`` on top of its own: a replica, or one told to misbehave."""
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
    """Healthy when a GET of ``url`` gives 200 within two seconds (plain HTTP/1.0, no client library)."""
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
    """Where Postgres keeps its data: below the stack's folder unless its account cannot pass there."""
    return reachable(settings.data / "postgres")


def servers(settings: Settings) -> tuple[EmbeddedPostgres, EmbeddedKafka]:
    """The stack's own Postgres and Kafka; of no use where such are given."""
    ports = settings.ports
    return (
        EmbeddedPostgres(postgres_data(settings), ports.postgres),
        EmbeddedKafka(settings.data / "kafka", ports.kafka, ports.kafka_controller, settings.jars),
    )


def _service_environment(settings: Settings, prefix: str, database: str, port: int) -> dict[str, str]:
    return {
        f"{prefix}_ENVIRONMENT": "development",
        f"{prefix}_STORE__URL": settings.database_url(database),
        f"{prefix}_KAFKA__BOOTSTRAP_SERVERS": settings.kafka_bootstrap,
        f"{prefix}_HTTP__PORT": str(port),
    }


def processes(settings: Settings) -> list[Process]:
    """Everything that ``make up`` starts, in an order in which it may be started."""
    ports = settings.ports
    postgres, kafka = servers(settings)
    scheduler_sync = {
        **_service_environment(settings, "SCHEDULER_SYNC", "scheduler_sync", ports.scheduler_sync),
        "SCHEDULER_SYNC_SITE_FILE": os.environ.get("SUITE_SITE_FILE", str(ROOT / "deploy" / "site" / "northside.yaml")),
        "SCHEDULER_SYNC_MLLP__HOST": "127.0.0.1",
        "SCHEDULER_SYNC_MLLP__PORT": str(ports.scheduler_sync_mllp),
        "SCHEDULER_SYNC_POWERSERVER__HOST": "127.0.0.1",
        "SCHEDULER_SYNC_POWERSERVER__PORT": str(ports.powerserver_mllp),
        "SCHEDULER_SYNC_OMEGAAI__BASE_URL": f"http://127.0.0.1:{ports.omegaai}",
        "SCHEDULER_SYNC_OMEGAAI__CLIENT_ID": "suite",
        "SCHEDULER_SYNC_OMEGAAI__CLIENT_SECRET": "development-secret",
    }
    notifier = {
        **_service_environment(settings, "NOTIFIER", "notifier", ports.notifier),
        "NOTIFIER_SMTP__HOST": "127.0.0.1",
        "NOTIFIER_SMTP__PORT": str(ports.mailsink_smtp),
        "NOTIFIER_PORTAL_URL": f"http://127.0.0.1:{ports.omegaai}/blume",
        # Our own broker allows it; of one that was given nobody knows.
        **({} if settings.given else {"NOTIFIER_KAFKA__SESSION_TIMEOUT_SECONDS": "3"}),
    }
    powerserver = {
        "POWERSERVER_SIM_HTTP_PORT": str(ports.powerserver),
        "POWERSERVER_SIM_MLLP_PORT": str(ports.powerserver_mllp),
        "POWERSERVER_SIM_PEER_HOST": "127.0.0.1",
        "POWERSERVER_SIM_PEER_PORT": str(ports.scheduler_sync_mllp),
        "POWERSERVER_SIM_DATA_DIR": str(settings.data / "powerserver"),
    }
    omegaai = {
        "OMEGAAI_SIM_HTTP_PORT": str(ports.omegaai),
        "OMEGAAI_SIM_DATA_DIR": str(settings.data / "omegaai"),
    }
    mailsink = {
        "MAILSINK_HTTP_PORT": str(ports.mailsink),
        "MAILSINK_SMTP_PORT": str(ports.mailsink_smtp),
        "MAILSINK_DATA_DIR": str(settings.data / "mailsink"),
    }

    def python(name: str, *arguments: str, environment: dict[str, str], health: str, **more: object) -> Process:
        port = urlsplit(health).port
        return Process(
            name=name,
            spawn=spawner(module_command(*arguments), environment),
            healthy=answers(health),
            environment=environment,
            arguments=arguments,
            **{"ports": {"HTTP": port}, **more},  # type: ignore[arg-type]  # the callers' keywords are Process's own
        )

    def local(port: int, path: str) -> str:
        return f"http://127.0.0.1:{port}{path}"

    own_servers = [
        Process("postgres", postgres.spawn, postgres.ready, {"": ports.postgres}, stop_signal=signal.SIGINT,
                address=f"postgresql://127.0.0.1:{ports.postgres}"),
        Process("kafka", kafka.spawn, kafka.ready, {"": ports.kafka, "controller": ports.kafka_controller},
                address=f"127.0.0.1:{ports.kafka}"),
    ]  # fmt: skip
    after = ("databases",) if settings.given else ("postgres", "kafka")
    return [
        *([] if settings.given else own_servers),
        python("mailsink", "mailsink", environment=mailsink, health=local(ports.mailsink, "/healthz"),
               ports={"HTTP": ports.mailsink, "SMTP": ports.mailsink_smtp}, address=local(ports.mailsink, "/")),
        python("omegaai", "omegaai_sim", environment=omegaai, health=local(ports.omegaai, "/healthz"),
               address=local(ports.omegaai, "/")),
        python("powerserver", "powerserver_sim", environment=powerserver, health=local(ports.powerserver, "/healthz"),
               ports={"HTTP": ports.powerserver, "MLLP": ports.powerserver_mllp},
               address=local(ports.powerserver, "/")),
        python("scheduler-sync", "scheduler_sync", "run", environment=scheduler_sync,
               health=local(ports.scheduler_sync, "/readyz?exclude=deliveries"), after=after,
               jobs=(("scheduler_sync", "migrate"), ("scheduler_sync", "topics")),
               ports={"HTTP": ports.scheduler_sync, "MLLP": ports.scheduler_sync_mllp},
               address=local(ports.scheduler_sync, "/console")),
        python("notifier", "notifier", "run", environment=notifier,
               health=local(ports.notifier, "/readyz?exclude=deliveries"), after=after,
               jobs=(("notifier", "migrate"), ("notifier", "topics")),
               address=local(ports.notifier, "/console")),
    ]  # fmt: skip
