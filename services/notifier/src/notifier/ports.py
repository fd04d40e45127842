"""What the handlers need from the outside, without how it is done."""

from typing import Protocol
from uuid import UUID

from notifier.domain.appointment import Appointment
from notifier.domain.notification import Notification, Template
from notifier.domain.recipient import Recipient


class Recipients(Protocol):
    """The patients of this batch."""

    def get(self, patient_id: UUID) -> Recipient | None: ...

    def put(self, recipient: Recipient) -> None: ...

    def survivor_of(self, patient_id: UUID) -> UUID:
        """The patient in whose record this one ended, also after several merges; else ``patient_id`` itself."""
        ...


class Appointments(Protocol):
    """The appointments of this batch."""

    def get(self, appointment_id: UUID) -> Appointment | None: ...

    def put(self, appointment: Appointment) -> None: ...

    def of_patient(self, patient_id: UUID) -> list[Appointment]:
        """All appointments of a patient whom the batch merges."""
        ...


class Notifications(Protocol):
    """Open notifications of the batch's appointments and patients, and those made in this batch."""

    def put(self, notification: Notification) -> None: ...

    def open_for_appointment(self, appointment_id: UUID) -> list[Notification]: ...

    def awaiting_patient(self, patient_id: UUID) -> list[Notification]: ...

    def open_for_patient(self, patient_id: UUID) -> list[Notification]:
        """All open notifications of a patient whom the batch merges."""
        ...


class Outgoing(Protocol):
    """Takes a queued notification for sending, in the transaction of the handler."""

    def enqueue(self, notification: Notification) -> None: ...


class StaleRevisions(Protocol):
    """Counts events older than the projection."""

    def count(self, message_type: str) -> None: ...


class MailMeters(Protocol):
    """Counts the outcomes of sending that alarms watch."""

    def unanswered(self, template: Template) -> None:
        """A mail was handed over and the mail server did not answer."""

    def unconfirmed(self, template: Template) -> None:
        """A mail was given up after two tries without an answer."""

    def refused(self, template: Template) -> None:
        """The mail server refused a mail for good."""
