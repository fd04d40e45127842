"""A holder that stands still loses the right within ten seconds; going on, it loses and doubles nothing."""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer
from chassis_bench_domain import event, kafka_settings, open_store
from chassis_relay_process import LOCK
from test_chassis_deaths import on_the_bus
from test_chassis_outbox import TOPIC, all_marked, commit, relaying

from chassis.loops import LoopBase
from chassis.messaging import Relay, topics
from chassis.observe import Metrics, meters
from chassis.store import Exclusive, exclusive, is_passing
from chassis.store import store as chassis_store
from chassis.store.store import ERRORS, SESSION_SETTINGS
from chassis.testing import MACHINE_SECONDS, eventually

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]
PROCESS = Path(__file__).with_name("chassis_relay_process.py")
TAKEN_OVER_SECONDS = 10
_HOLDER = """
SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@pytest.fixture
async def prefix(kafka_bootstrap: str, topic_prefix: str) -> str:
    await topics.ensure({"bootstrap_servers": kafka_bootstrap}, prefix=topic_prefix)
    return topic_prefix


@asynccontextmanager
async def process(store: Any, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """One that has the right to its work."""
    running = await asyncio.create_subprocess_exec(sys.executable, PROCESS, store.url, *arguments)
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()  # a stopped one, too
            await running.wait()


def is_held(store: Any, *, by_other_than: int | None = None) -> Callable[[], Awaitable[bool]]:
    async def held() -> bool:
        return await store.pool.fetchval(_HOLDER) not in {None, by_other_than}

    return held


@pytest.fixture
async def feed(store: Any) -> AsyncIterator[dict[UUID, list[int]]]:
    """Events of a few keys, all the time; what was committed so far."""
    committed: dict[UUID, list[int]] = {uuid4(): [] for _ in range(4)}
    is_over = asyncio.Event()

    async def live() -> None:
        while not is_over.is_set():
            for key, revisions in committed.items():
                await commit(store, event(key, len(revisions) + 1))
                revisions.append(len(revisions) + 1)
            await asyncio.sleep(0.02)

    living = asyncio.create_task(live())
    yield committed
    is_over.set()
    await living


async def one_stands_by(store: Any) -> bool:
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'suite-%'"
    return bool(await store.pool.fetchval(sessions + " AND datname = current_database()") == 2)


async def nothing_old(store: Any) -> bool:
    """Whether all that was committed until a moment ago is on the bus."""
    old = "SELECT count(*) FROM outbox WHERE sent_at IS NULL AND created_at < clock_timestamp() - interval '1 second'"
    return bool(await store.pool.fetchval(old) == 0)


async def test_a_relay_that_stands_still_is_replaced_and_goes_on_as_a_standby(
    store, kafka_bootstrap, prefix, feed
) -> None:
    assert exclusive.STANDSTILL_SECONDS + 2 * exclusive.STANDBY_SECONDS < TAKEN_OVER_SECONDS
    async with process(store, kafka_bootstrap, prefix) as first:
        await eventually(is_held(store), what="the first relay")
        async with process(store, kafka_bootstrap, prefix) as second:
            for stopped in (first, second):
                await eventually(lambda: one_stands_by(store), what="another that stands by")
                holder = await store.pool.fetchval(_HOLDER)
                await eventually(lambda: nothing_old(store), what="a relay at work")
                stopped.send_signal(signal.SIGSTOP)
                stood_still_at = time.monotonic()
                await eventually(is_held(store, by_other_than=holder), what="another holder")
                await eventually(lambda: nothing_old(store), what="events of meanwhile on the bus")
                assert time.monotonic() - stood_still_at < TAKEN_OVER_SECONDS + MACHINE_SECONDS
                stopped.send_signal(signal.SIGCONT)
                await asyncio.sleep(1)  # it goes on with what it had in hand
            await eventually(lambda: nothing_old(store), what="a relay at work")
            assert first.returncode is second.returncode is None
            number = sum(map(len, feed.values()))
            found, _ = await on_the_bus(kafka_bootstrap, prefix, number=number)
    for key, revisions in found.items():
        assert revisions == list(range(1, len(revisions) + 1)), f"{key}: something came before what is older"


async def test_a_holder_that_stands_still_in_the_middle_of_a_long_answer_is_replaced(store) -> None:
    async with process(store, "reads", "-") as stopped:
        await eventually(is_held(store), what="the holder")
        waits = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'ClientWrite' AND datname = current_database()"
        )
        while True:
            stopped.send_signal(signal.SIGSTOP)
            await asyncio.sleep(0.2)
            if await store.pool.fetchval(waits):
                break
            stopped.send_signal(signal.SIGCONT)
            await asyncio.sleep(0.03)
        stood_still_at, loop, took = time.monotonic(), LoopBase(), asyncio.Event()

        async def work(_connection: Any) -> None:
            took.set()
            await loop.stop()

        right = Exclusive(store, lock=LOCK, name="reader", metrics=Metrics(), gauge=meters.OUTBOX_RELAY_ACTIVE)
        await asyncio.wait_for(right.run(loop, work), 60)
        assert took.is_set()
        assert time.monotonic() - stood_still_at < TAKEN_OVER_SECONDS + MACHINE_SECONDS


@pytest.mark.parametrize("busy", ["a long statement", "statement after statement", "something else"])
async def test_who_works_for_long_does_not_stand_still(store, monkeypatch, busy) -> None:
    monkeypatch.setattr(exclusive, "STANDSTILL_SECONDS", 4.0)
    monkeypatch.setattr(exclusive, "STANDBY_SECONDS", 0.1)
    monkeypatch.setattr(exclusive, "HEARTBEAT_SECONDS", 0.2)
    holders: list[str] = []
    loops = {name: LoopBase() for name in ("first", "second")}

    async def hold(name: str) -> None:
        async def work(connection: Any) -> None:
            holders.append(name)
            until = time.monotonic() + 6  # longer than STANDSTILL_SECONDS, and shorter than a statement may take
            while time.monotonic() < until:
                if busy == "a long statement":
                    await connection.execute("SELECT pg_sleep(6)")
                elif busy == "statement after statement":
                    await connection.fetchval("SELECT 1")
                else:
                    await loops[name].pause(6)
            for one in loops.values():
                await one.stop()

        right = Exclusive(store, lock=LOCK, name=name, metrics=Metrics(), gauge=meters.OUTBOX_RELAY_ACTIVE)
        await right.run(loops[name], work)

    await asyncio.gather(*(hold(name) for name in loops))
    assert len(holders) == 1


async def test_a_transaction_of_a_process_that_stands_still_gives_its_locks_back(database_url, monkeypatch) -> None:
    assert SESSION_SETTINGS["idle_in_transaction_session_timeout"] == "6s"
    monkeypatch.setattr(
        chassis_store, "SESSION_SETTINGS", {**SESSION_SETTINGS, "idle_in_transaction_session_timeout": "3s"}
    )
    store = await open_store(database_url)
    await store.pool.execute("INSERT INTO things VALUES ($1, 1, '{1}')", uuid4())
    lock = "SELECT * FROM things FOR UPDATE"
    stands_still = await store.pool.acquire()
    transaction = stands_still.transaction()
    await transaction.start()
    await stands_still.execute(lock)
    await store.pool.execute(lock)
    with pytest.raises(ERRORS) as caught:
        await stands_still.execute(lock)
    assert is_passing(caught.value)
    await store.pool.release(stands_still)
    await store.close()


# ---- a store that takes no writes


async def records(bootstrap: str, prefix: str) -> int:
    """How many there are on the topic."""
    async with AIOKafkaConsumer(prefix + TOPIC, bootstrap_servers=bootstrap) as consumer:
        return sum((await consumer.end_offsets(consumer.assignment())).values())


async def set_read_only(store: Any, words: str) -> None:
    """For sessions that begin after it."""
    admin = await asyncpg.connect(store.url, server_settings={"default_transaction_read_only": "off"})
    name = await admin.fetchval("SELECT current_database()")
    await admin.execute(f'ALTER DATABASE "{name}" {words} default_transaction_read_only{" = on" * (words == "SET")}')
    await admin.close()


class TurnsReadOnly(Relay):
    """The store is set to read-only between a send and its mark."""

    marks = 0

    async def _mark(self, connection: Any, acknowledged: Any) -> None:
        self.marks += bool(acknowledged)
        if self.marks == 1:
            await set_read_only(self._store, "SET")
            await connection.execute("SET default_transaction_read_only = on")
        await super()._mark(connection, acknowledged)


async def test_what_cannot_be_marked_is_not_sent_again_and_again(store, kafka_bootstrap, prefix) -> None:
    await commit(store, *(event(uuid4(), 1) for _ in range(200)))
    relay = TurnsReadOnly(store, kafka_settings(kafka_bootstrap, prefix), Metrics())
    running = asyncio.create_task(relay.run())

    async def was_refused_often() -> bool:
        return relay._exclusive.failures >= 4

    await eventually(was_refused_often, what="holder after holder without a mark")
    assert await records(kafka_bootstrap, prefix) == 200
    async with relaying(store, kafka_bootstrap, prefix) as (other, _):  # which remembers nothing
        await relay.stop()
        await running

        async def other_was_refused_often() -> bool:
            return other._exclusive.failures >= 4

        await eventually(other_was_refused_often, what="holder after holder without a mark")
        assert await records(kafka_bootstrap, prefix) == 200
        assert not await all_marked(store)
        await set_read_only(store, "RESET")
        await eventually(lambda: all_marked(store), what="all rows marked")
    assert await records(kafka_bootstrap, prefix) == 400, "once more, by who could not know"


async def test_who_knows_what_kafka_has_taken_marks_it_later_and_sends_it_no_more(
    store, kafka_bootstrap, prefix
) -> None:
    await commit(store, *(event(uuid4(), 1) for _ in range(200)))
    relay = TurnsReadOnly(store, kafka_settings(kafka_bootstrap, prefix), Metrics())
    running = asyncio.create_task(relay.run())

    async def was_refused_often() -> bool:
        return relay._exclusive.failures >= 4

    await eventually(was_refused_often, what="holder after holder without a mark")
    # The store is set back: another row has the number of one that was sent.
    await set_read_only(store, "RESET")
    await store.pool.execute("UPDATE outbox SET created_at = clock_timestamp() WHERE id = (SELECT min(id) FROM outbox)")
    await eventually(lambda: all_marked(store), what="all rows marked")
    await relay.stop()
    await running
    assert await records(kafka_bootstrap, prefix) == 201
