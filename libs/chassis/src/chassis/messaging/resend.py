"""Sending again what Kafka has lost: outbox rows that were sent become unsent, and the relay does the rest.

Rows go in the order of their ids, the older ones before what is new; the readers' inboxes drop what they know.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from chassis.store import Store, Transaction
from chassis.store.transaction import OUTBOX_CHANNEL

LONGEST_SECONDS: Final = 900.0
"""A week's events of a large site are a million rows: one transaction, so that none leaves before an older one."""

_COUNT: Final = """
SELECT topic, count(*) AS number FROM outbox WHERE sent_at >= $1 AND ($2::text IS NULL OR topic = $2)
GROUP BY topic ORDER BY topic
"""
_UNMARK: Final = """
WITH again AS (
    UPDATE outbox SET sent_at = NULL, resend_at = clock_timestamp()
    WHERE sent_at >= $1 AND ($2::text IS NULL OR topic = $2) RETURNING id
)
SELECT count(*) AS number, max(id) AS last_id FROM again
"""
_LEFT: Final = "SELECT count(*) FROM outbox WHERE sent_at IS NULL AND id <= $1"


@dataclass(frozen=True, slots=True)
class Marked:
    """How many rows are unsent again; the last of them has ``last_id``."""

    number: int
    last_id: int


async def count(store: Store, since: datetime, topic: str | None = None) -> Mapping[str, int]:
    """How many rows of which topic were sent since then; ``topic`` without the installation's prefix."""
    async with store.pool.acquire() as connection:
        rows = await connection.fetch(_COUNT, since, topic, timeout=LONGEST_SECONDS)
    return {row["topic"]: row["number"] for row in rows}


async def resend(store: Store, since: datetime, topic: str | None = None, *, actor: str) -> Marked:
    """Has what was sent since then sent again. Audited."""
    async with store.pool.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(_UNMARK, since, topic, timeout=LONGEST_SECONDS)
        transaction = Transaction(connection)
        detail = {"topic": topic, "number": row["number"]}
        transaction.audit(actor=actor, action="outbox.resend", subject=since.isoformat(), detail=detail)
        await transaction.flush()
        await connection.execute("SELECT pg_notify($1, '')", OUTBOX_CHANNEL)
    return Marked(row["number"], row["last_id"] or 0)


async def left(store: Store, marked: Marked) -> int:
    """How many rows up to the last of ``marked`` the relay has yet to send."""
    number: int = await store.pool.fetchval(_LEFT, marked.last_id)
    return number
