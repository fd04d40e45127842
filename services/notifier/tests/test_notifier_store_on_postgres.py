"""The repositories on a real Postgres: what is loaded, written, locked and left alone."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import asyncpg
import pytest
from notifier_examples import FakeStale, appointment_event, merged_event, patient_event

from chassis.observe import Metrics
from chassis.store import Store, migrations
from contracts import Message
from notifier.inbound import Work, handle, prefetch, subscription
from notifier.metrics import OpenMessagesWatch
from notifier.store.tables import Base

pytestmark = pytest.mark.stack


class BatchTransaction:
    """The part of a transaction that the work uses; deliveries are only listed."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection
        self.participants: list = []
        self.delivered: list[UUID] = []
        self.writes: list[tuple[str, tuple[object, ...]]] = []

    def join(self, participant: object) -> None:
        self.participants.append(participant)

    def deliver(self, destination: str, *, delivery_id: UUID, **_: object) -> UUID:
        self.delivered.append(delivery_id)
        return delivery_id

    def write(self, statement: str, *arguments: object) -> None:
        self.writes.append((statement, arguments))


@asynccontextmanager
async def batch(pool: asyncpg.Pool, messages: Sequence[Message]) -> AsyncIterator[tuple[Work, BatchTransaction]]:
    async with pool.acquire() as connection, connection.transaction():
        tx = BatchTransaction(connection)
        work = subscription(FakeStale()).open_work(tx)
        await prefetch(work, messages)
        yield work, tx
        for participant in tx.participants:
            await participant.flush(connection)
        for statement, arguments in tx.writes:
            await connection.execute(statement, *arguments)


async def run(pool: asyncpg.Pool, *messages: Message) -> list[UUID]:
    async with batch(pool, messages) as (work, tx):
        for message in messages:
            await handle(work, message)
    return tx.delivered


async def states(pool: asyncpg.Pool) -> dict[tuple[str, int], str]:
    rows = await pool.fetch("SELECT template, revision, state FROM notifications")
    return {(row[0], row[1]): row[2] for row in rows}


async def test_a_batch_is_written_set_wise_and_found_by_the_next(pool: asyncpg.Pool) -> None:
    patient = patient_event()
    booked = appointment_event(patient.aggregate_id)
    assert await run(pool, booked) == []
    assert await states(pool) == {("please-confirm", 1): "awaiting_recipient"}
    (released,) = await run(pool, patient)
    assert await states(pool) == {("please-confirm", 1): "queued"}
    assert released == await pool.fetchval("SELECT notification_id FROM notifications")
    confirmed = appointment_event(patient.aggregate_id, "confirmed", revision=2, appointment_id=booked.aggregate_id)
    assert len(await run(pool, confirmed)) == 1
    assert await states(pool) == {("please-confirm", 1): "superseded", ("confirmed", 2): "queued"}
    row = await pool.fetchrow("SELECT revision, event, facility_time_zone, start_at FROM appointments")
    assert tuple(row)[:3] == (2, "appointment.confirmed", "America/Toronto")
    assert row["start_at"] == confirmed.data.start


async def test_revisions_that_were_passed_over_are_gaps_until_they_come(pool: asyncpg.Pool) -> None:
    patient = patient_event()
    booked = appointment_event(patient.aggregate_id)
    third = appointment_event(patient.aggregate_id, "confirmed", revision=3, appointment_id=booked.aggregate_id)
    second = appointment_event(patient.aggregate_id, "requested", revision=2, appointment_id=booked.aggregate_id)
    later = patient.model_copy(update={"message_id": uuid4(), "revision": patient.revision + 2})

    async def gaps() -> set[tuple[UUID, int]]:
        return {tuple(row) for row in await pool.fetch("SELECT aggregate_id, revision FROM revision_gaps")}

    await run(pool, patient, booked)
    await run(pool, third, later)
    assert await gaps() == {(booked.aggregate_id, 2), (patient.aggregate_id, patient.revision + 1)}
    await run(pool, second)
    assert await gaps() == {(patient.aggregate_id, patient.revision + 1)}


