"""A patient's actions on an appointment: confirm it, ask for another time, or cancel it with a reason."""

from datetime import datetime
from typing import Any, Final

from omegaai_sim.blume import cards
from omegaai_sim.blume.booking import slots
from omegaai_sim.blume.onboarding.accounts import Account
from omegaai_sim.blume.portal import PATIENT
from omegaai_sim.fhir import records
from omegaai_sim.fhir.outcome import Refused
from simulator_kit.store import Work

LONGEST_REASON: Final = 200


def confirm(work: Work, account: Account, identifier: str, seen_start: str) -> cards.Card:
    """Books the pending appointment. Raises ``Refused``: 404 another patient's, 409 not (or no longer) confirmable."""
    stored, card = _own(work, account, identifier, seen_start)
    if card.is_open and card.status == "booked":
        return card
    if not card.can_be_confirmed:
        raise Refused(409, "conflict", "This appointment cannot be confirmed any more.")
    return _save(work, stored, {"status": "booked"}, "accepted")


def cancel(work: Work, account: Account, identifier: str, seen_start: str, reason: str) -> cards.Card:
    """Cancels with a reason. Raises ``Refused``: 404, 409 as above, 422 without a reason."""
    stored, card = _own(work, account, identifier, seen_start)
    if not reason:
        raise Refused(422, "required", "Please give a reason for cancelling.")
    if len(reason) > LONGEST_REASON:
        raise Refused(422, "too-long", f"Please give the reason in at most {LONGEST_REASON} characters.")
    if not card.can_be_cancelled:
        raise Refused(409, "conflict", "This appointment cannot be cancelled any more.")
    return _save(work, stored, {"status": "cancelled", "cancelationReason": {"text": reason}}, "declined")


def reschedule(work: Work, account: Account, identifier: str, seen_start: str, wanted: str) -> cards.Card:
    """Asks for another time; the present one stands until the facility answers. Raises ``Refused``: 404, 409, 422."""
    stored, card = _own(work, account, identifier, seen_start)
    if not card.can_be_moved or card.start is None or card.end is None:
        raise Refused(409, "conflict", "This appointment cannot be rescheduled here. Please call the facility.")
    start = slots.moment(wanted, "requestedPeriod")
    if start == card.start:
        raise Refused(422, "value", "Please choose another time than the present one.")
    length = card.end - card.start
    service = cards.body_of(work, "HealthcareService", cards.actor(stored.body, "HealthcareService")) or {}
    slots.check(work, service, start, int(length.total_seconds() // 60))
    local, until = start.astimezone(card.start.tzinfo), (start + length).astimezone(card.start.tzinfo)
    period = {"start": local.isoformat(timespec="seconds"), "end": until.isoformat(timespec="seconds")}
    return _save(work, stored, {"status": "proposed", "requestedPeriod": [period]}, "tentative")


def _own(work: Work, account: Account, identifier: str, seen_start: str) -> tuple[records.Stored, cards.Card]:
    stored = records.read(work, "Appointment", identifier)
    if cards.email_of(work, stored.body) != account.email:
        raise Refused(404, "not-found", "Appointment is not known")
    if seen_start and not _is_same_moment(seen_start, stored.body.get("start")):
        raise Refused(
            409, "conflict", "The facility moved this appointment meanwhile. Please look at the new time first."
        )
    return stored, cards.card(work, stored.body)


def _is_same_moment(seen: str, start: str | None) -> bool:
    try:
        return start is not None and datetime.fromisoformat(seen) == datetime.fromisoformat(start)
    except (ValueError, TypeError):
        return False


def _save(work: Work, stored: records.Stored, changes: dict[str, Any], answer: str) -> cards.Card:
    participants = [
        {**one, "status": answer} if one.get("actor", {}).get("reference", "").startswith("Patient/") else one
        for one in stored.body["participant"]
    ]
    body = {**stored.body, **changes, "participant": participants}
    identifier = body["id"]
    changed = records.update(work, "Appointment", identifier, body, by=PATIENT, expected=stored.version)
    return cards.card(work, changed.body)
