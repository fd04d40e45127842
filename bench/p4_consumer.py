"""P4: the chassis' consumer without a store: fetch, decode, validate, dispatch; records a second.

The consumer's own path, its fetching, decoding and dispatching, with an executor in the store's place that calls the
handler and nothing else. Floors: FastStream with one record at a time and its own decoding, and aiokafka's `getone`
with `json.loads`. All read the same records of one topic from the start.
"""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).parents[1]))

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from faststream import AckPolicy
from faststream.kafka import KafkaBroker

import contracts
from bench.harness import at_least, kafka_topics, main, pairs
from chassis.messaging import Consumer, Done, Item, Outcome, Subscription
from chassis.observe import Metrics
from chassis.settings import KafkaSettings
from contracts.examples import EXAMPLES

RECORDS = 5_000
TOPIC = "appointment.scheduled"
PAIRS = 5
DEADLINE_SECONDS = 120
EXAMPLE: Any = EXAMPLES[contracts.AppointmentScheduled]


class NoStore:
    """What the consumer asks of a store outside of a batch: positions and gaps, of which there are none, and gauges."""

    class _Pool:
        async def fetch(self, *_: object) -> list[Any]:
            return []

        async def fetchrow(self, *_: object) -> dict[str, int]:
            return {"dead_letters": 0, "missed_records": 0, "revision_gaps": 0}

    pool = _Pool()


class Counting:
    """Takes the executor's place: calls the handler and opens no transaction."""

    def __init__(self, wanted: int) -> None:
        self.left = wanted
        self.done = asyncio.Event()

    async def handle(self, message: contracts.Message) -> None:
        if not isinstance(message, contracts.AppointmentScheduled):
            raise TypeError(message.type)
        self.left -= 1
        if self.left == 0:
            self.done.set()

    async def run(self, items: Sequence[Item]) -> list[Outcome[None]]:
        for item in items:
            await self.handle(item.message)
        return [Done(None)] * len(items)


class NoUnparker:
    async def run(self) -> None:
        return None

    async def stop(self) -> None:
        return None


async def fill(bootstrap: str, topic: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, linger_ms=5)
    await producer.start()
    for _ in range(RECORDS // 1000):
        messages = [
            contracts.new_message(
                contracts.AppointmentScheduled, aggregate_id=uuid4(), revision=1, data=EXAMPLE.data,
                producer="bench", occurred_at=EXAMPLE.occurred_at,
            )
            for _ in range(1000)
        ]  # fmt: skip
        await asyncio.wait([await producer.send(topic, one.to_bytes(), key=one.key()) for one in messages])
    await producer.stop()


async def ours(bootstrap: str, prefix: str) -> float:
    counting = Counting(RECORDS)
    name = f"bench-{uuid4().hex[:8]}"

    async def unused(*_: object) -> None:
        raise AssertionError("the executor is replaced")

    subscription: Subscription[Any] = Subscription(name, (TOPIC,), lambda _: None, unused, unused)
    settings = KafkaSettings(bootstrap_servers=bootstrap, topic_prefix=prefix)
    store: Any = NoStore()
    consumer = Consumer(store, settings, subscription, metrics=Metrics())
    # Without a store there are no claims, writes or parked keys.
    consumer._executor = counting  # type: ignore[assignment]  # noqa: SLF001
    consumer.unparker = NoUnparker()  # type: ignore[assignment]
    return await _timed(consumer.run(), consumer.stop, counting)


async def _timed(run: Any, stop: Any, counting: Counting) -> float:
    """Records a second from the first record to the last: joining a group does not count."""
    running = asyncio.create_task(run)
    async with asyncio.timeout(DEADLINE_SECONDS):
        while counting.left == RECORDS:
            await asyncio.sleep(0.001)
        first, started = counting.left, time.perf_counter()
        await counting.done.wait()
        passed = time.perf_counter() - started
    await stop()
    await running
    return first / passed


async def faststream_one_by_one(bootstrap: str, topic: str) -> float:
    left, started, passed = RECORDS, 0.0, 0.0
    done = asyncio.Event()
    broker = KafkaBroker(bootstrap, logger=None)

    @broker.subscriber(
        topic, group_id=f"bench-{uuid4().hex[:8]}", auto_offset_reset="earliest", ack_policy=AckPolicy.ACK
    )
    async def handle(message: dict[str, Any]) -> None:
        nonlocal left, started, passed
        if not started:
            started = time.perf_counter()
        assert message["type"] == TOPIC
        left -= 1
        if left == 0:
            passed = time.perf_counter() - started
            done.set()

    await broker.start()
    async with asyncio.timeout(DEADLINE_SECONDS):
        await done.wait()
    await broker.stop()
    return RECORDS / passed


async def getone(bootstrap: str, topic: str) -> float:
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, group_id=f"bench-{uuid4().hex[:8]}", auto_offset_reset="earliest"
    )
    await consumer.start()
    await consumer.getone()
    started = time.perf_counter()
    for _ in range(RECORDS - 1):
        message = json.loads((await consumer.getone()).value)
        assert message["type"] == TOPIC
    passed = time.perf_counter() - started
    await consumer.stop()
    return (RECORDS - 1) / passed


async def rows() -> list[dict[str, Any]]:
    async with kafka_topics() as (bootstrap, prefix):
        topic = prefix + TOPIC
        await fill(bootstrap, topic)
        step = "consumer without a store: fetch, decode, validate, dispatch, records/s"
        one_by_one = await pairs(
            lambda: ours(bootstrap, prefix), lambda: faststream_one_by_one(bootstrap, topic), PAIRS
        )
        bare = await pairs(lambda: ours(bootstrap, prefix), lambda: getone(bootstrap, topic), PAIRS)
        return [
            at_least("P4a", f"{step} (floor: FastStream one at a time)", one_by_one, 2.0),
            at_least("P4b", f"{step} (floor: aiokafka getone + json)", bare, 0.5),
        ]


if __name__ == "__main__":
    main(rows)