async def test_a_move_is_kept_with_its_former_place_until_the_next_event(pool: asyncpg.Pool) -> None:
    patient = patient_event()
    booked = appointment_event(patient.aggregate_id)
    moved = appointment_event(patient.aggregate_id, "rescheduled", revision=2, appointment_id=booked.aggregate_id)
    await run(pool, patient, booked, moved)
    assert await states(pool) == {("please-confirm", 1): "superseded", ("moved", 2): "queued"}
    former = "SELECT former_start_at, former_end_at, former_facility_name FROM appointments"
    assert tuple(await pool.fetchrow(former)) == (moved.data.former_start, moved.data.former_end, "Northside Imaging")
    arrived = appointment_event(patient.aggregate_id, "progressed", revision=3, appointment_id=booked.aggregate_id)
    await run(pool, arrived)
    assert (await states(pool))[("moved", 2)] == "superseded"
    assert tuple(await pool.fetchrow(former)) == (None, None, None)


async def test_a_merge_moves_what_other_batches_have_stored(pool: asyncpg.Pool) -> None:
    ended, survivor = patient_event(), patient_event(email="survivor@example.org")
    waiting = appointment_event(uuid4())
    booked = appointment_event(ended.aggregate_id)
    assert len(await run(pool, ended, survivor, booked, waiting)) == 1
    merges = [
        merged_event(survivor.aggregate_id, ended.aggregate_id, revision=2),
        merged_event(survivor.aggregate_id, waiting.data.patient_id, revision=3),
    ]
    assert len(await run(pool, *merges)) == 1
    assert await run(pool, *merges) == []
    for table in ("appointments", "notifications"):
        owners = await pool.fetch(f"SELECT DISTINCT patient_id FROM {table}")
        assert [row[0] for row in owners] == [survivor.aggregate_id]
    assert set((await states(pool)).values()) == {"queued"}


async def test_events_of_a_merged_patient_that_come_late_reach_the_survivor(pool: asyncpg.Pool) -> None:
    ended, between, survivor = uuid4(), uuid4(), uuid4()
    await run(pool, merged_event(between, ended), merged_event(survivor, between))
    late = appointment_event(ended)
    assert len(await run(pool, late)) == 1
    assert await pool.fetchval("SELECT patient_id FROM notifications") == survivor
    confirmed = appointment_event(ended, "confirmed", revision=2, appointment_id=late.aggregate_id)
    await run(pool, patient_event(ended, revision=4), confirmed)
    assert await pool.fetchval("SELECT patient_id FROM appointments") == survivor
    assert await pool.fetchval("SELECT merged_into FROM recipients WHERE patient_id = $1", ended) == between


async def test_a_merge_and_an_appointment_of_the_merged_patient_never_miss_each_other(pool: asyncpg.Pool) -> None:
    """Two instances at once: without the locks the appointment stays with a patient whose record has ended."""
    for round_number in range(20):
        ended, survivor = patient_event(), patient_event()
        booked = appointment_event(ended.aggregate_id)
        await run(pool, ended, survivor)
        merge = merged_event(survivor.aggregate_id, ended.aggregate_id)
        await asyncio.gather(run(pool, merge), run(pool, booked))
        of_appointment = "SELECT patient_id FROM {} WHERE appointment_id = $1"
        for table in ("appointments", "notifications"):
            owner = await pool.fetchval(of_appointment.format(table), booked.aggregate_id)
            assert owner == survivor.aggregate_id, f"round {round_number}, {table}"


async def test_a_whole_story_in_one_batch(pool: asyncpg.Pool) -> None:
    patient = patient_event()
    booked = appointment_event(patient.aggregate_id)
    confirmed = appointment_event(patient.aggregate_id, "confirmed", revision=2, appointment_id=booked.aggregate_id)
    await run(pool, confirmed, booked, patient)
    assert await states(pool) == {("confirmed", 2): "queued"}


