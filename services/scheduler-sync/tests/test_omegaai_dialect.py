"""FHIR in: strict R4 and RamSoft's dialect mean the same; what cannot be read names its element. FHIR out: strict."""

from datetime import UTC, datetime
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from fake_omegaai import service
from fhir.resources.R4B.appointment import Appointment
from fhir.resources.R4B.patient import Patient
from fhir.resources.R4B.task import Task

from chassis.errors import Malformed
from omegaai.client import Found
from omegaai.tasks.model import completed
from scheduler_sync.adapters.omegaai import reader, writer
from scheduler_sync.domain.appointment import FhirStatus
from scheduler_sync.snapshots import AppointmentSnapshot, PatientSnapshot

LINK = UUID("0193608f-5f6c-7b3a-8f00-000000000001")
STRICT = {
    "resourceType": "Appointment", "id": "12", "meta": {"versionId": "2"}, "status": "booked",
    "identifier": [
        {"system": "urn:ietf:rfc:3986", "value": f"urn:uuid:{LINK}"},
        {"system": "urn:powerserver:placer", "value": "P100045"},
    ],
    "start": "2026-12-01T14:30:00-05:00", "end": "2026-12-01T15:00:00-05:00",
    "participant": [{"actor": {"reference": "Patient/7"}, "status": "accepted"}],
}  # fmt: skip
VENDOR = {
    **STRICT,
    "status": "BOOKED",
    "identifier": [
        {"system": "urn:ietf:rfc:3986", "value": f"urn:uuid{LINK}"},
        {"system": "urn:powerserver:placer", "value": "P100045"},
    ],
    "participant": [{"actor": {"reference": "patient/7", "id": "7"}, "status": "ACCEPTED"}],
    "comment": "", "priorityId": 20, "fullUrl": f"urn:uuid{LINK}", "cancelationReason": "",
    "timezone": "Eastern Standard Time",
}  # fmt: skip


@pytest.mark.parametrize("body", [STRICT, VENDOR], ids=["strict", "vendor"])
def test_both_dialects_say_the_same(body):
    command = reader.appointment(Found(body, "2"), "task-1")
    assert command.link_id == LINK
    assert command.placer_number == "P100045"
    assert command.facts.status is FhirStatus.BOOKED
    assert command.facts.start == datetime(2026, 12, 1, 19, 30, tzinfo=UTC)
    assert (command.facts.fhir_id, command.facts.version) == ("12", "2")
    assert command.facts.reason is None


@pytest.mark.parametrize(
    ("change", "expression"),
    [
        ({"status": "undecided"}, "Appointment.status"),
        ({"status": ""}, "Appointment.status"),
        ({"start": "tomorrow"}, "Appointment.start"),
        ({"end": "2026-12-01T15:00:00"}, "Appointment.end"),
        ({"requestedPeriod": [{"start": "?"}]}, "Appointment.requestedPeriod[0].start"),
        ({"id": ""}, "Appointment.id"),
    ],
)
def test_what_cannot_be_read_names_its_element(change, expression):
    with pytest.raises(Malformed) as caught:
        reader.appointment(Found({**STRICT, **change}, "2"), "task-1")
    assert caught.value.location == expression


def test_a_reason_is_read_wherever_it_stands():
    for reason in ({"text": "ill"}, {"coding": [{"display": "ill"}]}, {"coding": {"code": "ill"}, "text": ""}):
        assert reader.appointment(Found({**STRICT, "cancelationReason": reason}, "2"), "t").facts.reason == "ill"


def test_a_services_blank_too_many_is_kept_because_it_breaks_the_link():
    body = {
        "resourceType": "HealthcareService",
        "id": "1",
        "name": "BLUME CT ",
        "providedBy": {"reference": "organization/2"},
    }
    found = reader.healthcare_service(Found(body, "1"))
    assert (found.name, found.organization, found.is_active) == ("BLUME CT ", "2", True)


def test_extensions_are_found_under_every_root_that_was_seen():
    body = {
        "resourceType": "HealthcareService", "id": "1", "name": "X", "providedBy": {"reference": "Organization/2"},
        "active": "true",
        "extension": [
            {"url": "http://www.ramsoft.com/fhir/extension/modality", "valueCoding": {"code": "ct"}},
            {"url": "Duration", "valueInteger": "30"},
            {"url": "http://www.ramsoft.com/fhir/us/core/StructureDefinition/overBooking", "valueString": "TRUE"},
        ],
    }  # fmt: skip
    found = reader.healthcare_service(Found(body, "1"))
    assert (found.modality, found.duration_minutes, found.allows_overbooking) == ("CT", 30, True)


def appointment_snapshot(**more) -> AppointmentSnapshot:
    zone = ZoneInfo("America/Toronto")
    values = {
        "link_id": LINK, "patient_id": UUID(int=2), "placer_number": "P100045", "status": "pending",
        "start": datetime(2026, 12, 1, 14, 30, tzinfo=zone), "end": datetime(2026, 12, 1, 15, 0, tzinfo=zone),
        "minutes": 30, "studies": (("CT-HEAD", "CT Head"),), "resource": "BLUME CT", "healthcare_service_id": "hs-1",
        "reason": None, "base_version": None, "written_version": None,
    }  # fmt: skip
    return AppointmentSnapshot(**{**values, **more})


