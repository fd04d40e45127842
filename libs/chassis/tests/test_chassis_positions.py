"""Kafka restored, recreated, or too short of memory; the store set back: no record is passed over without a word."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from chassis_bench_domain import Behaviour, applied, event, kafka_settings
from structlog.testing import capture_logs

from chassis.messaging import Consumer, Record, Subscription, dead_letters, missed, positions
from chassis.messaging.positions import Log, Placement, Position, place
from chassis.observe import Metrics
from chassis.settings import SettingsError
from chassis.store import Transaction
from chassis.testing import MACHINE_SECONDS, eventually
from contracts.topics import TOPICS

TOPIC = "appointment.scheduled"
ONE, OTHER = UUID(int=1), UUID(int=2)
NOW = datetime(2026, 11, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("position", "kafka", "expected"),
    [
        pytest.param(None, Log(ONE, 7, 9), Placement(7), id="nothing known"),
        pytest.param(Position(ONE, 5, b"r", NOW), Log(ONE, 0, 9), Placement(4, b"r"), id="goes on"),
        pytest.param(Position(ONE, 5, None, NOW), Log(ONE, 0, 9), Placement(5), id="goes on without a record before"),
        pytest.param(Position(ONE, 9, b"r", NOW), Log(ONE, 0, 9), Placement(8, b"r"), id="all read"),
        pytest.param(Position(ONE, 5, b"r", NOW), Log(ONE, 5, 9), Placement(5), id="what was read has expired"),
        pytest.param(Position(ONE, 5, b"r", NOW), Log(ONE, 6, 9), Placement(6, missed="expired"), id="one is missed"),
        pytest.param(Position(ONE, 9, b"r", NOW), Log(ONE, 2, 8), Placement(2, missed="set-back"), id="set back"),
        pytest.param(Position(ONE, 5, b"r", NOW), Log(OTHER, 0, 9), Placement(0, missed="made-anew"), id="made anew"),
        pytest.param(Position(ONE, 5, b"r", NOW), Log(OTHER, 0, 2), Placement(0, missed="made-anew"), id="anew, short"),
    ],
)
def test_where_to_read_on(position: Position | None, kafka: Log, expected: Placement) -> None:
    assert place(position, kafka) == expected


def test_the_same_event_sent_again_is_another_record() -> None:
    assert positions.fingerprint(1, b"event") == positions.fingerprint(1, b"event")
    assert positions.fingerprint(1, b"event") != positions.fingerprint(2, b"event")
    assert positions.fingerprint(1, b"event") != positions.fingerprint(1, b"other")
    assert positions.fingerprint(-1, None) == positions.fingerprint(-1, b"")


# ---- on a real broker


class Kafka:
    """One partition of one topic, so that offsets can be told; and what an administrator does to it."""

    def __init__(self, bootstrap: str, prefix: str, admin: AIOKafkaAdminClient, producer: AIOKafkaProducer) -> None:
        self.bootstrap = bootstrap
        self.prefix = prefix
        self.topic = prefix + TOPIC
        self._admin = admin
        self._producer = producer

    async def make(self) -> None:
        async def made() -> bool:
            answer = await self._admin.create_topics([NewTopic(self.topic, TOPICS[TOPIC].partitions, 1)])
            return not any(code for _, code, *_ in answer.topic_errors)

        await eventually(made, what="the topic")

    async def delete(self) -> None:
        await self._admin.delete_topics([self.topic])

        async def is_gone() -> bool:
            return self.topic not in await self._admin.list_topics()

        await eventually(is_gone, what="the end of the topic")

    async def expire(self, before: int) -> None:
        await self._admin.delete_records({TopicPartition(self.topic, 0): RecordsToDelete(before)})

    async def set_group(self, offset: int) -> None:
        """As a Kafka that lost the group's offsets, or that has those of another day."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap, group_id=self.prefix + "test", enable_auto_commit=False
        )
        await consumer.start()
        consumer.assign([TopicPartition(self.topic, 0)])
        await consumer.commit({TopicPartition(self.topic, 0): offset})
        await consumer.stop()

    async def send_poison(self, value: bytes) -> None:
        await self._producer.send_and_wait(self.topic, value, partition=0)

    async def send(self, *keys: UUID) -> None:
        """One event of revision 1 for each, all into partition 0."""
        for key in keys:
            await self._producer.send_and_wait(self.topic, event(key, 1).to_bytes(), key=str(key).encode(), partition=0)


