"""Whose store it is, and whether it or Kafka was set back, on a real Kafka and Postgres."""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.consumer import AIOKafkaConsumer
from aiokafka.errors import NotLeaderForPartitionError
from chassis_bench_domain import event

import contracts
from chassis.host import Consumes, Service, StoreGuard
from chassis.loops import LoopBase
from chassis.messaging import Relay, published, topics
from chassis.observe import Metrics
from chassis.settings import HttpSettings, KafkaSettings
from chassis.store import Store, Transaction, identity
from chassis.testing import eventually
from local_stack.ports import free_port

pytestmark = pytest.mark.stack
TOPIC = "appointment.scheduled"
NORTHSIDE = {"site": "northside", "OmegaAI": "https://omegaai.example as suite"}


async def _revisions(pool: asyncpg.Pool, ids: Sequence[UUID]) -> Mapping[UUID, int]:
    rows = await pool.fetch("SELECT id, revision FROM things WHERE id = ANY($1::uuid[])", ids)
    return {row["id"]: row["revision"] for row in rows}


class Suite:
    """A service that publishes, on one store and one Kafka."""

    def __init__(self, store: Store, kafka: KafkaSettings) -> None:
        self.store, self.kafka, self.metrics = store, kafka, Metrics()

    def guard(self, **more: object) -> StoreGuard:
        given = {"belongs_to": NORTHSIDE, "service": "scheduler-sync", "revisions": _revisions, **more}
        return StoreGuard(self.store, self.kafka, metrics=self.metrics, **given)

    async def commit(self, thing: UUID, revision: int = 1) -> contracts.Message:
        message = event(thing, revision)
        async with self.store.pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "INSERT INTO things VALUES ($1, $2, '{}') ON CONFLICT (id) DO UPDATE SET revision = $2", thing, revision
            )
            transaction = Transaction(connection)
            transaction.publish(message)
            await transaction.flush()
        return message

    async def relay(self) -> None:
        """Everything that was committed is on the topics, and marked."""
        relay = Relay(self.store, self.kafka, Metrics())
        running = asyncio.create_task(relay.run())

        async def is_sent() -> bool:
            return await self.store.pool.fetchval("SELECT count(*) FROM outbox WHERE sent_at IS NULL") == 0

        await eventually(is_sent)
        await relay.stop()
        await running

    async def set_back(self, thing: UUID, revision: int) -> None:
        """What a restore to the time of ``revision`` leaves of the thing."""
        await self.store.pool.execute("DELETE FROM outbox WHERE aggregate_id = $1 AND revision > $2", thing, revision)
        if revision:
            await self.store.pool.execute("UPDATE things SET revision = $2 WHERE id = $1", thing, revision)
        else:
            await self.store.pool.execute("DELETE FROM things WHERE id = $1", thing)


@pytest.fixture
async def suite(store: Store, kafka_bootstrap: str, topic_prefix: str) -> Suite:
    kafka = KafkaSettings(bootstrap_servers=kafka_bootstrap, topic_prefix=topic_prefix)
    await topics.ensure(kafka.client_keywords(), prefix=topic_prefix)
    suite = Suite(store, kafka)

    async def has_leaders() -> bool:
        async with published.opened(kafka, suite.guard().topics) as reader:
            return len(reader.following) > 0

    await eventually(has_leaders)  # topics that were made a moment ago have none yet
    return suite


async def test_the_first_start_writes_whose_store_it_is_and_others_are_refused(suite: Suite) -> None:
    assert (await suite.guard().look(within_seconds=60)).kind == "fits"
    assert (await suite.guard().look(within_seconds=60)).kind == "fits", "a replica, and every later start"
    elsewhere = suite.guard(belongs_to={**NORTHSIDE, "site": "lakeshore"})
    verdict = await elsewhere.look(within_seconds=60)
    assert verdict.kind == "elsewhere"
    assert "site was northside and is lakeshore" in verdict.why
    assert "python -m scheduler_sync store adopt --yes" in verdict.why
    assert "OmegaAI" not in verdict.why, "only what differs is named"
    assert (
        "it is scheduler-sync's" in (await suite.guard(service="notifier", revisions=None).look(within_seconds=60)).why
    )
    await elsewhere.adopt()
    assert (await elsewhere.look(within_seconds=60)).kind == "fits"
    assert (await suite.guard().look(within_seconds=60)).is_refusal


