"""Two replicas and one Task queue: one reads it, the other takes over soon after the reader has lost its connection."""

import asyncio
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from fake_omegaai import FakeOmegaAI
from sync_harness import Harness, each_confirmed_once, patient_confirms, task_queue

from chassis.observe import Metrics
from chassis.store import Exclusive, OneOfMany
from chassis.store.exclusive import STANDBY_SECONDS
from chassis.testing import MACHINE_SECONDS, eventually
from omegaai.meters import TASK_READER_ACTIVE
from scheduler_sync.adapters.omegaai.tasks import TaskQueue
from scheduler_sync.bootstrap import TASK_READER_LOCK

pytestmark = pytest.mark.stack
_SESSIONS = """
SELECT pid FROM pg_stat_activity WHERE application_name = 'suite-task-reader' AND datname = current_database()
"""
PROCESS = Path(__file__).with_name("sync_task_process.py")
_HOLDER = """
SELECT pid FROM pg_locks JOIN pg_database ON pg_database.oid = database
WHERE locktype = 'advisory' AND granted AND datname = current_database()
"""


@dataclass
class Replica:
    queue: TaskQueue
    metrics: Metrics
    running: "asyncio.Task[None]"


@asynccontextmanager
async def replicas(harness: Harness, server: FakeOmegaAI, number: int) -> AsyncIterator[list[Replica]]:
    async with aiohttp.ClientSession() as session:
        made = []
        for _ in range(number):
            metrics = Metrics()
            exclusive = Exclusive(
                harness.store, lock=TASK_READER_LOCK, name="task-reader", metrics=metrics, gauge=TASK_READER_ACTIVE
            )
            queue = task_queue(harness, session, server.base_url, exclusive=exclusive)
            made.append(Replica(queue, metrics, asyncio.create_task(queue.run())))
        try:
            yield made
        finally:
            for one in made:
                await one.queue.stop()
            done, _ = await asyncio.wait({one.running for one in made}, timeout=60)
            assert len(done) == len(made)


def roles(them: Iterable[Replica]) -> list[str]:
    return sorted(one.queue.role for one in them)


async def one_reads(them: Iterable[Replica]) -> bool:
    return roles(them) == ["active", "standby"]


async def all_done(server: FakeOmegaAI) -> bool:
    return not server.open_tasks()


async def test_of_two_replicas_one_reads_and_the_other_takes_over(harness: Harness) -> None:
    async with FakeOmegaAI().serving() as server, replicas(harness, server, 2) as both:
        await eventually(lambda: one_reads(both), what="one reader")
        assert all(isinstance(one.queue, OneOfMany) for one in both)
        first = next(one for one in both if one.queue.role == "active")
        assert first.metrics.value("task_reader_active") == 1
        for number in range(60):
            server.put_directly({"resourceType": "Patient", "id": f"{number}"})
            await asyncio.sleep(0)
        await eventually(lambda: all_done(server), what="every Task completed")

        await harness.store.pool.fetchval("SELECT pg_terminate_backend($1)", (await harness.row(_HOLDER))["pid"])
        server.put_directly({"resourceType": "Patient", "id": "60"})
        await eventually(lambda: all_done(server), what="the Task, by whoever reads now")
        await eventually(lambda: one_reads(both), what="one reader again")
        assert sum(one.metrics.value("task_reader_active") for one in both) == 1
    puts = Counter(path for method, path in server.requests if method == "PUT")
    assert len(puts) == 61
    assert set(puts.values()) == {1}, "each Task was completed by one reader, and no completion was refused"


async def test_the_standby_reads_within_five_seconds_of_the_readers_death(harness: Harness) -> None:
    async with FakeOmegaAI().serving() as server, replicas(harness, server, 2) as both:
        await eventually(lambda: one_reads(both), what="one reader")
        reader = next(one for one in both if one.queue.role == "active")
        reader.running.cancel()  # its connection ends with it, as a killed process's does
        died_at = time.monotonic()
        server.put_directly({"resourceType": "Patient", "id": "1"})
        await eventually(lambda: all_done(server), what="the Task, by the one that stood by")
        assert time.monotonic() - died_at < 5 + MACHINE_SECONDS
    assert STANDBY_SECONDS < 5


@asynccontextmanager
async def reader_process(harness: Harness, server: FakeOmegaAI) -> AsyncIterator[asyncio.subprocess.Process]:
    running = await asyncio.create_subprocess_exec(sys.executable, PROCESS, harness.store.url, server.base_url)
    try:
        yield running
    finally:
        running.kill()
        await running.wait()


@pytest.mark.timeout(240)
async def test_a_reader_that_stands_still_is_replaced_and_going_on_doubles_nothing(harness: Harness) -> None:
    acts: list[str] = []

    async def patients_confirm(number: int) -> None:
        for _ in range(number):
            acts.append(f"P{len(acts)}")
            await patient_confirms(harness, server, acts[-1])

    async def is_read_and(standbys: int) -> bool:
        return bool(await harness.rows(_HOLDER)) and len(await harness.rows(_SESSIONS)) == 1 + standbys

    async with FakeOmegaAI().serving() as server, reader_process(harness, server) as first:
        await eventually(lambda: is_read_and(0), what="a reader")
        async with reader_process(harness, server) as second:
            for stopped in (first, second):
                await eventually(lambda: is_read_and(1), what="a reader, and another that stands by")
                await patients_confirm(10)  # it stops in the middle of them
                stopped.send_signal(signal.SIGSTOP)
                stood_still_at = time.monotonic()
                await patients_confirm(10)
                await eventually(lambda: all_done(server), what="every Task completed, by the other one")
                assert time.monotonic() - stood_still_at < 10 + MACHINE_SECONDS
                stopped.send_signal(signal.SIGCONT)
                await patients_confirm(10)
                await eventually(lambda: all_done(server), what="every Task completed")
            assert first.returncode is second.returncode is None
    await each_confirmed_once(harness, acts)
