"""A consumer's partitions. No partition is read before its position is checked, and no record is skipped unseen.

aiokafka begins at the group's offsets, and silently at the beginning where Kafka no longer holds them. So an assigned
partition stays paused until it is compared with the store's position (``positions``), and each record is compared with
the one that is due. Records that do not follow are thrown away, and the partition is placed again.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import structlog
from aiokafka import ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from chassis.messaging.positions import Kind, Log, Partition, Placement, Position, Positions, fingerprint, place
from chassis.messaging.records import Record
from chassis.messaging.topics import Found, TopicsWatch
from chassis.store import Store

SIGHTINGS_TO_BELIEVE: Final = 3
"""After a change of leaders a broker may briefly report an end before what was read. The end is then read again."""

log = structlog.get_logger(__name__)


class Due:
    """The record that a partition must bring next."""

    __slots__ = ("last_record", "offset")

    def __init__(self, placement: Placement) -> None:
        self.offset = placement.offset
        self.last_record = placement.last_record


class Assignment(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped here
    """The partitions of one member of the group. ``reading`` holds aiokafka's consumer; it is set before the start."""

    def __init__(self, store: Store, positions: Positions, watch: TopicsWatch) -> None:
        self._store = store
        self._positions = positions
        self._watch = watch
        self._due: dict[tuple[str, int], Due] = {}
        self._unplaced: set[Partition] = set()
        self._is_other: set[Partition] = set()
        self._sightings: dict[Partition, int] = {}
        self.reading: Any = None
        self.wake = asyncio.Event()
        """Set when a partition waits to be placed."""

    @property
    def consumer(self) -> Any:
        return self.reading.consumer

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        del revoked  # aiokafka revokes all partitions at once
        self._due.clear()
        self._unplaced.clear()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        # No await comes before this: aiokafka has asked for no record yet.
        self.consumer.pause(*assigned)
        self._unplaced = {Partition(*one) for one in assigned}
        self.wake.set()

    def not_due(self, partition: Partition) -> None:
        """Takes a partition from reading, to be placed again."""
        self._due.pop(partition, None)
        try:
            self.consumer.pause(TopicPartition(*partition))
        except IllegalStateError:
            return  # a rebalance took the partition
        self._unplaced.add(partition)
        self.wake.set()

    def forget_topics(self, found: Mapping[str, Found]) -> None:
        """Takes topics that were made anew from reading: their offsets may have passed those of the deleted topic."""
        for partition in [Partition(*one) for one in self._due]:
            if found[partition.topic].topic_id != self._positions.topic_ids.get(partition.topic):
                self.not_due(partition)

    def not_handled(self, records: Sequence[Record]) -> None:
        """Gives the reader back what was taken."""
        for partition in {Partition(record.topic, record.partition) for record in records}:
            if partition in self._due:
                self.not_due(partition)

    # ---- where to read on

    async def place(self) -> None:
        """Places every waiting partition at the position in the store. KafkaError, StoreUnavailable."""
        if not self._unplaced:
            return
        partitions = sorted(self._unplaced)
        asked = [TopicPartition(*one) for one in partitions]
        # The ids come first: a topic that is made anew in between shows another id at the next look.
        found = await self._watch.look(afresh=True)
        starts = await self.consumer.beginning_offsets(asked)
        ends = await self.consumer.end_offsets(asked)
        known = await self._positions.read(self._store, partitions)
        for partition, name in zip(partitions, asked, strict=True):
            topic_id = found[partition.topic].topic_id
            await self._place_one(partition, known.get(partition), Log(topic_id, starts[name], ends[name]))

    async def _place_one(self, partition: Partition, position: Position | None, kafka: Log) -> None:
        placement = place(position, kafka)
        kind = placement.missed or self._other_record(partition, placement)
        if kind == "set-back" and partition not in self._is_other and not self._is_believed(partition):
            return
        if position is not None and kind is not None:
            await self._positions.begin_again(self._store, partition, position, kafka, kind)
            placement = Placement(kafka.start)
        if partition not in self._unplaced:
            return  # a rebalance took the partition meanwhile
        name = TopicPartition(*partition)
        try:
            self.consumer.seek(name, placement.offset)
            self._positions.topic_ids[partition.topic] = kafka.topic_id
            self._due[partition] = Due(placement)
            self.consumer.resume(name)
        except IllegalStateError:
            return
        self._unplaced.discard(partition)
        self._is_other.discard(partition)
        self._sightings.pop(partition, None)

    def _other_record(self, partition: Partition, placement: Placement) -> Kind | None:
        return "set-back" if partition in self._is_other and placement.last_record is not None else None

    def _is_believed(self, partition: Partition) -> bool:
        self._sightings[partition] = self._sightings.get(partition, 0) + 1
        return self._sightings[partition] >= SIGHTINGS_TO_BELIEVE

    # ---- records

    async def take(self, records: Sequence["ConsumerRecord[Any, Any]"]) -> "list[ConsumerRecord[Any, Any]]":
        """The due records of ``records``, in order."""
        taken = []
        for record in records:
            due = self._due.get((record.topic, record.partition))
            if due is None:
                continue  # taken away, or to be placed again
            if record.offset == due.offset and due.last_record is None:
                due.offset += 1
                taken.append(record)
            elif record.offset == due.offset:
                self._hold_against(due, record)
            elif record.offset > due.offset and await self._holds_nothing_before(due, record):
                due.offset, due.last_record = record.offset + 1, None
                taken.append(record)
            else:
                log.warning(
                    "consumer.not-due", topic=record.topic, partition=record.partition,
                    offset=record.offset, due=due.offset,
                )  # fmt: skip
                self.not_due(Partition(record.topic, record.partition))
        return taken

    def _hold_against(self, due: Due, record: "ConsumerRecord[Any, Any]") -> None:
        """The record before the first due one: it counts as handled if it is the expected record."""
        if fingerprint(record.timestamp, record.value) == due.last_record:
            due.offset, due.last_record = due.offset + 1, None
            return
        partition = Partition(record.topic, record.partition)
        self._is_other.add(partition)
        self.not_due(partition)

    async def _holds_nothing_before(self, due: Due, record: "ConsumerRecord[Any, Any]") -> bool:
        """Whether the skipped offsets hold no record. A producer's transaction leaves such offsets."""
        name = TopicPartition(record.topic, record.partition)
        try:
            starts = await self.consumer.beginning_offsets([name])
        except KafkaError:
            return False
        wanted = due.offset if due.last_record is None else due.offset + 1
        return bool(starts[name] <= wanted)
