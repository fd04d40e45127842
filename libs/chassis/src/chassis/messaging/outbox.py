"""The relay: sends committed outbox rows to Kafka, in order, by one process at a time.

The advisory lock (``Exclusive``), reading and marking share one connection: a relay that loses it cannot mark any more.
Rows that were sent but not marked are sent again by the next holder, and the consumers' inboxes drop the repeats. A new
holder first makes one write to the store: the marks still owed, or a write that changes nothing. So nothing is sent
that could not be marked, such as while the store is read-only. Rows are taken in id order; a row's id is drawn while
its aggregate is locked, so within an aggregate id order is commit order. A notification only wakes the relay; polling
is the guarantee.

The turns of a backlog overlap: while one turn is on its way the next is read, and while it is marked the next is sent.
A turn is sent only after every row of the turn before it was acknowledged. So a row is on Kafka before any later row of
its aggregate leaves, whichever relay sends it.
"""

import asyncio
import struct
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Any

import asyncpg
import orjson
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, UnknownTopicOrPartitionError

from chassis import failpoints
from chassis.clock import Clock, utc_now
from chassis.loops import LoopBase
from chassis.messaging import statements
from chassis.messaging.statements import BATCH_ROWS
from chassis.messaging.topics import METADATA_MAX_AGE_MS, KafkaConnection, TopicsError
from chassis.observe import Metrics, meters, tracing
from chassis.settings import KAFKA_REQUEST_TIMEOUT_MS
from chassis.store import Backlog, Exclusive, Role, Store
from chassis.store.transaction import LARGEST_EVENT_BYTES, OUTBOX_CHANNEL

LOCK = 0x0B07  # one relay per database
NAME = "relay"
POLL_SECONDS = 1.0
SEND_TIMEOUT_SECONDS = 30
STOP_SECONDS = 3
_ASK_SECONDS = 0.2
TOPIC_WAIT_SECONDS = 2

# Always by the index, in its order. Postgres's statistics mostly date from an almost empty backlog; a plan made for
# that reads and sorts a whole backlog once for every turn.
_BY_INDEX = "SET enable_bitmapscan = off; SET enable_seqscan = off"

_WORDS_OF_KEY = struct.Struct("<9I")
_MURMUR2_SEED, _MURMUR2_FACTOR, _32_BITS = 0x9747B28C, 0x5BD1E995, 0xFFFFFFFF

_Turn = list[tuple["asyncio.Future[Any]", Sequence[Any]]]
"""The batches of one turn: each batch's acknowledgement, and its rows."""

log = structlog.get_logger(__name__)


