"""The operator's commands on the HL7 journal: list it, show a message, process a kept message again."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from chassis.errors import StoreUnavailable, reason_of
from chassis.hl7.journal import OPEN_STATES, InboundHl7
from chassis.messaging import PROCESSED, BatchExecutor, Failed, Replayed, ReplayOutcome
from chassis.observe import masking
from chassis.store import Store
from chassis.store.rows import audit, columns, fixed, rows, sql, tables


@dataclass(frozen=True, slots=True)
class JournalRow:
    """A message of the journal as lists show it: no content, and only the codes of its header."""

    id: UUID
    sender: str
    control_id: str
    type: str
    state: str
    reason: str | None
    setting: str | None
    repeats: int
    received_at: datetime
    processed_at: datetime | None
    bytes: int


@dataclass(frozen=True, slots=True)
class KeptMessage:
    """A message of the journal with its content, which is patient data."""

    raw: bytes
    state: str
    reason: str | None
    setting: str | None
    received_at: datetime


async def list_journal(store: Store, *, states: Sequence[str] | None, limit: int) -> list[JournalRow]:
    """The newest messages with their outcomes."""
    async with store.session() as session:
        journal = tables.Hl7Journal
        found = sql.select(
            journal.id, journal.sender, journal.control_id, journal.type, journal.state, journal.reason,
            journal.setting, journal.repeats, journal.received_at, journal.processed_at, sql.func.length(journal.raw),
        ).order_by(sql.col(journal.received_at).desc()).limit(limit)  # fmt: skip
        if states:
            found = found.where(sql.or_(*(journal.state == fixed(state) for state in states)))
        return [masking.listed(row) for row in await rows(session, JournalRow, found)]


async def kept_message(store: Store, journal_id: UUID) -> KeptMessage | None:
    """One message with its content; None when there is no such message."""
    async with store.session() as session:
        journal = tables.Hl7Journal
        found = sql.select(*columns(journal, KeptMessage)).where(journal.id == journal_id)
        return next(iter(await rows(session, KeptMessage, found)), None)


async def replay_message(
    store: Store, executor: BatchExecutor[InboundHl7, Any, Any], journal_id: UUID, *, actor: str
) -> Replayed:
    """Processes a kept message again.

    Audited. Raises ``KeyError`` when there is no such message, or it does not wait.
    """
    kept = await kept_message(store, journal_id)
    if kept is None or kept.state not in OPEN_STATES:
        raise KeyError(str(journal_id))
    item = InboundHl7.of(kept.raw, kept.received_at)
    try:
        (outcome,) = await executor.run([item])
    except StoreUnavailable as error:
        outcome = Failed(error)
    replayed = PROCESSED
    if isinstance(outcome, Failed):
        replayed = Replayed(ReplayOutcome.FAILED, reason_of(outcome.error))
    async with store.session() as session:
        await audit(session, actor=actor, action="hl7.replay", subject=str(journal_id), detail=replayed.detail())
        await session.commit()
    return replayed
