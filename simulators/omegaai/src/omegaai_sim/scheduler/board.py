"""The scheduler's board: an organisation's resources, and their appointments of a day or a week by status."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from omegaai_sim.blume import cards
from omegaai_sim.blume.scheduling import slots
from omegaai_sim.fhir.records import PLACER_SYSTEM, identifier_of
from omegaai_sim.services.catalogue import DAYS, HealthcareService
from simulator_kit.store import Work

STEPS: Final[Mapping[str, str]] = {
    "proposed": "Requested",
    "pending": "Scheduled",
    "waitlist": "Scheduled",
    "booked": "Confirmed",
    "arrived": "Arrived",
    "checked-in": "Ready for Scan",
    "noshow": "No Show",
}
"""The step of each FHIR status that the board shows."""
FILTERS: Final = ("Requested", "Scheduled", "Confirmed", "Arrived", "Ready for Scan", "No Show")
ROW_MINUTES: Final = 15
_ROWS_AN_HOUR: Final = 60 // ROW_MINUTES
_MOST_ORDERS: Final = 50
_USUAL_HOURS: Final = (8, 18)


@dataclass(frozen=True, slots=True)
class Booking:
    """An appointment on the board, in the organisation's zone."""

    id: str
    placer_number: str
    step: str
    patient: str
    study: str
    start: datetime
    end: datetime

    @property
    def css(self) -> str:
        return self.step.lower().replace(" ", "-")


@dataclass(slots=True)
class Cell:
    """A part of a resource's column: `rows` of the day, empty or with appointments that overlap."""

    row: int
    rows: int
    bookings: list[Booking] = field(default_factory=list)
    is_open: bool = True


@dataclass(frozen=True, slots=True)
class DayBoard:
    """A day: the first hour, and by row the cells that begin there, one list a resource."""

    first_hour: int
    rows: Sequence[Sequence[Cell | None]]


@dataclass(frozen=True, slots=True)
class Order:
    """An order without a time: its appointment was deleted."""

    id: str
    placer_number: str
    patient: str
    study: str


def bookings(
    work: Work, services: Sequence[HealthcareService], first: date, days: int, zone: ZoneInfo
) -> dict[str, list[Booking]]:
    """By service, what stands on these days, in order of time."""
    begin = datetime.combine(first, time(), zone)
    end = datetime.combine(first + timedelta(days=days), time(), zone)
    found: dict[str, list[Booking]] = {}
    for one in services:
        bodies = slots.standing(work, one.id, begin, end)
        here = [_booking(work, body, zone) for body in bodies if body["status"] in STEPS and "start" in body]
        found[one.id] = sorted((it for it in here if it.start < end and begin < it.end), key=lambda it: it.start)
    return found


def orders(work: Work, services: Sequence[HealthcareService]) -> list[Order]:
    """What was deleted from the board and is not booked again: its order is ORDERED."""
    own = {one.id for one in services}
    rows = work.all(
        "SELECT r.body FROM deleted_appointment d JOIN resource r ON r.type = 'Appointment' AND r.id = d.id "
        "ORDER BY d.deleted_at DESC LIMIT ?",
        _MOST_ORDERS,
    )
    found = []
    for body in (json.loads(row["body"]) for row in rows):
        number = identifier_of(body, PLACER_SYSTEM) or ""
        is_booked = body["status"] in STEPS or _is_booked_again(work, number)
        if cards.actor(body, "HealthcareService") in own and not is_booked:
            card = cards.card(work, body)
            found.append(Order(body["id"], number, card.patient, card.study))
    return found


def day_board(services: Sequence[HealthcareService], found: Mapping[str, Sequence[Booking]], day: date) -> DayBoard:
    """The table of a day. A row is 15 minutes of the wall's clock; an empty part ends with the hour."""
    weekday = tuple(DAYS)[day.weekday()]
    spans = [span for one in services for span in one.hours.get(weekday, ())]
    shown = [it for each in found.values() for it in each]
    hours = [*(int(opens[:2]) for opens, _ in spans), *(_clamped(it.start, day) // 60 for it in shown)]
    ends = [*(-(-_minutes(closes) // 60) for _, closes in spans), *(-(-_clamped(it.end, day) // 60) for it in shown)]
    first, last = min(hours, default=_USUAL_HOURS[0]), max(ends, default=_USUAL_HOURS[1])
    count = (last - first) * _ROWS_AN_HOUR
    columns = [list(_cells(found.get(one.id, ()), one.hours.get(weekday, ()), day, (first, count))) for one in services]
    rows: list[list[Cell | None]] = [[None] * len(services) for _ in range(count)]
    for number, cells in enumerate(columns):
        for cell in cells:
            rows[cell.row][number] = cell
    return DayBoard(first, rows)


def _cells(
    found: Sequence[Booking], windows: Sequence[tuple[str, str]], day: date, view: tuple[int, int]
) -> Iterator[Cell]:
    first_hour, count = view
    row = 0
    for cluster in _clusters(found, day, first_hour):
        yield from _empty(row, cluster.row, windows, first_hour)
        yield cluster
        row = cluster.row + cluster.rows
    yield from _empty(row, count, windows, first_hour)


def _clusters(found: Sequence[Booking], day: date, first_hour: int) -> list[Cell]:
    """Appointments that share a row stand in one cell."""
    cells: list[Cell] = []
    for one in found:
        begin = _clamped(one.start, day) // ROW_MINUTES - first_hour * _ROWS_AN_HOUR
        end = max(-(-_clamped(one.end, day) // ROW_MINUTES) - first_hour * _ROWS_AN_HOUR, begin + 1)
        if cells and begin < cells[-1].row + cells[-1].rows:
            cells[-1].rows = max(cells[-1].rows, end - cells[-1].row)
            cells[-1].bookings.append(one)
        else:
            cells.append(Cell(begin, end - begin, [one]))
    return cells


def _empty(row: int, until: int, windows: Sequence[tuple[str, str]], first_hour: int) -> Iterator[Cell]:
    while row < until:
        end = min(until, (row // _ROWS_AN_HOUR + 1) * _ROWS_AN_HOUR)
        minutes = first_hour * 60 + row * ROW_MINUTES
        is_open = any(_minutes(opens) <= minutes < _minutes(closes) for opens, closes in windows)
        yield Cell(row, end - row, is_open=is_open)
        row = end


def _clamped(at: datetime, day: date) -> int:
    """Minutes of the wall's clock since the day began, from 0 to 1440."""
    if at.date() != day:
        return 0 if at.date() < day else 24 * 60
    return at.hour * 60 + at.minute


def _minutes(clock: str) -> int:
    return int(clock[:2]) * 60 + int(clock[3:5])


def _booking(work: Work, body: dict[str, Any], zone: ZoneInfo) -> Booking:
    card = cards.card(work, body)
    start, end = card.start or datetime.now(UTC), card.end or card.start or datetime.now(UTC)
    return Booking(
        body["id"], card.placer_number, STEPS[body["status"]], card.patient, card.study,
        start.astimezone(zone), end.astimezone(zone),
    )  # fmt: skip


def _is_booked_again(work: Work, placer_number: str) -> bool:
    rows = work.all(
        "SELECT r.body FROM search_value s JOIN resource r ON r.type = s.type AND r.id = s.id "
        "WHERE s.type = 'Appointment' AND s.parameter = 'identifier' AND s.value = ?",
        f"{PLACER_SYSTEM}|{placer_number}",
    )
    return bool(placer_number) and any(json.loads(row["body"])["status"] in STEPS for row in rows)