class Relay(LoopBase):
    """Sends one service's outbox. Run one per process: the others stand by and take over within seconds."""

    def __init__(
        self,
        store: Store,
        kafka: KafkaConnection,
        metrics: Metrics,
        *,
        now: Clock = utc_now,
        poll_seconds: float = POLL_SECONDS,
        may_send: asyncio.Event | None = None,
    ) -> None:
        """``now`` is the time for Kafka's retention: with a wrong time Kafka would delete records too early.

        Nothing is sent before ``may_send`` is set: a store that was set back would repeat revisions.
        """
        super().__init__()
        self._may_send = may_send
        self._store = store
        self._kafka = kafka
        self._metrics = metrics
        self._now = now
        self._poll_seconds = poll_seconds
        self._wake = asyncio.Event()
        self._not_marked: dict[int, datetime] = {}
        """Rows that Kafka has acknowledged and the store has not marked yet, each with its time."""
        self._missing_topic: str | None = None
        self._backlog = Backlog(store, statements.WAITING_IN_OUTBOX, told=self._tell)
        self._exclusive = Exclusive(store, lock=LOCK, name=NAME, metrics=metrics, gauge=meters.OUTBOX_RELAY_ACTIVE)

    @property
    def active(self) -> bool:
        return self._exclusive.is_active

    @property
    def role(self) -> Role:
        return self._exclusive.role

    async def run(self) -> None:
        """Until stopped: takes the lock or waits for it. Returns to it after Postgres or Kafka were away."""
        try:
            await self._exclusive.run(
                self, self._send_while_holding, while_standing_by=self._stand_by, interruptions=(KafkaError,)
            )
        finally:
            await self._backlog.stop()

    async def _stand_by(self, _connection: "asyncpg.Connection") -> None:
        self._backlog.look()

    async def _send_while_holding(self, connection: "asyncpg.Connection") -> None:
        await connection.execute(_BY_INDEX)
        await self._mark_first(connection)
        await connection.add_listener(OUTBOX_CHANNEL, lambda *_: self._wake.set())
        producer = AIOKafkaProducer(
            **self._kafka.client_keywords(),
            enable_idempotence=True,
            acks="all",
            linger_ms=0,
            max_batch_size=2 * LARGEST_EVENT_BYTES,
            request_timeout_ms=KAFKA_REQUEST_TIMEOUT_MS,
            metadata_max_age_ms=METADATA_MAX_AGE_MS,
        )
        try:
            start = asyncio.ensure_future(producer.start())
            while not start.done():
                await asyncio.wait({start}, timeout=1)
                self._backlog.look()
                if self.stopping:
                    start.cancel()
                    await asyncio.wait({start})
                    return
            await start
            while self._may_send is not None and not self._may_send.is_set():
                await self.pause(_ASK_SECONDS)
                if self.stopping:
                    return
            self._exclusive.begin()
            while not self.stopping:
                self.beat()
                rows = await connection.fetch(statements.UNSENT, 0)
                self._backlog.look()
                if rows:
                    try:
                        goes_on, refused = await self._send(connection, producer, rows)
                    except TopicsError as error:
                        await self._wait_for_topic(error)
                        continue
                    self._missing_topic = None
                    if refused:
                        # The producer has numbered the refused batch, so the broker would accept nothing more from this
                        # producer.
                        self._exclusive.failures += 1
                        return
                    self._exclusive.failures = 0
                    if goes_on:
                        continue
                await self.pause(self._poll_seconds, self._wake)
        finally:
            await _stop_producer(producer)

    async def _wait_for_topic(self, error: TopicsError) -> None:
        """Nothing leaves meanwhile: an aggregate's events have several topics, and must not leave out of order."""
        if self._missing_topic != str(error):
            self._missing_topic = str(error)
            log.critical("relay.topic-missing", reason=str(error))
        await self.pause(self._poll_seconds)

    async def _send(
        self, connection: "asyncpg.Connection", producer: AIOKafkaProducer, rows: Sequence[Any]
    ) -> tuple[bool, int]:
        """Sends ``rows`` in order and marks the acknowledged ones; then the following rows, as long as turns are full.

        Returns whether there is more to send at once, and the number of refused batches.
        """
        turn = await self._hand_over(producer, rows)
        while True:
            attributes = {"messaging.batch.message_count": len(rows)}
            with tracing.span("publish outbox", tracing.SpanKind.PRODUCER, attributes):
                following = await self._following(connection, rows)
                acknowledged, refused = await self._acknowledged(turn)
                if len(acknowledged) < len(rows) or self.stopping:
                    following = []
                if connection.is_closed():
                    following = []  # another relay may hold the lock by now
                marking = asyncio.ensure_future(self._mark(connection, acknowledged))
                try:
                    turn = await self._hand_over(producer, following)
                finally:
                    await marking
            self._metrics.observe(
                meters.OUTBOX_LAG_SECONDS, max(0.0, (self._now() - rows[0]["due_at"]).total_seconds())
            )
            if not following:
                return len(rows) == BATCH_ROWS or len(acknowledged) < len(rows), refused
            rows = following
            self.beat()
            self._backlog.look()

    async def _following(self, connection: "asyncpg.Connection", rows: Sequence[Any]) -> Sequence[Any]:
        """The rows after ``rows``, which are on their way; none where their order is not certain.

        A row may commit after a higher id of another aggregate was read. Such a row lies before the end of ``rows``
        without being one of them, and a later event of its aggregate must not leave first.
        """
        if len(rows) < BATCH_ROWS:
            return []
        following: Sequence[Any] = await connection.fetch(statements.UNSENT, rows[-1]["id"])
        return following if following and following[0]["earlier"] == len(rows) else []

    async def _acknowledged(self, turn: _Turn) -> tuple[list[Any], int]:
        """Waits for Kafka. Returns the acknowledged rows, and the number of refused batches."""
        await asyncio.wait([send for send, _ in turn], timeout=SEND_TIMEOUT_SECONDS)
        failpoints.hit(failpoints.RELAY_AFTER_SEND_BEFORE_MARK)
        acknowledged: list[Any] = []
        refused = 0
        for send, sent in turn:
            error = send.exception() if send.done() and not send.cancelled() else TimeoutError()
            if error is None:
                acknowledged += sent
            else:
                refused += 1
                log.warning("relay.not-acknowledged", topic=sent[0]["topic"], reason=type(error).__name__)
        return acknowledged, refused

    async def _mark(self, connection: "asyncpg.Connection", acknowledged: Sequence[Any]) -> None:
        if acknowledged:
            try:
                await connection.execute(statements.MARK_SENT, [row["id"] for row in acknowledged])
            except BaseException:
                self._not_marked.update((row["id"], row["created_at"]) for row in acknowledged)
                raise
            self._metrics.count(meters.MESSAGES_PUBLISHED, len(acknowledged))

    async def _mark_first(self, connection: "asyncpg.Connection") -> None:
        """Writes the marks still owed, if any. Raises while the store takes no writes."""
        if self._not_marked:
            answer = await connection.execute(
                statements.MARK_SENT_LATE, list(self._not_marked), list(self._not_marked.values())
            )
            self._metrics.count(meters.MESSAGES_PUBLISHED, int(answer.rpartition(" ")[2]))
            self._not_marked.clear()
        else:
            await connection.execute(statements.MARK_NOTHING)

    async def _hand_over(self, producer: AIOKafkaProducer, rows: Sequence[Any]) -> _Turn:
        """Gives ``rows`` to the producer, one Kafka batch per partition and turn.

        With two batches on their way, the second could be accepted after the first failed, and a key's events would
        reach Kafka in the wrong order. Rows that do not fit go with the next turn.
        """
        failpoints.hit(failpoints.RELAY_BEFORE_SEND)
        found = (await self._by_partition(producer, rows)).items()
        return [await self._hand_over_batch(producer, topic, partition, lot) for (topic, partition), lot in found]

    async def _by_partition(self, producer: AIOKafkaProducer, rows: Sequence[Any]) -> dict[tuple[str, int], list[Any]]:
        """The rows per partition, in order. Partitions are chosen as every Kafka producer chooses them by default."""
        found: dict[tuple[str, int], list[Any]] = {}
        partitions: dict[str, list[int]] = {}
        for row in rows:
            topic = self._kafka.topic_prefix + row["topic"]
            if topic not in partitions:
                partitions[topic] = await _partitions_of(producer, topic)
            choice = partitions[topic]
            partition = choice[(murmur2(row["key"]) & 0x7FFFFFFF) % len(choice)]
            found.setdefault((topic, partition), []).append(row)
        return found

    async def _hand_over_batch(
        self, producer: AIOKafkaProducer, topic: str, partition: int, lot: Sequence[Any]
    ) -> tuple["asyncio.Future[Any]", Sequence[Any]]:
        """Gives the producer one batch of ``lot``, which is far cheaper than row by row.

        Returns the batch's acknowledgement and its rows.
        """
        builder, number = producer.create_batch(), 0
        at = int(self._now().timestamp() * 1000)
        for row in lot:
            headers = [(name, value.encode()) for name, value in orjson.loads(row["headers"]).items()]
            if row["traceparent"]:
                headers.append(("traceparent", row["traceparent"].encode()))
            if builder.append(timestamp=at, key=row["key"], value=row["value"], headers=headers) is None:
                break
            number += 1
        if number:
            return await producer.send_batch(builder, topic, partition=partition), lot[:number]
        # ``Transaction.publish`` refuses messages larger than a batch; this row was written by other means.
        too_large: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        too_large.set_exception(MessageSizeTooLargeError())
        return too_large, lot[:1]

    def _tell(self, waiting: Mapping[str, Any]) -> None:
        """Counts the backlog and its age, whether or not Kafka answers."""
        self._metrics.set(meters.OUTBOX_UNSENT, waiting["unsent"])
        self._metrics.set(meters.OUTBOX_OLDEST_UNSENT_AGE_SECONDS, max(0.0, waiting["age"]))