@pytest.fixture
async def kafka(kafka_bootstrap, topic_prefix) -> AsyncIterator[Kafka]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    await admin.start()
    async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, metadata_max_age_ms=500) as producer:
        broker = Kafka(kafka_bootstrap, topic_prefix, admin, producer)
        await broker.make()
        yield broker
    await admin.close()


@asynccontextmanager
async def consuming(store, kafka: Kafka, behaviour: Behaviour) -> AsyncIterator[Consumer]:
    subscription = Subscription("test", (TOPIC,), behaviour.open_work, behaviour.prefetch, behaviour.handle)
    consumer = Consumer(store, kafka_settings(kafka.bootstrap, kafka.prefix), subscription, metrics=Metrics())
    running = asyncio.create_task(consumer.run())
    try:
        yield consumer
    finally:
        await consumer.stop()
        await asyncio.wait_for(running, 60)


async def consumed(store, kafka: Kafka, keys: list[UUID], *, seconds: float = 60) -> Behaviour:
    """What a consumer's life handled until all of ``keys`` had their effect."""
    behaviour = Behaviour()
    async with consuming(store, kafka, behaviour):
        await eventually(has(store, keys), what="the effects", timeout_seconds=seconds)
    return behaviour


def has(store, keys: list[UUID]) -> Callable[[], Awaitable[bool]]:
    async def condition() -> bool:
        return await applied(store) == {key: [1] for key in keys}

    return condition


def some(number: int) -> list[UUID]:
    return [uuid4() for _ in range(number)]


@pytest.mark.stack
async def test_a_store_set_back_reads_again_what_it_lacks(store, kafka) -> None:
    early, late = some(3), some(4)
    await kafka.send(*early)
    await consumed(store, kafka, early)
    tables = ("things", "inbox", "consumer_positions")
    for table in tables:
        await store.pool.execute(f"CREATE TABLE kept_{table} AS SELECT * FROM {table}")
    await kafka.send(*late)
    await consumed(store, kafka, early + late)
    for table in tables:  # as a restored backup
        await store.pool.execute(f"TRUNCATE {table}; INSERT INTO {table} SELECT * FROM kept_{table}")
    await store.pool.execute("TRUNCATE outbox, deliveries")
    again = await consumed(store, kafka, early + late)
    assert sorted(key for key, _ in again.seen) == sorted(late)
    assert await missed.list_missed(store) == []


@pytest.mark.stack
async def test_a_new_store_reads_all_that_kafka_holds_whatever_the_group_says(store, kafka) -> None:
    keys = some(5)
    await kafka.send(*keys)
    await consumed(store, kafka, keys)
    for table in ("things", "inbox", "consumer_positions", "outbox", "deliveries"):
        await store.pool.execute(f"TRUNCATE {table}")
    await consumed(store, kafka, keys)


@pytest.mark.stack
@pytest.mark.parametrize("offset", [0, 4, 5], ids=["lost", "ahead", "at the end"])
async def test_the_groups_offsets_neither_skip_nor_repeat_anything(store, kafka, offset) -> None:
    early, late = some(3), some(2)
    await kafka.send(*early)
    await consumed(store, kafka, early)
    await kafka.send(*late)
    await kafka.set_group(offset)
    async with consuming(store, kafka, Behaviour()) as consumer:
        await eventually(has(store, early + late), what="the effects")
        again = consumer._metrics.value("messages_consumed_total", consumer="test", outcome="duplicate")
    assert again == 0, "nothing that the store knows was read again"