async def test_what_a_failed_message_changed_is_not_written(pool: asyncpg.Pool) -> None:
    patient, other = patient_event(), patient_event()
    lost, kept = appointment_event(patient.aggregate_id), appointment_event(other.aggregate_id, "confirmed")
    async with batch(pool, [patient, lost, kept, other]) as (work, tx):
        await handle(work, patient)
        marks = [(each, each.mark()) for each in tx.participants]
        await handle(work, lost)
        for each, mark in marks:
            each.rollback_to(mark)
        await handle(work, kept)
        await handle(work, other)
    assert await states(pool) == {("confirmed", 1): "queued"}
    assert await pool.fetchval("SELECT count(*) FROM appointments") == 1
    assert await pool.fetchval("SELECT count(*) FROM recipients") == 2


async def test_an_event_of_a_patient_and_one_of_its_appointment_never_miss_each_other(pool: asyncpg.Pool) -> None:
    """Two instances at once, neither sees what the other is writing: without the lock the message waits for ever."""
    for round_number in range(20):
        patient = patient_event()
        booked = appointment_event(patient.aggregate_id)
        delivered = await asyncio.gather(run(pool, patient), run(pool, booked))
        assert sum(map(len, delivered)) == 1, f"round {round_number}"
    assert set((await states(pool)).values()) == {"queued"}


async def test_overlapping_batches_in_opposite_orders_do_not_deadlock(pool: asyncpg.Pool) -> None:
    patients = [patient_event() for _ in range(50)]
    booked = [appointment_event(patient.aggregate_id) for patient in patients]
    delivered = await asyncio.wait_for(
        asyncio.gather(
            run(pool, *patients, *booked[:25]),
            run(pool, *reversed(booked[25:])),
            run(pool, *(patient_event(patient.aggregate_id, revision=2) for patient in reversed(patients))),
        ),
        30,
    )
    assert sum(map(len, delivered)) == 50


async def test_a_settled_notification_is_not_overwritten_by_a_batch_that_loaded_it_before(pool: asyncpg.Pool) -> None:
    patient = patient_event()
    booked = appointment_event(patient.aggregate_id)
    await run(pool, patient, booked)
    confirmed = appointment_event(patient.aggregate_id, "confirmed", revision=2, appointment_id=booked.aggregate_id)
    async with batch(pool, [confirmed]) as (work, _):
        await pool.execute("UPDATE notifications SET state = 'sent', sent_at = now()")
        await handle(work, confirmed)
    assert await states(pool) == {("please-confirm", 1): "sent", ("confirmed", 2): "queued"}


async def test_the_models_are_what_the_migrations_make(migrated_database_url: str, pool: asyncpg.Pool) -> None:
    assert await migrations.differences(migrated_database_url, Base.metadata) == []
    live_checks = await pool.fetch(
        "SELECT conname FROM pg_constraint WHERE contype = 'c' AND conrelid = 'notifications'::regclass"
    )
    assert {row[0] for row in live_checks} == {"ck_notifications_state", "ck_notifications_sent_at"}


async def test_the_open_messages_are_counted_for_the_alarms(pool: asyncpg.Pool) -> None:
    patient = patient_event()
    await run(pool, appointment_event(patient.aggregate_id))
    await pool.execute("UPDATE notifications SET created_at = now() - interval '1 hour'")
    metrics = Metrics()
    await OpenMessagesWatch(Store(pool, ""), metrics).look()
    age = metrics.registry.get_sample_value("notifier_oldest_open_age_seconds", {"state": "awaiting_recipient"})
    assert 3600 <= age < 3700
    assert metrics.registry.get_sample_value("notifier_open_messages", {"state": "queued"}) == 0
