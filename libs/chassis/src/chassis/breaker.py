"""Whether a partner is asked at all: not for a while, after failures in a row."""

import time
from collections.abc import Callable

from chassis.settings import BreakerSettings


class Breaker:
    """Holds calls to a destination back after failures in a row; lets one through to see whether it is back."""

    def __init__(self, settings: BreakerSettings, *, now: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._now = now
        self._failures = 0
        self._opened_at: float | None = None

    @property
    def is_open(self) -> bool:
        return self._opened_at is not None

    def allowance(self, wanted: int) -> int:
        """How many calls may go now: all, none, or one as a trial."""
        if self._opened_at is None:
            return wanted
        return 1 if self._now() - self._opened_at >= self._settings.open_seconds else 0

    def succeeded(self) -> None:
        self._failures = 0
        self._opened_at = None

    def failed(self) -> None:
        self._failures += 1
        if self._failures >= self._settings.failures:
            self._opened_at = self._now()
