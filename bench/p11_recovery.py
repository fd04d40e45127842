"""P11: kill -9 at P3's load, and what a backlog does to a start.

A process counts as serving again when what it is for happens: scheduler-sync has acknowledged a message sent after the
kill, the notifier has committed an effect after it. The backlog: 1,000 and then 1,000,000 rows waiting in outbox, inbox
and deliveries; the time of a start is from the process's spawn to its first AA.
"""

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import asyncpg

from bench import spine
from bench.driver import SIU
from bench.harness import kafka_topics, main, program, row

KILLS = 3
STARTS = 3
LOAD_SECONDS = 3.0
SERVING_TIMEOUT_SECONDS = 60.0
SMALL, LARGE = 1_000, 1_000_000
BACKLOG = (
    "INSERT INTO inbox (consumer, message_id) SELECT 'backlog', gen_random_uuid() FROM generate_series(1, {rows})",
    (
        "INSERT INTO outbox (topic, aggregate_id, revision, message_id, value, headers) "
        "SELECT 'appointment.requested', gen_random_uuid(), 1, gen_random_uuid(), '{{}}', '{{}}' "
        "FROM generate_series(1, {rows})"
    ),
    (
        "INSERT INTO deliveries (id, destination, key, kind, payload, idempotency_key) SELECT id, 'omegaai', id, "
        "'patient.upsert', '{{}}', id::text FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, {rows})) made"
    ),
    "ANALYZE",
)


async def acknowledged(port: int, number: int) -> None:
    """Returns when a message of ours has its AA; connects and sends again as often as it takes."""
    message = b"\x0b" + SIU.format(n=f"R{time.time_ns()}{number}").encode() + b"\x1c\r"
    async with asyncio.timeout(SERVING_TIMEOUT_SECONDS):
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(message)
                answer = await reader.readuntil(b"\x1c\r")
                writer.close()
            except (OSError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.01)
                continue
            if b"MSA|AA|" in answer:
                return
            await asyncio.sleep(0.01)


class Pipeline:
    """Ours, with processes that can be killed and started again."""

    def __init__(self, settings: spine.Ours) -> None:
        self.settings = settings
        self.port = settings.mllp
        self._running: dict[str, Any] = {}

    def start(self, name: str) -> None:
        environment = self.settings.scheduler_sync() if name == "scheduler_sync" else self.settings.notifier()
        log = self.settings.folder / f"{name}.log"
        self._running[name] = program("-m", name, "run", log=log, environment=environment)
        self._running[name].__enter__()

    def kill(self, name: str) -> None:
        """SIGKILL, as ``program`` ends everything."""
        self._running.pop(name).__exit__(None, None, None)

    def close(self) -> None:
        for name in list(self._running):
            self.kill(name)

    async def effects(self, connection: asyncpg.Connection) -> int:
        return int(await connection.fetchval("SELECT count(*) FROM appointments"))


async def killed_under_load(pipeline: Pipeline, name: str, target: asyncpg.Connection) -> float:
    """Seconds from the kill until it serves again; a load runs meanwhile whose senders come back by themselves."""
    stop = asyncio.Event()

    async def sender(number: int) -> None:
        while not stop.is_set():
            await acknowledged(pipeline.port, number)

    load = [asyncio.create_task(sender(number)) for number in range(16)]
    await asyncio.sleep(LOAD_SECONDS)
    killed_at = time.monotonic()
    pipeline.kill(name)
    pipeline.start(name)
    if name == "scheduler_sync":
        await acknowledged(pipeline.port, 99)
    else:
        before = await pipeline.effects(target)
        async with asyncio.timeout(SERVING_TIMEOUT_SECONDS):
            while await pipeline.effects(target) == before:
                await asyncio.sleep(0.02)
    passed = time.monotonic() - killed_at
    stop.set()
    await asyncio.gather(*load)
    return passed


async def start_seconds(pipeline: Pipeline) -> float:
    """From spawn to the first AA, of scheduler-sync."""
    pipeline.kill("scheduler_sync")
    started = time.monotonic()
    pipeline.start("scheduler_sync")
    await acknowledged(pipeline.port, 0)
    return time.monotonic() - started


def import_seconds(process: str) -> float:
    """What a start costs before a line of the service has run."""
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", f"import {process.replace('-', '_')}.bootstrap"], check=True)
    return time.monotonic() - started


async def rows() -> list[dict[str, Any]]:
    found = []
    with tempfile.TemporaryDirectory(prefix="bench-p11-") as name:
        async with (
            kafka_topics() as (bootstrap, prefix),
            spine.empty_database() as source,
            spine.empty_database() as target_url,
        ):
            settings = spine.Ours(Path(name), source, target_url, bootstrap, prefix)
            await settings.prepare()
            pipeline = Pipeline(settings)
            target = await asyncpg.connect(target_url)
            store = await asyncpg.connect(source)
            try:
                for process in ("scheduler_sync", "notifier"):
                    pipeline.start(process)
                await acknowledged(pipeline.port, 0)
                for process in ("scheduler_sync", "notifier"):
                    times = [await killed_under_load(pipeline, process, target) for _ in range(KILLS)]
                    found.append(_kill_row(process.replace("_", "-"), max(times)))
                found.append(await _backlog_row(pipeline, store))
            finally:
                pipeline.close()
                await target.close()
                await store.close()
    return found


def _kill_row(process: str, longest: float) -> dict[str, Any]:
    step = f"kill -9 {process} at load → serving again, s, the longest of {KILLS} (floor: its imports alone)"
    floor = min(import_seconds(process) for _ in range(3))
    return row(f"P11-{process}", step, (longest, floor, longest / floor), "≤ 5 s", met=longest <= 5)


async def _backlog_row(pipeline: Pipeline, store: asyncpg.Connection) -> dict[str, Any]:
    """The relay's topics do not take the backlog (no Kafka for it): it waits, as in an outage."""
    medians = {}
    pipeline.settings.bootstrap = "127.0.0.1:9"  # discard: nothing listens there
    for rows_waiting in (SMALL, LARGE):
        pipeline.kill("scheduler_sync")
        await store.execute("TRUNCATE outbox, inbox, deliveries")
        for statement in BACKLOG:
            await store.execute(statement.format(rows=rows_waiting), timeout=300)
        pipeline.start("scheduler_sync")
        await acknowledged(pipeline.port, 0)
        medians[rows_waiting] = statistics.median([await start_seconds(pipeline) for _ in range(STARTS)])
    ratio = medians[LARGE] / medians[SMALL]
    step = "spawn → first AA, s, with 1,000,000 rows waiting in outbox, inbox and deliveries (floor: with 1,000)"
    return row("P11-backlog", step, (medians[LARGE], medians[SMALL], ratio), "≤ 1.5 × the floor", met=ratio <= 1.5)


if __name__ == "__main__":
    main(rows)
