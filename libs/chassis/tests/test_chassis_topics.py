"""Readiness asks the brokers for the service's topics, and says which is not as the contracts have it."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from chassis_bench_domain import kafka_settings

from chassis.host.service import CHECK_TIMEOUT_SECONDS
from chassis.messaging import TopicsWatch, produced_by, topics
from chassis.settings import KafkaSettings
from chassis.testing import eventually
from contracts.topics import TOPICS

NAMES = ("appointment.scheduled", "patient.updated")


def test_what_a_service_publishes_is_what_the_contracts_say() -> None:
    assert set(produced_by("scheduler-sync")) == set(TOPICS)
    assert produced_by("notifier") == ()


async def test_without_a_broker_kafka_is_said_to_be_away_within_readiness_time() -> None:
    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(hear, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    for address in (f"127.0.0.1:{port}", "127.0.0.1:1"):
        watch = TopicsWatch(KafkaSettings(bootstrap_servers=address), NAMES)
        began = time.monotonic()
        with pytest.raises(ConnectionError, match="no Kafka broker answers"):
            await watch.check()
        assert time.monotonic() - began < CHECK_TIMEOUT_SECONDS
        await watch.close()
    silent.close()


@pytest.fixture
async def admin(kafka_bootstrap) -> AsyncIterator[AIOKafkaAdminClient]:
    running = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    await running.start()
    yield running
    await running.close()


@pytest.mark.stack
async def test_readiness_names_the_topic_that_is_missing_or_too_small_and_sees_it_come(
    kafka_bootstrap, topic_prefix, admin
) -> None:
    watch = TopicsWatch(kafka_settings(kafka_bootstrap, topic_prefix), NAMES)

    async def says(words: str) -> None:
        async def condition() -> bool:
            try:
                await watch.check()
            except topics.TopicsError as error:
                return words in str(error)
            return not words

        await eventually(condition, what=words or "readiness", timeout_seconds=10)

    await says("appointment.scheduled is missing: run the service's topics command")
    await admin.create_topics([NewTopic(topic_prefix + NAMES[0], TOPICS[NAMES[0]].partitions, 1)])
    await admin.create_topics([NewTopic(topic_prefix + NAMES[1], 1, 1)])
    await says("patient.updated has 1 partitions, the contract says 6")
    await admin.delete_topics([topic_prefix + NAMES[1]])
    await says("patient.updated is missing")
    await topics.ensure({"bootstrap_servers": kafka_bootstrap}, prefix=topic_prefix)
    await says("")
    before = await watch.look()
    await admin.delete_topics([topic_prefix + NAMES[1]])
    await says("patient.updated is missing")
    await topics.ensure({"bootstrap_servers": kafka_bootstrap}, prefix=topic_prefix)
    await says("")
    after = await watch.look()
    await watch.close()
    changed = {name for name in before if before[name].topic_id != after[name].topic_id}
    assert changed == {topic_prefix + NAMES[1]}, "made anew, it is another topic"


@pytest.mark.stack
async def test_the_brokers_are_asked_once_in_a_while_however_many_want_to_know(
    kafka_bootstrap, topic_prefix, monkeypatch
) -> None:
    connection = {"bootstrap_servers": kafka_bootstrap}
    await topics.ensure(connection, prefix=topic_prefix)

    async def are_known() -> bool:
        try:
            return bool(await topics.verify(connection, NAMES, prefix=topic_prefix))
        except topics.TopicsError:
            return False

    await eventually(are_known, what="the topics")
    watch = TopicsWatch(kafka_settings(kafka_bootstrap, topic_prefix), NAMES, look_seconds=300)
    asked, ask = [], watch._ask

    async def counted():
        asked.append(1)
        return await ask()

    monkeypatch.setattr(watch, "_ask", counted)
    await asyncio.gather(*(watch.check() for _ in range(20)))
    assert len(asked) == 1
    await watch.look(afresh=True)
    await watch.close()
    assert len(asked) == 2
