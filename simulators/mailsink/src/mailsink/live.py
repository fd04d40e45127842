"""Tells open pages that mail came: a number is set and waiters wake; nothing queues up behind a slow page."""

import asyncio
from collections.abc import AsyncIterator

_KEEP_ALIVE_SECONDS = 10.0
_SHORTEST_PAUSE_SECONDS = 0.2


class Announcements:
    """Server-sent events for any number of pages. A page that was told once is told again only after a pause."""

    def __init__(self) -> None:
        self.newest = 0
        self._changed = asyncio.Event()
        self._closed = False

    def announce(self, mail: int) -> None:
        self.newest = max(self.newest, mail)
        self._wake()

    def close(self) -> None:
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def stream(self) -> AsyncIterator[str]:
        told = self.newest
        yield "retry: 1000\n\n"
        while not self._closed:
            if self.newest > told:
                told = self.newest
                yield f"event: mail\ndata: {told}\n\n"
                await asyncio.sleep(_SHORTEST_PAUSE_SECONDS)
                continue
            changed = self._changed
            try:
                await asyncio.wait_for(changed.wait(), _KEEP_ALIVE_SECONDS)
            except TimeoutError:
                yield ": still here\n\n"
