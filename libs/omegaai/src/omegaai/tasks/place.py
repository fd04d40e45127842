"""Where the reader goes on in the queue, and what of that is kept in the store."""

import time
from datetime import datetime, timedelta
from typing import Final

from chassis.clock import Clock
from omegaai.tasks.cursor import Cursor

OVERLAP: Final = timedelta(seconds=5)
"""OmegaAI may show a Task so long after the time of its last change. A look from the start finds later ones."""
_KEEP_SECONDS: Final = 5.0


class Place:
    """The time until which the queue has been read; None: read from the start.

    It is never later than now, so that a Task with a time to come does not hide those before it.
    """

    def __init__(self, cursor: Cursor | None, now: Clock) -> None:
        self._cursor = cursor
        self._now = now
        self._kept: datetime | None = None
        self._kept_at = 0.0
        self._is_loaded = False
        self.read_until: datetime | None = None

    def forget(self) -> None:
        """Another process may have moved the stored place: load it again."""
        self._is_loaded = False

    async def load(self) -> None:
        """The stored place, once. StoreUnavailable."""
        if self._is_loaded:
            return
        found = None if self._cursor is None else await self._cursor.load()
        self.read_until = self._kept = None if found is None or found > self._now() else found
        self._is_loaded = True

    def since(self, *, goes_on: bool) -> datetime | None:
        """Where the next pass begins; ``goes_on``: the former one stopped in the middle."""
        return self.read_until if goes_on or self.read_until is None else self.read_until - OVERLAP

    def move(self, read_until: datetime | None) -> None:
        """All Tasks until then were seen; None: there was none."""
        if read_until is not None:
            self.read_until = min(read_until, self._now())

    async def keep(self, unfinished: datetime | None) -> None:
        """Store the place, or ``unfinished``, the time of the oldest Task still to do. At most every five seconds."""
        wanted = self.read_until if unfinished is None or self.read_until is None else min(self.read_until, unfinished)
        if self._cursor is None or wanted is None or wanted == self._kept:
            return
        if time.monotonic() - self._kept_at < _KEEP_SECONDS:
            return
        await self._cursor.move(wanted)
        self._kept, self._kept_at = wanted, time.monotonic()
