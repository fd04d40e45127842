"""Runs and their differences: who holds a run, how far it is, what became of each difference."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

import asyncpg

from chassis.store import Store, Transaction, asking
from scheduler_sync.domain.reconciliation import Kind, Settled, Side
from scheduler_sync.store.reconciliation import statements

State = Literal["wanted", "reading", "healing", "asks", "approved", "done", "failed", "declined", "superseded"]


class LostRunError(Exception):
    """Another process has taken the run over: this one may change nothing more."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run that this process holds. ``state``: reading, or healing where it goes on."""

    id: int
    state: str
    day: date | None
    dry_run: bool
    started_at: datetime
    first_day: date | None
    end_day: date | None


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference that waits for its second look."""

    id: int
    side: Side
    kind: Kind
    link_id: UUID | None
    key: str | None
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a difference, and why."""

    difference_id: int
    settled: Settled
    why: str | None = None


class Runs:
    """The runs, for the process ``holder``. Its methods raise ``StoreUnavailable``."""

    def __init__(self, store: Store, holder: UUID) -> None:
        self._pool = store.pool
        self._holder = holder

    async def wish(self, by: str, *, day: date | None = None, dry_run: bool = False) -> int:
        """Asks for a run. Its number."""
        with asking():
            number: int = await self._pool.fetchval(statements.WISH, by, day, dry_run)
        return number

    async def supersede_readers(self) -> None:
        """Ends runs that stopped while they read. The caller alone may run."""
        with asking():
            await self._pool.execute(statements.SUPERSEDE)

    async def take(self) -> Run | None:
        """The next run, which this process now holds."""
        with asking():
            row = await self._pool.fetchrow(statements.TAKE_NEXT, self._holder)
        return None if row is None else Run(**dict(row))

    async def is_due(self, interval_seconds: float) -> bool:
        with asking():
            return bool(await self._pool.fetchval(statements.DUE, interval_seconds))

    async def last_slice(self, near_end: date) -> date | None:
        """Where the last slice beyond ``near_end`` ended, within a day."""
        with asking():
            found: date | None = await self._pool.fetchval(statements.LAST_SLICE, near_end)
        return found

    async def move(
        self,
        run: Run,
        state: State,
        *,
        counts: Mapping[str, object] | None = None,
        reason: str | None = None,
        first_day: date | None = None,
        end_day: date | None = None,
    ) -> None:
        """LostRunError where another process holds it."""
        given = (run.id, self._holder, state, json.dumps(dict(counts or {})), reason, first_day, end_day)
        with asking():
            if await self._pool.fetchval(statements.MOVE, *given) is None:
                raise LostRunError(run.id)

    async def supersede_asking(self, run: Run) -> None:
        """Older runs that ask are overtaken by this one."""
        with asking():
            await self._pool.execute(statements.ASK_ONCE, run.id)

    async def hold(self, connection: asyncpg.Connection, run: Run) -> None:
        """Within a transaction: nobody takes the run over until it ends. LostRunError where somebody has."""
        if await connection.fetchval(statements.HELD, run.id, self._holder) != "healing":
            raise LostRunError(run.id)

    async def to_heal(self, run: Run) -> int:
        with asking():
            number: int = await self._pool.fetchval(statements.TO_HEAL, run.id)
        return number

    async def next_found(self, run: Run, after: int, most: int) -> list[Difference]:
        with asking():
            rows = await self._pool.fetch(statements.NEXT_FOUND, run.id, after, most)
        return [
            Difference(
                row["id"], Side(row["side"]), Kind(row["kind"]), row["link_id"], row["key"], tuple(row["fields"])
            )
            for row in rows
        ]

    async def settle_all_found(self, run: Run, settled: Settled, why: str) -> None:
        with asking():
            await self._pool.execute(statements.SETTLE_ALL_FOUND, run.id, settled, why)

    async def counts(self, run: Run) -> dict[str, int]:
        """The number of differences by what became of them."""
        with asking():
            rows = await self._pool.fetch(statements.COUNTS, run.id)
        return {row["settled"]: row["number"] for row in rows}

    async def forget_found(self, run: Run) -> None:
        with asking():
            await self._pool.execute(statements.FORGET_FOUND, run.id)

    async def prune(self, keep_days: float) -> None:
        with asking():
            await self._pool.execute(statements.PRUNE, keep_days)


def settle(transaction: Transaction, verdicts: Sequence[Verdict]) -> None:
    """Stages the verdicts in a transaction."""
    ids = [one.difference_id for one in verdicts]
    transaction.write(
        statements.SETTLE, ids, [one.settled.value for one in verdicts], [one.why for one in verdicts]
    )  # fmt: skip


async def gauges(store: Store) -> Mapping[str, Any]:
    """The age of the last run, runs that ask, and the open differences by side: (number, seconds of the oldest)."""
    with asking():
        row = await store.pool.fetchrow(statements.GAUGES)
    return {**dict(row), "open": json.loads(row["open"]) if isinstance(row["open"], str) else row["open"]}
