"""Kafka in: batches by FastStream, one transaction each. Offsets are committed after the transaction, only here.

FastStream acknowledges nothing by itself here (``MANUAL``), decodes nothing (a record whose headers are not UTF-8 would
vanish in its parser), and creates no topics. A passing failure parks its key; a permanent failure or an unreadable
record is dead-lettered. Both happen in the batch's own transaction, so other messages go on. When the store is away
nothing is acknowledged and the same records come again.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

import asyncpg
import structlog
from aiokafka import ConsumerRecord
from aiokafka.errors import InvalidSessionTimeoutError, KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.message import KafkaAckableMessage
from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512

import contracts
from chassis import failpoints
from chassis.backoff import server_pause_seconds
from chassis.errors import StoreUnavailable, Transient, reason_of
from chassis.loops import LoopBase
from chassis.messaging import dead_letters, parking, revisions, statements, topics
from chassis.messaging.assignment import Assignment
from chassis.messaging.batch import BatchExecutor, Duplicate, Failed, Held, Outcome
from chassis.messaging.dead_letters import DeadLetterLimitError
from chassis.messaging.positions import Positions
from chassis.messaging.records import Item, Record
from chassis.observe import Metrics, meters, tracing
from chassis.settings import KAFKA_REQUEST_TIMEOUT_MS, KafkaSettings, SettingsError
from chassis.store import Store, Transaction, asking
from chassis.store.store import ERRORS

LARGEST_BATCH = 200
LIMIT_PAUSE_SECONDS = 2.0
SESSION = "KAFKA__SESSION_TIMEOUT_SECONDS"
HEARTBEATS_A_SESSION = 4
JOINING_MS = 500
REFUSED_PAUSE_SECONDS = 5.0
TOPICS_PAUSE_SECONDS = 1.0
LOOK_SECONDS = 1.0
RETRY_BACKOFF_MS = 300
"""Pause of aiokafka's retries while no broker answers: three of its loops retry, and each logs every failure."""

W = TypeVar("W")
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Subscription(Generic[W]):
    """A subscription of a service. ``consumer`` names its group and its inbox."""

    consumer: str
    topics: tuple[str, ...]
    open_work: Callable[[Transaction], W]
    prefetch: Callable[[W, Sequence[contracts.Message]], Awaitable[None]]
    handle: Callable[[W, contracts.Message], Awaitable[None]]


