"""One example per message, for the documents and for the tests of every reader. The people in it are made up."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from contracts.appointment import (
    AppointmentCancelled,
    AppointmentConfirmed,
    AppointmentData,
    AppointmentRequested,
    AppointmentScheduled,
    CancelledAppointmentData,
    Facility,
    RequestedAppointmentData,
    Study,
)
from contracts.envelope import Message, Payload
from contracts.patient import (
    PatientData,
    PatientIdentifier,
    PatientRegistered,
    PatientUpdated,
    PersonName,
    PostalAddress,
)

_PATIENT = UUID("01940d2e-7a00-7c3e-9f10-5f2a6c1b0001")
_APPOINTMENT = UUID("01940d2e-7a40-7b52-8d21-0c9e4b7a0002")
_CORRELATION = UUID("01940d2e-79f0-7a11-b3c4-1d2e3f400003")


def _message(
    message_class: type[Message], *, number: int, aggregate_id: UUID, revision: int, data: Payload, minute: int
) -> Message:
    return message_class(
        message_id=UUID(f"01940d2e-7b00-7000-8000-00000000000{number}"),
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


def _patient(email: str) -> PatientData:
    return PatientData(
        identifiers=(PatientIdentifier(issuer="NORTHSIDE", value="4711"),),
        name=PersonName(family="Roe", given="Jane", middle="A"),
        birth_date=date(1980, 2, 29),
        sex="F",
        email=email,
        phone="(416)555-0100",
        address=PostalAddress(line="12 Elm St", city="Toronto", state="ON", postal_code="M5V1A1", country="CA"),
    )


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
        "studies": (Study(code="CT-HEAD", description="CT Head"),),
        "placer_number": "P100045",
        "filler_id": "A100045",
        "accession_numbers": ("ACC100045",),
        **happened,
    }


def _examples() -> list[Message]:
    scheduled = AppointmentData(**_appointment(status="scheduled", who_acts_next="patient", by="staff"))
    confirmed = AppointmentData(**_appointment(status="confirmed", who_acts_next="nobody", by="patient"))
    requested = RequestedAppointmentData(
        **_appointment(status="requested", who_acts_next="staff", by="patient"),
        requested_start=datetime.fromisoformat("2026-12-03T09:00:00-05:00"),
        requested_end=datetime.fromisoformat("2026-12-03T09:30:00-05:00"),
    )
    cancelled = CancelledAppointmentData(
        **_appointment(status="cancelled", who_acts_next="nobody", by="patient"), reason="Feeling better", no_show=False
    )
    first = _patient("jane.roe@example.org")
    changed = _patient("j.roe@example.org")
    return [
        _message(PatientRegistered, number=1, aggregate_id=_PATIENT, revision=1, data=first, minute=30),
        _message(PatientUpdated, number=2, aggregate_id=_PATIENT, revision=2, data=changed, minute=40),
        _message(AppointmentScheduled, number=3, aggregate_id=_APPOINTMENT, revision=1, data=scheduled, minute=30),
        _message(AppointmentConfirmed, number=4, aggregate_id=_APPOINTMENT, revision=2, data=confirmed, minute=45),
        _message(AppointmentRequested, number=5, aggregate_id=_APPOINTMENT, revision=3, data=requested, minute=50),
        _message(AppointmentCancelled, number=6, aggregate_id=_APPOINTMENT, revision=4, data=cancelled, minute=55),
    ]


EXAMPLES: Mapping[type[Message], Message] = {type(example): example for example in _examples()}
