"""Recovery of a set-back store on a real Kafka and Postgres: killed anywhere, after other words, without its topics."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import NotLeaderForPartitionError
from fake_omegaai import FakeOmegaAI
from sync_harness import Harness
from sync_samples import PID, SITE_FILE, siu

from chassis.host import RecoveryRefused
from chassis.messaging import Relay, published, topics
from chassis.observe import Metrics
from chassis.settings import KafkaSettings
from chassis.testing import eventually
from omegaai.client import Found
from omegaai.connection import connect
from scheduler_sync import bootstrap
from scheduler_sync.adapters.omegaai import reader
from scheduler_sync.adapters.omegaai.sender import OmegaAISender
from scheduler_sync.adapters.omegaai.tasks import TaskItem
from scheduler_sync.domain.appointment import AppointmentLink, FhirStatus, RemoteFacts, State, WorkflowStep
from scheduler_sync.domain.reconciliation import Announced, Judgement, Remote, judge
from scheduler_sync.domain.slots import Slot
from scheduler_sync.recovery.recover import Recovery
from scheduler_sync.recovery.report import Report
from scheduler_sync.settings import SchedulerSyncSettings
from scheduler_sync.store.queries import StoredIds

stack = pytest.mark.stack
CONFIRMED, CANCELLED, ARRIVED = "50^CONFIRMED^99PS", "80^CANCELLED^99PS", "70^ARRIVED^99PS"
_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'"


class KilledError(Exception):
    """Stands for the death of the command."""


class World:
    """scheduler-sync's store, its topics and OmegaAI; ``back_up`` and ``restore`` move the store alone."""

    def __init__(self, harness: Harness, omegaai: FakeOmegaAI, settings: SchedulerSyncSettings) -> None:
        self.harness, self.omegaai, self.settings = harness, omegaai, settings
        self._made = 0

    async def hear(self, placer: str, trigger: str = "S12", status: str = "30^SCHEDULED^99PS", **more: str) -> None:
        self._made += 1
        made = f"20261125{93000 + self._made:06}-0500"
        patient = PID.replace("4711", f"47{placer[-2:]}").replace("jane.roe", f"jane{placer}")
        raw = siu(
            trigger, placer=placer, status=status, made=made, control_id=f"C{self._made}", pid=patient,
            start=f"202612{placer[-2:]}143000-0500", end=f"202612{placer[-2:]}150000-0500", **more,
        )  # fmt: skip
        assert await self.harness.hear(raw) == [None]

    async def patient_confirms(self, placer: str) -> None:
        """In Blume, and it is heard."""
        appointment_id = (await self.links())[placer][5]
        body = self.omegaai.patient_sets(appointment_id, "booked")
        version = body["meta"]["versionId"]
        item = TaskItem(f"{placer}-{version}", datetime.now(UTC), command=reader.appointment(Found(body, version), "t"))
        assert await self.harness.tasks.apply([item]) == [None]

    async def settle(self) -> None:
        """Everything that waits is on the topics and at OmegaAI; PowerServer's share stays."""
        await self.publish()
        await self.deliver()

    async def publish(self) -> None:
        relay = Relay(self.harness.store, self.settings.kafka, Metrics())
        running = asyncio.create_task(relay.run())

        async def is_sent() -> bool:
            return not await self.harness.rows("SELECT 1 FROM outbox WHERE sent_at IS NULL")

        await eventually(is_sent)
        await relay.stop()
        await running

    async def deliver(self) -> None:
        connection = connect(self.settings.omegaai)
        sender = OmegaAISender(connection.client, StoredIds(self.harness.store.pool))

        async def still_ours() -> bool:
            return True

        for delivery in await self.harness.deliveries():
            if delivery.destination == "omegaai":
                receipt = await sender.send(replace(delivery, still_ours=still_ours))
                await self.harness.settle(delivery, receipt)
        await connection.session.close()

    async def back_up(self) -> None:
        await self._run("CREATE SCHEMA backup")
        for (table,) in await self.harness.rows(_TABLES):
            await self._run(f'CREATE TABLE backup."{table}" AS TABLE public."{table}"')

    async def restore(self) -> None:
        async with self.harness.store.pool.acquire() as connection, connection.transaction():
            await connection.execute("SET LOCAL session_replication_role = replica")
            for (table,) in await connection.fetch(_TABLES):
                await connection.execute(f'DELETE FROM public."{table}"')
                await connection.execute(f'INSERT INTO public."{table}" OVERRIDING SYSTEM VALUE TABLE backup."{table}"')

    async def empty(self) -> None:
        async with self.harness.store.pool.acquire() as connection, connection.transaction():
            await connection.execute("SET LOCAL session_replication_role = replica")
            for (table,) in await connection.fetch(_TABLES):
                await connection.execute(f'DELETE FROM public."{table}"')

    async def expire(self, *names: str) -> None:
        """What stands on these topics is gone."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.settings.kafka.bootstrap_servers)
        await admin.start()
        prefix = self.settings.kafka.topic_prefix
        partitions = [TopicPartition(prefix + name, number) for name in names for number in range(6)]

        async def is_deleted() -> bool:
            with suppress(NotLeaderForPartitionError):
                await admin.delete_records(dict.fromkeys(partitions, RecordsToDelete(before_offset=-1)))
                return True
            return False

        await eventually(is_deleted)
        await admin.close()

    async def recover(self, *, dry_run: bool = False) -> Report:
        return await bootstrap.recover(self.settings, actor="test", dry_run=dry_run, tell=lambda _words: None)

    async def verdict(self) -> str:
        return (await bootstrap.store_guard(self.settings, self.harness.store).look(within_seconds=60)).kind

    async def links(self) -> dict[str, tuple[Any, ...]]:
        columns = "placer_number, id, state, step, revision, slot_start, omegaai_id, omegaai_version, patient_id"
        return {row[0]: tuple(row[1:]) for row in await self.harness.rows(f"SELECT {columns} FROM appointment_links")}

    async def waiting(self) -> Counter[tuple[str, str, UUID]]:
        rows = await self.harness.rows("SELECT destination, kind, key FROM deliveries WHERE state = 'pending'")
        return Counter(tuple(row) for row in rows)

    async def published(self) -> Counter[tuple[UUID, int]]:
        """The different events of each aggregate and revision on all topics."""
        guard = bootstrap.store_guard(self.settings, self.harness.store)
        async with published.opened(self.settings.kafka, guard.topics) as topic_reader:
            found = {
                one.message.message_id: (one.message.aggregate_id, one.message.revision)
                async for lot in topic_reader.read(topic_reader.first)
                for one in lot
                if one.message is not None
            }
        return Counter(found.values())

    async def _run(self, statement: str) -> None:
        await self.harness.store.pool.execute(statement)


@pytest.fixture
async def world(harness: Harness, migrated_url: str, kafka_bootstrap: str, topic_prefix: str) -> AsyncIterator[World]:
    kafka = KafkaSettings(bootstrap_servers=kafka_bootstrap, topic_prefix=topic_prefix)
    await topics.ensure(kafka.client_keywords(), prefix=topic_prefix)
    async with FakeOmegaAI().serving() as omegaai:
        omegaai.tells_changes = True
        settings = SchedulerSyncSettings(
            site_file=SITE_FILE, store={"url": migrated_url, "pool_size": 4}, kafka=kafka,
            omegaai={"base_url": omegaai.base_url},
        )  # fmt: skip
        one = World(harness, omegaai, settings)

        async def fits() -> bool:
            return await one.verdict() == "fits"

        await eventually(fits)
        yield one


async def lose_an_hour(world: World) -> None:
    for placer in ("P01", "P02", "P03", "P07"):
        await world.hear(placer)
    await world.settle()
    await world.hear("P04")  # committed, and neither published nor delivered when the backup is taken
    await world.back_up()
    await world.settle()
    await world.hear("P01", "S15", CANCELLED)
    await world.hear("P02", "S14", CONFIRMED)
    await world.hear("P05")
    await world.patient_confirms("P07")
    await world.settle()
    await world.hear("P02", "S14", ARRIVED)
    await world.hear("P04", "S14", ARRIVED)
    await world.settle()
    await world.hear("P06")
    await world.publish()  # and OmegaAI never heard of it
    third = (await world.links())["P03"][5]
    world.omegaai.patient_sets(third, "booked")  # and nobody has heard it


@stack
async def test_a_recovery_that_is_killed_anywhere_and_run_again_ends_the_same(world: World, monkeypatch):
    await lose_an_hour(world)
    before = await world.links()
    await world.restore()
    assert await world.verdict() == "set back"
    report = await world.recover()
    assert report.open_differences == []
    assert await world.verdict() == "fits"
    links, waiting = await world.links(), await world.waiting()
    assert {placer: link[:5] for placer, link in links.items() if placer != "P03"} == {
        placer: link[:5] for placer, link in before.items() if placer != "P03"
    }
    assert links["P03"][1] == State.CONFIRMED, "the patient's act was heard"
    assert links["P03"][3] == before["P03"][3] + 1
    assert waiting["powerserver", "status.confirmed", links["P03"][0]] == 1
    assert waiting["powerserver", "status.confirmed", links["P07"][0]] == 1, "PowerServer may not have heard it"
    assert waiting["omegaai", "appointment.upsert", links["P06"][-1]] == 1
    state = Recovery._in_transaction
    for number in range(100):
        left = number

        async def dies(recovery: Recovery, act: Any) -> None:
            nonlocal left
            if left == 0:
                raise KilledError
            left -= 1
            await state(recovery, act)

        await world.restore()
        monkeypatch.setattr(Recovery, "_in_transaction", dies)
        try:
            await world.recover()
        except KilledError:
            assert await world.verdict() == "set back", "until one has ended, no start is let through"
        else:
            break
        monkeypatch.setattr(Recovery, "_in_transaction", state)
        await world.recover()
        assert await world.links() == links, number
        assert await world.waiting() == waiting, number
    monkeypatch.setattr(Recovery, "_in_transaction", state)
    assert number >= 3
    versions = {one["id"]: one["meta"]["versionId"] for one in world.omegaai.all("Appointment")}
    await world.settle()
    after = {one["id"]: one["meta"]["versionId"] for one in world.omegaai.all("Appointment")}
    assert {key: after[key] for key in versions} == versions, "what OmegaAI had already is not written again"
    assert len(after) == len(versions) + 1 == len(world.omegaai.all("Patient")) == len(links)
    assert set((await world.published()).values()) == {1}
    again = await world.recover()
    assert not again.has_found_something


@stack
async def test_what_was_heard_after_the_restore_comes_after_what_was_published(world: World):
    await world.hear("P01")
    await world.settle()
    await world.back_up()
    await world.hear("P01", "S15", CANCELLED)
    await world.settle()
    await world.restore()
    await world.hear("P01", "S14", CONFIRMED)  # revision 2 as well, under other words
    assert await world.verdict() == "set back"
    report = await world.recover()
    assert (report.renumbered, report.links) == (1, 0)
    assert report.judged[Judgement.WRITTEN] == 1
    assert (await world.links())["P01"][1:4] == ("confirmed", "confirmed", 3)
    await world.recover()
    assert (await world.links())["P01"][1:4] == ("confirmed", "confirmed", 3)
    await world.settle()
    assert world.omegaai.all("Appointment")[0]["status"] == "booked"
    assert set((await world.published()).values()) == {1}
    assert await world.verdict() == "fits"


@stack
async def test_without_its_topics_revisions_begin_above_all_that_can_have_been_published(world: World):
    await world.hear("P01")
    await world.settle()
    await world.back_up()
    await world.hear("P01", "S15", CANCELLED)
    await world.hear("P02")
    await world.settle()
    await world.restore()
    await world.expire("appointment.cancelled", "appointment.scheduled")
    report = await world.recover()
    links = await world.links()
    assert report.floor == 1_000_000
    assert links["P01"][3] >= 1_000_000
    assert links["P02"][1:4] == ("staff-booked", "scheduled", 1_000_000), "rebuilt from OmegaAI alone"
    assert report.from_omegaai == 1
    await world.hear("P02", "S14", CONFIRMED)
    assert (await world.links())["P02"][3] == 1_000_001


@stack
async def test_an_empty_store_without_topics_says_what_it_cannot_know(world: World):
    await world.hear("P01")
    await world.settle()
    await world.hear("P02")
    await world.settle()
    broken = world.omegaai.all("Appointment")[1]
    world.omegaai.put_directly({**broken, "status": "no such status"})
    await world.empty()
    await world.expire(*(name for name in topics.TOPICS))
    report = await world.recover()
    first, second = sorted(report.open_differences)
    assert "of a patient whom neither store nor topics know" in first + second
    assert "cannot be read: Appointment.status" in first + second
    assert "have it send its open orders" in "\n".join(report.lines())


@stack
async def test_it_does_not_run_beside_a_service_or_on_anothers_store(world: World):
    running = await asyncpg.connect(world.settings.store.url, server_settings={"application_name": "suite-relay"})
    with pytest.raises(RecoveryRefused, match="works on this store"):
        await world.recover()
    await running.close()
    await world.harness.store.pool.execute(
        "UPDATE store_identity SET belongs_to = replace(belongs_to, 'as suite', 'as another')"
    )
    with pytest.raises(RecoveryRefused, match="as another"):
        await world.recover()


@stack
async def test_a_dry_run_counts_and_writes_nothing(world: World):
    await lose_an_hour(world)
    await world.restore()
    before, waiting = await world.links(), await world.waiting()
    report = await world.recover(dry_run=True)
    assert (report.patients, report.links) == (2, 6)
    assert report.judged[Judgement.ADOPTED] == 0, "arrivals are published, so the topics tell them"
    assert report.judged[Judgement.HEARD] == 1
    assert (await world.links(), await world.waiting()) == (before, waiting)
    assert await world.verdict() == "set back"


AT = datetime(2026, 12, 1, 15, tzinfo=UTC)
LINK = AppointmentLink(
    id=UUID(int=1), site="northside", placer_number="P1", patient_id=UUID(int=2), facility="FAC01",
    resource="BLUME CT", modality="CT", slot=Slot(AT, AT + timedelta(minutes=30), "America/Toronto"), studies=(),
    state=State.STAFF_BOOKED, step=WorkflowStep.SCHEDULED, omegaai_id="7", omegaai_version="2",
)  # fmt: skip
BEFORE, AFTER = AT - timedelta(hours=1), AT + timedelta(hours=1)


@pytest.mark.parametrize(
    ("status", "version", "start", "changed_at", "judgement"),
    [
        ("pending", "2", AT, None, Judgement.EQUAL),
        ("pending", "3", AT, None, Judgement.NOTED),
        ("pending", "3", AFTER, None, Judgement.WRITTEN),
        ("booked", "2", AT, None, Judgement.WRITTEN),
        ("booked", "3", AT, None, Judgement.HEARD),
        ("booked", "3", AT, BEFORE, Judgement.WRITTEN),
        ("cancelled", "3", AT, BEFORE, Judgement.HEARD),
        ("booked", "3", AT, AFTER, Judgement.HEARD),
        ("cancelled", "3", AT, AFTER, Judgement.HEARD),
        ("proposed", "3", AFTER, AFTER, Judgement.HEARD),
        ("arrived", "3", AT, AFTER, Judgement.ADOPTED),
        ("arrived", "3", AT, BEFORE, Judgement.WRITTEN),
        ("fulfilled", "3", AT, None, Judgement.ADOPTED),
        ("noshow", "3", AT, None, Judgement.ADOPTED),
        ("waitlist", "3", AT, None, Judgement.WRITTEN),
    ],
)
def test_which_of_two_that_differ_is_right(
    status: str, version: str, start: datetime, changed_at: datetime | None, judgement: Judgement
):
    facts = RemoteFacts("7", version, FhirStatus(status), start, start + timedelta(minutes=30))
    announced = Announced(AT, frozenset({FhirStatus.BOOKED, FhirStatus.PENDING}))
    assert judge(LINK, Remote(facts, changed_at), announced) is judgement


def test_what_staff_did_and_have_gone_on_from_is_no_act_of_the_patients():
    remote = Remote(RemoteFacts("7", "3", FhirStatus.CANCELLED, AT, None), AFTER)
    assert judge(LINK, remote, overtaken=FhirStatus.CANCELLED) is Judgement.WRITTEN
    assert judge(LINK, remote, overtaken=FhirStatus.BOOKED) is Judgement.HEARD