class InboxIntake:
    """Claims messages in the inbox; writes dead letters and parks keys in the same transaction.

    Parked keys are handled by the unparker, whose intake has no ``parks``. With ``positions``, the positions move past
    the settled records.
    """

    def __init__(
        self, consumer: str, *, dead_letter_limit: int, parks: bool = True, positions: Positions | None = None
    ) -> None:
        self._consumer = consumer
        self._dead_letter_limit = dead_letter_limit
        self._parks = parks
        self._positions = positions

    async def claim(self, connection: "asyncpg.Connection", items: Sequence[Item]) -> Sequence[Duplicate | Held | None]:
        messages = [message for item in items if (message := item.readable) is not None]
        parked: set[UUID] = set()
        if self._parks:
            keys = list({message.aggregate_id for message in messages})
            parked = await parking.hold(connection, self._consumer, keys)
        # Messages of parked keys are claimed too, so that a message that was handled before is a duplicate. ``settle``
        # may release the claims of all held messages, because all are this transaction's.
        wanted = [message.message_id for message in messages]
        mine = {row["message_id"] for row in await connection.fetch(statements.CLAIM, self._consumer, wanted)}
        claims: list[Duplicate | Held | None] = []
        for item in items:
            message = item.readable
            if message is None:
                claims.append(None)  # for the handler to refuse
            elif message.message_id in mine:
                mine.discard(message.message_id)  # a second copy in the same batch is a duplicate
                claims.append(Held() if parked and message.aggregate_id in parked else None)
            else:
                claims.append(Duplicate())
        return claims

    async def settle(self, transaction: Transaction, items: Sequence[Item], outcomes: Sequence[Outcome[Any]]) -> None:
        released: list[UUID] = []
        dead: list[tuple[Record, UUID | None, BaseException]] = []
        waiting: list[parking.Waiting] = []
        for item, outcome in zip(items, outcomes, strict=True):
            if not isinstance(outcome, Held | Failed):
                continue
            message = item.readable
            if message is not None:
                released.append(message.message_id)
            error = outcome.error if isinstance(outcome, Failed) else None
            if error is not None and not isinstance(error, Transient):
                dead.append((item.record, message.message_id if message is not None else None, error))
            elif message is not None:
                waiting.append(parking.Waiting(message.aggregate_id, message.message_id, item.record, error))
        if released:
            transaction.write(statements.RELEASE, self._consumer, released)
        if dead:
            await dead_letters.keep(transaction, self._consumer, dead, limit=self._dead_letter_limit)
        if waiting and self._parks:
            await parking.park(transaction, self._consumer, waiting)
        if self._positions is not None:
            self._positions.stage(transaction, [item.record for item in items])

    def key(self, item: Item) -> UUID | None:
        message = item.readable
        return message.aggregate_id if message is not None else None

    def traced(self, item: Item) -> AbstractContextManager[None]:
        """The consumer's span in the trace of the record's header."""
        message = item.readable
        if message is None or not tracing.is_on():
            return nullcontext()
        traceparent = item.record.header("traceparent")
        if (unrecorded := tracing.carried(traceparent)) is not None:
            return unrecorded
        attributes = {
            "messaging.system": "kafka",
            "messaging.operation.type": "process",
            "messaging.destination.name": item.record.topic,
            "messaging.consumer.group.name": self._consumer,
            "messaging.message.id": str(message.message_id),
        }
        name = f"process {message.type}"
        return tracing.span(name, tracing.SpanKind.CONSUMER, attributes, traceparent=traceparent)


