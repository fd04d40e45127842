"""The operator's hand on timers: list them, run one that failed again, cancel one. Every act is audited."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal
from uuid import UUID

from chassis.store import Store, Transaction
from chassis.store.transaction import TIMERS_CHANNEL
from chassis.timers import statements

State = Literal["waiting", "overdue", "dead", "fired", "cancelled"]
STATES: Final[tuple[State, ...]] = ("waiting", "overdue", "dead", "fired", "cancelled")

_IS_NEWEST: Final = """
t.revision = (
    SELECT known.revision FROM timers known WHERE (known.kind, known.key, known.name) = (t.kind, t.key, t.name)
    ORDER BY known.revision DESC LIMIT 1
)
"""
_LIST: Final = f"""
SELECT kind, key, name, revision, state, due_at, next_attempt_at, attempts, last_error, set_at, settled_at,
    state = 'waiting' AND due_at <= now() AS is_overdue
FROM timers t
WHERE state = CASE $1 WHEN 'overdue' THEN 'waiting' ELSE $1 END AND ($1 <> 'overdue' OR due_at <= now())
    AND ($2::text IS NULL OR kind = $2) AND {_IS_NEWEST}
ORDER BY CASE WHEN state = 'waiting' THEN due_at END, settled_at DESC LIMIT $3
"""  # noqa: S608 (a constant)
# From its own time on: so the retried one is first in its key's line again, and no clock makes it early.
_RETRY: Final = f"""
UPDATE timers t SET state = 'waiting', next_attempt_at = due_at, settled_at = NULL, attempts = 0
WHERE (state = 'dead' OR (state = 'waiting' AND attempts > 0)) AND (kind, key, name) = ($1, $2, $3) AND {_IS_NEWEST}
RETURNING kind
"""  # noqa: S608 (a constant)
_RETRY_ALL: Final = f"""
UPDATE timers t SET state = 'waiting', next_attempt_at = due_at, settled_at = NULL, attempts = 0
WHERE state = 'dead' AND ($1::text IS NULL OR kind = $1) AND {_IS_NEWEST} RETURNING kind
"""  # noqa: S608 (a constant)
_CANCEL: Final = f"""
UPDATE timers t SET state = 'cancelled', settled_at = clock_timestamp()
WHERE state IN ('waiting', 'dead') AND (kind, key, name) = ($1, $2, $3) AND {_IS_NEWEST} RETURNING kind
"""  # noqa: S608 (a constant)


async def list_timers(store: Store, *, state: State, kind: str | None = None, limit: int = 50) -> list[Any]:
    """Without their payloads: those that wait by when they are due, the others newest first."""
    return list(await store.pool.fetch(_LIST, state, kind, limit))


async def count_timers(store: Store, kinds: Sequence[str]) -> Mapping[str, Any]:
    """``waiting``; ``overdue``, the oldest's ``age`` in seconds; ``unknown``: not of ``kinds``; ``dead``."""
    row: Mapping[str, Any] = await store.pool.fetchrow(statements.COUNTS, list(kinds))
    return row


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
        transaction.audit(actor=actor, action=action, subject=f"{kind} {key} {name}")
        await transaction.flush()
        await connection.execute("SELECT pg_notify($1, '')", TIMERS_CHANNEL)
    return True
