"""The store's time, which all processes of a service share. ``StoreClock`` keeps it between two readings."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from chassis.clock import Clock, Span, utc_now
from chassis.errors import StoreUnavailable, Withheld
from chassis.loops import LoopBase
from chassis.observe import Metrics, meters
from chassis.settings import ClockSettings
from chassis.store.store import Store, asking

LOOK_SECONDS: Final = 15.0
ASKED: Final = 3
"""Queries per reading; the quickest answer counts, because half of its duration is the uncertainty."""
STALE_SECONDS: Final = 600.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Line:
    """A reading of the store's time: ``at`` is the time when the monotonic clock stood at ``monotonic``."""

    at: datetime
    monotonic: float

    def now(self, monotonic: float) -> datetime:
        return self.at + timedelta(0, monotonic - self.monotonic)


class StoreClock(LoopBase):
    """The store's time, carried on by the process's monotonic clock between two readings.

    ``span`` covers every time that is possible. It reaches to the machine's clock where that differs from the store's
    by more than ``limit_seconds``. Where the store's clock jumps by more (it was set, or another server took over), the
    span reaches to the time without the jump, for ``hold_seconds`` or until the store jumps back.
    """

    def __init__(
        self,
        store: Store,
        settings: ClockSettings,
        metrics: Metrics,
        *,
        wall: Clock = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._store = store
        self._limit = timedelta(seconds=settings.limit_seconds)
        self._hold_seconds = settings.hold_seconds
        self._metrics = metrics
        self._wall = wall
        self._monotonic = monotonic
        self._line: _Line | None = None
        self._former: tuple[_Line, float] | None = None
        self._is_off = False

    def now(self) -> datetime:
        """The store's time; the machine's time before the first reading."""
        return self._wall() if self._line is None else self._line.now(self._monotonic())

    def span(self) -> Span:
        """The store's time, for effects that cannot be undone. Raises ``Withheld`` if the last reading is too old."""
        if self._line is None or self._monotonic() - self._line.monotonic > STALE_SECONDS:
            raise Withheld("the store's time is not known: it is asked again within a minute")
        times = self._times(self._line)
        return Span(min(times), max(times))

    def doubt(self) -> timedelta:
        """How much later than ``now`` it may be. Zero while the clocks agree."""
        return timedelta() if self._line is None else max(self._times(self._line)) - self.now()

    def _times(self, line: _Line) -> list[datetime]:
        """The store's time, and every other time that cannot be ruled out."""
        monotonic = self._monotonic()
        now, wall = line.now(monotonic), self._wall()
        times = [now]
        if abs(wall - now) > self._limit:
            times.append(wall)
        if self._former is not None and monotonic < self._former[1]:
            times.append(self._former[0].now(monotonic))
        return times

    async def run(self) -> None:
        while not self.stopping:
            try:
                await self.look()
            except StoreUnavailable as error:
                log.warning("clock.store-away", reason=error.reason)
            await self.pause(LOOK_SECONDS)

    async def start(self) -> None:
        """Takes the first reading. Raises ``StoreUnavailable``."""
        await self.look()

    async def look(self) -> None:
        """Reads the store's time. An answer that takes longer than twice the limit is ignored.

        Raises ``StoreUnavailable``.
        """
        with asking():
            line, trip_seconds = await self._ask()
        if trip_seconds > 2 * self._limit.total_seconds():
            log.warning("clock.answer-too-slow", seconds=round(trip_seconds, 1))
            return
        self._notice_jump(line)
        self._line = line
        offset = (self._wall() - line.now(self._monotonic())).total_seconds()
        width = max(self._times(line)) - min(self._times(line))
        self._metrics.set(meters.CLOCK_OFFSET_SECONDS, offset)
        self._metrics.set(meters.CLOCK_UNCERTAIN, float(width > self._limit))
        is_off = abs(offset) > self._limit.total_seconds()
        if is_off and not self._is_off:
            log.critical("clock.off", offset_seconds=round(offset, 1), limit_seconds=self._limit.total_seconds())
        elif self._is_off and not is_off:
            log.info("clock.agrees-again", offset_seconds=round(offset, 3))
        self._is_off = is_off

    async def _ask(self) -> tuple[_Line, float]:
        found: list[tuple[float, _Line]] = []
        async with self._store.pool.acquire() as connection:
            for _ in range(ASKED):
                asked = self._monotonic()
                at = await connection.fetchval("SELECT clock_timestamp()")
                trip = self._monotonic() - asked
                found.append((trip, _Line(at, asked + trip / 2)))
                await asyncio.sleep(0)
        trip, line = min(found, key=lambda one: one[0])
        return line, trip

    def _notice_jump(self, line: _Line) -> None:
        monotonic = line.monotonic
        if self._former is not None:
            former, until = self._former
            if abs(line.at - former.now(monotonic)) <= self._limit:
                self._former = None
                log.info("clock.jump-over", reason="it jumped back")
                return
            if monotonic >= until:
                self._former = None
                log.info("clock.jump-over", reason="held long enough")
        if self._line is None:
            return
        jump = line.at - self._line.now(monotonic)
        if abs(jump) > self._limit:
            self._metrics.count(meters.CLOCK_JUMPS)
            log.critical("clock.store-jumped", seconds=round(jump.total_seconds(), 1), held_seconds=self._hold_seconds)
            if self._former is None:
                self._former = (self._line, monotonic + self._hold_seconds)
