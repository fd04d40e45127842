"""The operator's part of HL7: what the journal holds, and a kept message processed again."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from chassis.errors import StoreUnavailable, reason_of
from chassis.hl7.journal import OPEN_STATES, InboundHl7
from chassis.messaging import PROCESSED, BatchExecutor, Failed, Replayed, ReplayOutcome
from chassis.observe import masking
from chassis.store import Store, Transaction

_LIST = """
SELECT id, sender, control_id, type, state, reason, setting, repeats, received_at, processed_at, length(raw) AS bytes
FROM hl7_journal WHERE ($1::text[] IS NULL OR state = ANY($1)) ORDER BY received_at DESC LIMIT $2
"""


async def list_journal(store: Store, *, states: Sequence[str] | None, limit: int) -> list[Any]:
    """The newest messages with what became of them; no content, and of their headers only what is a code."""
    return [masking.listed(row) for row in await store.pool.fetch(_LIST, list(states) if states else None, limit)]


async def replay_message(
    store: Store, executor: BatchExecutor[InboundHl7, Any, Any], journal_id: UUID, *, actor: str
) -> Replayed:
    """Processes a kept message again. Audited.

    Raises ``KeyError`` when there is no such message, or none that waits.
    """
    row = await store.pool.fetchrow("SELECT raw, received_at, state FROM hl7_journal WHERE id = $1", journal_id)
    if row is None or row["state"] not in OPEN_STATES:
        raise KeyError(str(journal_id))
    item = InboundHl7.of(bytes(row["raw"]), row["received_at"])
    try:
        (outcome,) = await executor.run([item])
    except StoreUnavailable as error:
        outcome = Failed(error)
    replayed = PROCESSED
    if isinstance(outcome, Failed):
        replayed = Replayed(ReplayOutcome.FAILED, reason_of(outcome.error))
    async with store.pool.acquire() as connection, connection.transaction():
        transaction = Transaction(connection)
        transaction.audit(actor=actor, action="hl7.replay", subject=str(journal_id), detail=replayed.detail())
        await transaction.flush()
    return replayed
