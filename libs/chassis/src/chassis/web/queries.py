"""The console's queries: no message content and no patient data."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from chassis.store.rows import columns, fixed, rows, sql, tables

if TYPE_CHECKING:
    from chassis.store import Store

MOST_COUNTED: Final = 10_000
"""A count stops one above this."""
NEWEST_ACTS: Final = 200
"""Audit rows that are searched for an act of just now."""
JUST_NOW: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Counts:
    """How much waits. ``unsent_since``: when the first event was made that is not yet on Kafka."""

    unsent: int
    unsent_since: datetime | None


@dataclass(frozen=True, slots=True)
class InboxCounts:
    """How many dead letters and parked keys wait for a person."""

    letters: int
    parked: int


@dataclass(frozen=True, slots=True)
class DestinationCounts:
    """The deliveries to one partner. ``pending_since``: when the first that waits was made."""

    destination: str
    pending: int
    pending_since: datetime | None
    dead: int


@dataclass(frozen=True, slots=True)
class TroubledRow:
    """A delivery that is dead, or was tried more than once."""

    id: UUID
    destination: str
    key: UUID
    kind: str
    state: str
    attempts: int
    next_attempt_at: datetime
    last_error: str | None


@dataclass(frozen=True, slots=True)
class AuditRow:
    """What an operator did."""

    at: datetime
    actor: str
    action: str
    subject: str


async def counts(store: "Store") -> Counts:
    async with store.session() as session:
        unsent = sql.col(tables.Outbox.sent_at).is_(None)
        found = sql.select(_few(unsent), _since(tables.Outbox, unsent, tables.Outbox.id))
        return Counts(*(await session.exec(found)).one())


async def inbox_counts(store: "Store") -> InboxCounts:
    async with store.session() as session:
        letters = sql.select(sql.func.count()).where(tables.DeadLetters.state == fixed("open"))
        parked = sql.select(sql.func.count()).select_from(tables.ParkedKeys)
        found = sql.select(letters.scalar_subquery(), parked.scalar_subquery())
        return InboxCounts(*(await session.exec(found)).one())


async def hl7_waiting(store: "Store") -> int:
    """How many HL7 messages wait for a setting, or failed."""
    async with store.session() as session:
        state = tables.Hl7Journal.state
        found = sql.select(sql.func.count()).where((state == fixed("needs_setup")) | (state == fixed("failed")))
        return int((await session.exec(found)).one())


async def destinations(store: "Store", names: Sequence[str]) -> list[DestinationCounts]:
    found: list[DestinationCounts] = []
    async with store.session() as session:
        deliveries = tables.Deliveries
        for name in names:
            pending = sql.and_(deliveries.destination == name, deliveries.state == fixed("pending"))
            dead = sql.select(sql.func.count()).where(deliveries.destination == name, deliveries.state == fixed("dead"))
            asked = sql.select(_few(pending), _since(deliveries, pending, deliveries.sequence), dead.scalar_subquery())
            found.append(DestinationCounts(name, *(await session.exec(asked)).one()))
    return found


async def troubled(store: "Store", *, limit: int) -> list[TroubledRow]:
    """The dead ones first, each kind oldest first."""
    async with store.session() as session:
        deliveries = tables.Deliveries
        is_tried_again = (deliveries.state == fixed("pending")) & (deliveries.attempts > sql.literal(1))
        found = sql.select(*columns(deliveries, TroubledRow)).where(
            (deliveries.state == fixed("dead")) | is_tried_again
        )
        return await rows(session, TroubledRow, found.order_by(deliveries.state, deliveries.sequence).limit(limit))


async def newest_acts(store: "Store", *, limit: int) -> list[AuditRow]:
    async with store.session() as session:
        newest = sql.col(tables.OperatorAudit.id).desc()
        found = sql.select(*columns(tables.OperatorAudit, AuditRow)).order_by(newest).limit(limit)
        return await rows(session, AuditRow, found)


async def just_done(store: "Store", action: str, subject: str) -> Mapping[str, Any] | None:
    """The detail of the newest such act in the audit's last minutes; None when nobody did it."""
    async with store.session() as session:
        newest_id = sql.col(tables.OperatorAudit.id).desc()
        newest = sql.select(tables.OperatorAudit).order_by(newest_id).limit(NEWEST_ACTS).subquery().c
        is_it = (newest.action == action) & (newest.subject == subject)
        is_new = newest.at > sql.func.clock_timestamp() - sql.literal(JUST_NOW)
        found = sql.select(newest.detail).where(is_it, is_new).order_by(newest.id.desc()).limit(1)
        detail = (await session.exec(found)).first()
    return None if detail is None else json.loads(detail)


async def newest_hl7(store: "Store") -> tuple[object, ...]:
    """A value that changes whenever the page of HL7 messages may change."""
    async with store.session() as session:
        journal = tables.Hl7Journal
        newest = sql.select(journal.received_at, journal.processed_at, journal.repeats)
        few = newest.order_by(sql.col(journal.received_at).desc()).limit(100).subquery().c
        found = sql.select(sql.func.max(few.received_at), sql.func.max(few.processed_at), sql.func.sum(few.repeats))
        return tuple((await session.exec(found)).one())


def _few(condition: Any) -> Any:
    """The number of matching rows, up to one more than ``MOST_COUNTED``."""
    few = sql.select(sql.literal(1)).where(condition).limit(MOST_COUNTED + 1).subquery()
    return sql.select(sql.func.count()).select_from(few).scalar_subquery()


def _since(model: Any, condition: Any, order: Any) -> Any:
    """The creation time of the first matching row."""
    return sql.select(model.created_at).where(condition).order_by(order).limit(1).scalar_subquery()