def patient_snapshot(**more) -> PatientSnapshot:
    values = {
        "patient_id": UUID(int=2), "identifiers": (("http://northside.example/patient-id", "4711"),),
        "family": "Roe", "given": "Jane", "middle": "A", "birth_date": datetime(1980, 2, 29, tzinfo=UTC).date(),
        "sex": "F", "email": "jane.roe@example.org", "phone": "(416)555-0100", "language": "en",
        "address": {"line": "12 Elm St", "city": "Toronto", "state": "ON", "postal_code": "M5V1A1", "country": "CA"},
        "organization": "1",
    }  # fmt: skip
    return PatientSnapshot(**{**values, **more})


def test_snapshots_come_back_from_their_bytes():
    appointment, patient = appointment_snapshot(reason="ill"), patient_snapshot(email=None)
    assert AppointmentSnapshot.from_bytes(appointment.to_bytes()) == appointment
    assert PatientSnapshot.from_bytes(patient.to_bytes()) == patient


def test_what_goes_out_is_strict_r4():
    for snapshot in (
        patient_snapshot(),
        patient_snapshot(email=None, phone=None, address=None, given="", birth_date=None),
    ):
        Patient.model_validate(writer.patient(snapshot))
    for status in FhirStatus:
        body = writer.appointment(appointment_snapshot(reason="ill"), "7", status)
        assert Appointment.model_validate(body).status == status.value
    assert writer.appointment(appointment_snapshot(), "7", FhirStatus.PENDING)["start"] == "2026-12-01T14:30:00-05:00"


def test_an_update_takes_along_what_others_put_there():
    existing = {"resourceType": "Patient", "id": "7", "extension": [{"url": "inviteStatus", "valueString": "sent"}],
                "photo": "", "financialClass": "x", "gender": "FEMALE"}  # fmt: skip
    body = writer.patient(patient_snapshot(), existing)
    assert body["extension"] == existing["extension"]
    assert "photo" not in body
    assert "financialClass" not in body
    assert (body["id"], body["gender"]) == ("7", "female")


def test_a_write_that_would_change_nothing_is_seen():
    body = writer.appointment(appointment_snapshot(), "7", FhirStatus.PENDING)
    stored = {**body, "id": "12", "meta": {"versionId": "1"}, "start": "2026-12-01T19:30:00+00:00"}
    assert writer.is_same(body, stored)
    assert not writer.is_same(body, {**stored, "status": "booked"})
    assert not writer.is_same(body, {**stored, "start": "2026-12-01T20:30:00+00:00"})


def test_the_queries_ask_by_what_powerserver_calls_things():
    query = writer.appointment_query(appointment_snapshot(), "12")
    assert query == "identifier=urn%3Apowerserver%3Aplacer%7CP100045&patient=Patient%2F12"
    assert writer.patient_query(patient_snapshot()) == "identifier=http%3A%2F%2Fnorthside.example%2Fpatient-id%7C4711"


def test_a_server_that_shouts_is_not_written_to_again_for_that():
    body = writer.appointment(appointment_snapshot(), "7", FhirStatus.PENDING)
    shouted = {**body, "status": "PENDING", "comment": "", "identifier": [
        {"system": "urn:ietf:rfc:3986", "value": f"urn:uuid{LINK}"}, body["identifier"][1],
    ], "participant": [{**one, "actor": {**one["actor"], "reference": one["actor"]["reference"].lower()}}
                       for one in body["participant"]]}  # fmt: skip
    assert writer.is_same(body, shouted)
    person = writer.patient(patient_snapshot())
    assert not writer.is_same(person, {**person, "name": [{**person["name"][0], "family": "ROE"}]})


def test_a_completed_task_is_strict_whatever_dialect_it_was_read_in():
    read = {"resourceType": "Task", "id": "5", "meta": {"versionId": "1"}, "status": "READY", "intent": "ORDER",
            "reasonCode": {"coding": [{"code": "mirthoutbound"}]}, "focus": {"reference": "appointment/12", "id": "12"},
            "authoredOn": "2026-11-25T14:30:00Z", "description": "", "enteredBy": "system",
            "fullUrl": "task/5"}  # fmt: skip
    written = completed(read)
    assert Task.model_validate(written).status == "completed"
    assert written["focus"] == {"reference": "Appointment/12"}
    assert "enteredBy" not in written


def test_a_service_is_read_with_what_the_suite_compares():
    found = reader.healthcare_service(Found(service("hs-2", "BLUME MR", "2", "MR", 45), "1"))
    assert (found.name, found.organization, found.modality, found.duration_minutes) == ("BLUME MR", "2", "MR", 45)
    assert found.is_active
    assert not found.allows_overbooking
    assert found.available_time[0]["availableStartTime"] == "08:00:00"
