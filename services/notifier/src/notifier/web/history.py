"""What the page of messages asks the store: identifiers, states and reasons; no names, addresses or bodies."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from notifier.domain.notification import STATES, TEMPLATES


@dataclass(frozen=True)
class Filter:
    """As it stands in the address. ``before`` is the last row of the page before: when it changed, and its id."""

    appointment_id: UUID | None = None
    state: str | None = None
    template: str | None = None
    before: tuple[datetime, UUID] | None = None


@dataclass(frozen=True)
class MessageRow:
    """One message of the history. While it is queued its reason is what the last of its ``tries`` failed with."""

    notification_id: UUID
    appointment_id: UUID
    template: str
    revision: int
    state: str
    reason: str | None
    changed_at: datetime
    tries: int

    @property
    def cursor(self) -> str:
        return f"{self.changed_at.isoformat()}~{self.notification_id}"


_HISTORY = """
SELECT n.notification_id, n.appointment_id, n.template, n.revision, n.state,
       CASE WHEN n.state = 'queued' THEN d.last_error ELSE n.reason END, n.changed_at, coalesce(d.attempts, 0)
FROM notifications n LEFT JOIN deliveries d ON d.id = n.notification_id
WHERE ($1::uuid IS NULL OR n.appointment_id = $1) AND ($2::text IS NULL OR n.state = $2)
  AND ($3::text IS NULL OR n.template = $3)
  AND ($4::timestamptz IS NULL OR (n.changed_at, n.notification_id) < ($4, $5::uuid))
ORDER BY n.changed_at DESC, n.notification_id DESC LIMIT $6
"""


class History:
    """Reads for the page; each call is one statement."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def page(self, wanted: Filter, limit: int) -> Sequence[MessageRow]:
        at, key = wanted.before or (None, None)
        rows = await self._pool.fetch(_HISTORY, wanted.appointment_id, wanted.state, wanted.template, at, key, limit)
        return [MessageRow(*row) for row in rows]

    async def counts(self) -> dict[str, int]:
        """How many messages are in each state, every state named."""
        rows = await self._pool.fetch("SELECT state, count(*) FROM notifications GROUP BY state")
        return dict.fromkeys(STATES, 0) | {row[0]: row[1] for row in rows}

    async def last_change(self) -> datetime | None:
        found: datetime | None = await self._pool.fetchval("SELECT max(changed_at) FROM notifications")
        return found


def read_filter(query: dict[str, str]) -> tuple[Filter, list[str]]:
    """The filter and a sentence for each part of the address that it cannot use."""
    unknown: list[str] = []

    def one_of(name: str, known: Sequence[str]) -> str | None:
        value = query.get(name, "")
        if value and value not in known:
            unknown.append(f"{name} is one of {', '.join(known)}.")
            return None
        return value or None

    appointment_id: UUID | None = None
    if given := query.get("appointment", "").strip():
        try:
            appointment_id = UUID(given)
        except ValueError:
            unknown.append("appointment is a UUID, as the suite's pages and mails show it.")
    before: tuple[datetime, UUID] | None = None
    if given := query.get("before", ""):
        at, _, key = given.partition("~")
        try:
            before = datetime.fromisoformat(at), UUID(key)
        except ValueError:
            unknown.append("before is what the link to older messages carries.")
        else:
            if before[0].tzinfo is None:
                before = None
    return Filter(appointment_id, one_of("state", STATES), one_of("template", TEMPLATES), before), unknown
