"""Orders and their studies. Each function is one write or one query.

An order without a start is ORDERED, on the worklist (link state L0); an order with a start is an appointment.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from powerserver_sim import rules
from powerserver_sim.accounts import User
from powerserver_sim.rules import Refused, local
from simulator_kit.store import Work

Event = Literal["ordered", "booked", "moved", "modified", "cancelled", "no-show"]
MOST_STUDIES: Final = 12
_UID_ROOT: Final = "1.2.826.0.1.3680043.10.1"
_LONGEST_PART: Final = 15


@dataclass(frozen=True, slots=True)
class OrderChange:
    """A change of an order, for hooks of the kind `order`. They add the control ids of their messages."""

    number: int
    event: Event
    control_ids: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Booked:
    """The numbers of a new or changed order; times in the facility's zone."""

    placer: str
    appointment_id: str
    accession: str
    start: datetime | None
    end: datetime | None


PLACER: Final = "coalesce((SELECT g.placer FROM given_number g WHERE g.\"order\" = o.number), 'P' || o.number)"
"""SQL of the placer number of an order `o`."""


def placer_of(work: Work, number: int) -> str:
    """The order's placer number: the partner's, where the partner made one."""
    given = work.one('SELECT placer FROM given_number WHERE "order" = ?', number)
    return f"P{number}" if given is None else str(given["placer"])


def study_uid(number: int, position: int) -> str:
    """Study Instance UID: the order's own for its first study, a suffix for the others."""
    return f"{_UID_ROOT}.{number}" if position == 1 else f"{_UID_ROOT}.{number}.{position}"


def number_of_uid(work: Work, uid: str) -> int:
    """The number of the order whose study has this Study Instance UID."""
    number, _, position = uid.removeprefix(f"{_UID_ROOT}.").partition(".")
    is_ours = uid.startswith(f"{_UID_ROOT}.") and all(
        part.isascii() and part.isdecimal() and len(part) <= _LONGEST_PART for part in (number, position or "1")
    )
    row = (
        work.one('SELECT "order", position FROM study WHERE "order" = ? AND position = ?', number, position or "1")
        if is_ours
        else None
    )
    if row is None or study_uid(row["order"], row["position"]) != uid:
        raise Refused("unknown", "There is no study with this Study Instance UID.", field="studyuid")
    return int(row["order"])


def number_of(work: Work, placer: str) -> int:
    """The order's number in a placer number; refuses a number that this site never met."""
    given = work.one('SELECT "order" FROM given_number WHERE placer = ?', placer)
    if given is not None:
        return int(given["order"])
    digits = placer[1:]
    if placer[:1] != "P" or not digits.isascii() or not digits.isdecimal() or len(digits) > 15:
        raise Refused("unknown", "There is no such appointment.", field="placer")
    return int(digits)


def insert_order(
    work: Work,
    *,
    patient: int,
    facility: str,
    study_types: Sequence[str],
    priority: int,
    physician: str | None,
    reason: str = "",
    placer: str | None = None,
) -> int:
    """Write an ORDERED order with its studies and return its number. No hook runs. `placer`: the partner's number."""
    if not 1 <= len(study_types) <= MOST_STUDIES:
        raise Refused("invalid", f"An order has 1 to {MOST_STUDIES} studies.", field="study_types")
    if work.one("SELECT 1 FROM priority WHERE value = ?", priority) is None:
        raise Refused("unknown", "There is no such priority.", field="priority")
    if physician is not None and work.one("SELECT 1 FROM physician WHERE id = ?", physician) is None:
        raise Refused("unknown", "There is no such referring physician.", field="referring")
    number = work.next_number("order")
    work.run(
        'INSERT INTO "order" (number, patient, facility, status, priority, physician, reason, created_at) '
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        number, patient, facility, rules.ORDERED, priority, physician, reason, int(work.now.timestamp()),
    )  # fmt: skip
    if placer is not None:
        work.run("INSERT INTO given_number VALUES (?, ?)", placer, number)
    for position, code in enumerate(study_types, start=1):
        study_type = work.one("SELECT * FROM study_type WHERE code = ?", code)
        if study_type is None:
            raise Refused("unknown", "There is no such study type.", field="study_types")
        accession = f"ACC{number}" if position == 1 else f"ACC{number}-{position}"
        work.run(
            "INSERT INTO study VALUES (?, ?, ?, ?, ?, ?)",
            number, position, accession, code, study_type["modality"], study_type["minutes"],
        )  # fmt: skip
    return number


def place_order(
    work: Work,
    user: User,
    *,
    patient: int,
    facility: str,
    study_types: Sequence[str],
    priority: int,
    physician: str | None,
    reason: str = "",
) -> Booked:
    """A new order without a time: it joins the ORDERED worklist."""
    if work.one("SELECT 1 FROM facility WHERE code = ?", facility) is None:
        raise Refused("unknown", "There is no such facility.", field="facility")
    user.require(facility)
    number = insert_order(
        work, patient=patient, facility=facility, study_types=study_types, priority=priority, physician=physician,
        reason=reason,
    )  # fmt: skip
    work.changed("order", OrderChange(number, "ordered"))
    work.notice("order", placer=placer_of(work, number), facility=facility)
    return booked(work, number)


def load(work: Work, number: int) -> sqlite3.Row:
    """The order with the names that guards need."""
    row = work.one(
        'SELECT o.*, s.name AS status_name, r.name AS resource_name, f.time_zone FROM "order" o '
        "JOIN status s ON s.value = o.status JOIN facility f ON f.code = o.facility "
        "LEFT JOIN resource r ON r.id = o.resource WHERE o.number = ?",
        number,
    )
    if row is None:
        raise Refused("unknown", "There is no such appointment.", field="placer")
    return row


def booked(work: Work, number: int) -> Booked:
    order = load(work, number)
    zone = order["time_zone"]
    return Booked(
        placer=placer_of(work, number),
        appointment_id=f"A{number}",
        accession=f"ACC{number}",
        start=None if order["start_at"] is None else local(order["start_at"], zone),
        end=None if order["end_at"] is None else local(order["end_at"], zone),
    )
