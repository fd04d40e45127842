"""The relay: committed outbox rows onto Kafka, in order, by one process at a time.

The advisory lock, the reading and the marking share one connection: who loses it has lost the right to mark. What was
sent but not yet marked is sent again by the next holder, and the consumers' inboxes drop the repeat. Rows are taken in
id order; a row's id is drawn while its aggregate is locked, so within an aggregate id order is commit order. A
notification only wakes the relay; polling by state is the guarantee.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import asyncpg
import orjson
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.partitioner import DefaultPartitioner

from chassis import failpoints, tracing
from chassis.backoff import pause_seconds
from chassis.loops import LoopBase
from chassis.metrics import Metrics
from chassis.store import UNAVAILABLE, Store
from chassis.transaction import LARGEST_EVENT_BYTES, OUTBOX_CHANNEL

LOCK = 0x0B07  # one relay per database
BATCH_ROWS = 1000
POLL_SECONDS = 1.0
STANDBY_SECONDS = 1.0
GAUGE_SECONDS = 2.0
SEND_TIMEOUT_SECONDS = 30

_SELECT = f"""
SELECT id, topic, aggregate_id, value, headers, traceparent, created_at
FROM outbox WHERE sent_at IS NULL ORDER BY id LIMIT {BATCH_ROWS}
"""  # noqa: S608 (a constant)
_MARK = "UPDATE outbox SET sent_at = clock_timestamp() WHERE id = ANY($1::bigint[])"
_WAITING = """
SELECT count(*) AS unsent, coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8 AS age
FROM outbox WHERE sent_at IS NULL
"""

_PARTITIONER = DefaultPartitioner()

log = structlog.get_logger(__name__)


class KafkaConnection(Protocol):
    """How to reach Kafka: aiokafka's connection keywords, and the installation's topic prefix."""

    @property
    def topic_prefix(self) -> str: ...

    def client_keywords(self) -> Mapping[str, Any]: ...


class Relay(LoopBase):
    """Sends one service's outbox. Run one per process: the others stand by and take over within seconds."""

    def __init__(
        self, store: Store, kafka: KafkaConnection, metrics: Metrics, *, poll_seconds: float = POLL_SECONDS
    ) -> None:
        super().__init__()
        self._store = store
        self._kafka = kafka
        self._metrics = metrics
        self._poll_seconds = poll_seconds
        self._wake = asyncio.Event()
        self._gauged_at = 0.0
        self._failures = 0
        self.active = False

    async def run(self) -> None:
        """Until stopped: takes the lock or waits for it; comes back by itself after Postgres or Kafka were away."""
        while not self.stopping:
            try:
                await self._connected()
            except (*UNAVAILABLE, KafkaError) as error:
                self._failures += 1
                log.warning("relay.interrupted", reason=type(error).__name__)
            finally:
                self.active = False
                self._metrics.set("outbox_relay_active", 0)
            if not self.stopping:
                await self.pause(pause_seconds(self._failures, first_seconds=0.2, longest_seconds=5))

    async def _connected(self) -> None:
        connection = await asyncpg.connect(
            self._store.url,
            timeout=5,
            command_timeout=30,
            server_settings={
                "application_name": "suite-relay",
                # A holder that is gone without a word loses the lock within seconds.
                "tcp_keepalives_idle": "1",
                "tcp_keepalives_interval": "1",
                "tcp_keepalives_count": "3",
            },
        )
        try:
            while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
                await self._gauge(connection)
                await self.pause(STANDBY_SECONDS)
                if self.stopping:
                    return
            await connection.add_listener(OUTBOX_CHANNEL, lambda *_: self._wake.set())
            await self._send_while_holding(connection)
        finally:
            connection.terminate()  # a graceful close waits for a server that may be gone

    async def _send_while_holding(self, connection: "asyncpg.Connection") -> None:
        await self._gauge(connection)
        producer = AIOKafkaProducer(
            **self._kafka.client_keywords(),
            enable_idempotence=True,
            acks="all",
            linger_ms=0,
            max_batch_size=2 * LARGEST_EVENT_BYTES,
            request_timeout_ms=10_000,
        )
        try:
            start = asyncio.ensure_future(producer.start())
            while not start.done():
                await asyncio.wait({start}, timeout=1)
                await self._gauge(connection)
                if self.stopping:
                    start.cancel()
                    return
            await start
            self.active = True
            self._metrics.set("outbox_relay_active", 1)
            log.info("relay.active")
            while not self.stopping:
                self.beat()
                rows = await connection.fetch(_SELECT)
                await self._gauge(connection)
                if rows:
                    attributes = {"messaging.batch.message_count": len(rows)}
                    with tracing.span("publish outbox", tracing.SpanKind.PRODUCER, attributes):
                        sent, refused = await self._send(connection, producer, rows)
                    if refused:
                        # This producer has numbered what was refused: the broker would take nothing more of it.
                        self._failures += 1
                        return
                    self._failures = 0
                    if len(rows) == BATCH_ROWS or sent < len(rows):
                        continue
                await self.pause(self._poll_seconds, self._wake)
        finally:
            await _stop_producer(producer)

    async def _send(
        self, connection: "asyncpg.Connection", producer: AIOKafkaProducer, rows: Sequence[Any]
    ) -> tuple[int, int]:
        """Sends ``rows`` in order and marks what was acknowledged. Returns how many were, and how many batches not.

        One Kafka batch per partition and turn: were two on their way, the second could be taken after the first
        failed, and a key's events would reach the bus in the wrong order. What did not fit goes with the next turn.
        """
        failpoints.hit("relay.before-send")
        batches = [
            await self._hand_over(producer, topic, partition, lot)
            for (topic, partition), lot in (await self._by_partition(producer, rows)).items()
        ]
        await asyncio.wait([send for send, _ in batches], timeout=SEND_TIMEOUT_SECONDS)
        failpoints.hit("relay.after-send-before-mark")
        acknowledged: list[int] = []
        refused = 0
        for send, sent in batches:
            error = send.exception() if send.done() and not send.cancelled() else TimeoutError()
            if error is None:
                acknowledged += [row["id"] for row in sent]
            else:
                refused += 1
                log.warning("relay.not-acknowledged", topic=sent[0]["topic"], reason=type(error).__name__)
        if acknowledged:
            await connection.execute(_MARK, acknowledged)
            self._metrics.count("messages_published_total", len(acknowledged))
        self._metrics.observe("outbox_lag_seconds", max(0.0, time.time() - rows[0]["created_at"].timestamp()))
        return len(acknowledged), refused

    async def _by_partition(self, producer: AIOKafkaProducer, rows: Sequence[Any]) -> dict[tuple[str, int], list[Any]]:
        """The rows per partition, in order; partitions are chosen as every Kafka producer chooses them by default."""
        found: dict[tuple[str, int], list[Any]] = {}
        partitions: dict[str, list[int]] = {}
        for row in rows:
            topic = self._kafka.topic_prefix + row["topic"]
            if topic not in partitions:
                partitions[topic] = sorted(await producer.partitions_for(topic))
            partition = _PARTITIONER(_key(row), partitions[topic], partitions[topic])
            found.setdefault((topic, partition), []).append(row)
        return found

    async def _hand_over(
        self, producer: AIOKafkaProducer, topic: str, partition: int, lot: Sequence[Any]
    ) -> tuple["asyncio.Future[Any]", Sequence[Any]]:
        """Gives the producer as much of ``lot`` as one batch holds, far cheaper than row by row.

        Returns the batch's acknowledgement and the rows in it.
        """
        builder, number = producer.create_batch(), 0
        for row in lot:
            headers = [(name, value.encode()) for name, value in orjson.loads(row["headers"]).items()]
            if row["traceparent"]:
                headers.append(("traceparent", row["traceparent"].encode()))
            if builder.append(timestamp=None, key=_key(row), value=row["value"], headers=headers) is None:
                break
            number += 1
        if number:
            return await producer.send_batch(builder, topic, partition=partition), lot[:number]
        # ``Transaction.publish`` lets none pass that is larger than a batch; this row was written by other means.
        too_large: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        too_large.set_exception(MessageSizeTooLargeError())
        return too_large, lot[:1]

    async def _gauge(self, connection: "asyncpg.Connection") -> None:
        """How much waits and how long, whether or not Kafka answers."""
        if time.monotonic() - self._gauged_at < GAUGE_SECONDS:
            return
        self._gauged_at = time.monotonic()
        waiting = await connection.fetchrow(_WAITING)
        self._metrics.set("outbox_unsent", waiting["unsent"])
        self._metrics.set("outbox_oldest_unsent_age_seconds", max(0.0, waiting["age"]))


def _key(row: Any) -> bytes:
    return str(row["aggregate_id"]).encode()


async def _stop_producer(producer: AIOKafkaProducer) -> None:
    """Stops it without waiting for a broker that is gone: what was not acknowledged is sent again from its row."""
    try:
        await asyncio.wait_for(producer.stop(), 3)
    except (TimeoutError, KafkaError):
        await producer.client.close()
