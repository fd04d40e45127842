"""Reservations: times of a resource on which nothing is booked, on one day, each day, or each week."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, Literal, get_args
from zoneinfo import ZoneInfo

from powerserver_sim.rules import Refused, check_clock, on_clock
from simulator_kit.store import Work

Repeats = Literal["once", "daily", "weekly"]
REPEATS: Final[dict[Repeats, str]] = {"once": "Only that day", "daily": "Every day", "weekly": "Every week"}
Period = tuple[datetime, datetime, str]
"""Start, end and purpose."""
_LONGEST_PURPOSE: Final = 64


@dataclass(frozen=True, slots=True)
class ReservationChange:
    """A reservation was made or ended. Hooks get it under `reservation`, in the transaction of the change."""

    reservation: sqlite3.Row
    is_over: bool


def of_resource(work: Work, resource: int) -> list[sqlite3.Row]:
    return work.all("SELECT * FROM reservation WHERE resource = ? ORDER BY first_day, opens, id", resource)


def on_day(reservations: Sequence[sqlite3.Row], day: date, zone: ZoneInfo) -> list[Period]:
    """The reserved times of a day on the facility's clock."""
    return [
        (on_clock(day, row["opens"], zone), on_clock(day, row["closes"], zone), row["purpose"])
        for row in reservations
        if _is_on(row, day)
    ]


def during(reservations: Sequence[sqlite3.Row], start: datetime, end: datetime, zone: ZoneInfo) -> list[Period]:
    """The reserved times of the days that an appointment touches."""
    day, last = start.astimezone(zone).date(), end.astimezone(zone).date()
    found: list[Period] = []
    while reservations and day <= last:
        found += on_day(reservations, day, zone)
        day += timedelta(days=1)
    return found


def _is_on(row: sqlite3.Row, day: date) -> bool:
    first = date.fromisoformat(row["first_day"])
    if day < first or (row["last_day"] and day > date.fromisoformat(row["last_day"])):
        return False
    if row["repeats"] == "once":
        return day == first
    return row["repeats"] == "daily" or day.weekday() == first.weekday()


def reserve(work: Work, facility: str, resource: int, form: Mapping[str, str]) -> None:
    """A new reservation. Appointments that stand in it already stay."""
    _check_resource(work, facility, resource)
    repeats = form.get("repeats", "once")
    if repeats not in get_args(Repeats):
        raise Refused("invalid", "Choose how the reservation repeats.", field="repeats")
    first_day = _day(form.get("first_day", ""), "first_day")
    last_day = _day(form["last_day"], "last_day") if form.get("last_day") and repeats != "once" else ""
    if last_day and last_day < first_day:
        raise Refused("invalid", "The last day is not before the first day.", field="last_day")
    opens, closes = check_clock(form.get("opens", ""), "opens"), check_clock(form.get("closes", ""), "closes")
    if opens >= closes:
        raise Refused("invalid", "A reservation ends after its start, on the same day.", field="closes")
    purpose = form.get("purpose", "").strip()
    if not purpose or len(purpose) > _LONGEST_PURPOSE or not purpose.isprintable():
        raise Refused("invalid", f"A reservation has a purpose of 1 to {_LONGEST_PURPOSE} characters.", field="purpose")
    made = work.run(
        "INSERT INTO reservation (resource, repeats, first_day, last_day, opens, closes, purpose) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        resource, repeats, first_day, last_day, opens, closes, purpose,
    )  # fmt: skip
    row = work.one("SELECT * FROM reservation WHERE id = ?", made.lastrowid)
    assert row is not None  # noqa: S101 - just written
    work.changed("reservation", ReservationChange(row, is_over=False))
    work.notice("catalogue")


def release(work: Work, facility: str, resource: int, reservation: int) -> None:
    """End a reservation: its time can be booked again."""
    _check_resource(work, facility, resource)
    row = work.one("SELECT * FROM reservation WHERE id = ? AND resource = ?", reservation, resource)
    if row is None:
        raise Refused("unknown", "There is no such reservation.")
    work.run("DELETE FROM reservation WHERE id = ?", reservation)
    work.changed("reservation", ReservationChange(row, is_over=True))
    work.notice("catalogue")


def _check_resource(work: Work, facility: str, resource: int) -> None:
    if work.one("SELECT 1 FROM resource WHERE facility = ? AND id = ?", facility, resource) is None:
        raise Refused("unknown", "There is no such resource.")


def _day(text: str, field: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise Refused("invalid", "The day is written YYYY-MM-DD.", field=field) from None
