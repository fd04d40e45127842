"""A key that fails for a passing reason: tried again soon, in order, and nothing of other keys waits for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
from chassis_bench_domain import Behaviour, applied, event, kafka_settings
from structlog.testing import capture_logs

import contracts
from chassis import failpoints
from chassis.errors import Transient
from chassis.messaging import Consumer, Record, Subscription, dead_letters, parking
from chassis.observe import Metrics
from chassis.store import Transaction
from chassis.testing import eventually

pytestmark = pytest.mark.stack


def record(message: contracts.Message, offset: int = 0) -> Record:
    return Record("t", 0, offset, message.key(), message.to_bytes(), [])


def consumer_of(store, behaviour: Behaviour) -> Consumer[Any]:
    """Its batches are handed to it; Kafka is not asked."""
    subscription = Subscription("test", ("t",), behaviour.open_work, behaviour.prefetch, behaviour.handle)
    return Consumer(store, kafka_settings("nowhere:1", ""), subscription, metrics=Metrics())


@asynccontextmanager
async def unparking(consumer: Consumer[Any]) -> AsyncIterator[None]:
    running = asyncio.create_task(consumer.unparker.run())
    try:
        yield
    finally:
        await consumer.unparker.stop()
        await asyncio.wait_for(running, 60)


def has(store, wanted: dict[UUID, list[int]]):
    async def condition() -> bool:
        return await applied(store) == wanted

    return eventually(condition, what="the effects")


async def due_now(store) -> None:
    await store.pool.execute("UPDATE parked_keys SET next_attempt_at = clock_timestamp()")


class Gated(Behaviour):
    """The second try of a sick key's message stays in its handler until the gate opens."""

    def __init__(self, sick: UUID) -> None:
        super().__init__(transient={sick: 1})
        self._sick = sick
        self.has_entered, self.gate = asyncio.Event(), asyncio.Event()

    async def handle(self, work, message) -> None:
        await super().handle(work, message)
        if message.aggregate_id == self._sick:
            self.has_entered.set()
            await self.gate.wait()


async def test_a_batch_tries_a_failing_key_once_and_waits_for_nothing(store, monkeypatch) -> None:
    sick, well = uuid4(), uuid4()
    behaviour = Behaviour(transient={sick: 1_000_000})
    consumer = consumer_of(store, behaviour)

    async def no_pause(*_: Any) -> None:
        pytest.fail("the batch pauses, and with it every other key")

    monkeypatch.setattr(asyncio, "sleep", no_pause)
    monkeypatch.setattr(consumer, "pause", no_pause)
    await consumer._process([record(event(sick, 1)), record(event(well, 1), 1), record(event(sick, 2), 2)])
    assert behaviour.seen == [(sick, 1), (well, 1)]
    assert await applied(store) == {well: [1]}


async def test_a_batch_does_not_wait_for_a_line_that_is_worked_on_and_its_message_stands_behind_it(store) -> None:
    sick, well = uuid4(), uuid4()
    behaviour = Gated(sick)
    consumer = consumer_of(store, behaviour)
    await consumer._process([record(event(sick, 1))])
    async with unparking(consumer):
        await asyncio.wait_for(behaviour.has_entered.wait(), 60)
        batch = [record(event(sick, 2), 1), record(event(well, 1), 2)]
        await asyncio.wait_for(consumer._process(batch), 60)
        assert await applied(store) == {well: [1]}
        behaviour.gate.set()
        await has(store, {well: [1], sick: [1, 2]})

        async def is_free() -> bool:
            return await parking.list_parked(store) == []

        await eventually(is_free, what="the key is unparked")
    assert await store.pool.fetchval("SELECT count(*) FROM parked_messages") == 0


async def test_a_key_that_a_batch_holds_stays_parked_for_what_the_batch_puts_into_its_line(store) -> None:
    """The line is worked off while a batch has met the key and has not committed."""
    sick = uuid4()
    consumer = consumer_of(store, Behaviour(transient={sick: 1}))
    await consumer._process([record(event(sick, 1))])
    late = event(sick, 2)
    async with store.pool.acquire() as connection, connection.transaction():
        assert await parking.hold(connection, "test", [sick]) == {sick}
        await due_now(store)
        assert await asyncio.wait_for(consumer.unparker.turn(), 60) == 0
        assert await applied(store) == {sick: [1]}
        transaction = Transaction(connection)
        await parking.park(transaction, "test", [parking.Waiting(sick, late.message_id, record(late, 1), None)])
        await transaction.flush()
    async with unparking(consumer):
        await has(store, {sick: [1, 2]})


