"""How a batch of due timers is locked, checked for newer words, and marked.

A worker locks timers first and the service's aggregates second; a message's handler locks in the other order. To avoid
a deadlock, the handler leaves a locked row alone and adds a newer one, and the worker looks for newer rows once it has
the aggregates.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar
from uuid import UUID

from chassis import failpoints
from chassis.backoff import pause_seconds
from chassis.errors import Transient, reason_of
from chassis.messaging import Done, Failed, Outcome
from chassis.observe import tracing
from chassis.store import Transaction
from chassis.store.statements import FORGET_OLDER_TIMERS
from chassis.timers import statements
from chassis.timers.model import Identity, Timer, TimerHandlers

if TYPE_CHECKING:
    import asyncpg

LARGEST_BATCH: Final = 100
"""Timers that share a transaction: rows that others need are held for at most some 30 ms."""
CAREFUL_BATCH: Final = 20
"""Size when the batch runs again: the store refused one timer, or the batch lost against another transaction."""
FIRST_PAUSE_SECONDS: Final = 0.05
LONGEST_PAUSE_SECONDS: Final = 60.0

W = TypeVar("W")
Result = Literal["fired", "superseded"]


@dataclass
class Opened(Generic[W]):
    """The service's work on a batch of timers.

    ``superseded`` are timers that were moved or cancelled since they were claimed. ``told`` are those that this
    transaction sets or cancels, each with its revision.
    """

    transaction: Transaction
    work: W
    superseded: set[Identity] = field(default_factory=set)
    told: dict[Identity, int] = field(default_factory=dict)


class TimerIntake:
    """Marks timers as fired, dead, or to be tried again, in the transaction of their effects."""

    def __init__(self, *, dead_limit: int) -> None:
        self._dead_limit = dead_limit

    async def claim(self, _connection: "asyncpg.Connection", items: Sequence[Timer]) -> Sequence[None]:
        """The timers are claimed already: ``taking`` locked them."""
        return [None] * len(items)

    async def settle(self, transaction: Transaction, items: Sequence[Timer], outcomes: Sequence[Outcome[Any]]) -> None:
        failpoints.hit(failpoints.TIMER_AFTER_EFFECT_BEFORE_MARK)
        # The newer word deletes a timer that was set anew in this transaction, and no row is written twice.
        told = {word[:3]: word.revision for word in transaction.timer_words}
        marks: list[tuple[str, UUID, str, int, str, str | None, float]] = []
        gone: list[Timer] = []
        failed: list[tuple[Timer, BaseException]] = []
        for timer, outcome in zip(items, outcomes, strict=True):
            if isinstance(outcome, Failed):
                failed.append((timer, outcome.error))
            elif isinstance(outcome, Done) and outcome.result == "superseded":
                gone.append(timer)
            elif isinstance(outcome, Done) and told.get(timer.identity, -1) <= timer.revision:
                marks.append((*timer.identity, timer.revision, "fired", None, 0.0))
        if failed:
            marks += await self._marks_of(transaction, failed)
        if marks:
            transaction.write(statements.MARK, *zip(*marks, strict=True))
        if gone:
            rows = [(*timer.identity, timer.revision + 1) for timer in gone]
            transaction.write(FORGET_OLDER_TIMERS, *zip(*rows, strict=True))

    async def _marks_of(
        self, transaction: Transaction, failed: Sequence[tuple[Timer, BaseException]]
    ) -> list[tuple[str, UUID, str, int, str, str | None, float]]:
        """The marks of failed timers. A permanent failure makes a timer dead.

        Above the limit of dead timers a failed timer is tried again: so many mean a bad release.
        """
        room = 0
        if not all(isinstance(error, Transient) for _, error in failed):
            room = max(0, self._dead_limit - await transaction.connection.fetchval(statements.DEAD))
        marks: list[tuple[str, UUID, str, int, str, str | None, float]] = []
        for timer, error in failed:
            is_dead = not isinstance(error, Transient) and room > 0
            room -= is_dead
            pause = error.retry_after_seconds if isinstance(error, Transient) else None
            if pause is None:
                first, longest = FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS
                pause = pause_seconds(timer.attempt, first_seconds=first, longest_seconds=longest)
            state = "dead" if is_dead else "waiting"
            marks.append((*timer.identity, timer.revision, state, reason_of(error)[:500], pause))
        return marks

    def key(self, item: Timer) -> UUID:
        return item.key

    def traced(self, item: Timer) -> AbstractContextManager[None]:
        """The span in which a timer is handled, in the trace of the message that set it."""
        attributes: dict[str, str | int] = {"timer.kind": item.kind, "timer.attempt": item.attempt}
        return tracing.span(f"timer {item.kind}", tracing.SpanKind.CONSUMER, attributes, traceparent=item.traceparent)


class Taking:
    """Locks due timers; ``earliest`` is the earliest time that it may be. One for each batch."""

    def __init__(self, kinds: Sequence[str], earliest: datetime) -> None:
        self._kinds = kinds
        self._earliest = earliest
        self._most = LARGEST_BATCH

    async def __call__(self, connection: "asyncpg.Connection") -> Sequence[Timer]:
        """Locks a batch; a smaller one at a second call, because the batch runs again."""
        rows = await connection.fetch(statements.CLAIM, self._kinds, self._earliest, self._most)
        self._most = CAREFUL_BATCH
        if rows:
            failpoints.hit(failpoints.TIMER_AFTER_CLAIM_BEFORE_EFFECT)
        return [Timer.of_row(row) for row in rows]


async def look_ahead(opened: Opened[W], timers: Sequence[Timer], handlers: TimerHandlers[W]) -> None:
    """Loads and locks what the batch touches; then asks which timers were moved or cancelled meanwhile."""
    await handlers.prefetch(opened.work, timers)
    rows = [(*timer.identity, timer.revision) for timer in timers]
    found = await opened.transaction.connection.fetch(statements.SUPERSEDED, *zip(*rows, strict=True))
    opened.superseded = {timers[row["place"] - 1].identity for row in found}


async def fire(opened: Opened[W], timer: Timer, handlers: TimerHandlers[W]) -> Result:
    """Calls the handler of the timer's kind, unless there is a newer word about the timer, also one of this batch."""
    if timer.identity in opened.superseded or opened.told.get(timer.identity, -1) > timer.revision:
        return "superseded"
    words = opened.transaction.timer_words
    before = len(words)
    await handlers.handlers[timer.kind](timer, work=opened.work)
    for word in words[before:]:
        opened.told[word[:3]] = max(word.revision, opened.told.get(word[:3], -1))
    return "fired"
