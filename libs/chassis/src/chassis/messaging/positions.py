"""A consumer's positions, kept in its own store: Kafka's offsets are on another server and may be lost or restored.

A batch moves the position in its own transaction. When a partition is taken up, the position is compared with what
Kafka holds. Gaps that a client would skip silently are recorded for a person (ADR 0017): records that expired before
they were read, a topic that was made anew, a Kafka that was set back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Final, Literal, NamedTuple
from uuid import UUID

import structlog

import contracts
from chassis.messaging import statements
from chassis.messaging.records import Record
from chassis.observe import Metrics, meters
from chassis.store import Store, Transaction

Kind = Literal["expired", "made-anew", "set-back"]
FINGERPRINT_BYTES: Final = 16

log = structlog.get_logger(__name__)


class Partition(NamedTuple):
    """One partition of a topic; the topic's name with the installation's prefix."""

    topic: str
    number: int


@dataclass(frozen=True, slots=True)
class Position:
    """Everything before ``next_offset`` is handled, in the topic with that id; ``last_record`` is the last handled
    record.
    """

    topic_id: UUID
    next_offset: int
    last_record: bytes | None
    moved_at: datetime


@dataclass(frozen=True, slots=True)
class Log:
    """The offsets that Kafka holds of a partition: from ``start`` up to, but without, ``end``."""

    topic_id: UUID
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Placement:
    """Where to read on. With ``last_record``, the first record that comes must be that record: it is handled."""

    offset: int
    last_record: bytes | None = None
    missed: Kind | None = None


def place(position: Position | None, kafka: Log) -> Placement:
    """Where to read on. An unknown partition is read from its start: the inbox drops repeats."""
    if position is None:
        return Placement(kafka.start)
    if position.topic_id != kafka.topic_id:
        return Placement(kafka.start, missed="made-anew")
    if position.next_offset > kafka.end:
        return Placement(kafka.start, missed="set-back")
    if position.next_offset < kafka.start:
        return Placement(kafka.start, missed="expired")
    if position.last_record is not None and position.next_offset > kafka.start:
        return Placement(position.next_offset - 1, position.last_record)
    return Placement(position.next_offset)


def fingerprint(timestamp_ms: int, value: bytes | None) -> bytes:
    """Identifies a record. Includes its time: the same event that is sent again is another record."""
    return blake2b(value or b"", digest_size=FINGERPRINT_BYTES, salt=timestamp_ms.to_bytes(8, signed=True)).digest()


class Positions:
    """The positions of one consumer."""

    def __init__(self, consumer: str, metrics: Metrics) -> None:
        self._consumer = consumer
        self._metrics = metrics
        self.topic_ids: dict[str, UUID] = {}
        """The positions of the topics that are read, by their names with the prefix."""

    def stage(self, transaction: Transaction, records: Sequence[Record]) -> None:
        """Stages that ``records``, in the order of their partitions, are handled."""
        last: dict[tuple[str, int], Record] = {(record.topic, record.partition): record for record in records}
        rows = [
            (topic, partition, record.topic_id, record.offset + 1, fingerprint(record.timestamp_ms, record.value))
            for (topic, partition), record in sorted(last.items())
            if record.topic_id is not None
        ]
        if rows:
            transaction.write(statements.MOVE_POSITIONS, self._consumer, *map(list, zip(*rows, strict=True)))

    async def read(self, store: Store, partitions: Sequence[Partition]) -> Mapping[Partition, Position]:
        names, numbers = [one.topic for one in partitions], [one.number for one in partitions]
        return {
            Partition(row["topic"], row["partition"]): Position(
                row["topic_id"], row["next_offset"], row["last_record"], row["moved_at"]
            )
            for row in await store.pool.fetch(statements.POSITIONS, self._consumer, names, numbers)
        }

    async def begin_again(self, store: Store, partition: Partition, position: Position, kafka: Log, kind: Kind) -> None:
        """Sets the position to the partition's beginning, and records the gap for a person; once."""
        number = kafka.start - position.next_offset if kind == "expired" else None
        identifier = contracts.uuid7()
        async with store.pool.acquire() as connection, connection.transaction():
            where = (self._consumer, *partition)
            moved = await connection.fetchval(
                statements.SET_POSITION, *where, position.topic_id, position.next_offset, kafka.topic_id, kafka.start
            )
            if moved is None:
                return
            await connection.execute(
                statements.KEEP_MISSED, identifier, *where, kind, position.next_offset, number, position.moved_at
            )
        if number is not None:
            self._metrics.count(meters.RECORDS_MISSED, number, consumer=self._consumer, topic=partition.topic)
        log.critical(
            "consumer.missed-records",
            consumer=self._consumer,
            topic=partition.topic,
            partition=partition.number,
            kind=kind,
            first_offset=position.next_offset,
            number=number,
            handled_until=position.moved_at.isoformat(),
            id=str(identifier),
        )
