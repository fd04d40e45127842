"""The worklist's groups: one for each status that a study has, ORDERED on top."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from powerserver_sim import rules
from powerserver_sim.worklist.views import ORDER_COLUMNS, ORDER_TABLES
from simulator_kit.store import Work

SHOWN_OF_GROUP: Final = 20
SHOWN_OF_ONE_STATUS: Final = 500


@dataclass(frozen=True, slots=True)
class Group:
    """A status with its orders; `count` counts those that are not shown too."""

    status: int
    name: str
    count: int
    orders: list[sqlite3.Row]


def groups(work: Work, facilities: Sequence[str], modality: str, status: int | None) -> list[Group]:
    """The orders of the facilities by status; coming ones first. With a `status` that group alone."""
    where = f"o.facility IN ({','.join('?' * len(facilities))})"
    values: list[object] = [*facilities]
    if modality:
        where += ' AND EXISTS (SELECT 1 FROM study m WHERE m."order" = o.number AND m.modality = ?)'
        values.append(modality)
    if status is not None:
        where += " AND o.status = ?"
        values.append(status)
    counted = work.all(
        f'SELECT o.status, s.name, count(*) AS count FROM "order" o JOIN status s ON s.value = o.status '  # noqa: S608 - question marks
        f"WHERE {where} GROUP BY o.status ORDER BY o.status <> {rules.ORDERED}, o.status",
        *values,
    )
    today = int(work.now.timestamp()) // 86400 * 86400
    return [
        Group(
            row["status"],
            row["name"],
            row["count"],
            work.all(
                f"SELECT {ORDER_COLUMNS}, c.insurance_status, c.authorization FROM {ORDER_TABLES} "  # noqa: S608 - question marks
                f'LEFT JOIN coverage c ON c."order" = o.number WHERE {where} AND o.status = ? '
                "ORDER BY coalesce(o.start_at, ?) < ?, o.start_at, o.priority, o.number LIMIT ?",
                *values, row["status"], today, today, SHOWN_OF_GROUP if status is None else SHOWN_OF_ONE_STATUS,
            ),
        )
        for row in counted
    ]  # fmt: skip
