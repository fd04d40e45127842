"""The use cases on a real Postgres: each input's whole effect in one transaction, and a repeat's none."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from itertools import starmap
from uuid import UUID

import asyncpg
import pytest
from sync_harness import Harness
from sync_samples import PID, orm, siu

from chassis.deliveries import Accepted, Receipt
from chassis.errors import Malformed, NeedsSetup, Permanent, StoreUnavailable, Transient
from chassis.store import Transaction
from chassis.testing import eventually
from hl7v2 import Message
from omegaai.client import Found
from scheduler_sync.adapters.omegaai import reader
from scheduler_sync.adapters.omegaai.sender import KnownIds
from scheduler_sync.adapters.omegaai.tasks import TaskItem
from scheduler_sync.domain.appointment import Outcome
from scheduler_sync.handlers.patients import LARGEST_LEAD
from scheduler_sync.snapshots import AppointmentSnapshot, PatientSnapshot
from scheduler_sync.store.queries import StoredIds

pytestmark = pytest.mark.stack
LATER = {"start": "20261202143000-0500", "end": "20261202150000-0500", "made": "20261125093100-0500"}


async def adopted(harness: Harness) -> None:
    """OmegaAI took the patient and the appointment, as version 1 each."""
    for delivery in await harness.deliveries():
        detail = {"id": "7", "version_id": "1", "status": "pending"}
        await harness.settle(delivery, Receipt(detail))


async def omegaai_shows(harness: Harness, status: str, version: str, task_id: str, **more: object) -> Exception | None:
    link = await harness.row("SELECT * FROM appointment_links")
    body = {
        "resourceType": "Appointment", "id": "7", "status": status, "start": link["slot_start"].isoformat(),
        "end": link["slot_end"].isoformat(),
        "identifier": [{"system": "urn:ietf:rfc:3986", "value": f"urn:uuid:{link['id']}"}], **more,
    }  # fmt: skip
    command = reader.appointment(Found(body, version), task_id)
    (error,) = await harness.tasks.apply([TaskItem(task_id, datetime.now(UTC), command=command)])
    return error


async def test_a_booking_leaves_patient_link_history_events_and_deliveries(harness: Harness):
    assert await harness.hear(siu()) == [None]
    link = await harness.row("SELECT * FROM appointment_links")
    assert (link["state"], link["who_acts_next"], link["placer_number"]) == ("staff-booked", "patient", "P100045")
    assert link["slot_start"] == datetime(2026, 12, 1, 19, 30, tzinfo=UTC)
    assert (link["slot_zone"], link["resource"], link["revision"]) == ("America/Toronto", "BLUME CT", 1)
    assert await harness.events() == [("patient.registered", 1), ("appointment.scheduled", 1)]
    patient, appointment = await harness.deliveries()
    assert [patient.kind, appointment.kind] == ["patient.upsert", "appointment.upsert"]
    assert patient.key == appointment.key == link["patient_id"]
    person = PatientSnapshot.from_bytes(patient.payload)
    assert person.identifiers == (("http://northside.example/patient-id", "4711"),)
    snapshot = AppointmentSnapshot.from_bytes(appointment.payload)
    assert (snapshot.status, snapshot.minutes, snapshot.healthcare_service_id) == ("pending", 30, "hs-1")
    assert snapshot.start.isoformat() == "2026-12-01T14:30:00-05:00"
    history = await harness.row("SELECT * FROM link_history")
    assert (history["message"], history["outcome"], history["state_after"]) == ("SIU^S12", "applied", "staff-booked")
    assert history["delivery_ids"] == [patient.id, appointment.id]
    event = await harness.event("appointment.scheduled")
    assert event["aggregate_id"] == str(link["id"])
    assert event["data"]["start"] == "2026-12-01T14:30:00-05:00"
    assert (event["data"]["who_acts_next"], event["data"]["by"]) == ("patient", "staff")
    assert event["data"]["facility"]["name"] == "Northside Imaging"


@pytest.mark.parametrize(
    ("batches", "events"), [([[siu(), orm()]], 2), ([[siu()], [orm()]], 2), ([[orm()], [siu()]], 1)]
)
async def test_siu_and_orm_of_one_booking_are_one_link_and_what_the_second_adds_is_told(
    harness: Harness, batches, events: int
):
    """The order's accession number is news after the SIU; the SIU's filler id is none after the order."""
    for batch in batches:
        assert await harness.hear(*batch) == [None] * len(batch)
    link = await harness.row("SELECT * FROM appointment_links")
    assert (link["filler_id"], link["accession_numbers"]) == ("A100045", ["ACC100045"])
    told = [("appointment.scheduled", number) for number in range(1, 1 + events)]
    assert await harness.events() == [("patient.registered", 1), *told]
    newest = await harness.event("appointment.scheduled", revision=events)
    assert [one["accession_number"] for one in newest["data"]["studies"]] == ["ACC100045"]
    assert len(await harness.deliveries()) == 1 + events
    assert len(await harness.rows("SELECT * FROM link_history")) == 2


async def test_the_same_under_another_control_id_has_no_second_effect_and_is_counted(harness: Harness):
    await harness.hear(siu())
    await harness.hear(siu(control_id="PS0000000999"))
    assert len(await harness.events()) == 2
    assert harness.counts[-1] == ("powerserver", Outcome.UNCHANGED)


async def test_a_move_that_overtook_its_booking_holds(harness: Harness):
    await harness.hear(siu("S13", status="", **LATER))
    await harness.hear(siu("S12"))
    link = await harness.row("SELECT * FROM appointment_links")
    assert link["slot_start"] == datetime(2026, 12, 2, 19, 30, tzinfo=UTC)
    assert await harness.events() == [("patient.registered", 1), ("appointment.scheduled", 1)]
    assert harness.counts[-1] == ("powerserver", Outcome.STALE)


async def test_a_date_moved_while_pending_is_published_and_told_again(harness: Harness):
    await harness.hear(siu())
    await adopted(harness)
    await harness.hear(siu("S13", **LATER))
    assert (await harness.events())[-1] == ("appointment.rescheduled", 2)
    data = (await harness.event("appointment.rescheduled"))["data"]
    assert (data["former_start"], data["former_end"]) == ("2026-12-01T14:30:00-05:00", "2026-12-01T15:00:00-05:00")
    assert (data["former_resource"], data["former_facility"]) == ("BLUME CT", None)
    assert (data["start"], data["status"]) == ("2026-12-02T14:30:00-05:00", "scheduled")
    (delivery,) = await harness.deliveries()
    snapshot = AppointmentSnapshot.from_bytes(delivery.payload)
    assert snapshot.start.isoformat() == "2026-12-02T14:30:00-05:00"
    assert (snapshot.status, snapshot.base_version, snapshot.written_version) == ("pending", "1", "1")


async def test_a_changed_patient_is_updated_and_an_older_word_is_not(harness: Harness):
    await harness.hear(siu())
    moved = PID.replace("jane.roe@example.org", "jane@example.org")
    await harness.hear(siu(pid=moved, made="20261125093100-0500"))
    await harness.hear(siu(made="20261125093030-0500", control_id="X"))
    assert await harness.events() == [
        ("patient.registered", 1), ("appointment.scheduled", 1), ("patient.updated", 2),
    ]  # fmt: skip
    assert (await harness.row("SELECT email, revision FROM patients"))["email"] == "jane@example.org"


@pytest.mark.parametrize("lead", [timedelta(minutes=5), timedelta(hours=5), timedelta(days=365)])
async def test_a_clock_that_is_ahead_freezes_neither_patient_nor_link(harness: Harness, lead: timedelta):
    received_at = datetime(2026, 11, 25, 14, 30, tzinfo=UTC)
    ahead = (received_at + lead).strftime("%Y%m%d%H%M%S+0000")
    assert await harness.hear(siu(made=ahead), received_at=received_at) == [None]
    assert harness.leads == [lead]
    set_right = received_at + LARGEST_LEAD + timedelta(seconds=1)
    true = set_right.strftime("%Y%m%d%H%M%S+0000")
    moved = siu("S13", control_id="PS2", made=true, start=LATER["start"], end=LATER["end"],
                pid=PID.replace("jane.roe@", "jane@"))  # fmt: skip
    assert await harness.hear(moved, received_at=set_right) == [None]
    assert (await harness.row("SELECT email FROM patients"))["email"] == "jane@example.org"
    assert (await harness.row("SELECT slot_start FROM appointment_links"))["slot_start"].day == 2
    assert harness.leads == [lead], "a true time is no lead"


async def test_a_clock_of_ours_that_is_behind_makes_no_true_message_old(harness: Harness):
    """By our clock the messages come from ahead; as long as our clocks differ by that much, they stand as they are."""
    behind = datetime(2026, 11, 25, 14, 30, tzinfo=UTC)
    true = behind + timedelta(hours=1)
    harness.doubt = timedelta(hours=1)
    made = true.strftime("%Y%m%d%H%M%S+0000")
    assert await harness.hear(siu(made=made), received_at=behind) == [None]
    assert harness.leads == []
    assert (await harness.row("SELECT heard_at FROM patients"))["heard_at"] == true
    harness.doubt = timedelta()
    later = siu(control_id="PS2", made=(true + timedelta(hours=1)).strftime("%Y%m%d%H%M%S+0000"))
    assert await harness.hear(later, received_at=behind) == [None]
    assert harness.leads == [timedelta(hours=2)]


async def test_a_clock_that_runs_away_keeps_its_messages_in_order(harness: Harness):
    received_at = datetime(2026, 11, 25, 14, 30, tzinfo=UTC)
    for number, lead in enumerate((119, 121, 3600)):
        later = received_at + timedelta(seconds=10 * number)
        made = (later + timedelta(seconds=lead)).strftime("%Y%m%d%H%M%S+0000")
        pid = PID.replace("jane.roe@", f"jane{number}@")
        assert await harness.hear(siu(control_id=f"PS{number}", made=made, pid=pid), received_at=later) == [None]
    assert (await harness.row("SELECT email FROM patients"))["email"] == "jane2@example.org"


@pytest.mark.parametrize("is_one_batch", [True, False])
async def test_what_was_taken_back_holds_when_the_message_between_arrives_last(harness: Harness, *, is_one_batch: bool):
    """PowerServer says A, B and A; B comes last. Of the patient's details, and of the appointment's time."""
    moved = PID.replace("jane.roe@example.org", "jane@example.org")
    taken_back = siu(made="20261125093200-0500", control_id="A2")
    between = siu(pid=moved, control_id="B", **LATER)
    await harness.hear(siu(control_id="A1"))
    for batch in [[taken_back, between]] if is_one_batch else [[taken_back], [between]]:
        assert await harness.hear(*batch) == [None] * len(batch)
    patient = await harness.row("SELECT email, revision, heard_at FROM patients")
    assert patient["heard_at"] == datetime(2026, 11, 25, 14, 32, tzinfo=UTC)
    assert (patient["email"], patient["revision"]) == ("jane.roe@example.org", 1)
    link = await harness.row("SELECT slot_start, revision FROM appointment_links")
    assert (link["slot_start"], link["revision"]) == (datetime(2026, 12, 1, 19, 30, tzinfo=UTC), 1)
    assert await harness.events() == [("patient.registered", 1), ("appointment.scheduled", 1)]
    assert len(await harness.deliveries()) == 2
    assert harness.counts[-2:] == [("powerserver", Outcome.UNCHANGED), ("powerserver", Outcome.STALE)]


async def test_a_detail_that_was_left_out_since_is_still_as_old_as_it_is(harness: Harness):
    """Each message in a transaction of its own: the times come back from the store."""
    silent = PID.replace("jane.roe@example.org", "")
    await harness.hear(siu(made="20261125093000-0500"))
    await harness.hear(siu("S14", control_id="2", made="20261125093200-0500", pid=silent))
    newer = PID.replace("jane.roe@", "jane@")
    await harness.hear(siu("S14", control_id="3", made="20261125093100-0500", pid=newer))
    patient = await harness.row("SELECT email, revision, heard_at, details_heard_at FROM patients")
    assert (patient["email"], patient["revision"]) == ("jane@example.org", 2)
    assert patient["heard_at"] == datetime(2026, 11, 25, 14, 32, tzinfo=UTC)
    assert "2026-11-25T14:31" in patient["details_heard_at"]
    await harness.hear(siu("S14", control_id="4", made="20261125093030-0500"))
    assert (await harness.row("SELECT email FROM patients"))["email"] == "jane@example.org"


async def test_a_patient_is_written_only_when_the_time_moves_and_one_who_changes_beside_is_written_whole(
    harness: Harness,
):
    stranger = {"pid": PID.replace("4711", "4712"), "placer": "P100046"}
    await harness.hear(siu(), siu(**stranger))
    where = "SELECT ctid FROM patients ORDER BY id"
    before = await harness.rows(where)
    await harness.hear(orm(), siu("S14", **stranger))
    assert await harness.rows(where) == before
    renamed = {**stranger, "pid": stranger["pid"].replace("Roe", "Doe")}
    assert await harness.hear(*(siu("S14", made="20261125093100-0500", **more) for more in ({}, renamed))) == [None] * 2
    rows = await harness.rows("SELECT family, revision, heard_at FROM patients ORDER BY family")
    at = datetime(2026, 11, 25, 14, 31, tzinfo=UTC)
    assert [tuple(row) for row in rows] == [("Doe", 2, at), ("Roe", 1, at)]


async def test_the_patient_confirms_and_powerserver_is_told_once(harness: Harness):
    await harness.hear(siu())
    await adopted(harness)
    link = await harness.row("SELECT * FROM appointment_links")
    assert (link["omegaai_id"], link["omegaai_version"]) == ("7", "1")
    assert await omegaai_shows(harness, "booked", "2", "task-9") is None
    assert await omegaai_shows(harness, "booked", "2", "task-9") is None
    assert await omegaai_shows(harness, "booked", "2", "task-10") is None
    assert (await harness.events())[-1] == ("appointment.confirmed", 2)
    assert len(await harness.events()) == 3
    (delivery,) = await harness.deliveries()
    assert (delivery.destination, delivery.key) == ("powerserver", link["id"])
    message = Message.parse(delivery.payload)
    assert message.control_id == delivery.idempotency_key
    assert (message.trigger, message.get("SCH-1"), message.get("SCH-25.1")) == ("S14", "P100045", "50")
    await harness.settle(delivery, Receipt({"ack": "AA"}))
    await harness.hear(siu("S14", status="50^CONFIRMED^99PS", made="20261125093500-0500"))
    assert len(await harness.events()) == 3
    assert await harness.deliveries() == []
    assert (await harness.row("SELECT state FROM appointment_links"))["state"] == "confirmed"


async def test_our_own_write_comes_back_and_ends_here(harness: Harness):
    await harness.hear(siu())
    assert await omegaai_shows(harness, "pending", "1", "task-1") is None
    await adopted(harness)
    assert await omegaai_shows(harness, "pending", "1", "task-2") is None
    assert [outcome for source, outcome in harness.counts if source == "omegaai"] == [Outcome.ECHO, Outcome.ECHO]
    assert len(await harness.events()) == 2


async def test_staff_confirm_before_the_patient_does(harness: Harness):
    await harness.hear(siu())
    await adopted(harness)
    await harness.hear(siu("S14", status="50^CONFIRMED^99PS"))
    assert (await harness.events())[-1] == ("appointment.confirmed", 2)
    (delivery,) = await harness.deliveries()
    assert AppointmentSnapshot.from_bytes(delivery.payload).status == "booked"


async def test_a_cancellation_goes_to_omegaai_with_its_event(harness: Harness):
    await harness.hear(siu())
    await adopted(harness)
    await harness.hear(siu("S15", status="80^CANCELLED^99PS", made="20261125093200-0500"))
    event = await harness.event("appointment.cancelled")
    assert (event["revision"], event["data"]["no_show"]) == (2, False)
    (delivery,) = await harness.deliveries()
    assert AppointmentSnapshot.from_bytes(delivery.payload).status == "cancelled"


async def test_a_refused_move_is_in_the_conflict_log(harness: Harness):
    await harness.hear(siu(), siu("S15", made="20261125093200-0500"))
    await harness.hear(siu("S14", made="20261125093300-0500"))
    conflict = await harness.row("SELECT * FROM conflicts")
    assert "cancelled" in conflict["why"]
    assert harness.counts[-1] == ("powerserver", Outcome.REFUSED)


async def test_one_bad_message_takes_nobody_with_it(harness: Harness):
    errors = await harness.hear(
        siu(placer="P1"), siu(placer="P2", resource="GHOST CT"), siu(placer="P3", start="never"), siu(placer="P4")
    )
    assert [type(error) for error in errors] == [type(None), NeedsSetup, Malformed, type(None)]
    links = await harness.rows("SELECT placer_number FROM appointment_links ORDER BY placer_number")
    assert [row["placer_number"] for row in links] == ["P1", "P4"]
    assert [topic for topic, _ in await harness.events()].count("appointment.scheduled") == 2


async def test_a_message_that_fails_after_its_patient_was_made_leaves_no_patient(harness: Harness):
    stranger = PID.replace("4711", "4712")
    (error,) = await harness.hear(orm(pid=stranger, resource=""))
    assert isinstance(error, NeedsSetup)
    assert error.setting == "siu.resource or orm.resource in the mapping file"
    assert await harness.rows("SELECT * FROM patients") == []
    assert await harness.events() == []


async def test_two_appointments_of_one_new_patient_in_one_batch_share_the_patient(harness: Harness):
    await harness.hear(siu(placer="P1"), siu(placer="P2"))
    assert len(await harness.rows("SELECT * FROM patients")) == 1
    assert [topic for topic, _ in await harness.events()].count("patient.registered") == 1


async def test_an_act_that_our_write_left_standing_is_still_heard(harness: Harness):
    await harness.hear(siu())
    await adopted(harness)
    await harness.hear(siu("S13", **LATER))
    (delivery,) = await harness.deliveries()
    await harness.settle(delivery, Receipt({"id": "7", "version_id": "3", "status": "booked"}))
    assert await omegaai_shows(harness, "booked", "3", "task-3") is None
    assert (await harness.row("SELECT state FROM appointment_links"))["state"] == "confirmed"


async def test_nothing_of_a_patient_is_in_keys_or_idempotency_keys(harness: Harness):
    await harness.hear(siu(), orm())
    rows = await harness.rows("SELECT topic, headers, aggregate_id::text FROM outbox")
    shown = json.dumps([list(row.values()) for row in rows])
    shown += json.dumps([one.idempotency_key for one in await harness.deliveries()])
    for secret in ("4711", "Roe", "Jane", "example.org", "ACC100045"):
        assert secret not in shown


async def test_a_failure_after_the_link_was_changed_leaves_the_link_as_it_was(harness: Harness):
    await harness.hear(siu())
    before = await harness.row("SELECT * FROM appointment_links")
    harness.resources.fill([harness.resources.named("FAC02", "LAKE CT")])
    (error, fine) = await harness.hear(
        siu("S13", **LATER).replace(b"AIG|1|A|BLUME CT^BLUME CT|CT\r", b""),
        siu(placer="P9", facility="FAC02", resource="LAKE CT", control_id="C9"),
    )
    assert isinstance(error, NeedsSetup)
    assert fine is None
    after = await harness.row("SELECT * FROM appointment_links WHERE placer_number = 'P100045'")
    assert after == before
    assert len(await harness.rows("SELECT * FROM link_history WHERE link_id = $1", before["id"])) == 1


async def test_a_task_that_failed_gives_its_claim_back_and_comes_again(harness: Harness):
    await harness.hear(siu())
    await adopted(harness)
    known = list(harness.resources._by_name.values())
    harness.resources.fill([harness.resources.named("FAC02", "LAKE CT")])
    moved = {"start": "2026-12-05T10:00:00-05:00", "end": "2026-12-05T10:30:00-05:00"}
    assert isinstance(await omegaai_shows(harness, "pending", "2", "task-5", **moved), NeedsSetup)
    assert await harness.rows("SELECT * FROM conflicts") == []
    harness.resources.fill(known)
    assert await omegaai_shows(harness, "pending", "2", "task-5", **moved) is None
    assert len(await harness.rows("SELECT * FROM conflicts")) == 1
    assert [one.kind for one in await harness.deliveries()] == ["appointment.upsert"]


async def test_a_store_that_is_away_while_ids_are_looked_up_is_nobodys_fault(harness: Harness):
    """As a bug it would have dead-lettered the delivery: seed 2004 of the chaos harness."""
    ids = StoredIds(harness.store.pool)
    assert await ids.of_patient(UUID(int=1)) == KnownIds(None)
    assert await ids.of_link(UUID(int=1), UUID(int=2)) == KnownIds(None)
    await harness.store.pool.close()
    for asked in (ids.of_patient(UUID(int=1)), ids.of_link(UUID(int=1), UUID(int=2))):
        with pytest.raises(StoreUnavailable):
            await asked


class CountingPool:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self.statements = 0

    async def fetch(self, *asked: object) -> list[asyncpg.Record]:
        self.statements += 1
        return await self._pool.fetch(*asked)


async def test_many_deliveries_ask_for_their_ids_at_once_and_are_kept_at_once(harness: Harness):
    people = [PID.replace("4711", f"47{number}") for number in (11, 12, 13)]
    await harness.hear(*(siu(placer=f"P{number}", pid=pid) for number, pid in enumerate(people)))
    waiting = await harness.deliveries()
    async with harness.store.pool.acquire() as connection, connection.transaction():
        transaction = Transaction(connection)
        taken = [
            Accepted(one, Receipt({"id": f"{number}", "version_id": "1", "status": "pending"}))
            for number, one in enumerate(waiting)
        ]
        await harness.settlement.omegaai(transaction, taken)
        await transaction.flush()
    pool = CountingPool(harness.store.pool)
    ids = StoredIds(pool)
    snapshots = [AppointmentSnapshot.from_bytes(one.payload) for one in waiting if one.kind != "patient.upsert"]
    links = [(one.link_id, one.patient_id) for one in snapshots]
    patients = [one.key for one in waiting if one.kind == "patient.upsert"]
    given = {one.delivery.key: one.receipt.detail["id"] for one in taken if one.delivery.kind == "patient.upsert"}
    assert [one.patient_fhir_id for one in await asyncio.gather(*map(ids.of_patient, patients))] == list(given.values())
    assert {one.written_version for one in await asyncio.gather(*starmap(ids.of_link, links))} == {"1"}
    assert pool.statements == 2
    assert (await ids.of_link(UUID(int=1), UUID(int=2))) == KnownIds(None)
    assert pool.statements == 3


async def test_our_own_write_is_not_taken_for_the_patients_while_staff_have_moved_on(harness: Harness):
    """Staff confirm and take it back; our ``booked`` shows in OmegaAI before its delivery is settled.

    Taken for the patient's, it confirmed the appointment in PowerServer: seed 2004 of the chaos harness.
    """
    await harness.hear(siu())
    await adopted(harness)
    await harness.hear(siu("S14", control_id="C2", made="20261125093002-0500", status="50^CONFIRMED^99PS"))
    await harness.hear(siu("S14", control_id="C3", made="20261125093004-0500"))
    booked, pending = await harness.deliveries()
    await harness.rows("UPDATE deliveries SET attempts = 1 WHERE id = $1", booked.id)
    assert isinstance(await omegaai_shows(harness, "booked", "2", "t1"), Transient)
    await harness.settle(booked, Receipt({"id": "7", "version_id": "2", "status": "booked"}))
    assert await omegaai_shows(harness, "booked", "2", "t1") is None
    await harness.settle(pending, Receipt({"id": "7", "version_id": "3", "status": "pending"}))
    assert await omegaai_shows(harness, "pending", "3", "t2") is None
    link = await harness.row("SELECT * FROM appointment_links")
    assert (link["state"], link["step"], await harness.deliveries()) == ("staff-booked", "scheduled", [])


async def test_a_request_that_began_in_blume_is_for_a_person_to_see_and_what_is_not_ours_is_not(harness: Harness):
    async def comes(status: str, service: str) -> Exception | None:
        body = {
            "id": "9", "status": status, "identifier": [{"system": "urn:omegaai", "value": "1"}],
            "participant": [{"actor": {"reference": f"HealthcareService/{service}"}}],
        }  # fmt: skip
        command = reader.appointment(Found(body, "1"), "t")
        (error,) = await harness.tasks.apply([TaskItem(f"{status} {service}", datetime.now(UTC), command=command)])
        return error

    error = await comes("proposed", "hs-1")
    assert isinstance(error, Permanent)
    assert "names no Patient" in error.reason
    assert [await comes("cancelled", "hs-1"), await comes("proposed", "hs-99")] == [None, None]
    assert await harness.rows("SELECT * FROM appointment_links") == []


async def test_an_act_of_the_patient_does_not_wait_for_a_write_of_another_status(harness: Harness):
    await harness.hear(siu())
    await harness.rows("UPDATE deliveries SET attempts = 1")
    assert await omegaai_shows(harness, "booked", "2", "t1") is None
    assert (await harness.row("SELECT state FROM appointment_links"))["state"] == "confirmed"


async def test_who_waited_for_a_patient_knows_the_identifiers_that_came_meanwhile(harness: Harness):
    assert await harness.hear(siu()) == [None]
    patient = await harness.row("SELECT * FROM patients")

    async def is_waiting() -> bool:
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return (await harness.row(waiting))["count"] == 1

    async with harness.store.pool.acquire() as other, other.transaction():
        await other.execute("SELECT 1 FROM patients FOR UPDATE")
        moved = PID.replace("12 Elm St", "7 Oak Ave")
        hearing = asyncio.create_task(harness.hear(siu(control_id="PS2", made=LATER["made"], pid=moved)))
        await eventually(is_waiting, timeout_seconds=60, what="the message waits for the patient")
        await other.execute(
            "INSERT INTO patient_identifiers VALUES ($1, 'ELSEWHERE', '99', $2, 1)", patient["site"], patient["id"]
        )
    assert await hearing == [None]
    updated = await harness.event("patient.updated")
    assert [one["value"] for one in updated["data"]["identifiers"]] == ["4711", "99"]
    assert updated["data"]["address"]["line"] == "7 Oak Ave"
