"""The runbook for a Kafka that has lost everything, played on a real one: every event has its effect, once."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from notifier_examples import appointment_event, patient_event
from test_notifier_on_the_real_wires import Notifier

import contracts
from chassis.messaging import Relay
from chassis.observe import Metrics
from chassis.settings import KafkaSettings, StoreSettings
from chassis.store import Store, Transaction
from chassis.testing import eventually
from local_stack import kafka
from local_stack.fixtures import Stack, a_database, free_port
from local_stack.servers import JARS
from mailsink.app import Sink

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]


class Broker:
    """A Kafka of the test's own, whose data folder can be lost."""

    def __init__(self, folder: Path) -> None:
        jars = Path(os.environ.get("KAFKA_JARS_DIR", JARS))
        kafka.fetch_jars(jars)
        self._kafka = kafka.EmbeddedKafka(
            folder / "kafka", free_port(), free_port(), jars, jvm_options=kafka.QUICK_START
        )
        self._log = folder / "kafka.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        return self._kafka.bootstrap

    async def start(self) -> None:
        await asyncio.to_thread(self._kafka.prepare)
        self._process = self._kafka.spawn(self._log)
        await self._kafka.wait_ready()

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def lose_everything(self) -> None:
        self.kill()
        shutil.rmtree(self._kafka.data_dir)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    one = Broker(tmp_path)
    yield one
    one.kill()


@pytest.fixture
def publishers_url(stack: Stack) -> Iterator[str]:
    with a_database(stack) as url:
        yield url


class Publisher:
    """Stands for scheduler-sync: its store with its own migrations, its relay, and its operator's commands."""

    def __init__(self, url: str, bootstrap: str) -> None:
        self._url = url
        self._bootstrap = bootstrap
        self._store: Store

    async def command(self, *words: str) -> str:
        environment = {
            **os.environ,
            "SCHEDULER_SYNC_STORE__URL": self._url,
            "SCHEDULER_SYNC_KAFKA__BOOTSTRAP_SERVERS": self._bootstrap,
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "scheduler_sync", *words,
            env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        return output.decode()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self._store = await Store.open(StoreSettings(url=self._url, pool_size=2))
        relay = Relay(self._store, KafkaSettings(bootstrap_servers=self._bootstrap), Metrics())
        relaying = asyncio.create_task(relay.run())
        try:
            yield
        finally:
            await relay.stop()
            await relaying
            await self._store.close()

    async def publish(self, *messages: contracts.Message) -> None:
        async with self._store.pool.acquire() as connection, connection.transaction():
            transaction = Transaction(connection)
            for message in messages:
                transaction.publish(message)
            await transaction.flush()

    async def has_sent_all(self) -> bool:
        return await self._store.pool.fetchval("SELECT count(*) FROM outbox WHERE sent_at IS NULL") == 0


async def test_a_kafka_that_lost_everything_is_made_anew_and_every_event_has_its_effect_once(
    broker: Broker, publishers_url: str, migrated_database_url: str, tmp_path: Path
) -> None:
    await broker.start()
    publisher = Publisher(publishers_url, broker.bootstrap)
    await publisher.command("migrate")
    await publisher.command("topics")
    patients = [patient_event() for _ in range(3)]
    booked = [appointment_event(patient.aggregate_id) for patient in patients]
    confirmed = [
        appointment_event(one.data.patient_id, "confirmed", revision=2, appointment_id=one.aggregate_id)
        for one in booked
    ]
    async with Sink(tmp_path / "sink") as sink, publisher.running():
        environment = {
            **os.environ,
            "NOTIFIER_STORE__URL": migrated_database_url,
            "NOTIFIER_KAFKA__BOOTSTRAP_SERVERS": broker.bootstrap,
            "NOTIFIER_KAFKA__TOPIC_PREFIX": "",
            "NOTIFIER_HTTP__PORT": str(free_port()),
            "NOTIFIER_SMTP__PORT": str(sink.smtp_port),
        }
        async with asyncpg.create_pool(migrated_database_url, min_size=1, max_size=2) as pool:
            notifier = Notifier(sink, pool, environment, tmp_path)
            await notifier.start()
            try:
                await publisher.publish(*patients, *booked)
                for one in booked:
                    await notifier.settled("please-confirm", one.aggregate_id, "sent")
                await notifier.stop()
                await publisher.publish(*confirmed)
                await eventually(publisher.has_sent_all, what="events on Kafka that nobody has read")

                broker.lose_everything()
                await broker.start()
                starting = asyncio.create_task(notifier.start())

                async def names_the_topics() -> bool:
                    status, body = await notifier.get("/readyz")
                    return status == 503 and "is missing: run the service's topics command" in body

                await eventually(names_the_topics, what="readiness that names a topic")
                assert f"{len(contracts.topics.TOPICS)} topics created" in await publisher.command("topics")
                said = await publisher.command("outbox", "resend", "--since", "1h", "--yes")
                assert said.splitlines()[-1] == "scheduler-sync: 9 events sent again"
                for one in confirmed:
                    await notifier.settled("confirmed", one.aggregate_id, "sent")
                await starting
                mails = await notifier.mails(*booked)
                listed = await notifier.command("missed", "list")
                assert "the topic was made anew" in " ".join(listed.split())
                await notifier.command("missed", "acknowledge", "--all")
                assert (await notifier.command("missed", "list")).strip() == "0 entries"
            finally:
                await notifier.stop()
    assert sorted(mails) == sorted(
        (template, str(one.aggregate_id)) for one in booked for template in ("please-confirm", "confirmed")
    )
