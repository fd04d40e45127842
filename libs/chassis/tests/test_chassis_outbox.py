"""The relay on the real broker: what was committed reaches Kafka, in order per aggregate, whoever dies."""

import asyncio
import time
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, partitioner
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import NotEnoughReplicasError
from chassis_bench_domain import event, kafka_settings
from structlog.testing import capture_logs

import contracts
from chassis import failpoints
from chassis.errors import Permanent
from chassis.messaging import Relay, outbox, topics
from chassis.messaging import statements as messaging_sql
from chassis.observe import Metrics
from chassis.store import Transaction
from chassis.store.exclusive import STANDBY_SECONDS
from chassis.testing import MACHINE_SECONDS, eventually

pytestmark = pytest.mark.stack
TOPIC = "appointment.scheduled"


async def commit(store, *messages: contracts.Message) -> None:
    async with store.pool.acquire() as connection, connection.transaction():
        transaction = Transaction(connection)
        for message in messages:
            transaction.publish(message)
        await transaction.flush()


@asynccontextmanager
async def relaying(store, bootstrap: str, prefix: str, *, poll_seconds: float = 1.0):
    metrics = Metrics()
    relay = Relay(store, kafka_settings(bootstrap, prefix), metrics, poll_seconds=poll_seconds)
    running = asyncio.create_task(relay.run())
    try:
        yield relay, metrics
    finally:
        await relay.stop()
        await asyncio.wait_for(asyncio.gather(running, return_exceptions=True), 60)