async def test_another_kafka_and_other_topics_are_told_from_its_own(suite: Suite) -> None:
    assert (await suite.guard().look(within_seconds=60)).kind == "fits"
    await suite.store.pool.execute("UPDATE store_identity SET belongs_to = replace(belongs_to, 'cluster ', 'was ')")
    assert "kafka was" in (await suite.guard().look(within_seconds=60)).why


async def test_a_store_that_is_behind_its_topics_is_refused(suite: Suite) -> None:
    thing = uuid4()
    await suite.commit(thing)
    await suite.commit(thing, 2)
    await suite.relay()
    assert (await suite.guard().look(within_seconds=60)).kind == "fits"
    await suite.set_back(thing, 1)
    verdict = await suite.guard().look(within_seconds=60)
    assert verdict.kind == "set back"
    assert "was set back" in verdict.why
    assert "python -m scheduler_sync recover" in verdict.why
    assert suite.metrics.value("store_refused") == 1


async def test_an_empty_store_beside_full_topics_is_refused(suite: Suite) -> None:
    thing = uuid4()
    await suite.commit(thing)
    await suite.relay()
    await suite.set_back(thing, 0)
    verdict = await suite.guard().look(within_seconds=60)
    assert (verdict.kind, "is empty" in verdict.why) == ("set back", True)
    assert await identity.read(suite.store.pool) is None, "it is nobody's until somebody says so"
    await suite.guard().adopt()
    assert (await suite.guard().look(within_seconds=60)).kind == "fits", "the old events are another's from now on"
    await suite.commit(uuid4())
    await suite.relay()
    assert (await suite.guard().look(within_seconds=60)).kind == "fits"


async def test_a_revision_that_was_published_with_other_words_is_seen(suite: Suite) -> None:
    """The store was set back and went on: it has come to the revision again, by something else."""
    thing = uuid4()
    await suite.commit(thing)
    await suite.relay()
    await suite.set_back(thing, 0)
    await suite.commit(thing)
    assert (await suite.guard().look(within_seconds=60)).kind == "set back"


async def test_what_was_sent_and_not_marked_is_no_sign_of_a_restore(suite: Suite) -> None:
    thing = uuid4()
    await suite.commit(thing)
    await suite.relay()
    await suite.store.pool.execute("UPDATE outbox SET sent_at = NULL")
    assert (await suite.guard().look(within_seconds=60)).kind == "fits"


async def test_another_services_events_and_unreadable_records_are_no_sign(suite: Suite) -> None:
    async with AIOKafkaProducer(bootstrap_servers=suite.kafka.bootstrap_servers) as producer:
        other = event(uuid4(), 7).model_copy(update={"producer": "another-service"})
        await producer.send_and_wait(suite.kafka.topic_prefix + TOPIC, other.to_bytes(), key=other.key())
        await producer.send_and_wait(suite.kafka.topic_prefix + TOPIC, b"\xff", key=b"x")
    assert (await suite.guard().look(within_seconds=60)).kind == "fits"


async def test_kafka_that_lacks_what_was_sent_is_said_and_stops_nothing(suite: Suite) -> None:
    thing = uuid4()
    await suite.commit(thing)
    await suite.relay()
    await suite.guard().look(within_seconds=60)
    assert suite.metrics.value("kafka_behind") == 0
    await suite.commit(thing, 2)
    await suite.store.pool.execute("UPDATE outbox SET sent_at = now()")
    assert (await suite.guard().look(within_seconds=60)).kind == "fits"
    assert suite.metrics.value("kafka_behind") == 1


async def test_records_that_have_expired_are_no_loss(suite: Suite) -> None:
    await suite.commit(uuid4())
    await suite.relay()
    admin = AIOKafkaAdminClient(bootstrap_servers=suite.kafka.bootstrap_servers)
    await admin.start()
    all_of_it = RecordsToDelete(before_offset=-1)

    async def is_deleted() -> bool:
        partitions = [TopicPartition(suite.kafka.topic_prefix + TOPIC, number) for number in range(6)]
        with suppress(NotLeaderForPartitionError):  # of a topic that was made a moment ago
            await admin.delete_records(dict.fromkeys(partitions, all_of_it))
            return True
        return False

    await eventually(is_deleted)
    await admin.close()
    assert (await suite.guard().look(within_seconds=60)).kind == "fits"
    assert suite.metrics.value("kafka_behind") == 0


