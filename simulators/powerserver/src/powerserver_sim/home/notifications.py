"""What came from patients: confirmations, cancellations and requests, newest first, out of the ledger."""

import json
import sqlite3
from dataclasses import dataclass
from typing import Any, Final

from powerserver_sim.accounts import User
from powerserver_sim.home import pinning
from powerserver_sim.rules import Refused
from powerserver_sim.worklist import orders
from powerserver_sim.worklist.views import ORDER_COLUMNS, ORDER_TABLES
from simulator_kit.store import Work

_MOST: Final = 12
_LOOKED_AT: Final = 5_000


@dataclass(frozen=True, slots=True)
class Notification:
    """One row of the list; `at` is UTC as the ledger has it."""

    seq: int
    at: str
    placer: str
    zone: str
    words: str
    is_read: bool
    is_pinned: bool


def notifications(work: Work, user: User) -> tuple[list[Notification], list[Notification]]:
    """The pinned ones, and the newest others."""
    keys = pinning.pinned(work, user, "notification")
    read = work.one("SELECT seq FROM notification_read WHERE user = ?", user.name)
    read_until = 0 if read is None else int(read["seq"])
    places = ",".join("?" * len(keys))
    kept = work.all(
        f"SELECT * FROM ledger WHERE seq IN ({places}) ORDER BY seq DESC",  # noqa: S608 - question marks
        *map(int, keys),
    )
    newest = work.all(
        "SELECT * FROM ledger WHERE seq > (SELECT coalesce(max(seq), 0) FROM ledger) - ? "  # noqa: S608 - constants
        f"AND {pinning.IS_NOTIFICATION} "
        "ORDER BY seq DESC LIMIT ?",
        _LOOKED_AT,
        _MOST * 4,
    )
    others = [row for row in newest if str(row["seq"]) not in keys]
    return (
        _readable(work, user, kept, read_until, is_pinned=True),
        _readable(work, user, others, read_until, is_pinned=False)[:_MOST],
    )


def _readable(
    work: Work, user: User, rows: list[sqlite3.Row], read_until: int, *, is_pinned: bool
) -> list[Notification]:
    found = []
    for row in rows:
        said = _said(work, user, row["subject"], row["kind"], json.loads(row["detail"]))
        if said is not None:
            placer, zone, words = said
            is_read = row["seq"] <= read_until
            found.append(Notification(row["seq"], row["at"], placer, zone, words, is_read, is_pinned))
    return found


def mark_read(work: Work, user: User) -> None:
    work.run(
        "INSERT OR REPLACE INTO notification_read SELECT ?, coalesce(max(seq), 0) FROM ledger",
        user.name,
    )


def _said(work: Work, user: User, subject: str, kind: str, detail: dict[str, Any]) -> tuple[str, str, str] | None:
    """Placer number, time zone, and the sentence; None for an order that the user may not see."""
    try:
        number = orders.number_of(work, subject)
    except Refused:
        return None
    order = work.one(f"SELECT {ORDER_COLUMNS} FROM {ORDER_TABLES} WHERE o.number = ?", number)  # noqa: S608 - constants
    if order is None or not user.sees(order["facility"]):
        return None
    name = f"{order['family']}, {order['given']}"
    if kind == "request.received":
        asks = "asks for another time" if detail["kind"] == "move" else "asks for an appointment"
        return order["placer"], order["time_zone"], f"{name} {asks}"
    if kind == "appointment.moved":
        return order["placer"], order["time_zone"], f"{name} has another time"
    return order["placer"], order["time_zone"], f"{name} is {detail['to']}, was {detail['from']}"
