"""Data of the scheduler's pages: the calendar of a day, and one order with its history and messages."""

import sqlite3
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from powerserver_sim import rules
from powerserver_sim.rules import local
from powerserver_sim.scheduler.slots import GRID_MINUTES
from powerserver_sim.worklist.views import MOST_LISTED, ORDER_COLUMNS, ORDER_TABLES
from simulator_kit.store import Work

_MOST_LANES: Final = 4


@dataclass(frozen=True, slots=True)
class Slot:
    """A quarter hour of a resource, free or taken; `start` is ISO with offset."""

    row: int
    clock: str
    start: str
    test_id: str
    is_open: bool
    is_taken: bool


@dataclass(slots=True)
class Block:
    """An appointment on the calendar: its row, its height in rows, and its lane among overlapping ones."""

    order: sqlite3.Row
    clock: str
    until: str
    row: int
    rows: int
    lane: int = 1


@dataclass(slots=True)
class Column:
    """A resource's day."""

    resource: sqlite3.Row
    slots: list[Slot]
    blocks: list[Block] = field(default_factory=list)
    lanes: int = 1


@dataclass(frozen=True, slots=True)
class Calendar:
    """All resources of a facility on one day; `hours` are the rows that carry a label."""

    columns: list[Column]
    rows: int
    hours: list[tuple[int, str]]
    now_row: int | None


def calendar(work: Work, facility: str, day: date, modality: str = "") -> Calendar:
    resources = work.all(
        "SELECT r.*, f.time_zone FROM resource r JOIN facility f ON f.code = r.facility "
        "WHERE r.facility = ? AND (? = '' OR r.modality = ?) ORDER BY r.id",
        facility, modality, modality,
    )  # fmt: skip
    if not resources:
        return Calendar([], 0, [], None)
    zone = ZoneInfo(resources[0]["time_zone"])
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    next_midnight = midnight + timedelta(days=1)
    booked: dict[int, list[sqlite3.Row]] = {}
    for order in work.all(
        f"SELECT {ORDER_COLUMNS}, o.resource FROM {ORDER_TABLES} WHERE o.facility = ? "  # noqa: S608 - constants
        "AND o.start_at >= ? AND o.start_at < ? ORDER BY o.start_at, o.number",
        facility, int(midnight.timestamp()), int(next_midnight.timestamp()),
    ):  # fmt: skip
        booked.setdefault(order["resource"], []).append(order)
    shown = [order for resource in resources for order in booked.get(resource["id"], [])]
    first = min(
        [_minutes(resource["opens"]) for resource in resources] + [_clock(order["start_at"], zone) for order in shown]
    )
    last = max([_minutes(resource["closes"]) for resource in resources] + [_end(order, zone) for order in shown])
    first -= first % 60
    rows = -(-(last - first) // GRID_MINUTES)
    columns = [_column(resource, booked.get(resource["id"], []), midnight, first, rows) for resource in resources]
    hours = [(row, _words(first + row * GRID_MINUTES)) for row in range(0, rows, 60 // GRID_MINUTES)]
    now = work.now.astimezone(zone)
    now_row = (now.hour * 60 + now.minute - first) // GRID_MINUTES if now.date() == day else None
    return Calendar(columns, rows, hours, now_row if now_row is not None and 0 <= now_row < rows else None)


def _column(resource: sqlite3.Row, orders: list[sqlite3.Row], midnight: datetime, first: int, rows: int) -> Column:
    zone = ZoneInfo(resource["time_zone"])
    opens, closes = _minutes(resource["opens"]), _minutes(resource["closes"])
    blocks = []
    for order in orders:
        begins, ends = _clock(order["start_at"], zone), _end(order, zone)
        row = (begins - first) // GRID_MINUTES
        height = max(1, -(-(ends - first) // GRID_MINUTES) - row)
        blocks.append(Block(order, _words(begins), _words(ends), row, height))
    lanes = _lay_out(blocks)
    taken = {
        row
        for block in blocks
        if block.order["status"] not in rules.GIVES_SLOT_BACK
        for row in range(block.row, block.row + block.rows)
    }
    name = resource["name"].replace(" ", "-")
    slots = []
    for row in range(rows):
        minutes = first + row * GRID_MINUTES
        clock = _words(minutes)
        slots.append(
            Slot(
                row=row,
                clock=clock,
                start=(midnight + timedelta(minutes=minutes)).isoformat(),
                test_id=f"slot-{name}-{clock}",
                is_open=opens <= minutes < closes,
                is_taken=row in taken,
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


def _clock(seconds: int, zone: ZoneInfo) -> int:
    moment = local(seconds, zone.key)
    return moment.hour * 60 + moment.minute


def _end(order: sqlite3.Row, zone: ZoneInfo) -> int:
    minutes: int = (order["end_at"] - order["start_at"]) // 60
    return _clock(order["start_at"], zone) + minutes


def order_details(work: Work, number: int) -> dict[str, Any]:
    """An order with its studies, its history from the ledger, and the HL7 messages about it, oldest first.

    The messages are read from the tables of `hl7`, which itself stands on the scheduler.
    """
    order = work.one(
        f"SELECT {ORDER_COLUMNS}, o.reason, d.family AS physician_family, d.given AS physician_given "  # noqa: S608 - constants
        f"FROM {ORDER_TABLES} LEFT JOIN physician d ON d.id = o.physician WHERE o.number = ?",
        number,
    )
    if order is None:
        raise rules.Refused("unknown", "There is no such appointment.", field="placer")
    return {
        "order": order,
        "studies": work.all(
            "SELECT x.*, t.description FROM study x JOIN study_type t ON t.code = x.study_type "
            'WHERE x."order" = ? ORDER BY x.position',
            number,
        ),
        "history": work.all(
            "SELECT seq, at, kind, detail FROM ledger WHERE subject = ? ORDER BY seq LIMIT ?",
            order["placer"],
            MOST_LISTED,
        ),
        "messages": work.all(
            "SELECT 'out' AS direction, id, control_id, type, state, ack_code, problem, attempts, created_at AS at "
            "FROM outbound WHERE placer = ? UNION ALL SELECT 'in', id, control_id, type, "
            "CASE WHEN is_repeat THEN 'repeat' ELSE 'received' END, ack_code, problem, 1, received_at "
            "FROM inbound WHERE placer = ? ORDER BY at LIMIT ?",
            order["placer"], order["placer"], MOST_LISTED,
        ),
    }  # fmt: skip