def murmur2(key: bytes) -> int:
    """Kafka's hash of a key, for our 36-character UUIDs only. aiokafka's own goes byte by byte, and slowly."""
    number = _MURMUR2_SEED ^ len(key)
    for word in _WORDS_OF_KEY.unpack(key):
        mixed = word * _MURMUR2_FACTOR & _32_BITS
        number = (number * _MURMUR2_FACTOR ^ (mixed ^ mixed >> 24) * _MURMUR2_FACTOR) & _32_BITS
    number = (number ^ number >> 13) * _MURMUR2_FACTOR & _32_BITS
    return number ^ number >> 15


async def _partitions_of(producer: AIOKafkaProducer, topic: str) -> list[int]:
    """Raises ``TopicsError`` when no broker knows the topic."""
    try:
        async with asyncio.timeout(TOPIC_WAIT_SECONDS):
            return sorted(await producer.partitions_for(topic))
    except (TimeoutError, UnknownTopicOrPartitionError) as error:
        raise TopicsError(f"topic {topic} is missing: run the service's topics command") from error


async def _stop_producer(producer: AIOKafkaProducer) -> None:
    """Stops the producer. A broker that is gone is not waited for: unacknowledged rows are sent again."""
    try:
        await asyncio.wait_for(producer.stop(), STOP_SECONDS)
    except (TimeoutError, KafkaError):
        await _give_up(producer)


async def _give_up(producer: AIOKafkaProducer) -> None:
    """Ends what an abandoned ``stop`` leaves: tasks that retry for ever and hold connections open.

    aiokafka 0.14 has no public way to do it.
    """
    await producer.client.close()
    sender = producer._sender.sender_task  # noqa: SLF001
    while sender is not None and not sender.done():
        sender.cancel()  # the first cancel ends the sender, the next the request that it waits for
        await asyncio.wait({sender}, timeout=_ASK_SECONDS)
    accumulator = producer._message_accumulator  # noqa: SLF001
    batches = {*accumulator._pending_batches, *chain(*accumulator._batches.values())}  # noqa: SLF001
    accumulator._pending_batches.update(batches)  # noqa: SLF001  # each batch's end takes it out of these
    for batch in batches:
        batch.future.cancel()  # ``stop`` left a task that waits for the sender
    await producer.client.close()  # connections that the sender opened meanwhile
