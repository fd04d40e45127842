"""A broker that takes connections and says nothing, as one that is stopped or behind a lost route: it is given up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from aiokafka.errors import KafkaError

from chassis import backoff, consumer, outbox, topics
from chassis.consumer import HEARTBEATS_A_SESSION, Consumer, Subscription, request_timeout_ms
from chassis.metrics import Metrics
from chassis.outbox import Relay
from chassis.settings import KafkaSettings
from chassis.testing import eventually

MARK_SECONDS = 10


class SilentBroker:
    """Counts who came; never answers."""

    def __init__(self) -> None:
        self.came = 0
        self.port = 0

    async def run(self) -> AsyncIterator["SilentBroker"]:
        writers = []

        async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.came += 1
            writers.append(writer)
            with suppress(OSError):
                while await reader.read(4096):
                    pass

        server = await asyncio.start_server(hear, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        yield self
        server.close()
        for writer in writers:
            writer.close()

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
        await asyncio.wait_for(topics.verify(silent_broker.settings().client_keywords(), ["appointment.scheduled"]), 10)


@pytest.mark.stack
async def test_the_relay_gives_a_silent_broker_up_and_tries_again(store, silent_broker: SilentBroker) -> None:
    relay = Relay(store, silent_broker.settings(), Metrics())
    running = asyncio.create_task(relay.run())
    await eventually(silent_broker.came_again, what="the relay's third connection", timeout_seconds=20)
    await relay.stop()
    await running


@pytest.mark.stack
async def test_a_consumer_gives_a_silent_broker_up_and_tries_again(store, silent_broker: SilentBroker) -> None:
    async def nothing(*_: object) -> None:
        """Never called: no message comes."""

    subscription = Subscription("silent", ("appointment.scheduled",), lambda work: work, nothing, nothing)
    consuming = Consumer(store, silent_broker.settings(), subscription, metrics=Metrics())
    running = asyncio.create_task(consuming.run())
    await eventually(silent_broker.came_again, what="the consumer's third connection", timeout_seconds=20)
    await consuming.stop()
    await running


def test_silence_is_noticed_in_time_but_a_group_may_miss_a_member_meanwhile() -> None:
    session_ms = round(KafkaSettings().session_timeout_seconds * 1000)
    assert request_timeout_ms(session_ms) + session_ms / HEARTBEATS_A_SESSION < MARK_SECONDS * 1000
    assert all(request_timeout_ms(seconds * 1000) > seconds * 1000 for seconds in (1, 6, 60))


def test_a_server_that_was_away_for_hours_is_found_back_within_a_second() -> None:
    assert max(backoff.server_pause_seconds(attempt) for attempt in range(100)) <= 1
