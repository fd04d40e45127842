"""R6: what poison costs the other keys: their p99 from send to commit, Kafka → chassis consumer → Postgres.

One consumer stands through the whole run. The same load of good messages goes to it three ways in turn: alone, among
dead letters (undecodable, breaking the schema, refused by the handler for good, a bug of the handler) and with keys
that fail for a passing reason, are parked and get more messages. Every good message must be committed, every poison one
kept with its reason and its bytes, or there is no figure.

The p99 of a short load is the length of its longest stall, and stalls (a slow disk, another process) strike any of the
three. So the loads are short and many, each round in another order, and the median of the rounds' p99 counts: it does
not move until half of the rounds have met a stall.
"""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal
from uuid import UUID, uuid4

sys.path.insert(0, str(Path(__file__).parents[1]))

from aiokafka import AIOKafkaProducer

import contracts
from bench.harness import database, kafka_topics, main, progress, row
from chassis.errors import Permanent, Transient
from chassis.messaging import Consumer, Done, Item, Outcome, Subscription
from chassis.observe import Metrics
from chassis.settings import KafkaSettings, StoreSettings
from chassis.store import Store, Transaction
from contracts.examples import EXAMPLES

Poison = Literal["none", "dead", "parked"]
ROUNDS = 12  # a multiple of the orders that three ways can be rotated into
LOAD_SECONDS = 3.0
RATE = 200
KEYS = 100
POISON_EVERY = 10  # one for so many good ones: 60 a load, short of the 100 dead letters at which a consumer stops
SICK_KEYS = 5
DEADLINE_SECONDS = 60.0
MOST = 1.2
NAME = "poison"
TOPIC = "appointment.scheduled"
EXAMPLE: Any = EXAMPLES[contracts.AppointmentScheduled]


class Doctor:
    """The handler: its effect is an event; some keys it refuses, on some it breaks, some fail for now."""

    def __init__(self) -> None:
        self.permanent: set[UUID] = set()
        self.bug: set[UUID] = set()
        self.transient: set[UUID] = set()

    async def prefetch(self, work: Transaction, messages: Sequence[contracts.Message]) -> None:
        """Loads nothing."""

    async def handle(self, work: Transaction, message: contracts.Message) -> None:
        work.publish(message_of(uuid4()))
        if message.aggregate_id in self.permanent:
            raise Permanent("refused")
        if message.aggregate_id in self.bug:
            raise ZeroDivisionError
        if message.aggregate_id in self.transient:
            raise Transient("not now")


class Timed:
    """Wraps the consumer's executor: records when each message in ``due`` was committed."""

    def __init__(self, executor: Any) -> None:
        self._executor = executor
        self.due: dict[UUID, float] = {}
        self.milliseconds: list[float] = []

    async def run(self, items: Sequence[Item]) -> list[Outcome[None]]:
        outcomes: list[Outcome[None]] = await self._executor.run(items)
        now = time.perf_counter()
        for item, outcome in zip(items, outcomes, strict=True):
            if isinstance(outcome, Done) and (due := self.due.pop(item.message.message_id, None)) is not None:
                self.milliseconds.append((now - due) * 1000)
        return outcomes


def message_of(key: UUID) -> contracts.Message:
    return contracts.new_message(
        contracts.AppointmentScheduled, aggregate_id=key, revision=1, data=EXAMPLE.data, producer="bench",
        occurred_at=EXAMPLE.occurred_at,
    )  # fmt: skip


