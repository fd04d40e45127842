"""The operator's commands on the HL7 journal: list it, show a message, process a kept message again."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from chassis.errors import StoreUnavailable, reason_of
from chassis.hl7.journal import OPEN_STATES, InboundHl7
from chassis.messaging import PROCESSED, BatchExecutor, Duplicate, Failed, Replayed, ReplayOutcome
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
    sender: str
    control_id: str
    type: str
    repeats: int
    processed_at: datetime | None
    edited_from: UUID | None

    @property
    def waits(self) -> bool:
        """Whether it can be processed again, as it is or edited."""
        return self.state in OPEN_STATES


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
    replayed = await _processed(executor, InboundHl7.of(kept.raw, kept.received_at))
    async with store.session() as session:
        await audit(session, actor=actor, action="hl7.replay", subject=str(journal_id), detail=replayed.detail())
        await session.commit()
    return replayed


async def replay_edited(
    store: Store, executor: BatchExecutor[InboundHl7, Any, Any], journal_id: UUID, raw: bytes, *, actor: str
) -> tuple[UUID, Replayed]:
    """Processes ``raw`` in place of a kept message, which stays beside it. Returns the new message's id.

    Once ``raw`` has had its effect, the kept message waits no longer. Audited before and after: the first line says
    who edited, even where the process dies in between. Raises ``KeyError`` when there is no such message or it does
    not wait, ``Hl7Error`` when ``raw`` is not HL7, ``ValueError`` when nothing was changed.
    """
    kept = await kept_message(store, journal_id)
    if kept is None or not kept.waits:
        raise KeyError(str(journal_id))
    item = InboundHl7.of(raw, kept.received_at)
    if kept.raw in (raw, item.raw):
        raise ValueError("the text is unchanged: process the message again as it is")
    item.edited_from = journal_id
    await _audit_edit(store, actor, journal_id, {"outcome": "begun"})
    replayed = await _processed(executor, item)
    await _audit_edit(store, actor, journal_id, {"edited": str(item.journal_id), **replayed.detail()})
    return item.journal_id, replayed


async def _audit_edit(store: Store, actor: str, journal_id: UUID, detail: dict[str, str]) -> None:
    async with store.session() as session:
        await audit(session, actor=actor, action="hl7.edit", subject=str(journal_id), detail=detail)
        await session.commit()


async def _processed(executor: BatchExecutor[InboundHl7, Any, Any], item: InboundHl7) -> Replayed:
    try:
        (outcome,) = await executor.run([item])
    except StoreUnavailable as error:
        outcome = Failed(error)
    if isinstance(outcome, Failed):
        return Replayed(ReplayOutcome.FAILED, reason_of(outcome.error))
    if isinstance(outcome, Duplicate):
        return Replayed(ReplayOutcome.NOT_WAITING, "this very message was processed before")
    return PROCESSED
