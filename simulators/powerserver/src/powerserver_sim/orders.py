"""Orders and appointments: booking, moving, status changes. Each function is one write; messages join its transaction.

An order without a start stands at ORDERED on the worklist (link state `unscheduled`); with one it is an appointment.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

from powerserver_sim import announce, rules
from powerserver_sim.accounts import User
from powerserver_sim.rules import Refused
from powerserver_sim.store import Work

By = Literal["staff", "hl7"]
MOST_STUDIES: Final = 12
_LONGEST_BOOKING_SECONDS: Final = 24 * 3600


@dataclass(frozen=True, slots=True)
class Booked:
    """The numbers of a new or changed order; times in the facility's zone."""

    placer: str
    appointment_id: str
    accession: str
    start: datetime | None
    end: datetime | None


def placer_of(number: int) -> str:
    return f"P{number}"


def number_of(placer: str) -> int:
    """The order's number in a placer number; refuses what was never one of ours."""
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
) -> int:
    """Write an ORDERED order with its studies and return its number; says nothing to anybody."""
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
    announce.order(work, number, "ordered")
    work.notice("order", placer=placer_of(number), facility=facility)
    return booked(work, number)


def book(
    work: Work,
    user: User,
    *,
    patient: int,
    resource: str,
    start: datetime,
    study_types: Sequence[str],
    priority: int,
    physician: str | None,
    reason: str = "",
) -> Booked:
    """A new appointment at SCHEDULED, with its messages queued in the same transaction."""
    place = _resource(work, resource)
    user.require(place["facility"])
    number = insert_order(
        work, patient=patient, facility=place["facility"], study_types=study_types, priority=priority,
        physician=physician, reason=reason,
    )  # fmt: skip
    _put_on_calendar(work, number, place, start)
    return booked(work, number)


def schedule(work: Work, user: User, number: int, *, resource: str, start: datetime) -> Booked:
    """Put an ORDERED order on the calendar (the drag from the worklist)."""
    order = load(work, number)
    user.require(order["facility"])
    rules.check_can_be_scheduled(order["status"], order["status_name"])
    place = _resource(work, resource)
    _same_facility(order, place)
    _put_on_calendar(work, number, place, start)
    return booked(work, number)


def _put_on_calendar(work: Work, number: int, place: sqlite3.Row, start: datetime) -> None:
    start_at, end_at = _claim_slot(work, number, place, start)
    work.run(
        'UPDATE "order" SET resource = ?, start_at = ?, end_at = ?, status = ? WHERE number = ?',
        place["id"], start_at, end_at, rules.SCHEDULED, number,
    )  # fmt: skip
    work.run('UPDATE study SET modality = ? WHERE "order" = ? AND modality IS NULL', place["modality"], number)
    patient = work.one('SELECT patient_id FROM patient JOIN "order" ON patient = key WHERE number = ?', number)
    work.record(
        "effect",
        "appointment.booked",
        placer_of(number),
        {
            "appointment_id": f"A{number}",
            "patient_id": patient["patient_id"] if patient is not None else "",
            "resource": place["name"],
            "start": local(start_at, place["time_zone"]).isoformat(),
        },
    )
    announce.order(work, number, "booked")
    _notice(work, number, place["facility"])


def move(work: Work, user: User, number: int, *, resource: str | None, start: datetime) -> Booked:
    """Another time, or another resource of the facility and modality; the status stays."""
    order = load(work, number)
    user.require(order["facility"])
    place = _resource(work, resource or order["resource_name"] or "")
    _same_facility(order, place)
    change_time(work, number, place, start, by="staff")
    return booked(work, number)


def change_time(work: Work, number: int, place: sqlite3.Row, start: datetime, *, by: By, control_id: str = "") -> bool:
    """Move an appointment after the guards; False when it stands there already. Announced only for staff."""
    order = load(work, number)
    if order["start_at"] is None:
        raise Refused("status", "The order is not on the calendar yet.")
    rules.check_open(order["status"], order["status_name"])
    start_at, end_at = _claim_slot(work, number, place, start)
    if (start_at, place["id"]) == (order["start_at"], order["resource"]):
        return False
    work.run(
        'UPDATE "order" SET resource = ?, start_at = ?, end_at = ? WHERE number = ?',
        place["id"],
        start_at,
        end_at,
        number,
    )
    zone = place["time_zone"]
    work.record(
        "effect",
        "appointment.moved",
        placer_of(number),
        {
            "from": local(order["start_at"], zone).isoformat(),
            "to": local(start_at, zone).isoformat(),
            "resource": place["name"],
            "by": by,
            "control_id": control_id,
        },
    )
    if by == "staff":
        announce.order(work, number, "moved")
    _notice(work, number, order["facility"])
    return True


