"""The breaker: after failures in a row, a partner is not asked for a while."""

import time
from collections.abc import Callable

from chassis.settings import BreakerSettings

LONGEST_REST_SECONDS = 60.0


class Breaker:
    """Holds back calls to a destination after failures in a row, and lets single calls through as trials.

    A partner that refuses our access needs a person first. So the breaker opens at once, and twice as long each time,
    up to a minute.
    """

    def __init__(self, settings: BreakerSettings, *, now: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._now = now
        self._failures = 0
        self._refusals = 0
        self._opened_at: float | None = None

    @property
    def is_open(self) -> bool:
        return self._opened_at is not None

    def allowance(self, wanted: int) -> int:
        """How many calls may go now: all, none, or one as a trial."""
        if self._opened_at is None:
            return wanted
        return 1 if self._now() - self._opened_at >= self._rest_seconds() else 0

    def succeeded(self) -> None:
        self._failures = 0
        self._refusals = 0
        self._opened_at = None

    def refused(self) -> None:
        """The partner refuses our access, whatever the message."""
        if self._opened_at is None or self.allowance(1):  # the other calls under way fail in the same way
            self._refusals += 1
        self._opened_at = self._now()

    def failed(self) -> None:
        self._failures += 1
        self._refusals = 0
        if self._opened_at is not None or self._failures >= self._settings.failures:
            self._opened_at = self._now()

    def _rest_seconds(self) -> float:
        open_seconds = self._settings.open_seconds
        doublings = min(max(self._refusals - 1, 0), 10)
        return min(open_seconds * 2.0**doublings, max(LONGEST_REST_SECONDS, open_seconds))
