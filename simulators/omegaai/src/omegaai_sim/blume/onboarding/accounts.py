"""Accounts of the portal: opened for a patient's e-mail, locked after wrong PINs."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from omegaai_sim.blume import cards
from omegaai_sim.blume.portal import tell_pages
from omegaai_sim.fhir.records import Change
from omegaai_sim.settings import PIN
from simulator_kit.session import is_secret, secret_hash
from simulator_kit.store import Work, stamp

MOST_WRONG_TRIES: Final = 3
LOCK: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Account:
    """A patient's login."""

    id: int
    email: str


def patient_changed(work: Work, change: Change) -> None:
    """Open an account for the patient's e-mail where there is none, and tell the open pages of both e-mails."""
    email = cards.primary_email(change.body)
    if email is not None and work.one("SELECT 1 FROM account WHERE email = ?", email) is None:
        sql = "INSERT INTO account (email, pin_hash, invited_at) VALUES (?, ?, ?)"
        work.run(sql, email, secret_hash(email, PIN), stamp(work.now))
    earlier = None if change.before is None else cards.primary_email(change.before)
    tell_pages(work, "Patient", change.body["id"], {one for one in (email, earlier) if one is not None})


def invite_state(work: Work, email: str | None) -> str:
    """`Unknown` without an account, `Invite Sent` before the first login, then `Active`."""
    row = work.one("SELECT first_login_at FROM account WHERE email = ?", email)
    if row is None:
        return "Unknown"
    return "Invite Sent" if row["first_login_at"] is None else "Active"


def login(work: Work, email: str, pin: str) -> Account | None:
    """The account, or None: unknown, wrong and locked look the same.

    The login is a write, so that attempts are counted exactly.
    """
    email, now = email.strip().lower(), work.now
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
        work.notice("Account", id=str(row["id"]))
    return Account(row["id"], email)


def named(work: Work, identifier: str) -> Account | None:
    """The account of a session."""
    row = work.one("SELECT id, email FROM account WHERE id = ?", identifier)
    return None if row is None else Account(row["id"], row["email"])
