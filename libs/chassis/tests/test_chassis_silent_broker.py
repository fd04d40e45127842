"""A broker that takes connections and says nothing, as one that is stopped or behind a lost route: it is given up."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.protocol.produce import ProduceRequest
from chassis_bench_domain import event, kafka_settings

from chassis import backoff
from chassis.messaging import Consumer, Relay, Subscription, consumer, outbox, topics
from chassis.messaging.consumer import HEARTBEATS_A_SESSION, request_timeout_ms
from chassis.observe import Metrics
from chassis.settings import KafkaSettings
from chassis.store import Transaction
from chassis.testing import eventually
from chassis.testing.talks import talking

MARK_SECONDS = 10


class SilentBroker:
    """Counts who came; never answers."""

    def __init__(self) -> None:
        self.came = 0
        self.port = 0

    async def run(self) -> AsyncIterator["SilentBroker"]:
        async def hear(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            self.came += 1
            while await reader.read(4096):
                pass

        async with talking(hear) as self.port:
            yield self

    def settings(self) -> KafkaSettings:
        return KafkaSettings(bootstrap_servers=f"127.0.0.1:{self.port}")

    async def came_again(self) -> bool:
        return self.came >= 3


@pytest.fixture
async def silent_broker(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SilentBroker]:
    for module in (topics, outbox, consumer):
        monkeypatch.setattr(module, "KAFKA_REQUEST_TIMEOUT_MS", 200)
    async for broker in SilentBroker().run():
        yield broker


async def test_who_verifies_topics_gives_a_silent_broker_up(silent_broker: SilentBroker) -> None:
    with pytest.raises(KafkaError):
        await asyncio.wait_for(topics.verify(silent_broker.settings().client_keywords(), ["appointment.scheduled"]), 60)


@pytest.mark.stack
async def test_the_relay_gives_a_silent_broker_up_and_tries_again(store, silent_broker: SilentBroker) -> None:
    relay = Relay(store, silent_broker.settings(), Metrics())
    running = asyncio.create_task(relay.run())
    await eventually(silent_broker.came_again, what="the relay's third connection")
    await relay.stop()
    await running


@pytest.mark.stack
async def test_a_relay_that_stops_leaves_nothing_of_its_producer_behind(
    store, kafka_bootstrap, topic_prefix, monkeypatch
) -> None:
    """A broker that never answers what it was sent: the producer would go on trying, and hold its connections."""
    await topics.ensure({"bootstrap_servers": kafka_bootstrap}, prefix=topic_prefix)
    unanswered: list[object] = []
    closed = asyncio.Event()
    send, close = AIOKafkaClient.send, AIOKafkaClient.close

    async def send_but_produce(self: AIOKafkaClient, node: int, request: Any, **keywords: Any) -> Any:
        if isinstance(request, ProduceRequest):
            unanswered.append(request)
            await closed.wait()
            raise KafkaConnectionError
        return await send(self, node, request, **keywords)

    async def close_all(self: AIOKafkaClient) -> None:
        await close(self)
        closed.set()

    async def was_sent() -> bool:
        return bool(unanswered)

    monkeypatch.setattr(AIOKafkaClient, "close", close_all)
    monkeypatch.setattr(AIOKafkaClient, "send", send_but_produce)
    monkeypatch.setattr(outbox, "SEND_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(outbox, "STOP_SECONDS", 1)
    async with store.pool.acquire() as connection, connection.transaction():
        transaction = Transaction(connection)
        transaction.publish(event(uuid4(), 1))
        await transaction.flush()
    relay = Relay(store, kafka_settings(kafka_bootstrap, topic_prefix), Metrics())
    running = asyncio.create_task(relay.run())
    await eventually(was_sent, what="a batch on its way")
    await relay.stop()
    await asyncio.wait_for(running, 60)

    async def nothing_is_left() -> bool:
        return not [task for task in asyncio.all_tasks() if "aiokafka" in task.get_coro().cr_code.co_filename]

    await eventually(nothing_is_left, what="the end of the producer's tasks")


@pytest.mark.stack
async def test_a_consumer_gives_a_silent_broker_up_and_tries_again(store, silent_broker: SilentBroker) -> None:
    async def nothing(*_: object) -> None:
        """Never called: no message comes."""

    subscription = Subscription("silent", ("appointment.scheduled",), lambda work: work, nothing, nothing)
    consuming = Consumer(store, silent_broker.settings(), subscription, metrics=Metrics())
    running = asyncio.create_task(consuming.run())
    await eventually(silent_broker.came_again, what="the consumer's third connection")
    await consuming.stop()
    await running


def test_silence_is_noticed_in_time_but_a_group_may_miss_a_member_meanwhile() -> None:
    session_ms = round(KafkaSettings().session_timeout_seconds * 1000)
    assert request_timeout_ms(session_ms) + session_ms / HEARTBEATS_A_SESSION < MARK_SECONDS * 1000
    assert all(request_timeout_ms(seconds * 1000) > seconds * 1000 for seconds in (1, 6, 60))


def test_a_server_that_was_away_for_hours_is_found_back_within_a_second() -> None:
    assert max(backoff.server_pause_seconds(attempt) for attempt in range(100)) <= 1
