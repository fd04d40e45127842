"""The requests of patients that wait for staff."""

import sqlite3
from datetime import datetime
from typing import Any

from powerserver_sim.rules import local
from powerserver_sim.worklist.views import MOST_LISTED, ORDER_COLUMNS, ORDER_TABLES
from simulator_kit.store import Work


def open_request(work: Work, number: int) -> dict[str, Any] | None:
    """The request that waits: `{kind, resource, start, end}`, times in the facility's zone; None without one."""
    row = work.one(
        'SELECT q.*, r.name AS resource_name, f.time_zone FROM request q JOIN "order" o ON o.number = q."order" '
        'JOIN facility f ON f.code = o.facility LEFT JOIN resource r ON r.id = q.resource WHERE q."order" = ? '
        "AND q.is_open",
        number,
    )
    if row is None:
        return None
    return {
        "kind": row["kind"],
        "resource": row["resource_name"],
        "start": _time(row, "start_at"),
        "end": _time(row, "end_at"),
    }


def requests_of_facility(work: Work, facility: str) -> list[dict[str, Any]]:
    """The orders on which a request waits, oldest first, each with `request` as `open_request` gives it."""
    rows = work.all(
        f'SELECT {ORDER_COLUMNS} FROM {ORDER_TABLES} JOIN request w ON w."order" = o.number '  # noqa: S608 - constants
        "WHERE o.facility = ? AND w.is_open ORDER BY w.asked_at, o.number LIMIT ?",
        facility,
        MOST_LISTED,
    )
    return [{**dict(row), "request": open_request(work, row["number"])} for row in rows]


def _time(row: sqlite3.Row, name: str) -> datetime | None:
    return None if row[name] is None else local(row[name], row["time_zone"])
