"""Examples that several test modules build on; in April, July and December of 2026."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from notifier.domain.appointment import Appointment, Facility
from notifier.domain.notification import Notification
from notifier.domain.recipient import Recipient

TORONTO = Facility("Northside Imaging", "America/Toronto", "+1 416 555 0111", "12 King St W, Toronto, ON")
START = datetime(2026, 12, 1, 19, 30, tzinfo=UTC)


def recipient(patient_id: UUID | None = None, **changes: object) -> Recipient:
    known = Recipient(patient_id or uuid4(), 1, "Jane", "jane.roe@example.org", "en")
    return replace(known, **changes)


def appointment(patient_id: UUID | None = None, event: str = "scheduled", **changes: object) -> Appointment:
    status, who = {
        "scheduled": ("scheduled", "patient"),
        "requested": ("requested", "staff"),
        "confirmed": ("confirmed", "nobody"),
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
    )
    return replace(made, **changes)


class FakeRecipients(dict[UUID, Recipient]):
    def put(self, recipient: Recipient) -> None:
        self[recipient.patient_id] = recipient


class FakeAppointments(dict[UUID, Appointment]):
    def put(self, appointment: Appointment) -> None:
        self[appointment.appointment_id] = appointment


class FakeNotifications(dict[UUID, Notification]):
    def put(self, notification: Notification) -> None:
        self[notification.notification_id] = notification

    def open_for_appointment(self, appointment_id: UUID) -> list[Notification]:
        return [each for each in self.values() if each.appointment_id == appointment_id and each.is_open]

    def awaiting_patient(self, patient_id: UUID) -> list[Notification]:
        return [each for each in self.values() if each.patient_id == patient_id and each.state == "awaiting_recipient"]


class FakeOutgoing(list[Notification]):
    def enqueue(self, notification: Notification) -> None:
        self.append(notification)


class FakeStale(list[str]):
    def count(self, message_type: str) -> None:
        self.append(message_type)
