"""What comes twice while its key is parked, and what the store refuses: nothing doubled, nothing passed."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from chassis_bench_domain import Behaviour, applied, event, kafka_settings

from chassis.errors import Transient
from chassis.messaging import (
    BatchExecutor,
    Consumer,
    Done,
    Duplicate,
    Held,
    InboxIntake,
    Item,
    Record,
    Subscription,
    parking,
)
from chassis.observe import Metrics
from chassis.store import Transaction


@pytest.mark.stack
async def test_a_message_that_was_done_and_comes_again_while_its_key_is_parked_is_a_duplicate(store) -> None:
    key, behaviour = uuid4(), Behaviour()
    items = [
        Item(Record("t", 0, offset, None, one.to_bytes(), []), one)
        for offset, one in enumerate(event(key, revision) for revision in (1, 2, 3))
    ]
    executor: BatchExecutor[Any, Any, None] = BatchExecutor(
        store,
        intake=InboxIntake("test", dead_letter_limit=10),
        open_work=behaviour.open_work,
        prefetch=lambda work, some: behaviour.prefetch(work, [one.message for one in some]),
        handle=lambda work, one: behaviour.handle(work, one.message),
    )
    assert [type(one) for one in await executor.run(items[:1])] == [Done]
    async with store.pool.acquire() as connection:
        error = Transient("told so", retry_after_seconds=1000)
        transaction = Transaction(connection)
        waiting = [parking.Waiting(key, items[1].message.message_id, items[1].record, error)]
        await parking.park(transaction, "test", waiting)
        await transaction.flush()
    # The process died before it moved its offsets: all come again.
    assert [type(one) for one in await executor.run(items)] == [Duplicate, Held, Held]
    assert await store.pool.fetchval("SELECT count(*) FROM inbox") == 1, "the claim of what was done is not released"
    assert await applied(store) == {key: [1]}


@dataclass
class Batch:
    """What FastStream hands over."""

    raw_message: tuple[Any, ...]
    acknowledged: list[int] = field(default_factory=list)

    async def ack(self) -> None:
        self.acknowledged.append(1)


async def test_a_batch_that_the_store_refuses_is_tried_again_and_not_passed_over() -> None:
    behaviour = Behaviour()
    subscription = Subscription("test", ("t",), behaviour.open_work, behaviour.prefetch, behaviour.handle)
    consumer = Consumer(None, kafka_settings("nowhere:1", ""), subscription, metrics=Metrics())
    refusals = [asyncpg.DeadlockDetectedError("told so"), asyncpg.UniqueViolationError("told so")]
    batch = Batch((SimpleNamespace(topic="t", partition=0, offset=0, key=b"k", value=b"v", headers=[], timestamp=0),))

    async def process(_records: Any) -> None:
        assert not batch.acknowledged
        if refusals:
            raise refusals.pop()

    consumer._process = process
    await consumer._on_batch(batch)
    assert refusals == []
    assert batch.acknowledged == [1]
