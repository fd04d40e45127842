"""P11: kill -9 at P3's load, and the effect of a backlog on a start.

A process serves again when it does its work: scheduler-sync has acknowledged a message sent after the kill, the
notifier has committed an effect after it. The load's senders reconnect by themselves. The backlog is 1,000 and then
1,000,000 rows in each of a service's inbox and deliveries, and for scheduler-sync in the outbox. The rows are copies of
the load's rows, and the partners are away, as in an outage. Kafka is away from scheduler-sync, because the relay would
empty the outbox; the notifier needs Kafka. A start is timed from the process's spawn until it serves. The notifier is
stopped in order first, so that the time does not include Kafka's wait for missing members.
"""

import asyncio
import signal
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
from bench.driver import booking
from bench.harness import empty_database, kafka_topics, main, program, progress, row

KILLS = 3
STARTS = 3
CONNECTIONS = 16
LOAD_SECONDS = 3.0
SERVING_TIMEOUT_SECONDS = 90.0
STOP_TIMEOUT_SECONDS = 40.0
FILL_TIMEOUT_SECONDS = 300.0
SMALL, LARGE = 1_000, 1_000_000
STILL_THERE = 0.999
"""Rows at the end of the backlog: each start may settle the few deliveries that its worker takes first."""
NOWHERE = "127.0.0.1:9"  # discard: nothing listens there
MADE = "CREATE TEMP TABLE made AS SELECT uuidv7() AS id, uuidv7() AS key FROM generate_series(1, {rows})"
"""Ids in the order of time, as the services make them: random ids would slow the indexes several times."""
INBOX = "INSERT INTO inbox (consumer, message_id) SELECT 'backlog', id FROM made"
FILL = {
    "scheduler_sync": (
        "CREATE TEMP TABLE event AS SELECT * FROM outbox LIMIT 1",
        "CREATE TEMP TABLE delivery AS SELECT * FROM deliveries WHERE destination = 'omegaai' LIMIT 1",
        "TRUNCATE outbox, inbox, deliveries",
        MADE,
        INBOX,
        (
            "INSERT INTO outbox (topic, aggregate_id, revision, message_id, value, headers)"
            " SELECT topic, made.key, 1, made.id, value, headers FROM made, event"
        ),
        (
            "INSERT INTO deliveries (id, destination, key, kind, payload, headers, idempotency_key)"
            " SELECT made.id, destination, made.key, kind, payload, headers, made.id::text FROM made, delivery"
        ),
    ),
    "notifier": (
        (
            "CREATE TEMP TABLE event AS SELECT a.*, n.template, n.revision AS asked FROM notifications n"
            " JOIN appointments a USING (appointment_id) WHERE n.state = 'queued' LIMIT 1"
        ),
        "TRUNCATE outbox, inbox, deliveries, notifications, appointments",
        MADE,
        INBOX,
        (
            "INSERT INTO appointments (appointment_id, patient_id, revision, event, status, who_acts_next, start_at,"
            " end_at, facility_name, facility_time_zone) SELECT made.key, patient_id, revision, event, status,"
            " who_acts_next, start_at, end_at, facility_name, facility_time_zone FROM made, event"
        ),
        (
            "INSERT INTO notifications (notification_id, appointment_id, patient_id, template, revision, state)"
            " SELECT made.id, made.key, patient_id, template, asked, 'queued' FROM made, event"
        ),
        (
            "INSERT INTO deliveries (id, destination, key, kind, payload, idempotency_key)"
            " SELECT made.id, 'smtp', made.key, template, '', made.id::text FROM made, event"
        ),
    ),
}
WAITING = {
    "scheduler_sync": {"outbox": "sent_at IS NULL", "inbox": "true", "deliveries": "state = 'pending'"},
    "notifier": {"inbox": "true", "deliveries": "state = 'pending'", "notifications": "state = 'queued'"},
}


async def acknowledged(port: int) -> None:
    """Returns when a message of ours has its AA; connects and sends again until then."""
    message = b"\x0b" + booking(f"R{time.time_ns()}") + b"\x1c\r"
    try:
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
    except TimeoutError:
        raise TimeoutError(f"scheduler-sync acknowledged nothing within {SERVING_TIMEOUT_SECONDS:.0f} s") from None


