"""What partners answer is typed between senders and settlement; answers that former code kept settle as well."""

import json

import asyncpg
import pytest
from sync_harness import Harness
from sync_samples import siu

from chassis.deliveries import Receipt, UnreadableReceiptError
from chassis.store import migrations
from scheduler_sync.adapters.omegaai.sender import subject_of
from scheduler_sync.bootstrap import MIGRATIONS
from scheduler_sync.domain.appointment import FhirStatus
from scheduler_sync.receipts import NOT_SENT, AppointmentAccepted, PatientAccepted, StatusAnswered
from scheduler_sync.store.queries import StoredIds

PATIENT = {"resource": "Patient", "id": "7", "version_id": "1"}
APPOINTMENT = {"resource": "Appointment", "id": "12", "version_id": "3", "status": "booked", "over": "2"}
"""As former code wrote them, letter by letter."""


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        (PatientAccepted("7", "1"), PATIENT),
        (AppointmentAccepted("12", "3", FhirStatus.BOOKED, "2"), APPOINTMENT),
        (AppointmentAccepted("12", "3", FhirStatus.PENDING), {**PATIENT, "resource": "Appointment", "id": "12",
                                                           "version_id": "3", "status": "pending"}),
        (StatusAnswered("AA", "C1"), {"ack": "AA", "control_id": "C1"}),
        (StatusAnswered(NOT_SENT, "C1"), {"ack": "not sent", "control_id": "C1"}),
    ],
)  # fmt: skip
def test_an_answer_is_kept_under_the_names_that_former_code_reads_and_read_back_as_it_was(typed, kept):
    assert dict(typed.to_receipt().detail) == kept
    again = Receipt.of_json(json.dumps({**kept, "added": "by later code"}))
    assert type(typed).of(again) == typed


@pytest.mark.parametrize("without", ["id", "version_id", "status"])
def test_an_appointments_answer_that_lacks_what_is_needed_says_what(without: str):
    detail = {name: value for name, value in APPOINTMENT.items() if name != without}
    with pytest.raises(UnreadableReceiptError, match=without):
        AppointmentAccepted.of(Receipt(detail))


def test_answers_are_checked_when_they_are_read_back():
    with pytest.raises(UnreadableReceiptError, match="AppointmentStatus"):
        AppointmentAccepted.of(Receipt({**APPOINTMENT, "status": "Booked by Jane Roe"}))
    with pytest.raises(UnreadableReceiptError, match="version_id"):
        PatientAccepted.of(Receipt({"id": "7", "version_id": ""}))
    with pytest.raises(UnreadableReceiptError, match="ack"):
        StatusAnswered.of(Receipt({}))


@pytest.mark.stack
async def test_a_settlement_that_cannot_read_an_answer_changes_nothing(harness: Harness):
    await harness.hear(siu())
    person, booking = await harness.deliveries()
    for delivery in (person, booking):
        with pytest.raises(UnreadableReceiptError):
            await harness.settle(delivery, Receipt({"etag": "W/1"}))
    assert len(await harness.deliveries()) == 2
    await harness.settle(person, Receipt(PATIENT))
    await harness.settle(booking, Receipt(APPOINTMENT))
    assert (await harness.row("SELECT omegaai_id FROM appointment_links"))["omegaai_id"] == "12"


@pytest.mark.stack
async def test_what_a_delivery_is_about_is_a_column(harness: Harness):
    await harness.hear(siu(), siu(placer="P2", control_id="2"))
    person, first, second = await harness.deliveries()
    links = {row["placer_number"]: row["id"] for row in await harness.rows("SELECT * FROM appointment_links")}
    assert [one.subject for one in (person, first, second)] == [person.key, links["P100045"], links["P2"]]
    assert first.key == second.key == person.key


@pytest.mark.stack
async def test_deliveries_of_former_code_that_are_under_way_find_what_went_before(harness: Harness):
    await harness.hear(siu(), siu(placer="P2", control_id="2"))
    await harness.hear(siu("S13", control_id="3", made="20261125093100-0500", start="20261202143000-0500",
                           end="20261202150000-0500"))  # fmt: skip
    await harness.rows("UPDATE deliveries SET subject = NULL")
    person, first, other, move = await harness.deliveries()
    assert first.subject is None
    assert subject_of(first) == subject_of(move) != subject_of(other)
    assert subject_of(person) == person.key
    ids = StoredIds(harness.store.pool)
    await harness.settle(other, Receipt(APPOINTMENT))
    assert await ids.later(first) is None, "that is about another appointment of the patient"
    await harness.settle(move, Receipt(APPOINTMENT))
    assert await ids.later(first) == "done"
    assert await ids.later(person) is None


@pytest.mark.stack
async def test_the_subjects_of_former_deliveries_are_filled_in_after_the_code(database_url: str):
    await migrations.run(MIGRATIONS, database_url, "before")
    connection = await asyncpg.connect(database_url)
    patient, link = "00000000-0000-7000-8000-000000000001", "00000000-0000-7000-8000-000000000002"
    for number, (destination, key, idempotency_key) in enumerate(
        [
            ("omegaai", patient, f"patient:{patient}:1"),
            ("omegaai", patient, f"appointment:{link}:00000000-0000-7000-8000-000000000009"),
            ("powerserver", link, "0123456789ABCDEFGHJK"),
        ]
    ):
        await connection.execute(
            "INSERT INTO deliveries (id, destination, key, kind, payload, idempotency_key) "
            "VALUES (gen_random_uuid(), $1, $2, $3, '', $4)",
            destination, key, str(number), idempotency_key,
        )  # fmt: skip
    await migrations.run(MIGRATIONS, database_url, "after")
    rows = await connection.fetch("SELECT subject::text FROM deliveries ORDER BY sequence")
    await connection.close()
    assert [row["subject"] for row in rows] == [patient, link, link]
