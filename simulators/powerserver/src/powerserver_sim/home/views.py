"""The figures and tasks of the home page."""

import sqlite3
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from zoneinfo import ZoneInfo

from powerserver_sim import rules
from powerserver_sim.accounts import User
from powerserver_sim.hl7 import log
from powerserver_sim.worklist.views import ORDER_COLUMNS, ORDER_TABLES
from simulator_kit.store import Work


@dataclass(frozen=True, slots=True)
class Home:
    """The figures and tasks of the home page."""

    today: list[tuple[sqlite3.Row, int]]
    today_total: int
    ordered: int
    requests: int
    waiting_patients: int
    unconfirmed: list[sqlite3.Row]
    waiting_messages: int
    troubled_messages: list[sqlite3.Row]


def home(work: Work, facilities: list[sqlite3.Row], user: User) -> Home:
    counts: Counter[int] = Counter()
    ordered = requests = 0
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
        asked = work.one(
            'SELECT count(*) AS count FROM request w JOIN "order" o ON o.number = w."order" '
            "WHERE w.is_open AND o.facility = ?",
            facility["code"],
        )
        requests += asked["count"] if asked is not None else 0
        unconfirmed += work.all(
            f"SELECT {ORDER_COLUMNS} FROM {ORDER_TABLES} WHERE o.facility = ? AND o.start_at >= ? AND o.start_at < ? "  # noqa: S608 - constants
            "AND o.status = ? ORDER BY o.start_at LIMIT 20",
            facility["code"], int(work.now.timestamp()), int(in_a_week.timestamp()), rules.SCHEDULED,
        )  # fmt: skip
    names = work.all("SELECT * FROM status ORDER BY value")
    return Home(
        today=[(name, counts[name["value"]]) for name in names if counts[name["value"]]],
        today_total=counts.total(),
        ordered=ordered,
        requests=requests,
        waiting_patients=sum(counts[status] for status in (rules.ARRIVED, rules.READY_FOR_SCAN)),
        unconfirmed=sorted(unconfirmed, key=lambda row: row["start_at"])[:10],
        waiting_messages=log.waiting(work, user),
        troubled_messages=log.troubled(work, user),
    )
