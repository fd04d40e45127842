"""From Kafka to handlers: each message becomes one call of a handler; no parsing and no decisions.

Idempotent twice over: the inbox drops a message_id that was handled, and a revision that is not newer changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from chassis.messaging import RevisionGaps, Subscription
from chassis.store import Transaction
from contracts import Message, PatientMerged
from notifier.adapters.sender import DESTINATION
from notifier.domain.notification import Notification
from notifier.events import TOPICS, AppointmentMessage, PatientMessage, appointment_of, recipient_of
from notifier.handlers import follow_appointment, follow_merge, follow_patient
from notifier.ports import Outgoing, StaleRevisions
from notifier.store.repositories import (
    AppointmentRepository,
    NotificationRepository,
    RecipientRepository,
    lock_aggregates,
)

CONSUMER = "notifier"


@dataclass(frozen=True)
class QueuedDeliveries:
    """Stages a delivery in the batch's transaction.

    Its payload names no patient: the mail is written when it is sent.
    """

    tx: Transaction

    def enqueue(self, notification: Notification) -> None:
        self.tx.deliver(
            DESTINATION,
            key=notification.appointment_id,
            kind=notification.template,
            payload=b"",
            idempotency_key=notification.notification_id.hex,
            delivery_id=notification.notification_id,
        )


@dataclass(frozen=True)
class Work:
    """One batch's view of the store."""

    tx: Transaction
    recipients: RecipientRepository
    appointments: AppointmentRepository
    notifications: NotificationRepository
    outgoing: Outgoing
    stale: StaleRevisions
    gaps: RevisionGaps


def subscription(stale: StaleRevisions) -> Subscription[Work]:
    """The subscription of the chassis' consumer; ``stale`` counts events older than the projection."""

    def open_work(tx: Transaction) -> Work:
        work = Work(
            tx,
            RecipientRepository(),
            AppointmentRepository(),
            NotificationRepository(),
            QueuedDeliveries(tx),
            stale,
            RevisionGaps(tx, CONSUMER),
        )
        for participant in (work.recipients, work.appointments, work.notifications, work.gaps):
            tx.join(participant)
        return work

    return Subscription(consumer=CONSUMER, topics=TOPICS, open_work=open_work, prefetch=prefetch, handle=handle)


async def prefetch(work: Work, messages: Sequence[Message]) -> None:
    appointment_ids = {message.aggregate_id for message in messages if isinstance(message, AppointmentMessage)}
    patient_ids = {_patient_id(message) for message in messages}
    merged_ids = {message.data.merged_patient_id for message in messages if isinstance(message, PatientMerged)}
    connection = work.tx.connection
    await lock_aggregates(connection, patient_ids | merged_ids | appointment_ids)
    survivor_ids = await work.recipients.load(connection, patient_ids | merged_ids)
    while survivor_ids:  # They are locked already, unless a merge was committed while this batch waited for its locks.
        await lock_aggregates(connection, survivor_ids)
        survivor_ids = await work.recipients.load(connection, survivor_ids)
    await work.notifications.load(connection, list(appointment_ids), list(patient_ids))
    await work.appointments.load(connection, list(appointment_ids))
    if merged_ids:
        await work.notifications.load_of_patients(connection, merged_ids)
        await work.appointments.load_of_patients(connection, merged_ids)


async def handle(work: Work, message: Message) -> None:
    if isinstance(message, PatientMessage):
        recipient = work.recipients.get(message.aggregate_id)
        work.gaps.saw(message, recipient.revision if recipient is not None else None)
        await _handle_patient(work, message)
    elif isinstance(message, AppointmentMessage):
        appointment = work.appointments.get(message.aggregate_id)
        work.gaps.saw(message, appointment.revision if appointment is not None else None)
        await follow_appointment(
            appointment_of(message),
            by=message.data.by,
            recipients=work.recipients,
            appointments=work.appointments,
            notifications=work.notifications,
            outgoing=work.outgoing,
            stale=work.stale,
        )
    else:
        raise TypeError(f"no handler for {message.type}")


async def _handle_patient(work: Work, message: PatientMessage) -> None:
    if isinstance(message, PatientMerged):
        await follow_merge(
            recipient_of(message),
            message.data.merged_patient_id,
            merged_at=message.occurred_at,
            message_type=message.type,
            recipients=work.recipients,
            appointments=work.appointments,
            notifications=work.notifications,
            outgoing=work.outgoing,
            stale=work.stale,
        )
    else:
        await follow_patient(
            recipient_of(message),
            message_type=message.type,
            recipients=work.recipients,
            notifications=work.notifications,
            outgoing=work.outgoing,
            stale=work.stale,
        )


def _patient_id(message: Message) -> UUID:
    return message.data.patient_id if isinstance(message, AppointmentMessage) else message.aggregate_id
