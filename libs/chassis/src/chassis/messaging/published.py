"""Reads topics without a consumer group, for comparing them with a store.

The ends are taken first and reading stops there, so it ends however much is published meanwhile.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import UnknownTopicOrPartitionError, for_code

import contracts
from chassis.settings import KAFKA_REQUEST_TIMEOUT_MS, KafkaSettings
from chassis.store import Offsets

Spot = tuple[str, int]
"""Topic without the installation's prefix, and partition."""
_POLL_MS: Final = 500


@dataclass(frozen=True, slots=True)
class Published:
    """A record. ``message`` is None where the record cannot be read."""

    topic: str
    partition: int
    offset: int
    message: contracts.Message | None

    @property
    def spot(self) -> Spot:
        return self.topic, self.partition


class TopicReader:
    """Topics between their first and their next offset, as both were at opening."""

    def __init__(self, consumer: AIOKafkaConsumer, prefix: str, first: Offsets, following: Offsets) -> None:
        self._consumer = consumer
        self._prefix = prefix
        self.first = first
        self.following = following

    async def newest(self, count: int) -> list[Published]:
        """The last ``count`` records of each partition."""
        starts = {spot: end - count for spot, end in self.following.items()}
        return [one async for lot in self.read(starts) for one in lot]

    async def read(self, starts: Offsets, stops: Offsets | None = None) -> AsyncIterator[list[Published]]:
        """The records from ``starts`` up to ``stops``, or to the end, of the partitions that ``starts`` names."""
        ends = {spot: min((stops or self.following).get(spot, 0), self.following[spot]) for spot in self.following}
        begin = {spot: max(start, self.first[spot]) for spot, start in starts.items() if spot in self.first}
        waiting = {self._partition(spot): ends[spot] for spot, start in begin.items() if start < ends[spot]}
        self._consumer.assign(list(waiting))
        for spot, start in begin.items():
            if self._partition(spot) in waiting:
                self._consumer.seek(self._partition(spot), start)
        while waiting:
            found = await self._consumer.getmany(timeout_ms=_POLL_MS)
            lot = [
                self._record(record) for records in found.values() for record in records
                if record.offset < ends[self._spot(record.topic, record.partition)]
            ]  # fmt: skip
            if lot:
                yield lot
            for partition, end in list(waiting.items()):
                if await self._consumer.position(partition) >= end:
                    del waiting[partition]
                    self._consumer.pause(partition)

    def _spot(self, topic: str, partition: int) -> Spot:
        return topic.removeprefix(self._prefix), partition

    def _partition(self, spot: Spot) -> TopicPartition:
        return TopicPartition(self._prefix + spot[0], spot[1])

    def _record(self, record: Any) -> Published:
        message: contracts.Message | None
        try:
            message = contracts.parse(record.value or b"")
        except contracts.ContractError:
            message = None
        topic, partition = self._spot(record.topic, record.partition)
        return Published(topic, partition, record.offset, message)


@asynccontextmanager
async def opened(kafka: KafkaSettings, topics: Sequence[str]) -> AsyncIterator[TopicReader]:
    """A reader of these topics; a topic that does not exist is left out. KafkaError, OSError, TimeoutError."""
    consumer = AIOKafkaConsumer(
        **kafka.client_keywords(),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        request_timeout_ms=KAFKA_REQUEST_TIMEOUT_MS,
    )
    await consumer.start()
    try:
        prefix = kafka.topic_prefix
        partitions = await _partitions(kafka, [prefix + topic for topic in topics])
        consumer.assign(partitions)
        # The first offsets are read after the next ones: retention may move them meanwhile, and they must not lie
        # behind.
        following = await consumer.end_offsets(partitions) if partitions else {}
        first = await consumer.beginning_offsets(partitions) if partitions else {}
        spots = {one: (one.topic.removeprefix(prefix), one.partition) for one in partitions}
        yield TopicReader(
            consumer,
            prefix,
            {spots[one]: offset for one, offset in first.items()},
            {spots[one]: offset for one, offset in following.items()},
        )
    finally:
        await consumer.stop()


async def _partitions(kafka: KafkaSettings, names: Sequence[str]) -> list[TopicPartition]:
    """The partitions of the topics that exist."""
    async with _admin(kafka) as admin:
        described = await admin.describe_topics(list(names))
    missing = UnknownTopicOrPartitionError.errno
    for one in described:
        if one["error_code"] not in (0, missing):
            raise for_code(one["error_code"])(one["topic"])
    return [
        TopicPartition(one["topic"], number)
        for one in described
        for number in sorted(found["partition"] for found in one["partitions"])
    ]


@asynccontextmanager
async def _admin(kafka: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**kafka.client_keywords(), request_timeout_ms=KAFKA_REQUEST_TIMEOUT_MS)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def cluster_id(kafka: KafkaSettings) -> str:
    """The id of the Kafka cluster. KafkaError, OSError."""
    async with _admin(kafka) as admin:
        return str((await admin.describe_cluster())["cluster_id"])


async def committed(kafka: KafkaSettings, consumer: str) -> Mapping[Spot, int]:
    """The offsets that the consumer's group has committed, by topic and partition. KafkaError, OSError."""
    async with _admin(kafka) as admin:
        found = await admin.list_consumer_group_offsets(kafka.topic_prefix + consumer)
    return {
        (one.topic.removeprefix(kafka.topic_prefix), one.partition): metadata.offset
        for one, metadata in found.items()
        if metadata.offset >= 0
    }
