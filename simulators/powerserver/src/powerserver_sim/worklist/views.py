"""Orders as pages list them: the columns of a row, the ORDERED group, the orders of a patient."""

import sqlite3
from typing import Final

from powerserver_sim import rules
from powerserver_sim.accounts import User
from powerserver_sim.worklist.orders import PLACER
from simulator_kit.store import Work

MOST_LISTED: Final = 200
MOST_OF_PATIENT: Final = 50

ORDER_COLUMNS: Final = (
    f"o.number, {PLACER} AS placer, o.facility, o.priority, o.start_at, o.end_at, o.status, "  # noqa: S608 - constants
    "s.name AS status_name, q.name AS priority_name, r.name AS resource_name, f.time_zone, p.key AS patient_key, "
    "p.patient_id, p.issuer, p.family, p.given, "
    "(SELECT group_concat(t.description, ', ') FROM study x JOIN study_type t ON t.code = x.study_type "
    'WHERE x."order" = o.number) AS studies, '
    '(SELECT group_concat(DISTINCT x.modality) FROM study x WHERE x."order" = o.number) AS modalities, '
    '(SELECT w.kind FROM request w WHERE w."order" = o.number AND w.is_open) AS asked, '
    "(SELECT group_concat(x.accession, ', ') FROM study x WHERE x.\"order\" = o.number) AS accessions"
)
ORDER_TABLES: Final = (
    '"order" o JOIN status s ON s.value = o.status JOIN priority q ON q.value = o.priority '
    "JOIN facility f ON f.code = o.facility JOIN patient p ON p.key = o.patient "
    "LEFT JOIN resource r ON r.id = o.resource"
)


def worklist(work: Work, facility: str) -> list[sqlite3.Row]:
    """The ORDERED group: orders without a time, most urgent and oldest first."""
    return work.all(
        f"SELECT {ORDER_COLUMNS} FROM {ORDER_TABLES} WHERE o.facility = ? AND o.start_at IS NULL "  # noqa: S608 - constants
        "AND o.status < ? ORDER BY o.priority, o.number LIMIT ?",
        facility, rules.SCHEDULED, MOST_LISTED,
    )  # fmt: skip


def orders_of_patient(work: Work, patient: int, user: User) -> list[sqlite3.Row]:
    rows = work.all(
        f"SELECT {ORDER_COLUMNS} FROM {ORDER_TABLES} WHERE o.patient = ? "  # noqa: S608 - constants
        "ORDER BY o.start_at IS NOT NULL, o.start_at DESC, o.number DESC LIMIT ?",
        patient, MOST_OF_PATIENT,
    )  # fmt: skip
    return [row for row in rows if user.sees(row["facility"])]
