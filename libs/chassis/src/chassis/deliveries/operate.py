"""The operator's hand on deliveries: list them, send one or many again, give one up. Every act is audited."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from chassis.store import Store, Transaction
from chassis.store.transaction import DELIVERIES_CHANNEL

ROWS_A_STEP: Final = 1000

_LIST = """
SELECT id, destination, key, kind, state, attempts, next_attempt_at, last_error, created_at, done_at
FROM deliveries WHERE ($1::text IS NULL OR state = $1) AND ($2::text IS NULL OR destination = $2)
ORDER BY sequence DESC LIMIT $3
"""
_RETRY = """
UPDATE deliveries SET state = 'pending', next_attempt_at = clock_timestamp(), done_at = NULL
WHERE id = $1 AND state IN ('pending', 'dead') RETURNING id
"""
_DROP = """
UPDATE deliveries SET state = 'dropped', done_at = clock_timestamp()
WHERE id = $1 AND state IN ('pending', 'dead') RETURNING id
"""
_SELECTED = """
FROM deliveries WHERE state = 'dead' AND destination = $1 AND ($2::timestamptz IS NULL OR done_at >= $2)
    AND ($3::timestamptz IS NULL OR done_at <= $3)
    AND ($4::text IS NULL OR position(lower($4) IN lower(coalesce(last_error, ''))) > 0)
"""
_COUNT = f"SELECT count(*), min(done_at) AS oldest, max(done_at) AS newest, clock_timestamp() AS now {_SELECTED}"
_SELECT = f"""
SELECT id, destination, key, kind, state, attempts, next_attempt_at, last_error, created_at, done_at
{_SELECTED} ORDER BY done_at DESC LIMIT $5
"""
_RETRY_STEP = f"""
WITH step AS (SELECT id, sequence {_SELECTED} AND sequence > $5 ORDER BY sequence LIMIT $6 FOR UPDATE),
again AS (
    UPDATE deliveries d SET state = 'pending', next_attempt_at = clock_timestamp(), done_at = NULL
    FROM step WHERE d.id = step.id RETURNING d.sequence
)
SELECT count(*), max(sequence) AS last FROM again
"""  # noqa: S608 (constants)


@dataclass(frozen=True, slots=True)
class Selection:
    """Dead deliveries to ``destination`` that died from ``since`` to ``until`` with ``reason`` in their last answer."""

    destination: str
    since: datetime | None = None
    reason: str | None = None
    until: datetime | None = None

    def values(self) -> tuple[object, ...]:
        return self.destination, self.since, self.until, self.reason


@dataclass(frozen=True, slots=True)
class Count:
    """How many a selection has, when the first and the last of them died; ``now`` is the store's time."""

    number: int
    oldest: datetime | None
    newest: datetime | None
    now: datetime


async def list_deliveries(store: Store, *, state: str | None, destination: str | None, limit: int) -> list[Any]:
    """The newest deliveries, without their payloads."""
    return list(await store.pool.fetch(_LIST, state, destination, limit))


async def retry_delivery(store: Store, delivery_id: UUID, *, actor: str) -> bool:
    """Sends a waiting or dead delivery at once, with the same idempotency key. Audited. False when there is none."""
    return await _operate(store, _RETRY, delivery_id, actor=actor, action="delivery.retry")


async def drop_delivery(store: Store, delivery_id: UUID, *, actor: str) -> bool:
    """Gives a waiting or dead delivery up. Audited. False when there is none."""
    return await _operate(store, _DROP, delivery_id, actor=actor, action="delivery.drop")


async def _operate(store: Store, statement: str, delivery_id: UUID, *, actor: str, action: str) -> bool:
    async with store.pool.acquire() as connection, connection.transaction():
        if await connection.fetchval(statement, delivery_id) is None:
            return False
        transaction = Transaction(connection)
        transaction.audit(actor=actor, action=action, subject=str(delivery_id))
        await transaction.flush()
        await connection.execute("SELECT pg_notify($1, '')", DELIVERIES_CHANNEL)
    return True


async def count_dead(store: Store, selection: Selection) -> Count:
    """How many dead deliveries the selection has."""
    row = await store.pool.fetchrow(_COUNT, *selection.values())
    return Count(row["count"], row["oldest"], row["newest"], row["now"])


async def list_dead(store: Store, selection: Selection, *, limit: int) -> list[Any]:
    """The newest of the selection, without their payloads."""
    return list(await store.pool.fetch(_SELECT, *selection.values(), limit))


async def retry_selected(
    store: Store, selection: Selection, *, actor: str, told: Callable[[int], None] = lambda _number: None
) -> int:
    """Makes the selection's dead deliveries pending again, each at its own place in its key's line. Returns how many.

    One transaction and one row of the audit, in steps of which ``told`` hears the sum: were the first ones seen before
    the last, a key's later delivery could pass an earlier one of a later step.
    """
    number, last = 0, -1
    async with store.pool.acquire() as connection, connection.transaction():
        while True:
            row = await connection.fetchrow(_RETRY_STEP, *selection.values(), last, ROWS_A_STEP)
            if not row["count"]:
                break
            number, last = number + row["count"], row["last"]
            told(number)
        if number:
            transaction = Transaction(connection)
            since, until = selection.since, selection.until
            transaction.audit(
                actor=actor,
                action="delivery.retry-all",
                subject=selection.destination,
                detail={"number": number, "since": since, "until": until, "reason": selection.reason},
            )
            await transaction.flush()
            await connection.execute("SELECT pg_notify($1, '')", DELIVERIES_CHANNEL)
    return number
