"""Counts the backlog beside the work.

A count reads every waiting row: with a million rows it keeps a processor busy. So counts take a small share of the
time, begin only some time after the start, and nothing waits for a count.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from chassis.errors import StoreUnavailable
from chassis.store.store import Store, asking

COUNT_SECONDS = 2.0
"""Seconds from the start to the first count, and the least pause between two counts."""
COUNT_SHARE = 0.02
"""Share of time that counting may use."""
COUNT_TIMEOUT_SECONDS = 60.0


class Backlog:
    """One count that a loop takes from time to time. ``told`` receives the result of ``statement``."""

    def __init__(self, store: Store, statement: str, *values: Any, told: Callable[[Mapping[str, Any]], None]) -> None:
        self._store = store
        self._statement = statement
        self._values = values
        self._told = told
        self._due_at = time.monotonic() + COUNT_SECONDS
        self._counting: asyncio.Task[None] | None = None

    def look(self) -> None:
        """Begins a count when one is due. A loop calls this at each turn, active or standing by."""
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
            return  # the loop's own statements report that the store is away
        finally:
            self._due_at = started + max(COUNT_SECONDS, (time.monotonic() - started) / COUNT_SHARE)
        self._told(row)
