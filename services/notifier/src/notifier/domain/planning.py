"""Which message is due after an event, and which messages an event supersedes."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from notifier.domain.appointment import Appointment
from notifier.domain.facility_time import is_known_zone
from notifier.domain.notification import Notification, Template, notification_id
from notifier.domain.recipient import Recipient

_WHY_SUPERSEDED = {
    "appointment.scheduled": "the appointment was scheduled again",
    "appointment.requested": "the patient asked for another time",
    "appointment.confirmed": "the appointment was confirmed",
    "appointment.rescheduled": "the appointment was moved",
    "appointment.progressed": "the patient is there, or the exam is over",
    "appointment.cancelled": "the appointment was cancelled",
}


def due_template(appointment: Appointment) -> Template | None:
    """The message to the patient about this revision, or None.

    A scheduled appointment asks for a confirmation only while it is the patient's move: staff who book and confirm in
    one step cause no request. A move is told once the appointment has a time: not on the waiting list.
    """
    if appointment.event == "appointment.scheduled" and appointment.who_acts_next == "patient":
        return "please-confirm"
    if appointment.event == "appointment.confirmed":
        return "confirmed"
    if appointment.event == "appointment.rescheduled" and appointment.who_acts_next != "staff":
        return "moved" if appointment.looks_moved else None
    return None


def as_the_patient_knows(
    appointment: Appointment, known: Appointment | None, untold: Sequence[Notification]
) -> Appointment:
    """The moved appointment with the place of which the patient was told last.

    ``untold`` are the messages that this event supersedes. Where an earlier move is among them, the patient knows only
    the place before that move. An appointment that is back at that place keeps the event's own former place: the mail
    about the first move may be on its way.
    """
    if known is None or known.former is None or appointment.former is None:
        return appointment
    earlier = replace(appointment, former=known.former)
    was_untold = any(one.template == "moved" and one.revision == known.revision for one in untold)
    return earlier if was_untold and earlier.looks_moved else appointment


def looks_the_same(appointment: Appointment, known: Appointment | None) -> bool:
    """Whether a patient sees nothing new: staff changed what mails do not name, as a study or the resource.

    Where a revision between the two has not come, nobody knows what the patient was told in between.
    """
    if known is None or appointment.looks_moved or known.revision != appointment.revision - 1:
        return False
    return _as_seen(known) == _as_seen(appointment)


def _as_seen(appointment: Appointment) -> tuple[object, ...]:
    one = appointment
    return one.status, one.who_acts_next, one.start, one.end, one.facility


def planned(
    appointment: Appointment,
    recipient: Recipient | None,
    untold: Sequence[Notification] = (),
) -> Notification | None:
    """The notification for this revision. Its state depends on what is known of the recipient.

    ``untold`` are the messages that this event supersedes. A move that the patient does not see is not told, but it
    must not swallow what is still to be told of the appointment.
    """
    template = due_template(appointment)
    is_seen = appointment.former is None or appointment.looks_moved
    if not is_seen and untold and appointment.who_acts_next != "staff":
        template = "please-confirm" if appointment.who_acts_next == "patient" else "confirmed"
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

    A message about a past appointment helps nobody, however long the mail server was away. The appointment may be read
    one moment before a change that the patient does not see raised the notification's revision: the mail is still true.
    """
    if appointment.revision > notification.revision:
        return _WHY_SUPERSEDED.get(appointment.event, "the appointment changed")
    if appointment.end <= now:
        return "the appointment's time is over"
    return None
