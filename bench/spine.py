"""The whole path as processes: MLLP in → state → outbox → Kafka → a consumer's committed effect; ours and the floor.

Ours: scheduler-sync and the notifier as they are run (`python -m … run`), everything on, with databases and topics of
their own. OmegaAI and the mail server are away: their deliveries are written with each message and wait, which is not
part of the step. The floor: ``bench/naive.py``.
"""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import psutil

import notifier.bootstrap
import scheduler_sync.bootstrap
from bench import naive
from bench.harness import ROOT, driven, empty_database, listening, program
from chassis.store import migrations
from local_stack.ports import free_port

EFFECT_TIMEOUT_SECONDS = 120.0
RESOURCE = """
INSERT INTO resources (id, facility, organization, name, modality, healthcare_service_id, duration_minutes, hours,
    overbooking, self_scheduling, active, aliases, seen_at)
VALUES (gen_random_uuid(), 'FAC01', '2', 'BLUME CT', 'CT', '11', 30, '[]', true, true, true, '{}', now())
"""
# Reports each effect's commit to the listener; only used while times are taken.
TELL = """
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_notify('effect', NEW.{column}::text); RETURN NULL; END $$;
CREATE TRIGGER tell AFTER INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION tell()
"""
TELL_NO_MORE = "DROP TRIGGER tell ON {table}; DROP FUNCTION tell()"


@dataclass
class Path3:
    """One running pipeline. ``effects`` is the table whose rows are the effects, ``column`` its key."""

    name: str
    port: int
    source_url: str
    target_url: str
    effects: str
    column: str
    placers: str
    """A query of the source's database: an effect's key, and its placer number."""
    processes: dict[str, int] = field(default_factory=dict)
    """Process ids by process name."""

    async def effect_count(self, connection: asyncpg.Connection) -> int:
        return int(await connection.fetchval(f"SELECT count(*) FROM {self.effects}"))

    async def throughput(self, connections: int, seconds: float) -> "Run":
        """Drives as fast as the answers come, and waits until every message's effect is committed."""
        target = await asyncpg.connect(self.target_url)
        try:
            before, cpu = await self.effect_count(target), self.cpu()
            report = await asyncio.to_thread(driven, self.port, connections, seconds)
            await self.settled(target, before + report["sent"])
            passed = time.time() - report["started_at"]
        finally:
            await target.close()
        used = {name: after - cpu[name] for name, after in self.cpu().items()}
        return Run(report["sent"], report["sent"] / passed, report["rate"], used)

    async def latencies(self, connections: int, seconds: float, rate: float, folder: Path) -> list[float]:
        """Milliseconds from when each message was due until its effect was committed, at a steady rate."""
        committed: dict[str, float] = {}
        target = await asyncpg.connect(self.target_url)
        source = await asyncpg.connect(self.source_url)
        await target.execute(TELL.format(table=self.effects, column=self.column))
        await target.add_listener("effect", lambda _c, _p, _n, key: committed.setdefault(key, time.time()))
        try:
            due_file = folder / f"{self.name}-due.json"
            report = await asyncio.to_thread(driven, self.port, connections, seconds, rate, due_file)
            async with asyncio.timeout(EFFECT_TIMEOUT_SECONDS):
                while len(committed) < report["sent"]:
                    await asyncio.sleep(0.05)
            due: Mapping[str, float] = json.loads(due_file.read_text())
            keys = {str(row[0]): row[1] for row in await source.fetch(self.placers)}
            return sorted((at - due[keys[key]]) * 1000 for key, at in committed.items() if keys[key] in due)
        finally:
            await target.execute(TELL_NO_MORE.format(table=self.effects))
            await target.close()
            await source.close()

    async def settled(self, target: asyncpg.Connection, wanted: int) -> None:
        async with asyncio.timeout(EFFECT_TIMEOUT_SECONDS):
            while await self.effect_count(target) < wanted:
                await asyncio.sleep(0.02)

    def cpu(self) -> dict[str, float]:
        """CPU seconds so far, by process."""
        return {name: _cpu_seconds(pid) for name, pid in self.processes.items()}

    def resident_mib(self, name: str) -> float:
        return float(psutil.Process(self.processes[name]).memory_info().rss) / 2**20


@dataclass(frozen=True)
class Run:
    """The result of one load: messages, effects a second, acknowledgements a second, CPU seconds by process."""

    sent: int
    rate: float
    acknowledged_rate: float
    cpu_seconds: Mapping[str, float]

    @property
    def microseconds(self) -> float:
        """CPU of all processes, per message."""
        return sum(self.cpu_seconds.values()) / self.sent * 1e6


def _cpu_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


