"""Appointments: booking, moving, status changes. Each function is one write, and hooks run in its transaction."""

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

from powerserver_sim import rules
from powerserver_sim.accounts import User
from powerserver_sim.rules import Refused, local
from powerserver_sim.settings import assignments, reservations
from powerserver_sim.worklist.orders import Booked, Event, OrderChange, booked, insert_order, load, placer_of
from simulator_kit.store import Work

By = Literal["staff", "hl7"]
LONGEST_REASON: Final = 200
_LONGEST_BOOKING_SECONDS: Final = 24 * 3600


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
    place = resource_named(work, resource)
    _require_place(work, user, place)
    number = insert_order(
        work, patient=patient, facility=place["facility"], study_types=study_types, priority=priority,
        physician=physician, reason=reason,
    )  # fmt: skip
    put_on_calendar(work, number, place, start)
    return booked(work, number)


def schedule(work: Work, user: User, number: int, *, resource: str, start: datetime) -> Booked:
    """Put an ORDERED order on the calendar (the drag from the worklist)."""
    order = load(work, number)
    user.require(order["facility"])
    user.require_scheduling()
    rules.check_can_be_scheduled(order["status"], order["status_name"])
    place = resource_named(work, resource)
    _same_facility(order, place)
    _require_place(work, user, place)
    put_on_calendar(work, number, place, start)
    return booked(work, number)


def put_on_calendar(work: Work, number: int, place: sqlite3.Row, start: datetime, *, by: By = "staff") -> None:
    """An ORDERED order on the calendar, at SCHEDULED, after all guards of the slot."""
    start_at, end_at = claim_slot(work, number, place, start)
    work.run(
        'UPDATE "order" SET resource = ?, start_at = ?, end_at = ?, status = ? WHERE number = ?',
        place["id"], start_at, end_at, rules.SCHEDULED, number,
    )  # fmt: skip
    work.run('UPDATE study SET modality = ? WHERE "order" = ? AND modality IS NULL', place["modality"], number)
    patient = work.one('SELECT patient_id FROM patient JOIN "order" ON patient = key WHERE number = ?', number)
    work.record(
        "effect",
        "appointment.booked",
        placer_of(work, number),
        {
            "appointment_id": f"A{number}",
            "patient_id": patient["patient_id"] if patient is not None else "",
            "resource": place["name"],
            "start": local(start_at, place["time_zone"]).isoformat(),
            **({} if by == "staff" else {"by": by}),
        },
    )
    work.changed("order", OrderChange(number, "booked"))
    _notice(work, number, place["facility"])


def move(work: Work, user: User, number: int, *, resource: str | None, start: datetime) -> Booked:
    """Another time, or another resource of the facility and modality; the status stays."""
    order = load(work, number)
    user.require(order["facility"])
    user.require_scheduling()
    place = resource_named(work, resource or order["resource_name"] or "")
    _same_facility(order, place)
    _require_place(work, user, place)
    change_time(work, number, place, start, by="staff")
    return booked(work, number)


def change_time(work: Work, number: int, place: sqlite3.Row, start: datetime, *, by: By, control_id: str = "") -> bool:
    """Move an appointment after the guards; False when it is there already. Hooks run for staff's moves only."""
    order = load(work, number)
    if order["start_at"] is None:
        raise Refused("status", "The order is not on the calendar yet.")
    rules.check_open(order["status"], order["status_name"])
    start_at, end_at = claim_slot(work, number, place, start)
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
        placer_of(work, number),
        {
            "from": local(order["start_at"], zone).isoformat(),
            "to": local(start_at, zone).isoformat(),
            "resource": place["name"],
            "by": by,
            "control_id": control_id,
        },
    )
    if by == "staff":
        work.changed("order", OrderChange(number, "moved"))
    _notice(work, number, order["facility"])
    return True


def act(work: Work, user: User, number: int, action: str, *, reason: str = "") -> bool:
    """A right-click action of the scheduler; the site's default-status settings say which status it sets.
    False when the appointment has that status already, and nothing was sent.
    """
    wanted = work.one("SELECT status FROM action_status WHERE action = ?", action)
    if wanted is None:
        raise Refused("unknown", "There is no such action.", field="action")
    return give_status(work, user, number, wanted["status"], reason=reason)


