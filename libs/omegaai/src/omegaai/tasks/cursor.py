"""How far a service has read the queue: a time, kept in the service's own store.

It may lie too early, which costs requests; the reader moves it only past Tasks whose effects are committed.
"""

from datetime import datetime
from typing import Final, Protocol

from sqlmodel import Field, SQLModel

from chassis.store import Store
from chassis.store.store import asking

CREATE: Final = """
CREATE TABLE task_cursor (
    reader     text        NOT NULL,
    read_until timestamptz NOT NULL,
    moved_at   timestamptz NOT NULL,
    CONSTRAINT pk_task_cursor PRIMARY KEY (reader)
)"""
"""For the migration of a service that reads the queue."""
_LOAD: Final = "SELECT read_until FROM task_cursor WHERE reader = $1"
_MOVE: Final = """
INSERT INTO task_cursor (reader, read_until, moved_at) VALUES ($1, $2, clock_timestamp())
ON CONFLICT (reader) DO UPDATE SET read_until = excluded.read_until, moved_at = excluded.moved_at"""


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
            found: datetime | None = await self._store.pool.fetchval(_LOAD, self._reader)
        return found

    async def move(self, read_until: datetime) -> None:
        """StoreUnavailable."""
        with asking():
            await self._store.pool.execute(_MOVE, self._reader, read_until)


def declare(base: type[SQLModel]) -> type[SQLModel]:
    """Declares the table on ``base``'s registry. Call once per service."""

    class TaskCursor(base, table=True):  # type: ignore[valid-type,misc,call-arg]  # the base is the service's own
        __tablename__ = "task_cursor"
        reader: str = Field(primary_key=True)
        read_until: datetime
        moved_at: datetime

    return TaskCursor
