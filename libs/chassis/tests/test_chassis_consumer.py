"""Kafka in, on the real broker: every record ends as an effect, a dead letter or a parked message, and only once."""

import asyncio
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from chassis_bench_domain import Behaviour, applied, event, kafka_settings
from faststream.kafka.message import KafkaAckableMessage
from structlog.testing import capture_logs

import contracts
from chassis import failpoints
from chassis.messaging import Consumer, Subscription, dead_letters, parking, topics
from chassis.observe import Metrics
from chassis.settings import SettingsError
from chassis.testing import eventually

pytestmark = pytest.mark.stack
TOPIC = "appointment.scheduled"
PROCESS = Path(__file__).with_name("chassis_consumer_process.py")


@pytest.fixture
async def producer(kafka_bootstrap, topic_prefix) -> AsyncIterator[AIOKafkaProducer]:
    await topics.ensure({"bootstrap_servers": kafka_bootstrap}, prefix=topic_prefix)
    async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap) as running:
        yield running


async def send(producer, prefix: str, *messages: contracts.Message) -> None:
    for message in messages:
        headers = [(name, value.encode()) for name, value in contracts.headers(message).items()]
        await producer.send_and_wait(prefix + message.type, message.to_bytes(), key=message.key(), headers=headers)


@asynccontextmanager
async def consuming(
    store, bootstrap: str, prefix: str, behaviour: Behaviour, *, limit: int = 100, **settings: float
) -> AsyncIterator[Consumer]:
    subscription = Subscription("test", (TOPIC,), behaviour.open_work, behaviour.prefetch, behaviour.handle)
    kafka = kafka_settings(bootstrap, prefix).model_copy(update=settings)
    consumer = Consumer(store, kafka, subscription, metrics=Metrics(), dead_letter_limit=limit)
    running = asyncio.create_task(consumer.run())
    try:
        yield consumer
    finally:
        await consumer.stop()
        await asyncio.wait_for(running, 60)


def has(store, wanted: dict[UUID, list[int]]):
    async def condition() -> bool:
        return await applied(store) == wanted

    return eventually(condition, what="the effects of all messages")


async def committed(bootstrap: str, prefix: str) -> int:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets(prefix + "test")
    finally:
        await admin.close()
    return sum(offset.offset for offset in offsets.values() if offset.offset > 0)


async def test_messages_that_were_there_first_are_handled_in_order_and_once(
    store, producer, kafka_bootstrap, topic_prefix
) -> None:
    keys = [uuid4() for _ in range(10)]
    sent = [event(key, revision) for revision in range(1, 6) for key in keys]
    await send(producer, topic_prefix, *sent, *sent[:20])  # twenty come twice
    behaviour = Behaviour()
    async with consuming(store, kafka_bootstrap, topic_prefix, behaviour):
        await has(store, {key: [1, 2, 3, 4, 5] for key in keys})

        async def all_committed() -> bool:
            return await committed(kafka_bootstrap, topic_prefix) == 70

        await eventually(all_committed, what="offsets moved past every record")
    assert len(behaviour.seen) == 50


async def test_a_batch_of_records_is_in_no_cycle(
    store, producer, kafka_bootstrap, topic_prefix, left_in_cycles
) -> None:
    key = uuid4()
    async with consuming(store, kafka_bootstrap, topic_prefix, Behaviour()):
        for revision in (1, 2, 3):
            await send(producer, topic_prefix, event(key, revision))
            await has(store, {key: list(range(1, revision + 1))})
    assert left_in_cycles(KafkaAckableMessage) == []


async def test_poison_of_each_kind_is_kept_with_its_reason_and_others_flow(
    store, producer, kafka_bootstrap, topic_prefix
) -> None:
    permanent, bug, good = event(uuid4(), 1), event(uuid4(), 1), event(uuid4(), 1)
    topic = topic_prefix + TOPIC
    await send(producer, topic_prefix, permanent, bug)
    await producer.send_and_wait(topic, b"not json", key=b"k")
    await producer.send_and_wait(topic, b"", key=b"k")
    await producer.send_and_wait(topic, None, key=b"k")
    await producer.send_and_wait(topic, b'{"type": "unknown.thing", "version": 1}', key=b"k")
    odd = event(uuid4(), 1)
    await producer.send_and_wait(topic, odd.to_bytes(), key=odd.key(), headers=[("odd", b"\xff\xfe\x00")])
    await send(producer, topic_prefix, good)
    behaviour = Behaviour(permanent={permanent.aggregate_id}, bug={bug.aggregate_id})
    async with consuming(store, kafka_bootstrap, topic_prefix, behaviour):
        await has(store, {good.aggregate_id: [1], odd.aggregate_id: [1]})

        async def all_kept() -> bool:
            return len(await dead_letters.list_dead_letters(store)) == 6

        await eventually(all_kept, what="six dead letters")
    rows = await store.pool.fetch("SELECT kind, value FROM dead_letters")
    assert sorted(row["kind"] for row in rows) == ["bug", "permanent", *["undecodable"] * 4]
    assert b"not json" in [row["value"] for row in rows]


