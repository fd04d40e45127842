"""What the handlers need from the outside, and nothing of how it is done."""

from typing import Protocol
from uuid import UUID

from notifier.domain.appointment import Appointment
from notifier.domain.notification import Notification, Template
from notifier.domain.recipient import Recipient


class Recipients(Protocol):
    """Patients as far as this batch touches them."""

    def get(self, patient_id: UUID) -> Recipient | None: ...

    def put(self, recipient: Recipient) -> None: ...


class Appointments(Protocol):
    """Appointments as far as this batch touches them."""

    def get(self, appointment_id: UUID) -> Appointment | None: ...

    def put(self, appointment: Appointment) -> None: ...


class Notifications(Protocol):
    """Notifications of the batch's appointments and patients that are still open, and those made in this batch."""

    def put(self, notification: Notification) -> None: ...

    def open_for_appointment(self, appointment_id: UUID) -> list[Notification]: ...

    def awaiting_patient(self, patient_id: UUID) -> list[Notification]: ...


class Outgoing(Protocol):
    """Takes a queued notification for sending, in the transaction of the handler."""

    def enqueue(self, notification: Notification) -> None: ...


class StaleRevisions(Protocol):
    """Counts events that were older than what is known."""

    def count(self, message_type: str) -> None: ...


class MailMeters(Protocol):
    """Counts the ends of sending that somebody should hear of."""

    def unanswered(self, template: Template) -> None:
        """A mail was handed over and the mail server did not answer."""

    def unconfirmed(self, template: Template) -> None:
        """A mail was given up after two tries without an answer."""

    def refused(self, template: Template) -> None:
        """The mail server refused a mail for good."""