async def test_a_consumer_whose_group_is_ahead_of_its_store_is_refused(suite: Suite) -> None:
    first, second = await suite.commit(thing := uuid4()), await suite.commit(thing, 2)
    await suite.relay()
    guard = suite.guard(service="notifier", revisions=None, consumes=Consumes("notifier", (TOPIC,)))

    async def fits() -> bool:
        return (await guard.look(within_seconds=60)).kind == "fits"

    await eventually(fits, what="a new group has everything before it")  # the first group's coordinator takes its time
    group = suite.kafka.topic_prefix + "notifier"
    async with AIOKafkaConsumer(
        suite.kafka.topic_prefix + TOPIC, bootstrap_servers=suite.kafka.bootstrap_servers, group_id=group,
        auto_offset_reset="earliest", enable_auto_commit=False,
    ) as consumer:  # fmt: skip
        await consumer.getone()
        await consumer.getone()
        await consumer.commit()
    claim = "INSERT INTO inbox VALUES ('notifier', $1)"
    await suite.store.pool.execute(claim, first.message_id)
    verdict = await guard.look(within_seconds=60)
    assert (verdict.kind, "python -m notifier recover" in verdict.why) == ("set back", True)
    await suite.store.pool.execute(claim, second.message_id)
    assert (await guard.look(within_seconds=60)).kind == "fits"


async def test_without_kafka_it_is_not_sure_and_the_relay_waits(suite: Suite) -> None:
    alone = Suite(suite.store, KafkaSettings(bootstrap_servers="127.0.0.1:1"))
    guard = alone.guard(may_run_unsure=True)
    assert (await guard.look(within_seconds=60)).kind == "unsure"
    assert not guard.is_sure.is_set()
    await guard.check()
    held = alone.guard()
    await held.look()
    with pytest.raises(RuntimeError, match="Kafka does not answer"):
        await held.check()
    await suite.commit(uuid4())
    gate = asyncio.Event()
    relay = Relay(suite.store, suite.kafka, Metrics(), may_send=gate)
    running = asyncio.create_task(relay.run())
    await asyncio.sleep(1)  # there is no sign of what does not happen
    assert await suite.store.pool.fetchval("SELECT count(*) FROM outbox WHERE sent_at IS NULL") == 1
    gate.set()

    async def is_sent() -> bool:
        return await suite.store.pool.fetchval("SELECT count(*) FROM outbox WHERE sent_at IS NULL") == 0

    await eventually(is_sent)
    await relay.stop()
    await running


class Turning(LoopBase):
    def __init__(self) -> None:
        super().__init__()
        self.has_run = asyncio.Event()

    async def run(self) -> None:
        self.has_run.set()
        await self._stopping.wait()


async def test_a_refused_service_answers_its_probes_runs_nothing_and_goes_on_once_it_fits(suite: Suite) -> None:
    thing = uuid4()
    await suite.commit(thing)
    await suite.relay()
    await suite.set_back(thing, 0)
    loop, port = Turning(), free_port()
    service = Service("scheduler-sync", HttpSettings(port=port), suite.metrics, {"one": loop}, {}, guard=suite.guard())
    running = asyncio.create_task(service.run())
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:

        async def refusal() -> str | None:
            try:
                said: str = (await client.get("/readyz")).json()["store-identity"]
            except httpx.HTTPError:
                return None
            return said if "recover" in said else None

        assert "is empty" in str(await eventually(refusal))
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.get("/livez")).status_code == 200
        assert "store_refused 1.0" in (await client.get("/metrics")).text
        assert not loop.has_run.is_set()
        await suite.guard().adopt()
        await asyncio.wait_for(loop.has_run.wait(), 60)
        assert (await client.get("/readyz")).status_code == 200
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(running, 60) == 0


async def test_a_store_that_is_set_back_under_a_running_service_ends_it(suite: Suite) -> None:
    guard = suite.guard()
    assert (await guard.look(within_seconds=60)).kind == "fits"
    assert await guard.went_back() is None
    beat = await suite.store.pool.fetchval("SELECT beat FROM store_identity")
    assert await suite.guard().went_back() is None, "a replica counts on"
    assert await guard.went_back() is None
    await suite.store.pool.execute("UPDATE store_identity SET beat = $1", beat - 1)
    loop = Turning()
    service = Service("scheduler-sync", HttpSettings(port=free_port()), suite.metrics, {"one": loop}, {}, guard=guard)
    assert await asyncio.wait_for(service.run(), 60) == 1, "whoever supervises it starts it again"
    assert loop.has_run.is_set()