class Ward:
    """The running consumer and its sender."""

    def __init__(self, store: Store, kafka: KafkaSettings, producer: AIOKafkaProducer) -> None:
        self.store = store
        self.doctor = Doctor()
        subscription = Subscription(NAME, (TOPIC,), lambda work: work, self.doctor.prefetch, self.doctor.handle)
        self.consumer = Consumer(store, kafka, subscription, metrics=Metrics())
        self.timed = Timed(self.consumer._executor)  # noqa: SLF001
        self.consumer._executor = self.timed  # type: ignore[assignment]  # noqa: SLF001
        self._producer = producer
        self._topic = kafka.topic_prefix + TOPIC
        self._sick = [uuid4() for _ in range(SICK_KEYS)]

    async def p99_ms(self, poison: Poison, seconds: float = LOAD_SECONDS) -> float:
        """The p99 of the good messages, each from its due time."""
        keys = [uuid4() for _ in range(KEYS)]
        self.timed.milliseconds.clear()
        self._sick = [uuid4() for _ in range(SICK_KEYS)]
        self.doctor.transient = set(self._sick)
        sends, kept = [], []
        started = time.perf_counter()
        for number in range(int(RATE * seconds)):
            due = started + number / RATE
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            if poison != "none" and number % POISON_EVERY == 0:
                key, value = self._poison(poison, number // POISON_EVERY)
                kept.append(value)
                sends.append(await self._producer.send(self._topic, value, key=key))
            good = message_of(keys[number % KEYS])
            self.timed.due[good.message_id] = due
            sends.append(await self._producer.send(self._topic, good.to_bytes(), key=good.key()))
        await asyncio.gather(*sends)
        async with asyncio.timeout(DEADLINE_SECONDS):
            while self.timed.due or await self._kept(poison) != sorted(kept):
                await asyncio.sleep(0.05)
        await self._clear()
        return statistics.quantiles(self.timed.milliseconds, n=100)[98]

    def _poison(self, poison: Poison, number: int) -> tuple[bytes, bytes]:
        if poison == "parked":
            sick = message_of(self._sick[number % SICK_KEYS])
            return sick.key(), sick.to_bytes()
        message = message_of(uuid4())
        match number % 4:
            case 0:
                return message.key(), b"\xff not JSON " + str(number).encode()
            case 1:
                return message.key(), json.dumps({**json.loads(message.to_bytes()), "data": {}}).encode()
            case 2:
                self.doctor.permanent.add(message.aggregate_id)
            case _:
                self.doctor.bug.add(message.aggregate_id)
        return message.key(), message.to_bytes()

    async def _kept(self, poison: Poison) -> list[bytes]:
        """The bytes of the kept messages, each with a reason."""
        statement = {
            "none": "SELECT value FROM dead_letters",
            "dead": "SELECT value FROM dead_letters WHERE reason <> ''",
            "parked": "SELECT value FROM parked_messages JOIN parked_keys USING (consumer, key) WHERE reason <> ''",
        }[poison]
        return sorted(found["value"] for found in await self.store.pool.fetch(statement))

    async def _clear(self) -> None:
        """Settles all messages, so that each way starts from the same state and the tables stay small."""
        async with self.store.pool.acquire() as connection, connection.transaction():
            for table in ("dead_letters", "parked_messages", "parked_keys", "outbox", "inbox"):
                await connection.execute(f"DELETE FROM {table}")


async def rows() -> list[dict[str, Any]]:
    async with database() as url, kafka_topics() as (bootstrap, prefix):
        store = await Store.open(StoreSettings(url=url, pool_size=4))
        kafka = KafkaSettings(bootstrap_servers=bootstrap, topic_prefix=prefix)
        async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
            ward = Ward(store, kafka, producer)
            running = asyncio.create_task(ward.consumer.run())
            found: dict[Poison, list[float]] = {"none": [], "dead": [], "parked": []}
            for poison in found:
                await ward.p99_ms(poison, 1.0)  # warm, and the group has its partitions
            ways = list(found)
            for turn in range(ROUNDS):
                for poison in (*ways[turn % len(ways) :], *ways[: turn % len(ways)]):
                    found[poison].append(await ward.p99_ms(poison))
                said = ", ".join(f"{poison} {figures[-1]:.1f}" for poison, figures in found.items())
                progress(f"round {turn + 1} of {ROUNDS}, p99 in ms: {said}")
            await ward.consumer.stop()
            await running
        await store.close()
    alone = statistics.median(found["none"])
    return [
        _row("R6-dead", "among dead letters of each kind", statistics.median(found["dead"]), alone),
        _row("R6-parked", f"beside {SICK_KEYS} keys that park", statistics.median(found["parked"]), alone),
    ]


def _row(identifier: str, what: str, poisoned: float, alone: float) -> dict[str, Any]:
    ratio = poisoned / alone
    step = f"Kafka → committed, other keys' p99 in ms at {RATE}/s {what} (floor: no poison)"
    return row(identifier, step, (poisoned, alone, ratio), f"≤ {MOST:g} × the floor", met=ratio <= MOST)


if __name__ == "__main__":
    main(rows)