async def test_a_key_parks_while_others_flow_and_goes_on_in_order(
    store, producer, kafka_bootstrap, topic_prefix
) -> None:
    sick, well = uuid4(), uuid4()
    # Nothing but the release makes the key due: a try by itself would unpark it before the release.
    behaviour = Behaviour(transient={sick: 1_000_000}, retry_after_seconds=3600)
    async with consuming(store, kafka_bootstrap, topic_prefix, behaviour):
        await send(producer, topic_prefix, event(sick, 1), event(well, 1))

        async def is_parked() -> bool:
            return [row.key for row in await parking.list_parked(store)] == [sick]

        await eventually(is_parked, what="the parked key")
        await send(producer, topic_prefix, event(sick, 2), event(well, 2), event(sick, 3))
        await has(store, {well: [1, 2]})

        async def three_wait() -> bool:
            rows = await parking.list_parked(store)
            return bool(rows) and rows[0].waiting == 3

        await eventually(three_wait, what="three parked messages")
        behaviour.transient[sick] = 0
        assert await parking.release(store, "test", sick, actor="tester")
        await has(store, {well: [1, 2], sick: [1, 2, 3]})
        await send(producer, topic_prefix, event(sick, 4))
        await has(store, {well: [1, 2], sick: [1, 2, 3, 4]})
    assert await store.pool.fetchval("SELECT count(*) FROM parked_messages") == 0
    assert await store.pool.fetchval("SELECT action FROM operator_audit") == "parked.release"


async def test_a_mended_dead_letter_is_replayed_once(store, producer, kafka_bootstrap, topic_prefix) -> None:
    message = event(uuid4(), 1)
    behaviour = Behaviour(permanent={message.aggregate_id})
    async with consuming(store, kafka_bootstrap, topic_prefix, behaviour):
        await send(producer, topic_prefix, message)

        async def kept() -> list:
            return await dead_letters.list_dead_letters(store)

        (letter,) = await eventually(kept, what="the dead letter")
        behaviour.permanent.clear()
        assert await dead_letters.replay_dead_letter(store, letter.id, actor="tester")
        await has(store, {message.aggregate_id: [1]})
        assert not await dead_letters.replay_dead_letter(store, letter.id, actor="tester")


async def test_at_the_limit_the_consumer_stops_and_drops_nothing(
    store, producer, kafka_bootstrap, topic_prefix
) -> None:
    bad = [event(uuid4(), 1) for _ in range(3)]
    behaviour = Behaviour(permanent={message.aggregate_id for message in bad})
    async with consuming(store, kafka_bootstrap, topic_prefix, behaviour, limit=2) as consumer:
        for message in bad:
            await send(producer, topic_prefix, message)

        async def has_stopped() -> bool:
            return consumer.stopped_by_limit

        await eventually(has_stopped, what="the stop at the limit")
        with pytest.raises(dead_letters.DeadLetterLimitError):
            await consumer.check()
        letters = await dead_letters.list_dead_letters(store)
        assert len(letters) == 2
        assert await dead_letters.drop_dead_letter(store, letters[0].id, actor="tester")

        async def third_is_kept() -> bool:
            return await store.pool.fetchval("SELECT count(*) FROM dead_letters") == 3

        await eventually(third_is_kept, what="the third letter, after one was dropped")


async def test_while_the_store_is_away_nothing_is_acknowledged_and_nothing_lost(
    store, producer, kafka_bootstrap, topic_prefix
) -> None:
    behaviour = Behaviour(store_away=True)
    messages = [event(uuid4(), 1) for _ in range(5)]
    async with consuming(store, kafka_bootstrap, topic_prefix, behaviour):
        await send(producer, topic_prefix, *messages)
    assert await committed(kafka_bootstrap, topic_prefix) == 0
    assert await store.pool.fetchval("SELECT count(*) FROM dead_letters") == 0
    behaviour.store_away = False
    async with consuming(store, kafka_bootstrap, topic_prefix, behaviour):
        await has(store, {message.aggregate_id: [1] for message in messages})


