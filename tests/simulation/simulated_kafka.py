"""A broker in memory, and the parts of a producer and a consumer that the chassis uses.

As in aiokafka and Kafka, a producer sends one batch per partition at a time and in order, and repeats unacknowledged
batches. A refused batch leaves a gap: later batches are out of sequence for the broker, unless the producer is new to
the partition. Only the present generation commits offsets. FastStream continues with the next records when a handler
raises.
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from aiokafka.errors import (
    CommitFailedError,
    KafkaConnectionError,
    KafkaError,
    OutOfOrderSequenceNumber,
    TopicAuthorizationFailedError,
)
from simulated_loop import Process, current

PARTITIONS = (0, 1)
ROWS_PER_BATCH = 3
LARGEST_VALUE_BYTES = 10_000


@dataclass
class Record:
    """A record as a consumer reads it."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]
    timestamp: int = 0


@dataclass
class Broker:
    """Partitions, consumer group and faults. ``delay`` is the travel time of a request."""

    delay: Callable[[], float]
    on_append: Callable[[Record], None]
    topic: str = "appointment.scheduled"
    is_away: bool = False
    refuses: set[int] = field(default_factory=set)
    loses_answers: Callable[[], bool] = lambda: False
    partitions: dict[int, list[Record]] = field(default_factory=lambda: {one: [] for one in PARTITIONS})
    committed: dict[int, int] = field(default_factory=lambda: dict.fromkeys(PARTITIONS, 0))
    members: list["Reader"] = field(default_factory=list)
    generation: int = 0
    producers: int = 0
    swallowed: list[Exception] = field(default_factory=list)
    knows: set[tuple[int, int]] = field(default_factory=set)

    def append(self, partition: int, rows: Sequence[tuple[bytes, bytes, list[tuple[str, bytes]]]]) -> None:
        for key, value, headers in rows:
            record = Record(self.topic, partition, len(self.partitions[partition]), key, value, headers)
            self.partitions[partition].append(record)
            self.on_append(record)

    def rebalance(self) -> None:
        self.generation += 1

    def assignment(self, member: "Reader") -> list[int]:
        if member not in self.members:
            return []
        place = self.members.index(member)
        return [one for one in PARTITIONS if one % len(self.members) == place]

    def lag(self) -> int:
        """The number of records that no present member has read and handled."""
        left = {one: len(records) for one, records in self.partitions.items()}
        for member in self.members:
            for one in self.assignment(member):
                if member.generation == self.generation and not member.is_busy:
                    left[one] -= member.position[one]
        return sum(left.values())


