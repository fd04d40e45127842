"""How much waits, counted beside the work and never in its way.

A count reads all that waits: with a million rows it has a processor to itself for a while. So it may take a small share
of the time, begins only when the process has been at work for a moment, and nothing waits for it.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from chassis.errors import StoreUnavailable
from chassis.store.store import Store, asking

COUNT_SECONDS = 2.0
"""From the start to the first count, and at least between two."""
COUNT_SHARE = 0.02
"""Of the time, at most."""
COUNT_TIMEOUT_SECONDS = 60.0


class Backlog:
    """One count that a loop has taken from time to time. ``told`` hears what ``statement`` answers."""

    def __init__(self, store: Store, statement: str, *values: Any, told: Callable[[Mapping[str, Any]], None]) -> None:
        self._store = store
        self._statement = statement
        self._values = values
        self._told = told
        self._due_at = time.monotonic() + COUNT_SECONDS
        self._counting: asyncio.Task[None] | None = None

    def look(self) -> None:
        """Begins a count when one is due. A loop calls it at each turn, active or standing by."""
        if time.monotonic() >= self._due_at and (self._counting is None or self._counting.done()):
            self._counting = asyncio.create_task(self._count())

    async def stop(self) -> None:
        if self._counting is not None:
            self._counting.cancel()
            await asyncio.wait({self._counting})

    async def _count(self) -> None:
        started = time.monotonic()
        try:
            with asking():
                row = await self._store.pool.fetchrow(self._statement, *self._values, timeout=COUNT_TIMEOUT_SECONDS)
        except StoreUnavailable:
            return  # whoever needs the store for its work says that it is away
        finally:
            self._due_at = started + max(COUNT_SECONDS, (time.monotonic() - started) / COUNT_SHARE)
        self._told(row)