async def test_what_heals_at_once_is_done_soon_and_warned_of_by_nobody(store, monkeypatch) -> None:
    monkeypatch.setattr(parking, "POLL_SECONDS", 1000)
    sick = uuid4()
    consumer = consumer_of(store, Behaviour(transient={sick: 3}))
    with capture_logs() as logs:
        async with unparking(consumer):
            await eventually(lambda: _has_looked(consumer), what="the loop's first look")
            await consumer._process([record(event(sick, 1)), record(event(sick, 2), 1)])
            await has(store, {sick: [1, 2]})
    assert [(one["event"], one["log_level"]) for one in logs] == [("consumer.parked", "info")]
    counted = {word: consumer._metrics.value("messages_consumed_total", consumer="test", outcome=word)
               for word in ("parked", "done", "dead")}  # fmt: skip
    assert counted == {"parked": 2, "done": 2, "dead": 0}


async def _has_looked(consumer: Consumer[Any]) -> bool:
    return consumer._metrics.registry.get_sample_value("parked_keys", {"consumer": "test"}) is not None


async def test_pauses_grow_and_what_still_fails_is_warned_of_once(store) -> None:
    sick = uuid4()
    consumer = consumer_of(store, Behaviour(transient={sick: 1_000_000}))
    await consumer._process([record(event(sick, 1))])
    pause = "SELECT attempts, extract(epoch FROM next_attempt_at - clock_timestamp()) AS pause FROM parked_keys"
    found = []
    with capture_logs() as logs:
        for _ in range(8):
            row = await store.pool.fetchrow(pause)
            found.append((row["attempts"], float(row["pause"])))
            await due_now(store)
            assert await consumer.unparker.turn() == 0
    assert [attempts for attempts, _ in found] == list(range(1, 9))
    for failures, seconds in found:
        assert seconds <= 0.05 * 2 ** (failures - 1)
    assert found[-1][1] > 1
    assert [one["event"] for one in logs] == ["parking.still-fails"]


async def test_a_time_that_the_failure_names_is_kept(store) -> None:
    sick, behaviour = uuid4(), Behaviour()

    async def handle(_work: Any, _message: Any) -> None:
        raise Transient("busy", retry_after_seconds=1000)

    behaviour.handle = handle
    consumer = consumer_of(store, behaviour)
    await consumer._process([record(event(sick, 1))])
    later = "SELECT extract(epoch FROM next_attempt_at - clock_timestamp()) > 900 FROM parked_keys"
    assert await store.pool.fetchval(later)
    await due_now(store)
    await consumer.unparker.turn()
    assert await store.pool.fetchval(later)
    assert await consumer.unparker.turn() == parking.POLL_SECONDS


async def test_what_cannot_be_read_is_kept_in_the_batchs_own_transaction(store) -> None:
    good = event(uuid4(), 1)
    consumer = consumer_of(store, Behaviour())
    batch = [Record("t", 0, 0, b"k", b"not json", []), record(good, 1), Record("t", 0, 2, None, None, [])]
    failpoints.arm("batch.before-commit=raise")
    with pytest.raises(failpoints.FailPoint):
        await consumer._process(batch)
    failpoints.arm("")
    assert await dead_letters.list_dead_letters(store) == []
    await consumer._process(batch)
    letters = await store.pool.fetch("SELECT kind, value, message_id FROM dead_letters ORDER BY kafka_offset")
    assert [tuple(row.values()) for row in letters] == [("undecodable", b"not json", None), ("undecodable", None, None)]
    assert await applied(store) == {good.aggregate_id: [1]}


async def test_a_replayed_letter_that_still_cannot_be_read_is_a_dead_letter_again(store) -> None:
    consumer = consumer_of(store, Behaviour())
    await consumer._process([Record("t", 0, 0, b"k", b"not json", [])])
    (letter,) = await dead_letters.list_dead_letters(store)
    assert await dead_letters.replay_dead_letter(store, letter.id, actor="tester")
    assert await consumer.unparker.turn() == 0
    assert await parking.list_parked(store) == []
    (again,) = await dead_letters.list_dead_letters(store)
    assert again.id != letter.id
