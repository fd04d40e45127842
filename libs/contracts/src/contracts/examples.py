"""One example per message, for the documents and for the tests of every reader. The people in it are made up."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from contracts.appointment import (
    Alternative,
    AnsweredAppointmentData,
    AppointmentCancelled,
    AppointmentConfirmed,
    AppointmentData,
    AppointmentProgressed,
    AppointmentRequested,
    AppointmentRescheduled,
    AppointmentScheduled,
    CancelledAppointmentData,
    Facility,
    Physician,
    RequestedAppointmentData,
    RescheduledAppointmentData,
    Study,
)
from contracts.envelope import Message, Payload
from contracts.patient import (
    Guardian,
    MergedPatientData,
    PatientData,
    PatientDataV1,
    PatientIdentifier,
    PatientMerged,
    PatientRegistered,
    PatientRegisteredV1,
    PatientUpdated,
    PatientUpdatedV1,
    PersonName,
    PostalAddress,
)
from contracts.resource import Difference, ResourceData, ResourceDrifted, ResourceLinked

_PATIENT = UUID("01940d2e-7a00-7c3e-9f10-5f2a6c1b0001")
_APPOINTMENT = UUID("01940d2e-7a40-7b52-8d21-0c9e4b7a0002")
_RESOURCE = UUID("01940d2e-7a60-7d14-a911-6b7c2e9d0004")
_MERGED_PATIENT = UUID("01940d2e-7a20-7e52-9c31-1f4d8a2b0005")
_CORRELATION = UUID("01940d2e-79f0-7a11-b3c4-1d2e3f400003")


def _message(
    message_class: type[Message], *, number: int, aggregate_id: UUID, revision: int, data: Payload, minute: int
) -> Message:
    return message_class(
        message_id=UUID(f"01940d2e-7b00-7000-8000-{number:012}"),
        type=message_class.MESSAGE_TYPE,
        version=message_class.MESSAGE_VERSION,
        occurred_at=datetime(2026, 11, 25, 14, minute, tzinfo=UTC),
        producer="scheduler-sync",
        aggregate_id=aggregate_id,
        revision=revision,
        correlation_id=_CORRELATION,
        causation_id=None,
        data=data,
    )


def _patient(email: str) -> dict[str, Any]:
    return {
        "identifiers": (PatientIdentifier(issuer="NORTHSIDE", value="4711"),),
        "name": PersonName(family="Roe", given="Jane", middle="A"),
        "birth_date": date(1980, 2, 29),
        "sex": "F",
        "email": email,
        "phone": "(416)555-0100",
        "address": PostalAddress(line="12 Elm St", city="Toronto", state="ON", postal_code="M5V1A1", country="CA"),
    }


def _known_of_patient() -> dict[str, Any]:
    """The facts that version 2 of a patient adds."""
    return {
        "language": "fr-CA",
        "time_zone": "America/Toronto",
        "guardian": Guardian(
            name=PersonName(family="Roe", given="Mary"),
            relationship="MTH",
            email="mary.roe@example.org",
            phone="(416)555-0102",
        ),
        "sms_consent": True,
        "organization": "1001",
    }


def _appointment(**happened: Any) -> dict[str, Any]:
    return {
        "patient_id": _PATIENT,
        "site": "northside",
        "facility": Facility(
            code="FAC01",
            name="Northside Imaging",
            time_zone="America/Toronto",
            phone="+1 416 555 0111",
            address="12 King St W, Toronto, ON",
        ),
        "resource": "BLUME CT",
        "modality": "CT",
        "start": datetime.fromisoformat("2026-12-01T14:30:00-05:00"),
        "end": datetime.fromisoformat("2026-12-01T15:00:00-05:00"),
        "studies": (
            Study(
                code="CT-HEAD",
                description="CT Head",
                start=datetime.fromisoformat("2026-12-01T14:30:00-05:00"),
                end=datetime.fromisoformat("2026-12-01T15:00:00-05:00"),
                modality="CT",
                procedure_codes=("70450",),
                accession_number="ACC100045",
                study_uid="2.25.280013917650415733162870402935472871301",
            ),
        ),
        "placer_number": "P100045",
        "filler_id": "A100045",
        "accession_numbers": ("ACC100045",),
        "organization": "1002",
        "referring_physician": Physician(
            identifier="1234567893", issuer="NPI", name=PersonName(family="Welby", given="Marcus")
        ),
        **happened,
    }


def _alternatives() -> tuple[Alternative, ...]:
    return tuple(
        Alternative(
            resource="BLUME CT",
            start=datetime.fromisoformat(f"2026-12-03T{hour:02}:00:00-05:00"),
            end=datetime.fromisoformat(f"2026-12-03T{hour:02}:30:00-05:00"),
        )
        for hour in (10, 11, 14)
    )


def _examples() -> list[Message]:
    return [*_examples_of_patients(), *_examples_of_appointments(), *_examples_of_resources()]


def _examples_of_patients() -> list[Message]:
    first, changed = _patient("jane.roe@example.org"), _patient("j.roe@example.org")
    known = _known_of_patient()
    merged = MergedPatientData(**changed, **known, merged_patient_id=_MERGED_PATIENT)
    return [
        _message(
            PatientRegisteredV1, number=1, aggregate_id=_PATIENT, revision=1, data=PatientDataV1(**first), minute=30
        ),
        _message(
            PatientUpdatedV1, number=2, aggregate_id=_PATIENT, revision=2, data=PatientDataV1(**changed), minute=40
        ),
        _message(PatientRegistered, number=7, aggregate_id=_PATIENT, revision=1, data=PatientData(**first), minute=30),
        _message(
            PatientUpdated,
            number=8,
            aggregate_id=_PATIENT,
            revision=2,
            data=PatientData(**changed, **known),
            minute=40,
        ),
        _message(PatientMerged, number=9, aggregate_id=_PATIENT, revision=3, data=merged, minute=50),
    ]


def _examples_of_appointments() -> list[Message]:
    scheduled = AnsweredAppointmentData(**_appointment(status="scheduled", who_acts_next="patient", by="staff"))
    confirmed = AnsweredAppointmentData(**_appointment(status="confirmed", who_acts_next="nobody", by="patient"))
    requested = RequestedAppointmentData(
        **_appointment(status="requested", who_acts_next="staff", by="patient"),
        requested_start=datetime.fromisoformat("2026-12-03T09:00:00-05:00"),
        requested_end=datetime.fromisoformat("2026-12-03T09:30:00-05:00"),
        displaced=True,
        alternatives=_alternatives(),
    )
    rescheduled = RescheduledAppointmentData(
        **_appointment(status="confirmed", who_acts_next="nobody", by="staff"),
        former_start=datetime.fromisoformat("2026-11-30T09:00:00-05:00"),
        former_end=datetime.fromisoformat("2026-11-30T09:30:00-05:00"),
        former_resource="BLUME CT 2",
    )
    progressed = AppointmentData(**_appointment(status="arrived", who_acts_next="nobody", by="staff"))
    cancelled = CancelledAppointmentData(
        **_appointment(status="cancelled", who_acts_next="nobody", by="patient"), reason="Feeling better", no_show=False
    )
    return [
        _message(AppointmentScheduled, number=3, aggregate_id=_APPOINTMENT, revision=1, data=scheduled, minute=30),
        _message(AppointmentConfirmed, number=4, aggregate_id=_APPOINTMENT, revision=2, data=confirmed, minute=45),
        _message(AppointmentRequested, number=5, aggregate_id=_APPOINTMENT, revision=3, data=requested, minute=50),
        _message(AppointmentCancelled, number=6, aggregate_id=_APPOINTMENT, revision=4, data=cancelled, minute=55),
        _message(AppointmentRescheduled, number=10, aggregate_id=_APPOINTMENT, revision=3, data=rescheduled, minute=50),
        _message(AppointmentProgressed, number=11, aggregate_id=_APPOINTMENT, revision=4, data=progressed, minute=55),
    ]


def _examples_of_resources() -> list[Message]:
    resource: dict[str, Any] = {
        "site": "northside",
        "facility": "FAC01",
        "name": "BLUME CT",
        "modality": "CT",
        "healthcare_service_id": "2001",
    }
    differs = Difference(field="duration_minutes", powerserver="30", omegaai="60")
    linked, drifted = ResourceData(**resource), ResourceData(**resource, drift=(differs,))
    return [
        _message(ResourceLinked, number=12, aggregate_id=_RESOURCE, revision=1, data=linked, minute=20),
        _message(ResourceDrifted, number=13, aggregate_id=_RESOURCE, revision=2, data=drifted, minute=25),
    ]


EXAMPLES: Mapping[type[Message], Message] = {type(example): example for example in _examples()}
