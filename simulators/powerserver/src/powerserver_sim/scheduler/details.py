"""One order with its studies and their times, its history, and the HL7 messages about it."""

import json
import sqlite3
from datetime import datetime, timedelta
from typing import Any

from powerserver_sim import rules
from powerserver_sim.rules import local
from powerserver_sim.worklist.orders import study_uid
from powerserver_sim.worklist.views import MOST_LISTED, ORDER_COLUMNS, ORDER_TABLES
from simulator_kit.store import Work


def order_details(work: Work, number: int) -> dict[str, Any]:
    """An order with its studies, its history from the ledger, and its messages, oldest first.

    The messages are read from the tables of `hl7`, which itself stands on the scheduler.
    """
    order = work.one(
        f"SELECT {ORDER_COLUMNS}, o.reason, o.created_at, r.slot_minutes, "  # noqa: S608 - constants
        "d.family AS physician_family, d.given AS physician_given, c.insurance_status, c.authorization "
        f"FROM {ORDER_TABLES} LEFT JOIN physician d ON d.id = o.physician "
        'LEFT JOIN coverage c ON c."order" = o.number WHERE o.number = ?',
        number,
    )
    if order is None:
        raise rules.Refused("unknown", "There is no such appointment.", field="placer")
    return {
        "order": order,
        "studies": _studies(work, order),
        "moved": _last_move(work, order),
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


def _studies(work: Work, order: sqlite3.Row) -> list[dict[str, Any]]:
    """The studies, one after the other from the appointment's start: their date and time follow every change of it."""
    rows = work.all(
        "SELECT x.*, t.description FROM study x JOIN study_type t ON t.code = x.study_type "
        'WHERE x."order" = ? ORDER BY x.position',
        order["number"],
    )
    starts = None if order["start_at"] is None else local(order["start_at"], order["time_zone"])
    minutes = rules.booked_minutes([row["minutes"] for row in rows], order["slot_minutes"] or rules.SHORTEST_MINUTES)
    studies = []
    for row, length in zip(rows, minutes, strict=True):
        ends = None if starts is None else starts + timedelta(minutes=length)
        uid = study_uid(order["number"], row["position"])
        studies.append({**dict(row), "start": starts, "end": ends, "uid": uid})
        starts = ends
    return studies


def _last_move(work: Work, order: sqlite3.Row) -> dict[str, Any] | None:
    """When the appointment's time was changed last, from which time, and by whom (`staff` or `hl7`)."""
    row = work.one(
        "SELECT at, detail FROM ledger WHERE subject = ? AND kind = 'appointment.moved' ORDER BY seq DESC LIMIT 1",
        order["placer"],
    )
    if row is None or order["start_at"] is None:
        return None
    detail = json.loads(row["detail"])
    return {"at": row["at"], "from": datetime.fromisoformat(detail["from"]), "by": detail["by"]}
