"""What a new version of a Patient or an Appointment does in the portal, in the same transaction: accounts for new
e-mails, notifications for what a patient should know.
"""

import json
from datetime import datetime
from typing import Final

from omegaai_sim.fhir.search import primary_email
from omegaai_sim.signing import secret_hash
from omegaai_sim.store import Json, Work, timestamp

DEVELOPMENT_PIN: Final = "246810"
PATIENT: Final = "blume"
"""Who a change is by when the patient made it on the portal."""

_AWAITS_PATIENT: Final = frozenset({"pending", "waitlist"})
_CONFIRMED: Final = frozenset({"booked", "arrived", "checked-in"})
_OFF: Final = frozenset({"cancelled", "noshow"})


def follow(work: Work, body: Json, before: Json | None, *, by: str) -> tuple[str, ...]:
    """Do what follows; gives the accounts whose pages change."""
    if body["resourceType"] == "Patient":
        emails = {email for one in (body, before or {}) if (email := primary_email(one))}
        _open_account(work, primary_email(body))
        return tuple(sorted(emails))
    email = _email_of(work, body)
    if email is None:
        return ()
    title = _title(body, before, by=by)
    if title is not None:
        work.run(
            "INSERT INTO notification (email, at, title, appointment, start) VALUES (?, ?, ?, ?, ?)",
            email,
            timestamp(work.now),
            title,
            int(body["id"]),
            body.get("start"),
        )
    return (email,)


def _open_account(work: Work, email: str | None) -> None:
    if email is None or work.row("SELECT 1 FROM account WHERE email = ?", email) is not None:
        return
    work.run(
        "INSERT INTO account (email, pin_hash, created_at) VALUES (?, ?, ?)",
        email,
        secret_hash(email, DEVELOPMENT_PIN),
        timestamp(work.now),
    )


def patient_id(appointment: Json) -> str | None:
    """The id of the appointment's Patient."""
    for participant in appointment["participant"]:
        kind, _, found = participant.get("actor", {}).get("reference", "").partition("/")
        if kind == "Patient":
            return str(found)
    return None


def _email_of(work: Work, appointment: Json) -> str | None:
    found = patient_id(appointment)
    row = None if found is None else work.row("SELECT body FROM resource WHERE type = 'Patient' AND id = ?", int(found))
    return None if row is None else primary_email(json.loads(row["body"]))


def _title(body: Json, before: Json | None, *, by: str) -> str | None:
    status = body["status"]
    if before is None:
        return "Please confirm your appointment" if status in _AWAITS_PATIENT else None
    was = before["status"]
    if status != was:
        if status in _AWAITS_PATIENT:
            return "Please confirm your appointment"
        if status == "booked":
            return "Appointment Confirmation" if by == PATIENT else "The facility confirmed your appointment"
        if status in _OFF:
            return "You cancelled your appointment" if by == PATIENT else "The facility cancelled your appointment"
        return None
    moved = _moment(body) != _moment(before)
    return "Your appointment was moved" if moved and status in _AWAITS_PATIENT | _CONFIRMED else None


def _moment(body: Json) -> datetime | None:
    start = body.get("start")
    return None if start is None else datetime.fromisoformat(start)
