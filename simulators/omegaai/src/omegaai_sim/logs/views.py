"""Tasks of the outbound queue as the staff's pages show them."""

import json
from dataclasses import dataclass
from datetime import datetime
from sqlite3 import Row

from omegaai_sim.staff import lists
from simulator_kit.store import Work


@dataclass(frozen=True, slots=True)
class Message:
    """A Task of the outbound queue."""

    id: str
    status: str
    reason: str
    focus: str
    authored: datetime
    updated: datetime


def tasks(work: Work, status: str, page: int) -> lists.Listing:
    rows, total = lists.newest(work, "Task", status, page)
    return lists.Listing([_message(row) for row in rows], page, total, lists.counts(work, "Task"))


def about(work: Work, reference: str) -> list[Message]:
    """The Tasks whose focus is `reference`, oldest first."""
    rows = work.all(
        "SELECT r.* FROM search_value s JOIN resource r ON r.type = s.type AND r.id = s.id "
        "WHERE s.type = 'Task' AND s.parameter = 'focus' AND s.value = ? ORDER BY s.number",
        reference,
    )
    return [_message(row) for row in rows]


def _message(row: Row) -> Message:
    body = json.loads(row["body"])
    codings = body.get("reasonCode", {}).get("coding", [])
    return Message(
        id=body["id"],
        status=body["status"],
        reason=", ".join(coding.get("code", "") for coding in codings),
        focus=body.get("focus", {}).get("reference", ""),
        authored=lists.moment(body.get("authoredOn", row["updated"])),
        updated=lists.moment(row["updated"]),
    )
