"""Over which connection the newest word on each appointment and patient came: a connection keeps its order."""

from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from scheduler_sync.domain.appointment import CLOCKS_DIFFER

MOST_KNOWN: Final = 50_000
"""Of as many the connection is remembered, the latest ones; without it MSH-7 alone says which word is the newer."""
MOST_BACK: Final = CLOCKS_DIFFER + timedelta(seconds=5)
"""So far back goes the time of a sender whose clock was ahead and is set right, to a few seconds."""

Key = tuple[str, UUID]


class Arrivals:
    """Held in memory: a connection does not outlive the process that has it.

    An entry holds the time that it made the newest, so that it counts for nothing when its transaction was rolled back,
    or when another process has heard something newer since.
    """

    def __init__(self) -> None:
        self._last: OrderedDict[Key, tuple[int, datetime]] = OrderedDict()

    def note(self, key: Key, connection: int | None, heard_at: datetime | None) -> None:
        """The newest word on ``key``, of the time ``heard_at``, came over ``connection``."""
        if connection is None or heard_at is None:
            return
        self._last[key] = connection, heard_at
        self._last.move_to_end(key)
        if len(self._last) > MOST_KNOWN:
            self._last.popitem(last=False)

    def in_order(self, key: Key, heard_at: datetime | None, said_at: datetime, connection: int | None) -> datetime:
        """``said_at``, or the time of what came before over the same connection, which keeps its order.

        A sender whose clock was set right goes back by no more than its lead was, which counts as ``CLOCKS_DIFFER``.
        """
        if heard_at is None or not heard_at - MOST_BACK <= said_at < heard_at:
            return said_at
        return heard_at if self.was_last(key, connection, heard_at) else said_at

    def was_last(self, key: Key, connection: int | None, heard_at: datetime) -> bool:
        """Whether the word of the time ``heard_at`` came over ``connection``."""
        return connection is not None and self._last.get(key) == (connection, heard_at)
