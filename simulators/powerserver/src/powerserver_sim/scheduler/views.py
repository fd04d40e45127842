"""The calendar of a day: a column for each resource, with its slots, its appointments, and what patients ask for."""

import sqlite3
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from powerserver_sim import rules
from powerserver_sim.rules import local
from powerserver_sim.scheduler.slots import GRID_MINUTES
from powerserver_sim.settings import reservations
from powerserver_sim.worklist.views import ORDER_COLUMNS, ORDER_TABLES
from simulator_kit.store import Work

SCALES: Final = (15, 30, 60)
"""The time scales of the calendar: minutes of a row."""
_MOST_LANES: Final = 4


@dataclass(frozen=True, slots=True)
class Slot:
    """A row of a resource: free, taken, or reserved for `purpose`; `start` is ISO with offset."""

    row: int
    clock: str
    start: str
    test_id: str
    is_open: bool
    is_taken: bool
    purpose: str

    @property
    def words(self) -> str:
        return f"reserved: {self.purpose}" if self.purpose else "taken" if self.is_taken else "free"


@dataclass(slots=True)
class Block:
    """An appointment on the calendar: its row, its height in rows, and its lane among overlapping ones.

    `is_wish`: the time that a patient asks for; the appointment itself stands elsewhere until staff answer.
    """

    order: sqlite3.Row
    clock: str
    until: str
    row: int
    rows: int
    is_wish: bool
    lane: int = 1


@dataclass(slots=True)
class Column:
    """A resource's day."""

    resource: sqlite3.Row
    slots: list[Slot]
    blocks: list[Block] = field(default_factory=list)
    lanes: int = 1

    @property
    def first_clock(self) -> str:
        """The first open slot: the one that Tab reaches."""
        return next((slot.clock for slot in self.slots if slot.is_open), "")


@dataclass(frozen=True, slots=True)
class Calendar:
    """All resources of a facility on one day; `hours` are the rows that carry a label."""

    columns: list[Column]
    rows: int
    hours: list[tuple[int, str]]
    now_row: int | None


def calendar(work: Work, facility: str, resources: list[sqlite3.Row], day: date, scale: int = GRID_MINUTES) -> Calendar:
    """The day of these resources of one facility; a row is `scale` minutes."""
    if not resources:
        return Calendar([], 0, [], None)
    zone = ZoneInfo(resources[0]["time_zone"])
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    next_midnight = midnight + timedelta(days=1)
    times = (int(midnight.timestamp()), int(next_midnight.timestamp()))
    places: dict[int, list[_Place]] = {}
    for order in work.all(
        f"SELECT {ORDER_COLUMNS}, o.resource FROM {ORDER_TABLES} WHERE o.facility = ? "  # noqa: S608 - constants
        "AND o.start_at >= ? AND o.start_at < ? ORDER BY o.start_at, o.number",
        facility, *times,
    ):  # fmt: skip
        places.setdefault(order["resource"], []).append(_Place(order, order["start_at"], order["end_at"]))
    for wish in work.all(
        f"SELECT {ORDER_COLUMNS}, w.resource, w.start_at AS wanted_start, w.end_at AS wanted_end "  # noqa: S608 - constants
        f'FROM {ORDER_TABLES} JOIN request w ON w."order" = o.number WHERE o.facility = ? AND w.is_open '
        "AND w.start_at >= ? AND w.start_at < ? ORDER BY w.start_at, o.number",
        facility, *times,
    ):  # fmt: skip
        places.setdefault(wish["resource"], []).append(
            _Place(wish, wish["wanted_start"], wish["wanted_end"], is_wish=True)
        )
    shown = [place for resource in resources for place in places.get(resource["id"], [])]
    first = min([_minutes(resource["opens"]) for resource in resources] + [place.begins(zone) for place in shown])
    last = max([_minutes(resource["closes"]) for resource in resources] + [place.ends(zone) for place in shown])
    first -= first % 60
    rows = -(-(last - first) // scale)
    columns = [
        _column(
            resource,
            sorted(places.get(resource["id"], []), key=lambda place: place.start_at),
            reservations.on_day(reservations.of_resource(work, resource["id"]), day, zone),
            midnight,
            range(first, first + rows * scale, scale),
        )
        for resource in resources
    ]
    hours = [(row, _words(first + row * scale)) for row in range(0, rows, 60 // scale)]
    now = work.now.astimezone(zone)
    now_row = (now.hour * 60 + now.minute - first) // scale if now.date() == day else None
    return Calendar(columns, rows, hours, now_row if now_row is not None and 0 <= now_row < rows else None)


@dataclass(frozen=True, slots=True)
class _Place:
    """An order at its time, or at the time that is asked for; seconds since 1970."""

    order: sqlite3.Row
    start_at: int
    end_at: int
    is_wish: bool = False

    def begins(self, zone: ZoneInfo) -> int:
        """Minutes since midnight on the facility's clock."""
        moment = local(self.start_at, zone.key)
        return moment.hour * 60 + moment.minute

    def ends(self, zone: ZoneInfo) -> int:
        return self.begins(zone) + (self.end_at - self.start_at) // 60


def _column(
    resource: sqlite3.Row,
    places: list[_Place],
    reserved: list[reservations.Period],
    midnight: datetime,
    grid: range,
) -> Column:
    """`grid`: the minutes since midnight at which a row begins."""
    zone = ZoneInfo(resource["time_zone"])
    opens, closes = _minutes(resource["opens"]), _minutes(resource["closes"])
    blocks = []
    for place in places:
        begins, ends = place.begins(zone), place.ends(zone)
        row = (begins - grid.start) // grid.step
        height = max(1, -(-(ends - grid.start) // grid.step) - row)
        blocks.append(Block(place.order, _words(begins), _words(ends), row, height, place.is_wish))
    lanes = _lay_out(blocks)
    taken = {
        row
        for block in blocks
        if block.order["status"] not in rules.GIVES_SLOT_BACK and not block.is_wish
        for row in range(block.row, block.row + block.rows)
    }
    name = resource["name"].replace(" ", "-")
    slots = []
    for row, minutes in enumerate(grid):
        clock, start = _words(minutes), midnight + timedelta(minutes=minutes)
        ends_at = start + timedelta(minutes=grid.step)
        slots.append(
            Slot(
                row=row,
                clock=clock,
                start=start.isoformat(),
                test_id=f"slot-{name}-{clock}",
                is_open=opens <= minutes < closes,
                is_taken=row in taken,
                purpose=next((words for begins, ends, words in reserved if begins < ends_at and start < ends), ""),
            )
        )
    return Column(resource, slots, blocks, lanes)


def _lay_out(blocks: list[Block]) -> int:
    """Gives overlapping blocks lanes side by side; returns the number of lanes."""
    free_from: list[int] = []
    for block in blocks:
        lane = next((lane for lane, row in enumerate(free_from) if row <= block.row), len(free_from))
        free_from[lane : lane + 1] = [block.row + block.rows]
        block.lane = min(lane + 1, _MOST_LANES)
    return max(1, min(len(free_from), _MOST_LANES))


def _minutes(clock: str) -> int:
    return int(clock[:2]) * 60 + int(clock[3:])


def _words(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
