"""Limits how many deliveries in a row a bug of ours may make dead, so that a wrong release does not empty a line.

The store holds the count, one row per destination: it outlives the process, and several processes share it. A delivery
that is marked done deletes it. At the limit a bug makes nothing more dead: deliveries stay pending, and one at a time
is tried until one is done.
"""

import time
from collections.abc import Callable
from typing import Final

DEFAULT_IN_A_ROW: Final = 5


def _monotonic() -> float:
    return time.monotonic()  # looked up at each call: a simulation has its own clock


class StoppedByBugsError(Exception):
    """A bug of ours failed as many deliveries in a row as the limit allows. The destination's others are held back."""


class BugLimit:
    """One worker's knowledge of its destination's count, and the number that it may claim."""

    def __init__(self, limit: int, rest_seconds: float, *, now: Callable[[], float] | None = None) -> None:
        self.limit = limit
        self._rest_seconds = rest_seconds
        self._now = now or _monotonic
        self._tried_at: float | None = None
        self.in_a_row = 0

    @property
    def is_reached(self) -> bool:
        return self.in_a_row >= self.limit

    def told(self, in_a_row: int) -> None:
        """Takes over the store's count."""
        if self.in_a_row < self.limit <= in_a_row:
            self._tried_at = self._now()
        self.in_a_row = in_a_row

    def allowance(self, wanted: int, *, underway: bool) -> int:
        """How many may be claimed: all; at the limit none, or after a pause one as a trial."""
        if not self.is_reached:
            return wanted
        has_rested = self._tried_at is None or self._now() - self._tried_at >= self._rest_seconds
        return min(wanted, 1) if has_rested and not underway else 0

    def tried(self) -> None:
        """Notes that one was claimed as a trial."""
        self._tried_at = self._now()
