"""The loop that runs due timers: never early by any clock, at most a second late when idle."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Generic, Protocol, TypeVar

import asyncpg
import structlog

from chassis import failpoints
from chassis.backoff import server_pause_seconds
from chassis.clock import Span
from chassis.errors import Transient, Withheld, reason_of
from chassis.loops import LoopBase
from chassis.messaging import BatchExecutor, Done, Failed, Outcome
from chassis.observe import Metrics, meters
from chassis.store import Backlog, Store, Transaction, is_passing, no_answer
from chassis.store.store import COMMAND_TIMEOUT_SECONDS, CONNECT_TIMEOUT_SECONDS, SESSION_SETTINGS
from chassis.store.transaction import TIMERS_CHANNEL
from chassis.timers import statements
from chassis.timers.intake import Opened, Result, Taking, TimerIntake, fire, look_ahead
from chassis.timers.model import Timer, TimerHandlers

POLL_SECONDS: Final = 1.0
SHORTEST_PAUSE_SECONDS: Final = 0.02
FAILURES_TO_WARN_OF: Final = 5

W = TypeVar("W")
log = structlog.get_logger(__name__)


class TimeSource(Protocol):
    """The worker's view of ``StoreClock``."""

    def now(self) -> datetime: ...

    def span(self) -> Span: ...


class TimerWorker(LoopBase, Generic[W]):
    """Runs the timers of a service's kinds. Several processes may run one: each row has one worker at a time."""

    def __init__(
        self, store: Store, handlers: TimerHandlers[W], *, clock: TimeSource, metrics: Metrics, dead_limit: int = 100
    ) -> None:
        """At ``dead_limit`` dead timers, a further permanent failure is tried again later instead."""
        super().__init__()
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._kinds = sorted(handlers.handlers)
        self._wake = asyncio.Event()
        self._is_busy = False
        self._turns_without = 0
        self._unknown = 0
        self._is_withheld = False
        self._backlog = Backlog(store, statements.COUNTS, self._kinds, told=self._tell)

        def open_work(transaction: Transaction) -> Opened[W]:
            return Opened(transaction, handlers.open_work(transaction))

        async def prefetch(opened: Opened[W], timers: Sequence[Timer]) -> None:
            await look_ahead(opened, timers, handlers)

        async def handle(opened: Opened[W], timer: Timer) -> Result:
            return await fire(opened, timer, handlers)

        self._executor: BatchExecutor[Timer, Opened[W], Result] = BatchExecutor(
            store, intake=TimerIntake(dead_limit=dead_limit), open_work=open_work, prefetch=prefetch, handle=handle
        )

    async def run(self) -> None:
        """Runs until stopped; a batch under way is finished first."""
        listener: asyncpg.Connection | None = None
        failures = 0
        try:
            while not self.stopping:
                self.beat()
                try:
                    if listener is None or listener.is_closed():
                        listener = await self._listen()
                    self._backlog.look()
                    pause = await self.turn()
                    failures = 0
                except Withheld as error:
                    if not self._is_withheld:
                        log.warning("timers.withheld", reason=error.reason)
                    self._is_withheld, pause = True, POLL_SECONDS
                except Exception as error:
                    if not is_passing(error):
                        raise
                    failures += 1
                    if listener is not None:
                        listener.terminate()  # the connection may be the one that does not answer
                    log.warning("timers.store-away", reason=no_answer(error).reason)
                    pause = server_pause_seconds(failures)
                if pause:
                    await self.pause(pause, self._wake)
        finally:
            await self._backlog.stop()
            if listener is not None:
                listener.terminate()

    async def _listen(self) -> "asyncpg.Connection":
        """A connection of its own that listens for timers due soon.

        It only wakes the loop; polling is the guarantee.
        """
        seconds = {"timeout": CONNECT_TIMEOUT_SECONDS, "command_timeout": COMMAND_TIMEOUT_SECONDS}
        listener = await asyncpg.connect(self._store.url, **seconds, server_settings=SESSION_SETTINGS)
        await listener.add_listener(TIMERS_CHANNEL, self._heard)
        return listener

    def _heard(self, *_: object) -> None:
        self._turns_without = 0
        self._wake.set()

    async def turn(self) -> float:
        """Runs one batch of due timers. Returns the seconds until the next look: 0 where there was one.

        Raises ``Withheld`` while the time is not known.
        """
        if not self._is_busy:
            due_in_seconds = await self._store.pool.fetchval(statements.NEXT, self._kinds)
            if due_in_seconds is None or due_in_seconds > 0:
                self._turns_without = 0
                return POLL_SECONDS if due_in_seconds is None else min(due_in_seconds, POLL_SECONDS)
        earliest = self._clock.span().earliest
        self._is_withheld = False
        failpoints.hit(failpoints.TIMER_AFTER_DUE_BEFORE_CLAIM)
        timers, outcomes = await self._executor.run_taken(Taking(self._kinds, earliest))
        failpoints.hit(failpoints.TIMER_AFTER_COMMIT)
        self._is_busy = bool(timers)
        if timers:
            self._turns_without = 0
            self._say(timers, outcomes)
            return 0.0
        # Due, but held by another worker, behind another timer of its key, or withheld because clocks differ.
        self._turns_without += 1
        return min(POLL_SECONDS, SHORTEST_PAUSE_SECONDS * 2.0 ** min(self._turns_without - 1, 10))

    def _say(self, timers: Sequence[Timer], outcomes: Sequence[Outcome[Result]]) -> None:
        counts: Counter[tuple[str, str]] = Counter()
        for timer, outcome in zip(timers, outcomes, strict=True):
            match outcome:
                case Done(result):
                    counts[timer.kind, result] += 1
                case Failed(error):
                    counts[timer.kind, "again" if isinstance(error, Transient) else "failed"] += 1
                    _log_failure(timer, error)
        for (kind, word), number in counts.items():
            self._metrics.count(meters.TIMERS_DUE, number, kind=kind, outcome=word)

    def _tell(self, row: Mapping[str, Any]) -> None:
        self._metrics.set(meters.TIMERS_WAITING, row["waiting"])
        self._metrics.set(meters.TIMERS_OVERDUE, row["overdue"])
        self._metrics.set(meters.TIMERS_OLDEST_OVERDUE_AGE_SECONDS, max(0.0, row["age"]))
        self._metrics.set(meters.TIMERS_DEAD, row["dead"])
        self._metrics.set(meters.TIMERS_OF_UNKNOWN_KIND, row["unknown"])
        if row["unknown"] and not self._unknown:
            log.error("timers.unknown-kind", number=row["unknown"], known=self._kinds)
        self._unknown = row["unknown"]


def _log_failure(timer: Timer, error: BaseException) -> None:
    about = {"kind": timer.kind, "key": str(timer.key), "name": timer.name, "attempt": timer.attempt}
    if isinstance(error, Transient):
        if timer.attempt == FAILURES_TO_WARN_OF:
            log.warning("timers.still-fails", **about, reason=error.reason)
    elif timer.attempt == 1 or timer.attempt % FAILURES_TO_WARN_OF == 0:
        log.error("timers.failed", **about, reason=reason_of(error), exc_info=error)
