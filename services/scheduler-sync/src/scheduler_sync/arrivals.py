"""Over which connection the newest word on each appointment and patient came: a connection keeps its order."""

from collections import OrderedDict
from datetime import datetime
from typing import Final
from uuid import UUID

MOST_KNOWN: Final = 50_000
"""Of as many the connection is remembered, the latest ones; without it MSH-7 alone says which word is the newer."""

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

    def was_last(self, key: Key, connection: int | None, heard_at: datetime) -> bool:
        """Whether the word of the time ``heard_at`` came over ``connection``."""
        return connection is not None and self._last.get(key) == (connection, heard_at)
