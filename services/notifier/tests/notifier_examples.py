"""Examples that several test modules build on; in April, July and December of 2026."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from starlette.types import ASGIApp

import contracts
from notifier.adapters.letters import Letterhead
from notifier.domain.appointment import Appointment, Facility, FormerPlace
from notifier.domain.notification import Notification
from notifier.domain.recipient import Recipient

TORONTO = Facility("Northside Imaging", "America/Toronto", "+1 416 555 0111", "12 King St W, Toronto, ON")
START = datetime(2026, 12, 1, 19, 30, tzinfo=UTC)
FORMER = FormerPlace(START - timedelta(days=1, hours=5, minutes=30), START - timedelta(days=1, hours=5), TORONTO.name)


def recipient(patient_id: UUID | None = None, **changes: object) -> Recipient:
    known = Recipient(patient_id or uuid4(), 1, "Jane", "jane.roe@example.org", "en")
    return replace(known, **changes)


def appointment(patient_id: UUID | None = None, event: str = "scheduled", **changes: object) -> Appointment:
    status, who = {
        "scheduled": ("scheduled", "patient"),
        "requested": ("requested", "staff"),
        "confirmed": ("confirmed", "nobody"),
        "rescheduled": ("confirmed", "nobody"),
        "progressed": ("arrived", "nobody"),
        "cancelled": ("cancelled", "nobody"),
    }[event]
    made = Appointment(
        appointment_id=uuid4(),
        patient_id=patient_id or uuid4(),
        revision=1,
        event=f"appointment.{event}",
        status=status,
        who_acts_next=who,
        start=START,
        end=START + timedelta(minutes=30),
        facility=TORONTO,
        former=FORMER if event == "rescheduled" else None,
    )
    return replace(made, **changes)


class FakeRecipients(dict[UUID, Recipient]):
    def put(self, recipient: Recipient) -> None:
        self[recipient.patient_id] = recipient

    def survivor_of(self, patient_id: UUID) -> UUID:
        known = self.get(patient_id)
        return patient_id if known is None or known.merged_into is None else self.survivor_of(known.merged_into)


class FakeAppointments(dict[UUID, Appointment]):
    def put(self, appointment: Appointment) -> None:
        self[appointment.appointment_id] = appointment

    def of_patient(self, patient_id: UUID) -> list[Appointment]:
        return [each for each in self.values() if each.patient_id == patient_id]


class FakeNotifications(dict[UUID, Notification]):
    def put(self, notification: Notification) -> None:
        self[notification.notification_id] = notification

    def open_for_appointment(self, appointment_id: UUID) -> list[Notification]:
        return [each for each in self.values() if each.appointment_id == appointment_id and each.is_open]

    def awaiting_patient(self, patient_id: UUID) -> list[Notification]:
        return [each for each in self.open_for_patient(patient_id) if each.state == "awaiting_recipient"]

    def open_for_patient(self, patient_id: UUID) -> list[Notification]:
        return [each for each in self.values() if each.patient_id == patient_id and each.is_open]


class FakeOutgoing(list[Notification]):
    def enqueue(self, notification: Notification) -> None:
        self.append(notification)


class FakeStale(list[str]):
    def count(self, message_type: str) -> None:
        self.append(message_type)


def patient_event(
    patient_id: UUID | None = None, *, revision: int = 1, email: str | None = "jane.roe@example.org"
) -> contracts.Message:
    return contracts.new_message(
        contracts.PatientRegistered if revision == 1 else contracts.PatientUpdated,
        aggregate_id=patient_id or uuid4(),
        revision=revision,
        data=contracts.PatientData(**_patient_values(email)),
        producer="scheduler-sync",
        occurred_at=datetime.now(UTC),
    )


def merged_event(
    survivor_id: UUID,
    merged_id: UUID,
    *,
    revision: int = 2,
    email: str | None = "jane.roe@example.org",
    at: datetime | None = None,
) -> contracts.Message:
    return contracts.new_message(
        contracts.PatientMerged,
        aggregate_id=survivor_id,
        revision=revision,
        data=contracts.MergedPatientData(**_patient_values(email), merged_patient_id=merged_id),
        producer="scheduler-sync",
        occurred_at=at or datetime.now(UTC),
    )


def _patient_values(email: str | None) -> dict[str, Any]:
    return {
        "identifiers": (contracts.PatientIdentifier(issuer="NORTHSIDE", value="MRN-4711-N"),),
        "name": contracts.PersonName(family="Roe", given="Jane"),
        "sex": "F",
        "email": email,
    }


_EVENTS = {
    "scheduled": (contracts.AppointmentScheduled, contracts.AnsweredAppointmentData, "scheduled", "patient"),
    "requested": (contracts.AppointmentRequested, contracts.RequestedAppointmentData, "requested", "staff"),
    "confirmed": (contracts.AppointmentConfirmed, contracts.AnsweredAppointmentData, "confirmed", "nobody"),
    "rescheduled": (contracts.AppointmentRescheduled, contracts.RescheduledAppointmentData, "confirmed", "nobody"),
    "progressed": (contracts.AppointmentProgressed, contracts.AppointmentData, "arrived", "nobody"),
    "cancelled": (contracts.AppointmentCancelled, contracts.CancelledAppointmentData, "cancelled", "nobody"),
}


def appointment_event(
    patient_id: UUID,
    event: str = "scheduled",
    *,
    revision: int = 1,
    appointment_id: UUID | None = None,
    start: datetime | None = None,
) -> contracts.Message:
    """In a week, unless ``start`` says otherwise: what is over is not sent."""
    message_class, data_class, status, who = _EVENTS[event]
    start = start or datetime.now(UTC).replace(microsecond=0) + timedelta(days=7)
    former = {
        "former_start": start - timedelta(days=1),
        "former_end": start - timedelta(days=1) + timedelta(minutes=30),
        "former_resource": "BLUME CT",
    }
    return contracts.new_message(
        message_class,
        aggregate_id=appointment_id or uuid4(),
        revision=revision,
        data=data_class(
            patient_id=patient_id,
            site="northside",
            facility=contracts.Facility(
                code="FAC01",
                name=TORONTO.name,
                time_zone=TORONTO.time_zone,
                phone=TORONTO.phone,
                address=TORONTO.address,
            ),
            resource="BLUME CT",
            modality="CT",
            start=start,
            end=start + timedelta(minutes=30),
            studies=(contracts.Study(code="CT-HEAD", description="CT Head"),),
            status=status,
            who_acts_next=who,
            placer_number="P100045",
            by="staff",
            **(former if event == "rescheduled" else {}),
        ),
        producer="scheduler-sync",
        occurred_at=datetime.now(UTC),
    )


def letterhead() -> Letterhead:
    return Letterhead(
        sender="appointments@northside.example",
        sender_name="Northside Health",
        site_name="Northside Health",
        portal_url="https://portal.example/blume",
        map_url="https://maps.example/?q={address}",
        arrive_early_minutes=30,
    )


async def asked(app: ASGIApp, path: str, query: str = "") -> tuple[int, str, dict[str, str]]:
    """One GET of an ASGI application without a server: status, body, headers."""
    sent: list[dict] = []

    async def receive() -> dict:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    await app(scope, receive, send)
    head, *rest = sent
    headers = {name.decode(): value.decode() for name, value in head["headers"]}
    return head["status"], b"".join(part.get("body", b"") for part in rest).decode(), headers
