"""The use cases. Idempotent by revision: an event that is not newer than the projection changes nothing."""

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from notifier.domain import planning
from notifier.domain.appointment import Appointment
from notifier.domain.recipient import Recipient
from notifier.ports import Appointments, Notifications, Outgoing, Recipients, StaleRevisions


async def follow_patient(
    patient: Recipient,
    *,
    message_type: str,
    recipients: Recipients,
    notifications: Notifications,
    outgoing: Outgoing,
    stale: StaleRevisions,
) -> None:
    """Keeps the recipient and releases the waiting messages: events of different topics arrive in any order."""
    known = recipients.get(patient.patient_id)
    if known is not None and known.revision >= patient.revision:
        stale.count(message_type)
        return
    recipients.put(patient if known is None else patient.with_merge_of(known))
    _release_waiting(patient, notifications, outgoing)


async def follow_merge(
    survivor: Recipient,
    merged_patient_id: UUID,
    *,
    merged_at: datetime,
    message_type: str,
    recipients: Recipients,
    appointments: Appointments,
    notifications: Notifications,
    outgoing: Outgoing,
    stale: StaleRevisions,
) -> None:
    """Moves the appointments and open messages of the merged patient to the survivor. Idempotent: a repeat finds none.

    The merge counts even where a newer event of the survivor came first. A queued message keeps its id, so that nobody
    is told twice.
    """
    ended = recipients.get(merged_patient_id) or Recipient.unheard_of(merged_patient_id)
    recipients.put(ended.ended(survivor.patient_id, merged_at))
    known = recipients.get(survivor.patient_id)
    if known is None or known.revision < survivor.revision:
        known = survivor if known is None else survivor.with_merge_of(known)
    else:
        stale.count(message_type)
    recipients.put(known.survived(merged_at))
    heir_id = recipients.survivor_of(merged_patient_id)
    for appointment in appointments.of_patient(merged_patient_id):
        appointments.put(replace(appointment, patient_id=heir_id))
    for notification in notifications.open_for_patient(merged_patient_id):
        notifications.put(replace(notification, patient_id=heir_id))
    heir = recipients.get(heir_id)
    if heir is not None:
        _release_waiting(heir, notifications, outgoing)


def _release_waiting(recipient: Recipient, notifications: Notifications, outgoing: Outgoing) -> None:
    for waiting in notifications.awaiting_patient(recipient.patient_id):
        released = planning.addressed(waiting, recipient)
        notifications.put(released)
        if released.state == "queued":
            outgoing.enqueue(released)


async def follow_appointment(
    appointment: Appointment,
    *,
    by: str,
    recipients: Recipients,
    appointments: Appointments,
    notifications: Notifications,
    outgoing: Outgoing,
    stale: StaleRevisions,
) -> None:
    """Keeps the appointment, supersedes older messages, and plans the message that is due.

    ``by`` caused the event: staff, the patient or the system. The answer to an act of the patient is always told.
    Where the patient sees nothing new, an open message is still true: it keeps its id, and belongs to the new revision.
    Another message in its place would be a second mail, as the first may be on its way.
    """
    known = appointments.get(appointment.appointment_id)
    if known is not None and known.revision >= appointment.revision:
        stale.count(appointment.event)
        return
    untold = notifications.open_for_appointment(appointment.appointment_id)
    appointment = replace(appointment, patient_id=recipients.survivor_of(appointment.patient_id))
    if known is not None and by == "staff" and planning.looks_the_same(appointment, known):
        appointments.put(replace(appointment, former=known.former))
        for earlier in untold:
            notifications.put(replace(earlier, patient_id=appointment.patient_id, revision=appointment.revision))
        if (recipient := recipients.get(appointment.patient_id)) is not None:
            _release_waiting(recipient, notifications, outgoing)
        return
    appointment = planning.as_the_patient_knows(appointment, known, untold)
    appointments.put(appointment)
    for earlier in untold:
        notifications.put(planning.superseded(earlier, appointment))
    fresh = planning.planned(appointment, recipients.get(appointment.patient_id), untold)
    if fresh is None:
        return
    notifications.put(fresh)
    if fresh.state == "queued":
        outgoing.enqueue(fresh)
