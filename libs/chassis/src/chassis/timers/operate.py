"""The operator's hand on timers: count and list them, have one that failed tried at once, cancel one.

Every act is audited. Commands and pages ask here; none of it stands in the way of what is due.
"""

from typing import Any, Final, Literal, get_args
from uuid import UUID

from chassis.store import Store, Transaction
from chassis.store.transaction import TIMERS_CHANNEL

State = Literal["waiting", "overdue", "troubled", "dead", "fired", "cancelled"]
"""troubled: dead, or waiting for another try."""
STATES: Final[tuple[State, ...]] = get_args(State)
MOST_COUNTED: Final = 10_000

# Constants, because only a constant condition is answered by the index of its rows.
_CONDITIONS: Final[dict[State, str]] = {
    "waiting": "state = 'waiting'",
    "overdue": "state = 'waiting' AND due_at <= now()",
    "troubled": "(state = 'dead' OR (state = 'waiting' AND attempts > 0))",
    "dead": "state = 'dead'",
    "fired": "state = 'fired'",
    "cancelled": "state = 'cancelled'",
}
_IS_NEWEST: Final = """
t.revision = (
    SELECT known.revision FROM timers known WHERE (known.kind, known.key, known.name) = (t.kind, t.key, t.name)
    ORDER BY known.revision DESC LIMIT 1
)
"""


def _list_of(state: State) -> str:
    order = "settled_at DESC" if state in {"fired", "cancelled"} else "due_at"
    return f"""
    SELECT kind, key, name, revision, state, due_at, next_attempt_at, attempts, last_error, set_at, settled_at
    FROM timers t WHERE {_CONDITIONS[state]} AND ($1::text IS NULL OR kind = $1) AND {_IS_NEWEST}
    ORDER BY {order}, kind, key, name LIMIT $2
    """  # noqa: S608 (constants)


_LISTS: Final = {state: _list_of(state) for state in STATES}
# Kind by kind along the index, so that a million timers to come are not read. What waits for another try is troubled.
_COUNTS: Final = f"""
WITH RECURSIVE kinds AS (
    (SELECT kind FROM timers WHERE state = 'waiting' ORDER BY kind LIMIT 1)
    UNION ALL
    SELECT (
        SELECT t.kind FROM timers t WHERE t.state = 'waiting' AND t.kind > kinds.kind ORDER BY t.kind LIMIT 1
    ) FROM kinds WHERE kinds.kind IS NOT NULL
)
SELECT
    (SELECT count(*) FROM (SELECT 1 FROM timers WHERE state = 'waiting' LIMIT {MOST_COUNTED + 1}) AS few) AS waiting,
    coalesce(sum(due.number), 0)::int AS overdue, min(due.since) AS overdue_since,
    (SELECT count(*) FROM timers t WHERE {_CONDITIONS["dead"]} AND {_IS_NEWEST}) AS dead
FROM kinds CROSS JOIN LATERAL (
    SELECT count(*) AS number, min(few.next_attempt_at) AS since FROM (
        SELECT t.next_attempt_at FROM timers t
        WHERE t.kind = kinds.kind AND t.state = 'waiting' AND t.next_attempt_at <= now()
        ORDER BY t.next_attempt_at LIMIT {MOST_COUNTED + 1}
    ) AS few
) AS due
"""  # noqa: S608 (constants)
# From its own time on: so it is the first of its key's line again, and no clock makes it early.
_RETRY: Final = f"""
UPDATE timers t SET state = 'waiting', next_attempt_at = due_at, settled_at = NULL, attempts = 0
WHERE {_CONDITIONS["troubled"]} AND (kind, key, name) = ($1, $2, $3) AND {_IS_NEWEST} RETURNING kind
"""  # noqa: S608 (constants)
_RETRY_ALL: Final = f"""
UPDATE timers t SET state = 'waiting', next_attempt_at = due_at, settled_at = NULL, attempts = 0
WHERE state = 'dead' AND ($1::text IS NULL OR kind = $1) AND {_IS_NEWEST} RETURNING kind
"""  # noqa: S608 (constants)
_CANCEL: Final = f"""
UPDATE timers t SET state = 'cancelled', settled_at = clock_timestamp()
WHERE state IN ('waiting', 'dead') AND (kind, key, name) = ($1, $2, $3) AND {_IS_NEWEST} RETURNING kind
"""  # noqa: S608 (constants)


async def list_timers(store: Store, *, state: State, kind: str | None = None, limit: int = 50) -> list[Any]:
    """Without their payloads: by when they are due; those that fired or were cancelled the newest first."""
    return list(await store.pool.fetch(_LISTS[state], kind, limit))


async def count_timers(store: Store) -> dict[str, Any]:
    """``waiting``, ``overdue``, ``overdue_since`` (None for none), ``dead``; counted up to one above ``MOST_COUNTED``."""
    return dict(await store.pool.fetchrow(_COUNTS))


async def retry_timer(store: Store, kind: str, key: UUID, name: str, *, actor: str) -> bool:
    """Has a timer that failed tried at once. Audited. False when there is none."""
    return await _operate(store, _RETRY, kind, key, name, actor=actor, action="timer.retry")


async def retry_timers(store: Store, kind: str | None, *, actor: str) -> int:
    """Has all dead timers, or those of ``kind``, tried at once; one row of the audit. Returns how many."""
    async with store.pool.acquire() as connection, connection.transaction():
        number = len(await connection.fetch(_RETRY_ALL, kind))
        if number:
            transaction = Transaction(connection)
            detail = {"number": number}
            transaction.audit(actor=actor, action="timer.retry-all", subject=kind or "all", detail=detail)
            await transaction.flush()
            await connection.execute("SELECT pg_notify($1, '')", TIMERS_CHANNEL)
    return number


async def cancel_timer(store: Store, kind: str, key: UUID, name: str, *, actor: str) -> bool:
    """Gives a timer up that waits or is dead; the state that it belongs to stays. Audited. False when there is none."""
    return await _operate(store, _CANCEL, kind, key, name, actor=actor, action="timer.cancel")


async def _operate(store: Store, statement: str, kind: str, key: UUID, name: str, *, actor: str, action: str) -> bool:
    async with store.pool.acquire() as connection, connection.transaction():
        if await connection.fetchval(statement, kind, key, name) is None:
            return False
        transaction = Transaction(connection)
        transaction.audit(actor=actor, action=action, subject=str(key), detail={"kind": kind, "name": name})
        await transaction.flush()
        await connection.execute("SELECT pg_notify($1, '')", TIMERS_CHANNEL)
    return True
