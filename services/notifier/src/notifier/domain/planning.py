"""Which message is due after an event, and which messages an event supersedes."""

from datetime import datetime

from notifier.domain.appointment import Appointment
from notifier.domain.facility_time import is_known_zone
from notifier.domain.notification import Notification, Template, notification_id
from notifier.domain.recipient import Recipient

_WHY_SUPERSEDED = {
    "appointment.scheduled": "the appointment was scheduled again",
    "appointment.requested": "the patient asked for another time",
    "appointment.confirmed": "the appointment was confirmed",
    "appointment.cancelled": "the appointment was cancelled",
}


def due_template(appointment: Appointment) -> Template | None:
    """The message to the patient about this revision, or None.

    A scheduled appointment asks for a confirmation only while it is the patient's move: staff who book and confirm in
    one step cause no request.
    """
    if appointment.event == "appointment.scheduled" and appointment.who_acts_next == "patient":
        return "please-confirm"
    if appointment.event == "appointment.confirmed":
        return "confirmed"
    return None


def planned(appointment: Appointment, recipient: Recipient | None) -> Notification | None:
    """The notification for this revision. Its state depends on what is known of the recipient."""
    template = due_template(appointment)
    if template is None:
        return None
    fresh = Notification(
        notification_id=notification_id(appointment.appointment_id, template, appointment.revision),
        appointment_id=appointment.appointment_id,
        patient_id=appointment.patient_id,
        template=template,
        revision=appointment.revision,
    )
    if not is_known_zone(appointment.facility.time_zone):
        return fresh.move("undeliverable", "the facility's time zone is not an IANA name; set it in the site file")
    return fresh if recipient is None else addressed(fresh, recipient)


def addressed(notification: Notification, recipient: Recipient) -> Notification:
    """A waiting notification whose recipient is now known: queued, or undeliverable with the reason."""
    if recipient.mail_address is None:
        return notification.move("undeliverable", recipient.why_no_mail)
    return notification.move("queued")


def superseded(notification: Notification, by: Appointment) -> Notification:
    """An open notification that a newer revision of its appointment has superseded."""
    return notification.move("superseded", _WHY_SUPERSEDED.get(by.event, "the appointment changed"))


def why_not_now(notification: Notification, appointment: Appointment, now: datetime) -> str | None:
    """The last check before sending: the reason not to send, or None. ``now`` is aware.

    A message about a past appointment helps nobody, however long the mail server was away.
    """
    if appointment.revision != notification.revision or due_template(appointment) != notification.template:
        return _WHY_SUPERSEDED.get(appointment.event, "the appointment changed")
    if appointment.end <= now:
        return "the appointment's time is over"
    return None
