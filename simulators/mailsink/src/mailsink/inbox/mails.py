"""Mails in the store. Each function is one write or one query."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from simulator_kit.store import Work, stamp

Row = dict[str, Any]
_ALL: Final = 2**62


@dataclass(frozen=True)
class IncomingMail:
    """A mail as SMTP delivered it. `recipients` are the envelope's, not the header's."""

    sender: str
    recipients: tuple[str, ...]
    message_id: str
    subject: str
    template: str
    appointment: str
    raw: bytes


def keep(work: Work, mail: IncomingMail) -> int:
    """Store a mail with its ledger row and return its number."""
    row = work.one(
        "INSERT INTO mails (at, sender, recipients, message_id, subject, template, appointment, raw) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
        stamp(work.now), mail.sender, json.dumps(mail.recipients), mail.message_id, mail.subject, mail.template,
        mail.appointment, mail.raw,
    )  # fmt: skip
    assert row is not None  # noqa: S101 - INSERT … RETURNING gives its row
    number = int(row["id"])
    work.connection.executemany(
        "INSERT OR IGNORE INTO recipients (address, mail_id) VALUES (?, ?)",
        [(address.lower(), number) for address in mail.recipients],
    )
    detail = {
        "to": list(mail.recipients),
        "mail_subject": mail.subject,
        "template": mail.template,
        "appointment": mail.appointment,
        "mail": number,
    }
    work.record("effect", "mail.received", mail.message_id, detail)
    work.notice("mail", id=number)
    return number


def refuse(work: Work, mail: IncomingMail, status: int) -> None:
    """Record a mail that was refused on command; only the ledger holds it."""
    detail = {"status": str(status), "template": mail.template, "appointment": mail.appointment}
    work.record("in", "mail.refused", mail.message_id, detail)


def above(work: Work, *, to: str | None = None, after: int = 0, limit: int = 1000) -> list[Row]:
    """Mails with a number above `after`, oldest first, with raw bytes. `to`: a recipient, upper or lower case."""
    return _rows(work, "m.*", "m.id", to=to, after=after, before=_ALL, limit=limit)


def newest(work: Work, *, to: str | None = None, before: int = _ALL, limit: int = 100) -> list[Row]:
    """The inbox's list: newest first, without the bodies."""
    columns = "m.id, m.at, m.sender, m.recipients, m.message_id, m.subject, m.template, m.appointment"
    return _rows(work, columns, "m.id DESC", to=to, after=0, before=before, limit=limit)


def _rows(work: Work, columns: str, order: str, *, to: str | None, after: int, before: int, limit: int) -> list[Row]:
    tables, condition, values = "mails m", "", []
    if to is not None:
        tables, condition, values = "mails m JOIN recipients r ON r.mail_id = m.id", "r.address = ? AND ", [to.lower()]
    found = work.all(
        f"SELECT {columns} FROM {tables} WHERE {condition}m.id > ? AND m.id < ? ORDER BY {order} LIMIT ?",  # noqa: S608 - constants
        *values, after, before, limit,
    )  # fmt: skip
    return [_read(dict(row)) for row in found]


def mail(work: Work, number: int) -> Row | None:
    row = work.one("SELECT * FROM mails WHERE id = ?", number)
    return None if row is None else _read(dict(row))


def _read(row: Row) -> Row:
    return row | {"recipients": json.loads(row["recipients"])}


def count(work: Work) -> Mapping[str, int]:
    """`{"mails": n}`."""
    row = work.one("SELECT count(*) AS n FROM mails")
    return {"mails": int(row["n"]) if row is not None else 0}
