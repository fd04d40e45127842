"""Readiness asks the brokers for the service's topics, and says which is not as the contracts have it."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.client import AIOKafkaClient
from chassis_bench_domain import kafka_settings

from chassis.host.service import CHECK_TIMEOUT_SECONDS
from chassis.messaging import TopicsWatch, produced_by, topics
from chassis.messaging.topic_ids import UNKNOWN_TOPIC, TopicIdsRequest
from chassis.settings import KafkaSettings
from chassis.testing import MACHINE_SECONDS, eventually
from chassis.testing.talks import talking
from contracts.topics import TOPICS

NAMES = ("appointment.scheduled", "patient.updated")


def test_what_a_service_publishes_is_what_the_contracts_say() -> None:
    assert set(produced_by("scheduler-sync")) == set(TOPICS)
    assert produced_by("notifier") == ()


async def test_without_a_broker_kafka_is_said_to_be_away_within_readiness_time() -> None:
    async def hear(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with talking(hear) as port:
        for address in (f"127.0.0.1:{port}", "127.0.0.1:1"):
            watch = TopicsWatch(KafkaSettings(bootstrap_servers=address), NAMES)
            began = time.monotonic()
            with pytest.raises(ConnectionError, match="no Kafka broker answers"):
                await watch.check()
            assert time.monotonic() - began < CHECK_TIMEOUT_SECONDS + MACHINE_SECONDS
            await watch.close()
    assert topics.READINESS_SECONDS < CHECK_TIMEOUT_SECONDS


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
                return bool(words) and words in str(error)
            except ConnectionError:  # a busy broker does not answer within readiness's time
                return False
            return not words

        await eventually(condition, what=words or "readiness")

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


@pytest.fixture
def late_broker(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A broker that has not heard of new topics, for as many answers as the list has items."""
    answers_left = [0, 0, 0]
    send = AIOKafkaClient.send

    async def send_late(self: AIOKafkaClient, node: int, request: Any, **keywords: Any) -> Any:
        answer = await send(self, node, request, **keywords)
        if isinstance(request, TopicIdsRequest) and answers_left:
            answers_left.pop()
            answer.topics = [(UNKNOWN_TOPIC, *topic[1:]) for topic in answer.topics]
        return answer

    monkeypatch.setattr(AIOKafkaClient, "send", send_late)
    return answers_left


@pytest.mark.stack
async def test_topics_are_made_once_every_broker_knows_them(kafka_bootstrap, topic_prefix, late_broker) -> None:
    connection = {"bootstrap_servers": kafka_bootstrap}
    made = await topics.ensure(connection, prefix=topic_prefix)
    assert late_broker == [], "the broker was asked until it knew the topics"
    assert set(await topics.verify(connection, TOPICS, prefix=topic_prefix)) == set(made)


@pytest.mark.stack
async def test_a_broker_that_does_not_hear_of_a_new_topic_is_not_waited_for_without_end(
    kafka_bootstrap, topic_prefix, late_broker, monkeypatch
) -> None:
    late_broker.extend([0] * 10_000)
    monkeypatch.setattr(topics, "KNOWN_SECONDS", 0.3)
    with pytest.raises(topics.TopicsError, match=r"not known to every broker after 0\.3 s: .*patient\.updated"):
        await topics.ensure({"bootstrap_servers": kafka_bootstrap}, prefix=topic_prefix)


@pytest.mark.stack
async def test_the_brokers_are_asked_once_in_a_while_however_many_want_to_know(
    kafka_bootstrap, topic_prefix, monkeypatch
) -> None:
    connection = {"bootstrap_servers": kafka_bootstrap}
    await topics.ensure(connection, prefix=topic_prefix)

    watch = TopicsWatch(kafka_settings(kafka_bootstrap, topic_prefix), NAMES, look_seconds=300)
    asked, ask = [], watch._ask

    async def counted():
        asked.append(1)
        return await ask()

    monkeypatch.setattr(watch, "_ask", counted)
    await asyncio.gather(*(watch.look() for _ in range(20)))
    assert len(asked) == 1
    await watch.look(afresh=True)
    await watch.close()
    assert len(asked) == 2