def act(work: Work, user: User, number: int, action: str) -> bool:
    """A right-click action of the scheduler; the site's default-status settings say which status it sets.
    False when the appointment has that status already, and nothing was sent.
    """
    order = load(work, number)
    user.require(order["facility"])
    wanted = work.one("SELECT status FROM action_status WHERE action = ?", action)
    if wanted is None:
        raise Refused("unknown", "There is no such action.", field="action")
    if order["start_at"] is None:
        raise Refused("status", "The order is not on the calendar yet.")
    rules.check_open(order["status"], order["status_name"])
    return set_status(work, number, wanted["status"], by="staff")


def set_status(work: Work, number: int, status: int, *, by: By, control_id: str = "", reason: str = "") -> bool:
    """Give an order a status and push the change out, whoever made it: PowerServer pushes every change."""
    order = load(work, number)
    if order["status"] == status:
        return False
    word = work.one("SELECT name FROM status WHERE value = ?", status)
    if word is None:
        raise Refused("unknown", "There is no such study status.", field="status")
    work.run('UPDATE "order" SET status = ? WHERE number = ?', status, number)
    sent = announce.order(work, number, event_of(status))
    work.record(
        "effect",
        "appointment.status",
        placer_of(number),
        {
            "from": order["status_name"],
            "to": word["name"],
            "from_value": order["status"],
            "to_value": status,
            "by": by,
            "control_id": control_id or (sent[0] if sent else ""),
            **({"reason": reason} if reason else {}),
        },
    )
    _notice(work, number, order["facility"])
    return True


def event_of(status: int) -> announce.Event:
    if status == rules.CANCELLED:
        return "cancelled"
    return "no-show" if status == rules.NO_SHOW else "modified"


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
        placer=placer_of(number),
        appointment_id=f"A{number}",
        accession=f"ACC{number}",
        start=None if order["start_at"] is None else local(order["start_at"], zone),
        end=None if order["end_at"] is None else local(order["end_at"], zone),
    )


def local(seconds: int, zone: str) -> datetime:
    return datetime.fromtimestamp(seconds, UTC).astimezone(ZoneInfo(zone))


def resource_of(work: Work, number: int) -> sqlite3.Row:
    return _resource(work, load(work, number)["resource_name"] or "")


def _resource(work: Work, name: str) -> sqlite3.Row:
    row = work.one(
        "SELECT r.*, f.time_zone FROM resource r JOIN facility f ON f.code = r.facility WHERE r.name = ?", name
    )
    if row is None:
        raise Refused("unknown", "There is no such resource.", field="resource")
    return row


def _same_facility(order: sqlite3.Row, place: sqlite3.Row) -> None:
    if order["facility"] != place["facility"]:
        raise Refused("facility", f"{place['name']} belongs to another imaging facility.", field="resource")


def _claim_slot(work: Work, number: int, place: sqlite3.Row, start: datetime) -> tuple[int, int]:
    """Start and end in seconds after every guard of the slot; the writer thread makes check and claim one step."""
    studies = work.all('SELECT modality, minutes FROM study WHERE "order" = ? ORDER BY position', number)
    rules.check_modality(place["name"], place["modality"], [study["modality"] for study in studies])
    minutes = sum(rules.booked_minutes([study["minutes"] for study in studies], place["default_minutes"]))
    start = start.astimezone(UTC).replace(second=0, microsecond=0)  # in UTC an hour is an hour
    end = start + timedelta(minutes=minutes)
    hours = rules.WorkingHours(place["opens"], place["closes"], ZoneInfo(place["time_zone"]))
    rules.check_hours(place["name"], hours, start, end)
    start_at, end_at = int(start.timestamp()), int(end.timestamp())
    if not place["overbooking"]:
        taken = work.one(
            'SELECT 1 FROM "order" WHERE resource = ? AND start_at > ? AND start_at < ? AND end_at > ? '
            "AND status NOT IN (?, ?) AND number <> ?",
            place["id"], start_at - _LONGEST_BOOKING_SECONDS, end_at, start_at, rules.CANCELLED, rules.NO_SHOW, number,
        )  # fmt: skip
        if taken is not None:
            raise Refused("overlap", f"{place['name']} is taken at that time and takes no overbooking.", field="start")
    return start_at, end_at


def _notice(work: Work, number: int, facility: str) -> None:
    work.notice("appointment", placer=placer_of(number), facility=facility)