@pytest.mark.stack
async def test_records_that_expired_before_they_were_read_are_said_and_counted(store, kafka) -> None:
    early, lost, late = some(2), some(3), some(2)
    await kafka.send(*early)
    await consumed(store, kafka, early)
    await kafka.send(*lost)
    await kafka.send(*late)
    await kafka.expire(5)
    with capture_logs() as logs:
        async with consuming(store, kafka, Behaviour()) as consumer:
            await eventually(has(store, early + late), what="what is still there")

            async def alarmed() -> bool:
                return consumer._metrics.value("missed_records_open", consumer="test") == 1

            await eventually(alarmed, what="the alarm's gauge")
            assert consumer._metrics.value("records_missed_total", consumer="test", topic=kafka.topic) == 3
            (gap,) = await missed.list_missed(store)
            assert (gap.kind, gap.first, gap.number) == ("expired", 2, 3)
            assert await missed.acknowledge_one(store, gap.id, actor="tester")
            assert not await missed.acknowledge_one(store, gap.id, actor="tester")

            async def silent() -> bool:
                return consumer._metrics.value("missed_records_open", consumer="test") == 0

            await eventually(silent, what="the end of the alarm")
    assert [one["log_level"] for one in logs if one["event"] == "consumer.missed-records"] == ["critical"]
    assert await consumed(store, kafka, early + late)
    assert await missed.list_missed(store) == [], "said once"


@pytest.mark.stack
async def test_records_that_expire_under_a_running_consumer_are_said(store, kafka) -> None:
    early, lost, late = some(2), some(3), some(2)
    await kafka.send(*early)
    behaviour = Behaviour()
    async with consuming(store, kafka, behaviour):
        await eventually(has(store, early), what="the first")
        behaviour.store_away = True  # it stands still with a batch in its hand
        await kafka.send(lost[0])
        await asyncio.wait_for(behaviour.met.wait(), 60)
        await kafka.send(*lost[1:])
        await kafka.send(*late)
        await kafka.expire(5)
        behaviour.store_away = False

        async def late_ones_came() -> bool:
            return set(late) <= (await applied(store)).keys()

        await eventually(late_ones_came, what="what is still there")
    gaps = await missed.list_missed(store)
    fetched = gaps[0].first - 2 if gaps else len(lost)  # the client may have fetched some ahead of their expiry, or all
    assert [(gap.kind, gap.first + gap.number) for gap in gaps] == ([] if fetched == len(lost) else [("expired", 5)])
    assert await has(store, [*early, *lost[:fetched], *late])()


@pytest.mark.stack
@pytest.mark.parametrize("later", [1, 6], ids=["fewer than before", "more than before"])
async def test_a_topic_made_anew_while_the_consumer_was_down_is_read_from_its_beginning(store, kafka, later) -> None:
    early, late = some(3), some(later)
    await kafka.send(*early)
    await consumed(store, kafka, early)
    await kafka.delete()
    await kafka.make()
    await kafka.send(*late)
    await consumed(store, kafka, early + late)
    assert [one.kind for one in await missed.list_missed(store)] == ["made-anew"]


@pytest.mark.stack
@pytest.mark.parametrize("later", [1, 6], ids=["fewer than before", "more than before"])
async def test_a_topic_made_anew_under_a_running_consumer_is_read_within_ten_seconds(store, kafka, later) -> None:
    early, late = some(3), some(later)
    await kafka.send(*early)
    async with consuming(store, kafka, Behaviour()) as consumer:
        await eventually(has(store, early), what="the first")
        await kafka.delete()

        async def says_so() -> bool:
            try:
                await consumer.check()
            except SettingsError as error:
                return str(error) == f"topic {kafka.topic} is missing: run the service's topics command"
            return False

        await eventually(says_so, what="readiness that names the topic")
        await kafka.make()
        await kafka.send(*late)
        await eventually(
            has(store, early + late), what="what the new topic holds", timeout_seconds=10 + MACHINE_SECONDS
        )
        await consumer.check()
    assert [one.kind for one in await missed.list_missed(store)] == ["made-anew"]


@pytest.mark.stack
async def test_a_topic_that_is_gone_for_a_moment_only_is_read_from_its_beginning(store, kafka) -> None:
    """The new one has passed the old one's offsets before anybody has looked."""
    early, late = some(3), some(40)
    await kafka.send(*early)
    async with consuming(store, kafka, Behaviour()):
        await eventually(has(store, early), what="the first")
        await kafka.delete()
        await kafka.make()
        await kafka.send(*late)
        await eventually(has(store, early + late), what="what the new topic holds")
    assert [one.kind for one in await missed.list_missed(store)] == ["made-anew"]