class Builder:
    """A batch being filled; full after a few rows, so that small runs have many batches."""

    def __init__(self) -> None:
        self.rows: list[tuple[bytes, bytes, list[tuple[str, bytes]]]] = []

    def append(self, *, timestamp: int, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> object | None:
        if len(self.rows) == ROWS_PER_BATCH or len(value) > LARGEST_VALUE_BYTES:
            return None
        self.rows.append((key, value, headers))
        return self


class Producer:
    """An idempotent producer: it retries retriable errors for ever."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        broker.producers += 1
        self._number = broker.producers
        self._process: Process = current.get()
        self._queues: dict[int, deque[tuple[Builder, asyncio.Future[None]]]] = {one: deque() for one in PARTITIONS}
        self._has_gap: set[int] = set()
        self._pumps: dict[int, asyncio.Task[None]] = {}
        self._is_closed = False
        self.client = SimpleNamespace(close=self._close)

    async def start(self) -> None:
        await asyncio.sleep(self._broker.delay())
        if self._broker.is_away:
            raise KafkaConnectionError("no broker answers")

    async def stop(self) -> None:
        for pump in list(self._pumps.values()):
            await asyncio.wait({pump})
        await self._close()

    async def _close(self) -> None:
        self._is_closed = True

    async def partitions_for(self, topic: str) -> set[int]:
        return set(PARTITIONS)

    def create_batch(self) -> Builder:
        return Builder()

    async def send_batch(self, batch: Builder, topic: str, *, partition: int) -> "asyncio.Future[None]":
        if self._is_gone:
            raise KafkaConnectionError("the producer is closed")
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues[partition].append((batch, sent))
        if partition not in self._pumps:
            # A request on the wire arrives, even when its sender dies.
            self._pumps[partition] = contextvars.Context().run(asyncio.ensure_future, self._pump(partition))
        return sent

    @property
    def _is_gone(self) -> bool:
        return self._is_closed or self._process.is_dead

    async def _pump(self, partition: int) -> None:
        queue, broker = self._queues[partition], self._broker
        while queue and not self._is_gone:
            batch, sent = queue.popleft()
            error = await self._send(partition, batch)
            await asyncio.sleep(broker.delay())
            if self._is_gone or sent.done():
                continue
            if error is None:
                sent.set_result(None)
            else:
                sent.set_exception(error)
        del self._pumps[partition]

    async def _send(self, partition: int, batch: Builder) -> KafkaError | None:
        broker = self._broker
        while True:
            await asyncio.sleep(broker.delay())
            if not broker.is_away:
                break
            if self._is_gone:
                return KafkaConnectionError("never sent")
            await asyncio.sleep(0.1)
        if partition in broker.refuses:
            self._has_gap.add(partition)
            return TopicAuthorizationFailedError()
        if partition in self._has_gap and (self._number, partition) in broker.knows:
            return OutOfOrderSequenceNumber()
        broker.knows.add((self._number, partition))
        broker.append(partition, batch.rows)
        while broker.loses_answers() and not self._is_gone:
            await asyncio.sleep(0.1)  # sent again, and recognised by its sequence
        return None


class Message:
    """A batch as FastStream gives it to a handler."""

    def __init__(self, reader: "Reader", records: Sequence[Record]) -> None:
        self.raw_message = tuple(records)
        self._reader = reader

    async def ack(self) -> None:
        await self._reader.commit()

    async def nack(self) -> None:
        for record in reversed(self.raw_message):
            self._reader.position[record.partition] = record.offset


class Reader:
    """A member of the consumer group."""

    def __init__(self, broker: Broker, on_batch: Callable[[Any], Awaitable[None]], size: Callable[[], int]) -> None:
        self._broker = broker
        self._on_batch = on_batch
        self._size = size
        self._process: Process = current.get()
        self.generation = 0
        self._is_stopping = False
        self.is_busy = False
        self.position: dict[int, int] = {}

    async def run(self) -> None:
        broker = self._broker
        while not self._is_stopping:
            if broker.is_away:
                await asyncio.sleep(0.2)
                continue
            self._join()
            records = self._poll()
            if not records:
                await asyncio.sleep(0.1 + broker.delay())
                continue
            self.is_busy = True
            await asyncio.sleep(broker.delay())
            try:
                await self._on_batch(Message(self, records))
            except Exception as error:  # noqa: BLE001 (what FastStream does)
                broker.swallowed.append(error)
            self.is_busy = False
        self.leave()

    def stop(self) -> None:
        self._is_stopping = True

    def leave(self) -> None:
        if self in self._broker.members:
            self._broker.members.remove(self)
            self._broker.rebalance()

    def _join(self) -> None:
        broker = self._broker
        if self not in broker.members:
            broker.members.append(self)
            broker.rebalance()
        if self.generation != broker.generation:
            self.generation = broker.generation
            self.position = {one: broker.committed[one] for one in broker.assignment(self)}

    def _poll(self) -> list[Record]:
        found: list[Record] = []
        for partition, position in self.position.items():
            found += self._broker.partitions[partition][position : position + self._size()]
        for record in found:
            self.position[record.partition] = record.offset + 1
        return found

    async def commit(self) -> None:
        await asyncio.sleep(self._broker.delay())
        if self._process.is_dead:
            raise asyncio.CancelledError
        if self._broker.is_away:
            raise KafkaConnectionError("no broker answers")
        if self not in self._broker.members or self.generation != self._broker.generation:
            raise CommitFailedError("the group has rebalanced")
        self._broker.committed.update(self.position)