async def on_the_bus(bootstrap: str, prefix: str, number: int) -> list[contracts.Message]:
    """The first ``number`` messages of the topic, per partition in order."""
    consumer = AIOKafkaConsumer(prefix + TOPIC, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    found = []
    try:
        async with asyncio.timeout(60):
            while len(found) < number:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += [contracts.parse(record.value) for record in records]
    finally:
        await consumer.stop()
    return found


@pytest.fixture
async def prefix(kafka_bootstrap, topic_prefix) -> str:
    await topics.ensure({"bootstrap_servers": kafka_bootstrap}, prefix=topic_prefix)
    return topic_prefix


async def all_marked(store) -> bool:
    return await store.pool.fetchval("SELECT count(*) FROM outbox WHERE sent_at IS NULL") == 0


async def test_everything_committed_is_on_the_bus_in_order_per_key(store, kafka_bootstrap, prefix) -> None:
    keys = [uuid4() for _ in range(20)]
    for revision in range(1, 31):
        await commit(store, *(event(key, revision) for key in keys))
    async with relaying(store, kafka_bootstrap, prefix) as (_, metrics):
        await eventually(lambda: all_marked(store), what="all rows marked")
        assert metrics.value("messages_published_total") == 600
    by_key: dict = {}
    for message in await on_the_bus(kafka_bootstrap, prefix, 600):
        by_key.setdefault(message.aggregate_id, []).append(message.revision)
    assert by_key == {key: list(range(1, 31)) for key in keys}


async def test_a_backlog_of_many_turns_is_sent_once_and_in_order(store, kafka_bootstrap, prefix) -> None:
    keys = [uuid4() for _ in range(250)]
    for revision in range(1, 11):
        await commit(store, *(event(key, revision) for key in keys))
    async with relaying(store, kafka_bootstrap, prefix):
        await eventually(lambda: all_marked(store), what="all rows marked")
    by_key: dict = {}
    for message in await on_the_bus(kafka_bootstrap, prefix, 2500):
        by_key.setdefault(message.aggregate_id, []).append(message.revision)
    assert by_key == {key: list(range(1, 11)) for key in keys}


async def test_the_relay_reads_ahead_only_while_nothing_before_was_committed_late(store, kafka_bootstrap) -> None:
    late, relay = uuid4(), Relay(store, kafka_settings(kafka_bootstrap, ""), Metrics())
    async with store.pool.acquire() as connection, connection.transaction():
        transaction = Transaction(connection)
        transaction.publish(event(late, 1))
        await transaction.flush()  # the first id, committed last
        await commit(store, *(event(uuid4(), 1) for _ in range(outbox.BATCH_ROWS + 1)))
        async with store.pool.acquire() as relaying:
            turn = await relaying.fetch(messaging_sql.UNSENT, 0)
            assert len(await relay._following(relaying, turn)) == 1
    await commit(store, event(late, 2))
    async with store.pool.acquire() as relaying:
        assert await relay._following(relaying, turn) == []
        await relaying.execute(messaging_sql.MARK_SENT, [row["id"] for row in turn])
        keys = [row["key"] for row in await relaying.fetch(messaging_sql.UNSENT, 0)]
    assert [number for number, key in enumerate(keys) if key == str(late).encode()] == [0, 2]


def test_keys_are_hashed_as_every_producer_hashes_them() -> None:
    keys = [str(uuid4()).encode() for _ in range(1000)]
    assert [outbox.murmur2(key) for key in keys] == [partitioner.murmur2(key) for key in keys]


async def test_a_commit_wakes_the_relay_long_before_its_poll(store, kafka_bootstrap, prefix) -> None:
    async with relaying(store, kafka_bootstrap, prefix, poll_seconds=300) as (relay, _):

        async def is_active() -> bool:
            return relay.active

        await eventually(is_active, what="an active relay")
        for _ in range(2):  # the second finds it at rest, whatever the first did
            await commit(store, event(uuid4(), 1))
            await eventually(lambda: all_marked(store), what="the row")


async def test_the_standby_takes_over_within_five_seconds(store, kafka_bootstrap, prefix) -> None:
    async with (
        relaying(store, kafka_bootstrap, prefix) as (first, _),
        relaying(store, kafka_bootstrap, prefix) as (second, _),
    ):

        async def one_is_active() -> bool:
            return first.active or second.active

        await eventually(one_is_active, what="an active relay")
        assert not (first.active and second.active)
        holder = """
        SELECT pid FROM pg_locks JOIN pg_database ON pg_database.oid = database
        WHERE locktype = 'advisory' AND granted AND datname = current_database()
        """
        await store.pool.fetchval("SELECT pg_terminate_backend($1)", await store.pool.fetchval(holder))
        started = time.monotonic()
        await commit(store, event(uuid4(), 1))
        await eventually(lambda: all_marked(store), what="the row, by whoever holds the lock now")
        assert time.monotonic() - started < 5 + MACHINE_SECONDS
    assert STANDBY_SECONDS < 5


async def test_a_death_between_send_and_mark_sends_again_and_loses_nothing(store, kafka_bootstrap, prefix) -> None:
    sent = [event(uuid4(), 1) for _ in range(5)]
    await commit(store, *sent)
    for _ in range(3):
        failpoints.arm("relay.after-send-before-mark=raise")
        relay = Relay(store, kafka_settings(kafka_bootstrap, prefix), Metrics())
        with pytest.raises(failpoints.FailPoint):
            await relay.run()
        failpoints.arm("")
        assert not await all_marked(store)
    async with relaying(store, kafka_bootstrap, prefix):
        await eventually(lambda: all_marked(store), what="all rows marked")
    found = await on_the_bus(kafka_bootstrap, prefix, 20)
    assert {message.message_id for message in found} == {message.message_id for message in sent}
    assert len(found) == 20, "four times each: the inbox is what drops the repeats"


async def test_while_kafka_is_away_rows_wait_and_the_gauge_says_how_long(store) -> None:
    await commit(store, event(uuid4(), 1))
    await store.pool.execute("UPDATE outbox SET created_at = created_at - interval '90 seconds'")
    async with relaying(store, "127.0.0.1:1", "nobody.") as (relay, metrics):

        async def is_told() -> bool:
            return metrics.value("outbox_oldest_unsent_age_seconds") >= 90

        await eventually(is_told, what="the age of the oldest unsent row")
        assert metrics.value("outbox_unsent") == 1
        assert not relay.active


def large_event(key, revision: int) -> contracts.Message:
    """About a third of what a Kafka batch holds."""
    message = event(key, revision)
    study = contracts.Study(code="CT-HEAD", description="x" * 150_000)
    return message.model_copy(update={"data": message.data.model_copy(update={"studies": (study,)})})


async def test_of_a_partition_one_batch_is_on_its_way_so_that_none_overtakes_a_failed_one(
    store, kafka_bootstrap, prefix, monkeypatch
) -> None:
    key, handed = uuid4(), []
    send_batch = AIOKafkaProducer.send_batch

    async def fails_the_first(self, builder, topic, *, partition):
        handed.append(builder.record_count())
        if len(handed) > 1:
            return await send_batch(self, builder, topic, partition=partition)
        refused = asyncio.get_running_loop().create_future()
        refused.set_exception(NotEnoughReplicasError())
        return refused

    monkeypatch.setattr(AIOKafkaProducer, "send_batch", fails_the_first)
    await commit(store, *(large_event(key, revision) for revision in range(1, 10)))
    async with relaying(store, kafka_bootstrap, prefix):
        await eventually(lambda: all_marked(store), what="all rows marked")
    assert handed == [3, 3, 3, 3]
    assert [message.revision for message in await on_the_bus(kafka_bootstrap, prefix, 9)] == list(range(1, 10))


async def test_an_event_that_no_batch_can_hold_is_refused_where_it_is_made(store) -> None:
    message = event(uuid4(), 1)
    study = contracts.Study(code="CT-HEAD", description="x" * 300_000)
    too_large = message.model_copy(update={"data": message.data.model_copy(update={"studies": (study,)})})
    with pytest.raises(Permanent, match=r"appointment.scheduled: \d+ bytes are more than the 262144 of an event"):
        await commit(store, too_large)


async def test_a_topic_that_is_missing_is_named_and_its_events_leave_once_it_is_there(
    store, kafka_bootstrap, topic_prefix
) -> None:
    key = uuid4()
    await commit(store, event(key, 1), event(key, 2))
    with capture_logs() as logs:
        async with relaying(store, kafka_bootstrap, topic_prefix):

            async def says_so() -> bool:
                return any(one["event"] == "relay.topic-missing" for one in logs)

            await eventually(says_so, what="the missing topic's name")
            await topics.ensure({"bootstrap_servers": kafka_bootstrap}, prefix=topic_prefix)
            await eventually(lambda: all_marked(store), what="the rows", timeout_seconds=10 + MACHINE_SECONDS)
    (said,) = [one for one in logs if one["event"] == "relay.topic-missing"]
    assert f"{topic_prefix}{TOPIC} is missing" in said["reason"]
    assert [message.revision for message in await on_the_bus(kafka_bootstrap, topic_prefix, 2)] == [1, 2]


@pytest.mark.parametrize("rows_between", [False, True], ids=["nothing in between", "rows in between"])
async def test_a_topic_that_is_made_anew_under_the_relay_gets_its_events_within_ten_seconds(
    store, kafka_bootstrap, prefix, rows_between
) -> None:
    key = uuid4()
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    await admin.start()
    async with relaying(store, kafka_bootstrap, prefix):
        await commit(store, *(event(key, revision) for revision in range(1, 6)))
        await eventually(lambda: all_marked(store), what="the first rows")
        await admin.delete_topics([prefix + TOPIC])

        async def is_gone() -> bool:
            return prefix + TOPIC not in await admin.list_topics()

        await eventually(is_gone, what="the end of the topic")
        if rows_between:
            await commit(store, event(key, 6), event(key, 7))
        await topics.ensure({"bootstrap_servers": kafka_bootstrap}, prefix=prefix)
        if not rows_between:
            await commit(store, event(key, 6), event(key, 7))
        await eventually(lambda: all_marked(store), what="the rows", timeout_seconds=10 + MACHINE_SECONDS)
    await admin.close()
    assert [message.revision for message in await on_the_bus(kafka_bootstrap, prefix, 2)] == [6, 7]