@pytest.mark.stack
@pytest.mark.parametrize("what", ["its end lies before", "another record stands there"])
async def test_a_kafka_that_was_set_back_is_read_from_its_beginning(store, kafka, what) -> None:
    known, unknown = some(3), some(1)
    await kafka.send(*known)
    await consumed(store, kafka, known)
    # What the store knows is ahead of Kafka's log, or of another one than Kafka's.
    change = "next_offset = 100" if what == "its end lies before" else r"last_record = '\x00'"
    await store.pool.execute(f"UPDATE consumer_positions SET {change}")
    await kafka.send(*unknown)
    await consumed(store, kafka, known + unknown)
    assert [one.kind for one in await missed.list_missed(store)] == ["set-back"]


@pytest.mark.stack
async def test_a_late_batch_of_a_former_owner_moves_no_position_back(store) -> None:
    one = positions.Positions("test", Metrics())

    async def handled(*offsets: int, topic_id: UUID | None = ONE) -> None:
        async with store.pool.acquire() as connection, connection.transaction():
            transaction = Transaction(connection)
            one.stage(transaction, [Record("t", 0, offset, None, b"v", [], 1, topic_id) for offset in offsets])
            await transaction.flush()

    await handled(1, 2, 9)
    await handled(3, 4)
    assert await store.pool.fetchval("SELECT next_offset FROM consumer_positions") == 10
    await handled(50, topic_id=None)
    assert await store.pool.fetchval("SELECT next_offset FROM consumer_positions") == 10
    await handled(0, topic_id=OTHER)
    assert await store.pool.fetchval("SELECT next_offset FROM consumer_positions") == 1


async def letters(store) -> list[tuple[str, bytes]]:
    rows = await store.pool.fetch("SELECT state, value FROM dead_letters ORDER BY created_at, id")
    return [(row["state"], row["value"]) for row in rows]


@pytest.mark.stack
async def test_what_is_read_once_more_gets_no_second_letter_and_what_was_dropped_stays_so(store, kafka) -> None:
    good, bad, dropped = some(1), some(1), some(1)
    await kafka.send(*bad, *dropped)
    await kafka.send_poison(b"no message")
    await kafka.send_poison(b"none either")
    await kafka.send(*good)
    async with consuming(store, kafka, Behaviour(permanent={*bad, *dropped})):
        await eventually(has(store, good), what="the good one")
    open_ones = await store.pool.fetch("SELECT id FROM dead_letters ORDER BY kafka_offset")
    for row in open_ones[1:3]:
        assert await dead_letters.drop_dead_letter(store, row["id"], actor="tester")
    before = sorted(await letters(store))
    assert [state for state, _ in before] == ["dropped", "dropped", "open", "open"]
    await store.pool.execute("TRUNCATE consumer_positions")  # as one that comes from a release without them
    last = some(1)
    await kafka.send(*last)
    again = await consumed(store, kafka, good + last)  # by handlers that would take all of them
    assert [key for key, _ in again.seen] == last
    assert sorted(await letters(store)) == before


@pytest.mark.stack
async def test_poison_from_the_place_of_a_former_topics_letter_is_kept_too(store, kafka) -> None:
    await kafka.send_poison(b"former")
    good = some(2)
    await kafka.send(good[0])
    await consumed(store, kafka, good[:1])
    await kafka.delete()
    await kafka.make()
    await kafka.send_poison(b"later")
    await kafka.send(good[1])
    await consumed(store, kafka, good)
    assert await letters(store) == [("open", b"former"), ("open", b"later")]
    for letter in await dead_letters.list_dead_letters(store):
        assert await dead_letters.replay_dead_letter(store, letter.id, actor="tester")
    async with consuming(store, kafka, Behaviour()):

        async def both_came_back() -> bool:
            found = await letters(store)
            return sorted(one for one in found if one[0] == "open") == [("open", b"former"), ("open", b"later")]

        await eventually(both_came_back, what="both letters, which no handler can read")
