"""The operator's hand on timers: list them, run one that failed again, cancel one. Every act is audited."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

from chassis.store import Store
from chassis.store.lazily import lazily
from chassis.store.rows import audit, fixed, notify, rows, sql, tables
from chassis.store.transaction import TIMERS_CHANNEL
from chassis.timers import statements

if TYPE_CHECKING:
    from sqlmodel.ext.asyncio.session import AsyncSession

orm: Any
(orm,) = lazily("sqlalchemy.orm")

State = Literal["waiting", "overdue", "dead", "fired", "cancelled"]
STATES: Final[tuple[State, ...]] = ("waiting", "overdue", "dead", "fired", "cancelled")


@dataclass(frozen=True, slots=True)
class TimerRow:
    """A timer as lists show it: without its payload."""

    kind: str
    key: UUID
    name: str
    revision: int
    state: str
    due_at: datetime
    next_attempt_at: datetime
    attempts: int
    last_error: str | None
    set_at: datetime
    settled_at: datetime | None
    is_overdue: bool


async def list_timers(store: Store, *, state: State, kind: str | None = None, limit: int = 50) -> list[TimerRow]:
    """Those that wait by when they are due, the others newest first."""
    async with store.session() as session:
        timers = tables.Timers
        is_overdue = sql.and_(timers.state == fixed("waiting"), timers.due_at <= sql.func.now())
        shown = [
            timers.kind, timers.key, timers.name, timers.revision, timers.state, timers.due_at,
            timers.next_attempt_at, timers.attempts, timers.last_error, timers.set_at, timers.settled_at, is_overdue,
        ]  # fmt: skip
        is_it = is_overdue if state == "overdue" else timers.state == fixed(state)
        found = sql.select(*shown).where(is_it, _is_newest())
        if kind is not None:
            found = found.where(timers.kind == kind)
        by_due = sql.case((timers.state == fixed("waiting"), timers.due_at), else_=sql.null())
        return await rows(session, TimerRow, found.order_by(by_due, sql.col(timers.settled_at).desc()).limit(limit))


async def count_timers(store: Store, kinds: Sequence[str]) -> Mapping[str, Any]:
    """``waiting``; ``overdue``, the oldest's ``age`` in seconds; ``unknown``: not of ``kinds``; ``dead``."""
    row: Mapping[str, Any] = await store.pool.fetchrow(statements.COUNTS, list(kinds))
    return row


async def retry_timer(store: Store, kind: str, key: UUID, name: str, *, actor: str) -> bool:
    """Has a timer that failed tried at once. Audited. False when there is none."""
    async with store.session() as session:
        timers = tables.Timers
        has_failed = sql.and_(timers.state == fixed("waiting"), timers.attempts > 0)
        can_be = sql.or_(timers.state == fixed("dead"), has_failed)
        again = sql.update(timers).where(*_is(kind, key, name), can_be, _is_newest()).values(_again())
        return await _done(session, again, action="timer.retry", subject=f"{kind} {key} {name}", actor=actor) > 0


async def retry_timers(store: Store, kind: str | None, *, actor: str) -> int:
    """Has all dead timers, or those of ``kind``, tried at once; one row of the audit. Returns how many."""
    async with store.session() as session:
        again = sql.update(tables.Timers).where(tables.Timers.state == fixed("dead"), _is_newest()).values(_again())
        if kind is not None:
            again = again.where(tables.Timers.kind == kind)
        return await _done(session, again, action="timer.retry-all", subject=kind or "all", actor=actor)


async def cancel_timer(store: Store, kind: str, key: UUID, name: str, *, actor: str) -> bool:
    """Gives a timer up that waits or is dead; the state that it belongs to stays. Audited. False when there is none."""
    async with store.session() as session:
        timers = tables.Timers
        can_be = sql.col(timers.state).in_(["waiting", "dead"])
        cancelled = {"state": "cancelled", "settled_at": sql.func.clock_timestamp()}
        given_up = sql.update(timers).where(*_is(kind, key, name), can_be, _is_newest()).values(cancelled)
        return await _done(session, given_up, action="timer.cancel", subject=f"{kind} {key} {name}", actor=actor) > 0


async def _done(session: "AsyncSession", change: Any, *, action: str, subject: str, actor: str) -> int:
    """Changes, audits and wakes the workers. Returns how many timers it was."""
    number: int = (await session.exec(change.execution_options(synchronize_session=False))).rowcount
    if number:
        detail = {"number": number} if action == "timer.retry-all" else None
        await audit(session, actor=actor, action=action, subject=subject, detail=detail)
        await notify(session, TIMERS_CHANNEL)
        await session.commit()
    return number


def _is(kind: str, key: UUID, name: str) -> list[Any]:
    return [tables.Timers.kind == kind, tables.Timers.key == key, tables.Timers.name == name]


def _is_newest() -> Any:
    """Whether a row is the last word about its timer; the primary key answers."""
    timers, known = tables.Timers, orm.aliased(tables.Timers)
    same = sql.and_(known.kind == timers.kind, known.key == timers.key, known.name == timers.name)
    newest = sql.select(known.revision).where(same).order_by(sql.col(known.revision).desc()).limit(1)
    return timers.revision == newest.correlate(timers).scalar_subquery()


def _again() -> Mapping[str, Any]:
    """From its own time on: so the retried one is first in its key's line again, and no clock makes it early."""
    return {"state": "waiting", "next_attempt_at": tables.Timers.due_at, "settled_at": None, "attempts": 0}
