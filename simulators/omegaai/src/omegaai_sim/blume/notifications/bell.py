"""The bell: notifications for the patient about each change of an appointment."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from omegaai_sim.blume import cards
from omegaai_sim.blume.onboarding.accounts import Account
from omegaai_sim.blume.portal import PATIENT, tell_pages
from omegaai_sim.fhir.records import Change
from simulator_kit.store import Work, stamp

_SHOWN: Final = 30


@dataclass(frozen=True, slots=True)
class Notification:
    """An entry of the bell's list; ``at`` is UTC."""

    id: int
    at: datetime
    title: str
    text: str
    appointment: str
    is_read: bool


def appointment_changed(work: Work, change: Change) -> None:
    """Add a notification, and tell the open pages of the old and the new patient."""
    body, before = change.body, change.before
    emails = {email for one in (body, before) if one is not None and (email := cards.email_of(work, one))}
    tell_pages(work, "Appointment", body["id"], emails)
    email = cards.email_of(work, body)
    title = _title(body, before, change.by)
    if email is None or title is None:
        return
    card = cards.card(work, body)
    if card.label == "Past":
        return
    text = f"{card.study} at {card.facility.name}, {card.when}."
    if card.can_be_confirmed:
        text += " Please confirm it."
    sql = "INSERT INTO notification (email, at, title, text, appointment) VALUES (?, ?, ?, ?, ?)"
    work.run(sql, email, stamp(work.now), title, text, card.id)


def _title(body: Mapping[str, Any], before: Mapping[str, Any] | None, by: str) -> str | None:
    status = body["status"]
    if before is not None and status == before["status"]:
        return "Appointment changed" if _start(body) != _start(before) and status not in cards.OFF else None
    if status in cards.AWAITS_PATIENT:
        return "Exam scheduled" if before is None else "Please confirm your appointment"
    if status == "booked":
        return "Exam scheduled" if before is None else "Appointment Confirmation"
    if status == "proposed":
        return "Appointment requested"
    if status == "cancelled":
        return "You cancelled your appointment" if by == PATIENT else "Appointment cancelled"
    return "Missed appointment" if status == "noshow" else None


def _start(body: Mapping[str, Any]) -> datetime | None:
    return None if body.get("start") is None else datetime.fromisoformat(body["start"])


def notifications(work: Work, account: Account) -> list[Notification]:
    """The newest ones first."""
    sql = "SELECT * FROM notification WHERE email = ? ORDER BY id DESC LIMIT ?"
    return [
        Notification(
            row["id"],
            datetime.fromisoformat(row["at"]),
            row["title"],
            row["text"],
            row["appointment"],
            bool(row["is_read"]),
        )
        for row in work.all(sql, account.email, _SHOWN)
    ]


def read_notifications(work: Work, account: Account, up_to: int) -> None:
    """Mark the notifications up to `up_to` as read; newer ones stay unread."""
    work.run("UPDATE notification SET is_read = 1 WHERE email = ? AND id <= ? AND is_read = 0", account.email, up_to)
