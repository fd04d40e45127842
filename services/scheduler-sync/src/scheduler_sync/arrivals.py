"""Remembers the connection of the newest message about each appointment and patient: a connection keeps order."""

from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from scheduler_sync.domain.appointment import CLOCKS_DIFFER

MOST_KNOWN: Final = 50_000
"""Most entries, the latest ones. Without an entry, MSH-7 alone decides which message is newer."""
MOST_BACK: Final = CLOCKS_DIFFER + timedelta(seconds=5)
"""How far back the time of a sender may go whose fast clock is corrected, to a few seconds."""

Key = tuple[str, UUID]


class Arrivals:
    """Held in memory: a connection does not outlive its process.

    An entry holds the time that its message made the newest. The entry is ignored when that transaction was rolled
    back, or when another process has a newer message.
    """

    def __init__(self) -> None:
        self._last: OrderedDict[Key, tuple[int, datetime]] = OrderedDict()

    def note(self, key: Key, connection: int | None, heard_at: datetime | None) -> None:
        """Notes that the newest message on ``key``, of the time ``heard_at``, came over ``connection``."""
        if connection is None or heard_at is None:
            return
        self._last[key] = connection, heard_at
        self._last.move_to_end(key)
        if len(self._last) > MOST_KNOWN:
            self._last.popitem(last=False)

    def in_order(self, key: Key, heard_at: datetime | None, said_at: datetime, connection: int | None) -> datetime:
        """``said_at``, or the time of the message before on the same connection, which keeps order.

        The time of a sender whose clock was corrected goes back by no more than its lead, limited to ``CLOCKS_DIFFER``.
        """
        if heard_at is None or not heard_at - MOST_BACK <= said_at < heard_at:
            return said_at
        return heard_at if self.was_last(key, connection, heard_at) else said_at

    def was_last(self, key: Key, connection: int | None, heard_at: datetime) -> bool:
        """Whether the message of the time ``heard_at`` came over ``connection``."""
        return connection is not None and self._last.get(key) == (connection, heard_at)