class Pipeline:
    """Our pipeline, with processes that can be killed and restarted."""

    def __init__(self, settings: spine.Ours, stores: dict[str, asyncpg.Connection]) -> None:
        self.settings = settings
        self.port = settings.mllp
        self.stores = stores
        self._running: dict[str, Any] = {}
        self._process: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        environment = self.settings.scheduler_sync() if name == "scheduler_sync" else self.settings.notifier()
        log = self.settings.folder / f"{name}.log"
        self._running[name] = program("-m", name, "run", log=log, environment=environment)
        self._process[name] = self._running[name].__enter__()

    def kill(self, name: str) -> None:
        """SIGKILL, as ``program`` ends everything."""
        self._running.pop(name).__exit__(None, None, None)

    async def stop(self, name: str) -> None:
        """An orderly stop, if it is quick enough."""
        self._process[name].send_signal(signal.SIGTERM)
        try:
            await asyncio.to_thread(self._process[name].wait, STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            progress(f"{name} did not stop within {STOP_TIMEOUT_SECONDS:.0f} s and was killed")
        self.kill(name)

    def close(self) -> None:
        for name in list(self._running):
            self.kill(name)

    async def serves(self, name: str) -> None:
        """Returns when the process has done its work once more from now on."""
        if name == "scheduler_sync":
            await acknowledged(self.port)
            return
        before = await self._effects()
        try:
            async with asyncio.timeout(SERVING_TIMEOUT_SECONDS):
                while await self._effects() == before:
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise TimeoutError(f"the notifier committed nothing within {SERVING_TIMEOUT_SECONDS:.0f} s") from None

    async def _effects(self) -> int:
        """Each message books a new patient; the table is small, whatever the backlog."""
        return int(await self.stores["notifier"].fetchval("SELECT count(*) FROM recipients"))


class Load:
    """Senders that reconnect by themselves, until the block ends."""

    def __init__(self, port: int, connections: int) -> None:
        self._port, self._connections = port, connections
        self._stop = asyncio.Event()
        self._senders: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> None:
        self._senders = [asyncio.create_task(self._sender()) for _ in range(self._connections)]

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.gather(*self._senders)

    async def _sender(self) -> None:
        while not self._stop.is_set():
            await acknowledged(self._port)


async def killed_under_load(pipeline: Pipeline, name: str) -> float:
    """Seconds from the kill until the process serves again."""
    async with Load(pipeline.port, CONNECTIONS):
        await asyncio.sleep(LOAD_SECONDS)
        killed_at = time.monotonic()
        pipeline.kill(name)
        pipeline.start(name)
        await pipeline.serves(name)
        return time.monotonic() - killed_at


async def start_seconds(pipeline: Pipeline, name: str) -> float:
    """Seconds from spawn until the process serves; the notifier needs something to consume meanwhile."""
    if name == "scheduler_sync":
        pipeline.kill(name)
    else:
        await pipeline.stop(name)
    async with Load(pipeline.port, 0 if name == "scheduler_sync" else 1):
        started = time.monotonic()
        pipeline.start(name)
        await pipeline.serves(name)
        return time.monotonic() - started


async def backlog(pipeline: Pipeline, name: str, rows_waiting: int) -> None:
    """Makes the backlog. The process is down meanwhile, and serves afterwards."""
    await pipeline.stop(name)
    store = pipeline.stores[name]
    started = time.monotonic()
    async with store.transaction():
        await store.execute("SET LOCAL synchronous_commit = off")
        for statement in FILL[name]:
            await store.execute(statement.format(rows=rows_waiting), timeout=FILL_TIMEOUT_SECONDS)
        await store.execute("DROP TABLE IF EXISTS made, event, delivery")
    await store.execute("VACUUM ANALYZE " + ", ".join(WAITING[name]), timeout=FILL_TIMEOUT_SECONDS)
    progress(f"{name}: {rows_waiting:,} rows a table in {time.monotonic() - started:.0f} s")


async def backlog_row(pipeline: Pipeline, name: str) -> dict[str, Any]:
    medians = {}
    for rows_waiting in (SMALL, LARGE):
        await backlog(pipeline, name, rows_waiting)
        pipeline.start(name)
        async with Load(pipeline.port, 0 if name == "scheduler_sync" else 1):
            await pipeline.serves(name)
        times = [await start_seconds(pipeline, name) for _ in range(STARTS)]
        progress(f"{name} with {rows_waiting:,} rows starts in {', '.join(f'{one:.2f}' for one in times)} s")
        medians[rows_waiting] = statistics.median(times)
    for table, condition in WAITING[name].items():
        left = await pipeline.stores[name].fetchval(f"SELECT count(*) FROM {table} WHERE {condition}")
        if left < LARGE * STILL_THERE:
            raise RuntimeError(f"{name}'s {table} has {left:,} rows: the backlog went away while it was measured")
    ratio = medians[LARGE] / medians[SMALL]
    serves = "first AA" if name == "scheduler_sync" else "first effect"
    step = f"{name.replace('_', '-')}: spawn → {serves}, s, with 1,000,000 rows waiting a table (floor: with 1,000)"
    return row(f"P11-backlog-{name.replace('_', '-')}", step, (medians[LARGE], medians[SMALL], ratio),
               "≤ 1.5 × the floor", met=ratio <= 1.5)  # fmt: skip


def import_seconds(process: str) -> float:
    """The time of a start before the first line of the service runs."""
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", f"import {process}.bootstrap"], check=True)
    return time.monotonic() - started


async def kill_row(pipeline: Pipeline, name: str) -> dict[str, Any]:
    times = []
    for number in range(KILLS):
        times.append(await killed_under_load(pipeline, name))
        progress(f"{name}: kill {number + 1} of {KILLS}: serving again after {times[-1]:.2f} s")
    longest, floor = max(times), min(import_seconds(name) for _ in range(3))
    step = f"kill -9 {name.replace('_', '-')} at load → serving again, s, longest of {KILLS} (floor: its imports alone)"
    figures = (longest, floor, longest / floor)
    return row(f"P11-{name.replace('_', '-')}", step, figures, "≤ 5 s", met=longest <= 5)


async def rows() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="bench-p11-") as folder:
        async with (
            kafka_topics() as (bootstrap, prefix),
            empty_database() as source,
            empty_database() as target,
        ):
            settings = spine.Ours(Path(folder), source, target, bootstrap, prefix)
            await settings.prepare()
            stores = {"scheduler_sync": await asyncpg.connect(source), "notifier": await asyncpg.connect(target)}
            pipeline = Pipeline(settings, stores)
            try:
                for name in FILL:
                    pipeline.start(name)
                async with Load(pipeline.port, 1):
                    await pipeline.serves("notifier")
                progress("both services serve")
                found = [await kill_row(pipeline, name) for name in FILL]
                found.append(await backlog_row(pipeline, "notifier"))
                pipeline.kill("notifier")
                settings.bootstrap = NOWHERE
                found.append(await backlog_row(pipeline, "scheduler_sync"))
            finally:
                pipeline.close()
                for store in stores.values():
                    await store.close()
    return found


if __name__ == "__main__":
    main(rows)
