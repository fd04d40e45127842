"""Accounts of the portal: opened for a patient's e-mail, locked after wrong PINs, told of what happens."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from omegaai_sim.blume import cards
from omegaai_sim.settings import PIN
from omegaai_sim.signing import is_secret, secret_hash
from omegaai_sim.store import Work, stamp

PATIENT: Final = "blume"
"""Who a change is by when the patient made it on the portal."""
MOST_WRONG_TRIES: Final = 3
LOCK: Final = timedelta(minutes=5)
_NOTIFICATIONS_SHOWN: Final = 30


@dataclass(frozen=True, slots=True)
class Account:
    """Who is logged in."""

    id: int
    email: str


@dataclass(frozen=True, slots=True)
class Notification:
    """An entry of the bell's list; ``at`` is UTC."""

    id: int
    at: datetime
    title: str
    text: str
    appointment: str
    is_read: bool


def for_patient(work: Work, body: Mapping[str, Any], before: Mapping[str, Any] | None) -> list[str]:
    """Opens an account for the patient's e-mail where there is none; gives the e-mails whose pages change."""
    email = cards.primary_email(body)
    if email is not None and work.one("SELECT 1 FROM account WHERE email = ?", email) is None:
        sql = "INSERT INTO account (email, pin_hash, invited_at) VALUES (?, ?, ?)"
        work.run(sql, email, secret_hash(email, PIN), stamp(datetime.now(UTC)))
    earlier = None if before is None else cards.primary_email(before)
    return sorted({one for one in (email, earlier) if one is not None})


def tell_of_appointment(work: Work, body: Mapping[str, Any], before: Mapping[str, Any] | None, by: str) -> list[str]:
    """Adds what the patient should read about the change; gives the e-mails whose pages change."""
    emails = {email for one in (body, before) if one is not None and (email := cards.email_of(work, one))}
    email = cards.email_of(work, body)
    title = _title(body, before, by)
    if email is not None and title is not None:
        card = cards.card(work, body)
        if card.label == "Past":
            return sorted(emails)
        text = f"{card.study} at {card.facility.name}, {card.when}."
        if card.can_be_confirmed:
            text += " Please confirm it."
        sql = "INSERT INTO notification (email, at, title, text, appointment) VALUES (?, ?, ?, ?, ?)"
        work.run(sql, email, stamp(datetime.now(UTC)), title, text, card.id)
    return sorted(emails)


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


def login(work: Work, email: str, pin: str) -> Account | None:
    """The account, or None: unknown, wrong and locked look the same. Runs as a write, so that tries count exactly."""
    email, now = email.strip().lower(), datetime.now(UTC)
    row = work.one("SELECT * FROM account WHERE email = ?", email)
    is_right = is_secret(email, pin, row["pin_hash"] if row else b"")
    if row is None or (row["locked_until"] or "") > stamp(now):
        return None
    if not is_right:
        tries = row["wrong_tries"] + 1
        until = stamp(now + LOCK) if tries >= MOST_WRONG_TRIES else None
        sql = "UPDATE account SET wrong_tries = ?, locked_until = ? WHERE id = ?"
        work.run(sql, 0 if until else tries, until, row["id"])
        return None
    sql = (
        "UPDATE account SET wrong_tries = 0, locked_until = NULL, first_login_at = coalesce(first_login_at, ?) "
        "WHERE id = ?"
    )
    work.run(sql, stamp(now), row["id"])
    if row["first_login_at"] is None:
        work.notice(resource="Account", id=str(row["id"]), version="", emails=[])
    return Account(row["id"], email)


def named(work: Work, identifier: str) -> Account | None:
    """The account of a session."""
    row = work.one("SELECT id, email FROM account WHERE id = ?", identifier)
    return None if row is None else Account(row["id"], row["email"])


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
        for row in work.all(sql, account.email, _NOTIFICATIONS_SHOWN)
    ]


def read_notifications(work: Work, account: Account, up_to: int) -> None:
    """Marks those that were shown as read; what came since stays unread."""
    work.run("UPDATE notification SET is_read = 1 WHERE email = ? AND id <= ? AND is_read = 0", account.email, up_to)