async def test_a_death_between_commit_and_offsets_repeats_nothing(
    store, producer, kafka_bootstrap, topic_prefix
) -> None:
    messages = [event(uuid4(), 1) for _ in range(12)]
    await send(producer, topic_prefix, *messages)
    failpoints.arm("consumer.after-commit-before-offsets=raise")
    subscription_behaviour = Behaviour()
    async with consuming(store, kafka_bootstrap, topic_prefix, subscription_behaviour):
        await has(store, {message.aggregate_id: [1] for message in messages})
    assert await committed(kafka_bootstrap, topic_prefix) == 0
    failpoints.arm("")
    later = Behaviour()
    last = event(uuid4(), 1)
    async with consuming(store, kafka_bootstrap, topic_prefix, later):
        await send(producer, topic_prefix, last)
        await has(store, {message.aggregate_id: [1] for message in [*messages, last]})
    assert later.seen == [(last.aggregate_id, 1)]


async def test_a_topic_that_a_broker_made_by_itself_is_refused(store, kafka_bootstrap, topic_prefix) -> None:
    connection = {"bootstrap_servers": kafka_bootstrap}
    with pytest.raises(topics.TopicsError, match=r"appointment\.scheduled is missing"):
        await topics.verify(connection, [TOPIC], prefix=topic_prefix)
    admin = AIOKafkaAdminClient(**connection)
    await admin.start()
    await admin.create_topics([NewTopic(topic_prefix + TOPIC, 1, 1)])
    await admin.close()

    async def is_refused() -> bool:
        try:
            await topics.verify(connection, [TOPIC], prefix=topic_prefix)
        except topics.TopicsError as error:  # at first the broker has not heard of the topic
            return "has 1 partitions" in str(error)
        return False

    await eventually(is_refused, what="the refusal of one partition")


async def test_a_session_that_the_brokers_refuse_is_named_with_its_setting(
    store, producer, kafka_bootstrap, topic_prefix
) -> None:
    too_short = {"session_timeout_seconds": 1.5}
    with capture_logs() as logs:
        async with consuming(store, kafka_bootstrap, topic_prefix, Behaviour(), **too_short) as consumer:

            async def says_so() -> bool:
                try:
                    await consumer.check()
                except SettingsError as error:
                    return str(error).startswith("KAFKA__SESSION_TIMEOUT_SECONDS: the brokers refuse 1.5 s")
                return False

            await eventually(says_so, what="readiness that names the setting")
    refused = {"event": "consumer.session-refused", "setting": "KAFKA__SESSION_TIMEOUT_SECONDS", "seconds": 1.5}
    assert [one for one in logs if refused.items() <= one.items()]


KILLS = 6


@pytest.mark.timeout(300)
async def test_consumers_that_are_killed_in_mid_batch_one_after_the_other_lose_double_and_turn_round_nothing(
    store, producer, kafka_bootstrap, topic_prefix
) -> None:
    """A kill is missed after the session; the rebalance then meets the one for the process that came back."""
    sent: dict[UUID, list[int]] = {uuid4(): [] for _ in range(12)}
    enough = asyncio.Event()

    async def send_on() -> None:
        while not enough.is_set():
            for key, revisions in sent.items():
                revisions.append(len(revisions) + 1)
                await send(producer, topic_prefix, event(key, revisions[-1]))

    def start() -> "subprocess.Popen[bytes]":
        return subprocess.Popen([sys.executable, PROCESS, store.url, kafka_bootstrap, topic_prefix])

    running = [start(), start()]
    sending = asyncio.create_task(send_on())
    try:
        for number in range(KILLS):
            before = await store.pool.fetchval("SELECT count(*) FROM inbox")

            async def went_on(before: int = before) -> bool:
                return await store.pool.fetchval("SELECT count(*) FROM inbox") >= before + 50

            await eventually(went_on, what="effects after the last kill")
            running[number % 2].kill()
            await asyncio.to_thread(running[number % 2].wait)
            running[number % 2] = start()
        enough.set()
        await sending
        await has(store, sent)
    finally:
        sending.cancel()
        for one in running:
            one.kill()
            await asyncio.to_thread(one.wait)
    published: dict[UUID, list[int]] = defaultdict(list)
    for row in await store.pool.fetch("SELECT aggregate_id, revision FROM outbox ORDER BY id"):
        published[row["aggregate_id"]].append(row["revision"])
    assert published == sent
