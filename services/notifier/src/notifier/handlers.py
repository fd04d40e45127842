"""The use cases. Idempotent by revision: an event that is not newer than the projection changes nothing."""

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
    recipients.put(patient)
    for waiting in notifications.awaiting_patient(patient.patient_id):
        released = planning.addressed(waiting, patient)
        notifications.put(released)
        if released.state == "queued":
            outgoing.enqueue(released)


async def follow_appointment(
    appointment: Appointment,
    *,
    recipients: Recipients,
    appointments: Appointments,
    notifications: Notifications,
    outgoing: Outgoing,
    stale: StaleRevisions,
) -> None:
    """Keeps the appointment, supersedes older messages, and plans the message that is due."""
    known = appointments.get(appointment.appointment_id)
    if known is not None and known.revision >= appointment.revision:
        stale.count(appointment.event)
        return
    appointments.put(appointment)
    for earlier in notifications.open_for_appointment(appointment.appointment_id):
        notifications.put(planning.superseded(earlier, appointment))
    fresh = planning.planned(appointment, recipients.get(appointment.patient_id))
    if fresh is None:
        return
    notifications.put(fresh)
    if fresh.state == "queued":
        outgoing.enqueue(fresh)
