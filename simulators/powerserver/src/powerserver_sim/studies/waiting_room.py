"""The waiting room: the appointments of one day by how far they are, with the time since the last step."""

import sqlite3
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from powerserver_sim import rules
from powerserver_sim.worklist.views import ORDER_COLUMNS, ORDER_TABLES
from simulator_kit.store import Work

EXPECTED, ARRIVED, READY, AT_WORK = "Expected", "Arrived", "Ready for scan", "In progress"
_STAGES: Final = (
    (rules.ARRIVED, EXPECTED),
    (rules.READY_FOR_SCAN, ARRIVED),
    (rules.READY_FOR_SCAN + 1, READY),
    (rules.COMPLETED, AT_WORK),
)
"""Below which order value a status belongs to the stage. Cancelled and missed appointments are no longer waited for."""
_NEXT: Final[dict[str, tuple[str, ...]]] = {
    EXPECTED: ("arrived", "no-show"),
    ARRIVED: ("ready-for-scan",),
    READY: ("completed",),
    AT_WORK: ("completed",),
}


@dataclass(frozen=True, slots=True)
class Patient:
    """A patient of the day. `waits_minutes`: since the last step; `late_minutes`: since an expected start."""

    order: sqlite3.Row
    waits_minutes: int | None
    late_minutes: int


@dataclass(frozen=True, slots=True)
class Stage:
    """A column of the waiting room, with the actions that lead on."""

    name: str
    actions: tuple[str, ...]
    patients: list[Patient]


def waiting_room(work: Work, facility: str, zone: ZoneInfo, day: date) -> list[Stage]:
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    rows = work.all(
        f"SELECT {ORDER_COLUMNS} FROM {ORDER_TABLES} WHERE o.facility = ? AND o.start_at >= ? AND o.start_at < ? "  # noqa: S608 - constants
        "AND o.status >= ? AND o.status < ? AND o.status NOT IN (?, ?) ORDER BY o.start_at, o.number",
        facility, int(midnight.timestamp()), int((midnight + timedelta(days=1)).timestamp()), rules.SCHEDULED,
        rules.COMPLETED, *sorted(rules.GIVES_SLOT_BACK),
    )  # fmt: skip
    stages = {name: Stage(name, _NEXT[name], []) for _, name in _STAGES}
    for row in rows:
        name = next(name for below, name in _STAGES if row["status"] < below)
        stages[name].patients.append(_patient(work, row, is_expected=name == EXPECTED))
    return list(stages.values())


def _patient(work: Work, row: sqlite3.Row, *, is_expected: bool) -> Patient:
    if is_expected:
        return Patient(row, None, max(0, (int(work.now.timestamp()) - row["start_at"]) // 60))
    step = work.one(
        "SELECT at FROM ledger WHERE subject = ? AND kind = 'appointment.status' ORDER BY seq DESC LIMIT 1",
        row["placer"],
    )
    since = None if step is None else work.now - datetime.fromisoformat(step["at"])
    return Patient(row, None if since is None else max(0, int(since.total_seconds()) // 60), 0)
