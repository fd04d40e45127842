"""How far a service has read the queue: a time, kept in the service's own store.

It may lie too early, which costs requests; the reader moves it only past Tasks whose effects are committed.
"""

from datetime import datetime
from typing import Protocol

from chassis.store import Store
from chassis.store.store import asking
from omegaai.tasks import statements


class Cursor(Protocol):
    """Where the reader keeps its place."""

    async def load(self) -> datetime | None: ...
    async def move(self, read_until: datetime) -> None: ...


class StoredCursor:
    """The place of ``reader`` in the table ``task_cursor``."""

    def __init__(self, store: Store, reader: str) -> None:
        self._store = store
        self._reader = reader

    async def load(self) -> datetime | None:
        """None before the first move. StoreUnavailable."""
        with asking():
            found: datetime | None = await self._store.pool.fetchval(statements.LOAD, self._reader)
        return found

    async def move(self, read_until: datetime) -> None:
        """StoreUnavailable."""
        with asking():
            await self._store.pool.execute(statements.MOVE, self._reader, read_until)