class Consumer(LoopBase, Generic[W]):
    """Runs one subscription. Several processes of a service share its partitions."""

    def __init__(
        self,
        store: Store,
        kafka: KafkaSettings,
        subscription: Subscription[W],
        *,
        metrics: Metrics,
        dead_letter_limit: int = 100,
    ) -> None:
        super().__init__()
        self._store = store
        self._kafka = kafka
        self._subscription = subscription
        self._metrics = metrics
        self._limit = dead_letter_limit
        self._name = subscription.consumer
        self.stopped_by_limit = False
        self._refusal: str | None = None
        self._positions = Positions(self._name, metrics)
        self._assignment: Assignment | None = None
        self._watch = topics.TopicsWatch(kafka, subscription.topics)

        async def prefetch(work: W, items: Sequence[Item]) -> None:
            await subscription.prefetch(work, [message for item in items if (message := item.readable) is not None])

        async def handle(work: W, item: Item) -> None:
            if isinstance(item.message, contracts.ContractError):
                raise item.message
            await subscription.handle(work, item.message)

        def executor(*, parks: bool) -> BatchExecutor[Item, W, None]:
            positions = self._positions if parks else None
            return BatchExecutor(
                store,
                intake=InboxIntake(self._name, dead_letter_limit=dead_letter_limit, parks=parks, positions=positions),
                open_work=subscription.open_work,
                prefetch=prefetch,
                handle=handle,
            )

        self._executor = executor(parks=True)
        self.unparker = parking.Unparker(store, self._name, executor(parks=False), Item.of, metrics=metrics)

    async def check(self) -> None:
        """For readiness. Raises when the consumer stands still: at its limit of dead letters, or without a topic."""
        if self._refusal is not None:
            raise SettingsError([self._refusal])
        if self.stopped_by_limit:
            raise DeadLetterLimitError(f"{self._name} has {self._limit} open dead letters and has stopped")

    async def run(self) -> None:
        """Consumes until stopped.

        While a topic is missing or has too few partitions, it stands still and logs the reason.
        """
        unparking = asyncio.create_task(self.unparker.run())
        try:
            while not self.stopping:
                try:
                    await self._consume()
                except InvalidSessionTimeoutError:
                    seconds = self._kafka.session_timeout_seconds
                    log.critical("consumer.session-refused", consumer=self._name, seconds=seconds, setting=SESSION)
                    self._refusal = f"{SESSION}: the brokers refuse {seconds:g} s: group.min.session.timeout.ms"
                    await self.pause(REFUSED_PAUSE_SECONDS)
                except topics.TopicsError as error:
                    if self._refusal != str(error):
                        log.critical("consumer.topics", consumer=self._name, reason=str(error))
                    self._refusal = str(error)
                    await self.pause(TOPICS_PAUSE_SECONDS)
                except (KafkaError, OSError) as error:
                    log.warning("consumer.interrupted", consumer=self._name, reason=type(error).__name__)
                    await self.pause(server_pause_seconds(3))
        finally:
            await self._watch.close()
            await self.unparker.stop()
            await unparking

    async def _consume(self) -> None:
        subscription, prefix = self._subscription, self._kafka.topic_prefix
        session_ms = round(self._kafka.session_timeout_seconds * 1000)
        await self._watch.look(afresh=True)
        assignment = Assignment(self._store, self._positions, self._watch)
        broker = KafkaBroker(
            self._kafka.bootstrap_servers.split(","),
            security=_security(self._kafka),
            ack_policy=AckPolicy.MANUAL,
            allow_auto_create_topics=False,
            apply_types=False,  # FastStream's injection costs a turn of a thread for each batch
            request_timeout_ms=request_timeout_ms(session_ms),
            retry_backoff_ms=RETRY_BACKOFF_MS,
            metadata_max_age_ms=topics.METADATA_MAX_AGE_MS,
            graceful_timeout=15.0,
            logger=None,
        )
        subscriber = broker.subscriber(
            *(prefix + name for name in subscription.topics),
            group_id=prefix + subscription.consumer,
            batch=True,
            max_records=LARGEST_BATCH,
            batch_timeout_ms=200,
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=session_ms // HEARTBEATS_A_SESSION,
            auto_offset_reset="earliest",
            ack_policy=AckPolicy.MANUAL,
            listener=assignment,
            no_reply=True,
        )

        async def parse(records: tuple[ConsumerRecord[Any, Any], ...]) -> KafkaAckableMessage:
            return KafkaAckableMessage(body=b"", raw_message=records, headers={}, consumer=subscriber.consumer)

        async def undecoded(message: KafkaAckableMessage) -> KafkaAckableMessage:
            return message

        @subscriber(parser=parse, decoder=undecoded)
        async def on_batch(message: KafkaAckableMessage) -> None:
            # FastStream stores with a message its decoded form, which here is the message itself: a cycle
            message.clear_cache()
            await self._on_batch(message)

        assignment.reading = subscriber
        self._assignment = assignment
        try:
            await broker.start()
            self._refusal = None
            while not self.stopping:
                self._beat_when_alive(subscriber)
                await self._keep_in_place(assignment)
                await self._gauge()
                await self.pause(LOOK_SECONDS, assignment.wake)
        finally:
            await broker.stop()
            self._assignment = None

    async def _keep_in_place(self, assignment: Assignment) -> None:
        """Consumes again within a second after Kafka or the store was away. The client finds its brokers by itself."""
        try:
            with asking():
                assignment.forget_topics(await self._watch.look())
                await assignment.place()
        except (KafkaError, StoreUnavailable) as error:
            log.warning("consumer.not-placed", consumer=self._name, reason=reason_of(error))

    def _beat_when_alive(self, subscriber: Any) -> None:
        """Idle or busy, the consumer makes progress as long as its fetching task lives."""
        if not any(task.done() for task in subscriber.tasks):
            self.beat()

    async def _on_batch(self, message: Any) -> None:
        """Handles the due records of one batch to the end: committed and acknowledged, or given back whole."""
        assignment = self._assignment
        due = message.raw_message if assignment is None else await assignment.take(message.raw_message)
        ids = self._positions.topic_ids
        records = [_record(record, ids.get(record.topic)) for record in due]
        try:
            await self._to_its_end(message, records)
        except BaseException:
            # FastStream goes on with the next records, which must not come before the records given back.
            if assignment is not None:
                assignment.not_handled(records)
            raise

    async def _to_its_end(self, message: Any, records: Sequence[Record]) -> None:
        failures = 0
        while not self.stopping:
            try:
                await self._process_up_to_the_limit(records)
                break
            except StoreUnavailable as error:
                failures += 1
                log.warning("consumer.store-away", consumer=self._name, reason=error.reason)
                await self.pause(server_pause_seconds(failures))
            except DeadLetterLimitError:
                if not self.stopped_by_limit:
                    log.critical("consumer.dead-letter-limit", consumer=self._name, limit=self._limit)
                self.stopped_by_limit = True
                await self.pause(LIMIT_PAUSE_SECONDS)
            except ERRORS as error:
                # FastStream would go on with the next records, and their offsets would cover the records given back.
                failures += 1
                log.exception("consumer.store-refused", consumer=self._name, reason=type(error).__name__)
                await self.pause(server_pause_seconds(failures))
        else:
            await message.nack()
            return
        self.stopped_by_limit = False
        failpoints.hit(failpoints.CONSUMER_AFTER_COMMIT_BEFORE_OFFSETS)
        try:
            await message.ack()
        except KafkaError as error:
            # A rebalance took the partitions. Their new owner reads the records again and the inbox drops the repeats.
            self._metrics.count(meters.OFFSET_COMMITS_FAILED)
            log.warning("consumer.offsets-not-committed", consumer=self._name, reason=type(error).__name__)

    async def _process_up_to_the_limit(self, records: Sequence[Record]) -> None:
        """Runs the records as one batch. If they would exceed the limit of dead letters, one by one up to the limit."""
        try:
            if records:
                await self._process(records)
        except DeadLetterLimitError:
            if len(records) == 1:
                raise
            for record in records:
                await self._process([record])

    async def _process(self, records: Sequence[Record]) -> None:
        """Everything of ``records`` is committed on return: as an effect, a dead letter or a parked message."""
        outcomes = await self._executor.run([Item.of(record) for record in records])
        for word, number in Counter(parking.word_of(outcome) for outcome in outcomes).items():
            self._metrics.count(meters.MESSAGES_CONSUMED, number, consumer=self._name, outcome=word)
        errors = [outcome.error for outcome in outcomes if isinstance(outcome, Failed)]
        passing = [error for error in errors if isinstance(error, Transient)]
        if passing:
            log.info("consumer.parked", consumer=self._name, keys=len(passing), reason=passing[0].reason)
            self.unparker.wake()

    async def _gauge(self) -> None:
        try:
            with asking():
                await revisions.count_gaps(self._store, self._name, self._metrics)
                counts = await self._store.pool.fetchrow(statements.FOR_A_PERSON, self._name)
        except StoreUnavailable:
            return  # readiness reports it
        self._metrics.set(meters.DEAD_LETTERS_OPEN, counts["dead_letters"], consumer=self._name)
        self._metrics.set(meters.MISSED_RECORDS_OPEN, counts["missed_records"], consumer=self._name)
        self._metrics.set(meters.REVISION_GAPS_OPEN, counts["revision_gaps"], consumer=self._name)


def request_timeout_ms(session_ms: int) -> int:
    """A consumer's request timeout: a member that joins a group waits for the session of a vanished member."""
    return max(KAFKA_REQUEST_TIMEOUT_MS, session_ms + JOINING_MS)


def _record(record: "ConsumerRecord[Any, Any]", topic_id: UUID | None) -> Record:
    return Record(
        record.topic,
        record.partition,
        record.offset,
        record.key,
        record.value,
        record.headers,
        record.timestamp,
        topic_id,
    )


def _security(kafka: KafkaSettings) -> BaseSecurity | None:
    context = kafka.ssl_context
    if not kafka.security_protocol.startswith("SASL"):
        return BaseSecurity(ssl_context=context, use_ssl=True) if context is not None else None
    kind = {"PLAIN": SASLPlaintext, "SCRAM-SHA-256": SASLScram256, "SCRAM-SHA-512": SASLScram512}[kafka.sasl_mechanism]
    return kind(
        kafka.sasl_username, kafka.sasl_password.get_secret_value(), ssl_context=context, use_ssl=context is not None
    )