@dataclass
class Ours:
    """Our pipeline's settings, so that one of its processes can be restarted."""

    folder: Path
    source_url: str
    target_url: str
    bootstrap: str
    prefix: str
    telemetry: Mapping[str, str] = field(default_factory=dict)
    """For both services: names without their prefix, e.g. ``TELEMETRY__OTLP_ENDPOINT``."""
    extra: Mapping[str, str] = field(default_factory=dict)
    """For both services, unprefixed: variables that a library reads."""
    mllp: int = field(default_factory=free_port)
    http: int = field(default_factory=free_port)
    notifier_http: int = field(default_factory=free_port)

    async def prepare(self) -> None:
        """Tables, and a resource that can be booked."""
        await migrations.run(scheduler_sync.bootstrap.MIGRATIONS, self.source_url)
        await migrations.run(notifier.bootstrap.MIGRATIONS, self.target_url)
        connection = await asyncpg.connect(self.source_url)
        await connection.execute(RESOURCE)
        await connection.close()

    def scheduler_sync(self) -> dict[str, str]:
        nowhere = str(free_port())
        return self._common("SCHEDULER_SYNC", self.source_url, self.http) | {
            "SCHEDULER_SYNC_SITE_FILE": str(ROOT / "deploy" / "site" / "northside.yaml"),
            "SCHEDULER_SYNC_MLLP__PORT": str(self.mllp),
            "SCHEDULER_SYNC_POWERSERVER__PORT": nowhere,
            "SCHEDULER_SYNC_OMEGAAI__BASE_URL": f"http://127.0.0.1:{nowhere}",
        }

    def notifier(self) -> dict[str, str]:
        return self._common("NOTIFIER", self.target_url, self.notifier_http) | {
            "NOTIFIER_SMTP__PORT": str(free_port()),
            "NOTIFIER_KAFKA__SESSION_TIMEOUT_SECONDS": os.environ.get("NOTIFIER_KAFKA__SESSION_TIMEOUT_SECONDS", "3"),
        }

    def _common(self, service: str, url: str, http: int) -> dict[str, str]:
        return {
            f"{service}_STORE__URL": url,
            f"{service}_KAFKA__BOOTSTRAP_SERVERS": self.bootstrap,
            f"{service}_KAFKA__TOPIC_PREFIX": self.prefix,
            f"{service}_HTTP__PORT": str(http),
            **{f"{service}_{name}": value for name, value in self.telemetry.items()},
            **self.extra,
        }


@asynccontextmanager
async def ours(
    folder: Path,
    bootstrap: str,
    prefix: str,
    telemetry: Mapping[str, str] | None = None,
    extra: Mapping[str, str] | None = None,
) -> AsyncIterator[tuple[Path3, Ours]]:
    """Our pipeline, warmed up."""
    async with empty_database() as source, empty_database() as target, AsyncExitStack() as running:
        settings = Ours(folder, source, target, bootstrap, prefix, telemetry or {}, extra or {})
        await settings.prepare()
        path = Path3(
            "ours", settings.mllp, source, target, "appointments", "appointment_id",
            "SELECT id, placer_number FROM appointment_links",
        )  # fmt: skip
        for name, environment in (("scheduler_sync", settings.scheduler_sync()), ("notifier", settings.notifier())):
            process = running.enter_context(
                program("-m", name, "run", log=folder / f"{name}.log", environment=environment)
            )
            path.processes[name] = process.pid
        await _warm(path)
        yield path, settings


@asynccontextmanager
async def floor(folder: Path, bootstrap: str, topic: str) -> AsyncIterator[Path3]:
    """The naive pipeline, warmed up. ``topic`` exists already."""
    async with empty_database() as source, empty_database() as target, AsyncExitStack() as running:
        for url in (source, target):
            connection = await asyncpg.connect(url)
            await connection.execute(naive.TABLES)
            await connection.close()
        path = Path3(
            "floor", free_port(), source, target, "state", "id", "SELECT id, split_part(id, '^', 1) FROM state"
        )
        script = str(ROOT / "bench" / "naive.py")
        for part, arguments in (
            ("service", [source, bootstrap, topic, str(path.port)]),
            ("consumer", [target, bootstrap, topic]),
        ):
            process = running.enter_context(program(script, part, *arguments, log=folder / f"naive-{part}.log"))
            path.processes[part] = process.pid
        await _warm(path)
        yield path


async def _warm(path: Path3) -> None:
    """Waits until a message goes all the way, then a moment more."""
    await listening(path.port)
    await path.throughput(1, 0.5)
    await path.throughput(16, 2.0)


async def measured_in_turn(
    one: Path3, other: Path3, measure: Callable[[Path3], Awaitable[Any]], pairs: int
) -> list[tuple[Any, Any]]:
    """``pairs`` pairs, one after the other, each side first in every second pair."""
    found = []
    for number in range(pairs):
        first, second = (one, other) if number % 2 == 0 else (other, one)
        results = {first.name: await measure(first), second.name: await measure(second)}
        found.append((results[one.name], results[other.name]))
    return found
