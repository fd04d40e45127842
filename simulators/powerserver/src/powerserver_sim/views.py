"""Read models of the pages: the calendar of a day, the worklist, the home page's figures."""

import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from powerserver_sim import rules
from powerserver_sim.accounts import User
from powerserver_sim.orders import local
from powerserver_sim.slots import GRID_MINUTES
from powerserver_sim.store import Work

_MOST_LANES: Final = 4
_MOST_LISTED: Final = 200
MOST_OF_PATIENT: Final = 50

ORDER_COLUMNS: Final = (
    "o.number, 'P' || o.number AS placer, o.facility, o.priority, o.start_at, o.end_at, o.status, "
    "s.name AS status_name, q.name AS priority_name, r.name AS resource_name, f.time_zone, p.key AS patient_key, "
    "p.patient_id, p.issuer, p.family, p.given, "
    "(SELECT group_concat(t.description, ', ') FROM study x JOIN study_type t ON t.code = x.study_type "
    'WHERE x."order" = o.number) AS studies, '
    '(SELECT group_concat(DISTINCT x.modality) FROM study x WHERE x."order" = o.number) AS modalities, '
    "(SELECT group_concat(x.accession, ', ') FROM study x WHERE x.\"order\" = o.number) AS accessions"
)
ORDER_TABLES: Final = (
    '"order" o JOIN status s ON s.value = o.status JOIN priority q ON q.value = o.priority '
    "JOIN facility f ON f.code = o.facility JOIN patient p ON p.key = o.patient "
    "LEFT JOIN resource r ON r.id = o.resource"
)

OF_FACILITY: Final = (
    'EXISTS (SELECT 1 FROM "order" f WHERE f.number = CAST(substr(placer, 2) AS INTEGER) AND f.facility = ?)'
)
"""Condition on a message table: about an order of the facility."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A free-or-taken quarter hour of a resource; `start` is ISO with offset."""

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


def facilities_of(work: Work, user: User) -> list[sqlite3.Row]:
    return [row for row in work.all("SELECT * FROM facility ORDER BY code") if user.sees(row["code"])]


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
    """Give overlapping blocks lanes side by side; returns the lanes needed."""
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


def worklist(work: Work, facility: str) -> list[sqlite3.Row]:
    """The ORDERED group: orders without a time, most urgent and oldest first."""
    return work.all(
        f"SELECT {ORDER_COLUMNS} FROM {ORDER_TABLES} WHERE o.facility = ? AND o.start_at IS NULL "  # noqa: S608 - constants
        "AND o.status < ? ORDER BY o.priority, o.number LIMIT ?",
        facility, rules.SCHEDULED, _MOST_LISTED,
    )  # fmt: skip


def orders_of_patient(work: Work, patient: int, user: User) -> list[sqlite3.Row]:
    rows = work.all(
        f"SELECT {ORDER_COLUMNS} FROM {ORDER_TABLES} WHERE o.patient = ? "  # noqa: S608 - constants
        "ORDER BY o.start_at IS NOT NULL, o.start_at DESC, o.number DESC LIMIT ?",
        patient, MOST_OF_PATIENT,
    )  # fmt: skip
    return [row for row in rows if user.sees(row["facility"])]


def order_details(work: Work, number: int) -> dict[str, Any]:
    """An order with its studies, its history from the ledger, and the messages about it, oldest first."""
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
            f"P{number}",
            _MOST_LISTED,
        ),
        "messages": work.all(
            "SELECT 'out' AS direction, id, control_id, type, state, ack_code, problem, attempts, created_at AS at "
            "FROM outbound WHERE placer = ? UNION ALL SELECT 'in', id, control_id, type, "
            "CASE WHEN is_repeat THEN 'repeat' ELSE 'received' END, ack_code, problem, 1, received_at "
            "FROM inbound WHERE placer = ? ORDER BY at LIMIT ?",
            f"P{number}", f"P{number}", _MOST_LISTED,
        ),
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Home:
    """The figures and tasks of the home page."""

    today: list[tuple[sqlite3.Row, int]]
    today_total: int
    ordered: int
    unconfirmed: list[sqlite3.Row]
    waiting_messages: int
    troubled_messages: list[sqlite3.Row]


def home(work: Work, facilities: list[sqlite3.Row], user: User) -> Home:
    counts: Counter[int] = Counter()
    ordered = 0
    unconfirmed: list[sqlite3.Row] = []
    in_a_week = work.now + timedelta(days=7)
    for facility in facilities:
        now = work.now.astimezone(ZoneInfo(facility["time_zone"]))
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        for row in work.all(
            'SELECT status, count(*) AS count FROM "order" WHERE facility = ? AND start_at >= ? AND start_at < ? '
            "GROUP BY status",
            facility["code"], int(midnight.timestamp()), int((midnight + timedelta(days=1)).timestamp()),
        ):  # fmt: skip
            counts[row["status"]] += row["count"]
        waiting = work.one(
            'SELECT count(*) AS count FROM "order" WHERE facility = ? AND start_at IS NULL AND status < ?',
            facility["code"], rules.SCHEDULED,
        )  # fmt: skip
        ordered += waiting["count"] if waiting is not None else 0
        unconfirmed += work.all(
            f"SELECT {ORDER_COLUMNS} FROM {ORDER_TABLES} WHERE o.facility = ? AND o.start_at >= ? AND o.start_at < ? "  # noqa: S608 - constants
            "AND o.status = ? ORDER BY o.start_at LIMIT 20",
            facility["code"], int(work.now.timestamp()), int(in_a_week.timestamp()), rules.SCHEDULED,
        )  # fmt: skip
    names = work.all("SELECT * FROM status ORDER BY value")
    of_facility, values = ("1", []) if user.facility is None else (OF_FACILITY, [user.facility])
    queue = work.one(
        f"SELECT count(*) AS count FROM outbound WHERE state IN ('queued', 'retrying') AND {of_facility}",  # noqa: S608 - constants
        *values,
    )
    return Home(
        today=[(name, counts[name["value"]]) for name in names if counts[name["value"]]],
        today_total=counts.total(),
        ordered=ordered,
        unconfirmed=sorted(unconfirmed, key=lambda row: row["start_at"])[:10],
        waiting_messages=queue["count"] if queue is not None else 0,
        troubled_messages=work.all(
            f"SELECT * FROM outbound WHERE state IN ('retrying', 'rejected') AND {of_facility} "  # noqa: S608 - constants
            "ORDER BY id DESC LIMIT 5",
            *values,
        ),
    )