def give_status(work: Work, user: User, number: int, status: int, *, reason: str = "") -> bool:
    """Staff choose a status of the site's list; one below SCHEDULED takes the appointment off the calendar.
    False when the appointment has that status already, and nothing was sent.
    """
    order = load(work, number)
    user.require(order["facility"])
    if order["start_at"] is None:
        raise Refused("status", "The order is not on the calendar yet.")
    rules.check_open(order["status"], order["status_name"])
    if len(reason) > LONGEST_REASON or not (reason == "" or reason.isprintable()):
        raise Refused("invalid", f"The reason has at most {LONGEST_REASON} characters.", field="reason")
    if status < rules.SCHEDULED:
        user.require_scheduling()
        return take_off_calendar(work, number, status=status, by="staff")
    return set_status(work, number, status, by="staff", reason=reason)


def set_status(work: Work, number: int, status: int, *, by: By, control_id: str = "", reason: str = "") -> bool:
    """Give an order a status. The hooks run for every change, also for a change by HL7."""
    order = load(work, number)
    if order["status"] == status:
        return False
    word = work.one("SELECT name FROM status WHERE value = ?", status)
    if word is None:
        raise Refused("unknown", "There is no such study status.", field="status")
    work.run('UPDATE "order" SET status = ? WHERE number = ?', status, number)
    if status in rules.GIVES_SLOT_BACK and reason:
        work.run("INSERT OR REPLACE INTO off_reason VALUES (?, ?)", number, reason)
    change = OrderChange(number, event_of(status))
    work.changed("order", change)
    work.record(
        "effect",
        "appointment.status",
        placer_of(work, number),
        {
            "from": order["status_name"],
            "to": word["name"],
            "from_value": order["status"],
            "to_value": status,
            "by": by,
            "control_id": control_id or next(iter(change.control_ids), ""),
            **({"reason": reason} if reason else {}),
        },
    )
    _notice(work, number, order["facility"])
    return True


def take_off_calendar(work: Work, number: int, *, status: int = rules.ORDERED, by: By, control_id: str = "") -> bool:
    """The order is below SCHEDULED again, without a time; False when it is so already."""
    order = load(work, number)
    if order["start_at"] is None:
        return False
    rules.check_open(order["status"], order["status_name"])
    work.run('UPDATE "order" SET resource = NULL, start_at = NULL, end_at = NULL WHERE number = ?', number)
    return set_status(work, number, status, by=by, control_id=control_id)


def event_of(status: int) -> Event:
    if status < rules.SCHEDULED:
        return "ordered"
    if status == rules.CANCELLED:
        return "cancelled"
    return "no-show" if status == rules.NO_SHOW else "modified"


def resource_of(work: Work, number: int) -> sqlite3.Row:
    return resource_named(work, load(work, number)["resource_name"] or "")


def resource_named(work: Work, name: str) -> sqlite3.Row:
    row = work.one(
        "SELECT r.*, f.time_zone FROM resource r JOIN facility f ON f.code = r.facility WHERE r.name = ?", name
    )
    if row is None:
        raise Refused("unknown", "There is no such resource.", field="resource")
    return row


def _same_facility(order: sqlite3.Row, place: sqlite3.Row) -> None:
    if order["facility"] != place["facility"]:
        raise Refused("facility", f"{place['name']} belongs to another imaging facility.", field="resource")


def _require_place(work: Work, user: User, place: sqlite3.Row) -> None:
    """The rights to book on a resource: the facility, the privilege, and the resource's user groups."""
    user.require(place["facility"])
    user.require_scheduling()
    assignments.require(work, user, place["id"], place["name"])


def claim_slot(work: Work, number: int, place: sqlite3.Row, start: datetime) -> tuple[int, int]:
    """Start and end in seconds, after all guards of the slot. The writer thread makes check and claim one step."""
    studies = work.all('SELECT modality, minutes FROM study WHERE "order" = ? ORDER BY position', number)
    rules.check_modality(place["name"], place["modality"], [study["modality"] for study in studies])
    minutes = sum(rules.booked_minutes([study["minutes"] for study in studies], place["slot_minutes"]))
    start = start.astimezone(UTC).replace(second=0, microsecond=0)  # an hour in UTC is always an hour
    end = start + timedelta(minutes=minutes)
    hours = rules.WorkingHours(place["opens"], place["closes"], ZoneInfo(place["time_zone"]))
    rules.check_hours(place["name"], hours, start, end)
    reserved = reservations.of_resource(work, place["id"])
    rules.check_reservations(place["name"], reservations.during(reserved, start, end, hours.zone), start, end)
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
    work.notice("appointment", placer=placer_of(work, number), facility=facility)
