"""The operator's commands on timers: count and list them, try a failed one at once, cancel one. Every act is audited.

Commands and pages ask here; no query blocks the worker.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, get_args
from uuid import UUID

from chassis.store import Store
from chassis.store.rows import audit, columns, fixed, notify, rows, sql, tables
from chassis.store.transaction import TIMERS_CHANNEL
from chassis.timers import statements

State = Literal["waiting", "overdue", "troubled", "dead", "fired", "cancelled"]
"""overdue: waiting, and due. troubled: dead, or waiting for another try."""
STATES: Final[tuple[State, ...]] = get_args(State)


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


@dataclass(frozen=True, slots=True)
class Counts:
    """The numbers of waiting, overdue (with the oldest time) and dead timers; each up to one above ``MOST_COUNTED``."""

    waiting: int
    overdue: int
    overdue_since: datetime | None
    dead: int


def _is(state: State) -> Any:
    timers = tables.Timers
    waits = timers.state == fixed("waiting")
    match state:
        case "overdue":
            return sql.and_(waits, timers.due_at <= sql.func.now())
        case "troubled":
            # The condition of the index, so that Postgres uses it.
            tried = sql.and_(waits, timers.attempts > sql.literal_column("0"))
            return sql.or_(timers.state == fixed("dead"), tried)
        case _:
            return timers.state == fixed(state)


def _is_newest() -> Any:
    """One row counts for each timer. A worker may have left an older one beside it."""
    timers = tables.Timers
    table: Any = timers.metadata.tables["timers"]
    known = table.alias("known")
    same = (known.c.kind == timers.kind, known.c.key == timers.key, known.c.name == timers.name)
    newest = sql.select(known.c.revision).where(*same).order_by(known.c.revision.desc()).limit(1)
    return timers.revision == newest.correlate(table).scalar_subquery()


async def list_timers(store: Store, *, state: State, kind: str | None = None, limit: int = 50) -> list[TimerRow]:
    """Ordered by the due time; fired and cancelled timers by the newest first."""
    async with store.session() as session:
        timers = tables.Timers
        found = sql.select(*columns(timers, TimerRow)).where(_is(state), _is_newest())
        if kind is not None:
            found = found.where(timers.kind == kind)
        is_settled = state in {"fired", "cancelled"}
        order = sql.col(timers.settled_at).desc() if is_settled else sql.col(timers.due_at)
        return await rows(session, TimerRow, found.order_by(order, timers.kind, timers.key, timers.name).limit(limit))


async def count_timers(store: Store) -> Counts:
    """Fast with any number of later timers: a page asks each second."""
    return Counts(**dict(await store.pool.fetchrow(statements.OVERVIEW)))


async def retry_timer(store: Store, kind: str, key: UUID, name: str, *, actor: str) -> bool:
    """Makes a failed timer due at once. Audited. False when there is none."""
    return await _act(store, (kind, key, name), _is("troubled"), _again(), actor=actor, action="timer.retry")


async def retry_timers(store: Store, kind: str | None, *, actor: str) -> int:
    """Makes all dead timers, or those of ``kind``, due at once; one audit row. Returns the number."""
    async with store.session() as session:
        timers = tables.Timers
        again = sql.update(timers).where(_is("dead"), _is_newest()).values(_again())
        if kind is not None:
            again = again.where(timers.kind == kind)
        number: int = (await session.exec(again)).rowcount
        if number:
            detail = {"number": number}
            await audit(session, actor=actor, action="timer.retry-all", subject=kind or "all", detail=detail)
            await notify(session, TIMERS_CHANNEL)
        await session.commit()
    return number


async def cancel_timer(store: Store, kind: str, key: UUID, name: str, *, actor: str) -> bool:
    """Cancels a waiting or dead timer; the state that it belongs to stays. Audited. False when there is none."""
    open_ = sql.col(tables.Timers.state).in_(["waiting", "dead"])
    gone = {"state": "cancelled", "settled_at": sql.func.clock_timestamp()}
    return await _act(store, (kind, key, name), open_, gone, actor=actor, action="timer.cancel")


def _again() -> Mapping[str, Any]:
    """From its own time on: it is again the first of its key's line, and no clock makes it early."""
    return {"state": "waiting", "next_attempt_at": tables.Timers.due_at, "settled_at": None, "attempts": 0}


async def _act(
    store: Store, identity: tuple[str, UUID, str], which: Any, values: Mapping[str, Any], *, actor: str, action: str
) -> bool:
    kind, key, name = identity
    async with store.session() as session:
        timers = tables.Timers
        is_it = (timers.kind == kind, timers.key == key, timers.name == name)
        changed = sql.update(timers).where(*is_it, which, _is_newest()).values(values)
        if not (await session.exec(changed)).rowcount:
            return False
        await audit(session, actor=actor, action=action, subject=str(key), detail={"kind": kind, "name": name})
        await notify(session, TIMERS_CHANNEL)
        await session.commit()
    return True
