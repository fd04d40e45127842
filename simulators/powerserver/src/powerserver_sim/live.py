"""Server-sent events: what a commit changed, told to every open page; the page fetches what it shows anew."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any, Final

from powerserver_sim.accounts import User
from powerserver_sim.store import Store

_KEEP_ALIVE_SECONDS: Final = 15.0
_MOST_WAITING: Final = 500


class Live:
    """Fans notices out; `close` ends all streams so that the server can stop."""

    def __init__(self, store: Store) -> None:
        self._queues: set[asyncio.Queue[dict[str, Any] | None]] = set()
        self._closed = False
        store.listeners.append(self._publish)

    def _publish(self, notices: list[dict[str, Any]]) -> None:
        for waiting in self._queues:
            for notice in notices:
                # A page that cannot keep up misses notices of kinds it has waiting anyway: any one makes it look again.
                with contextlib.suppress(asyncio.QueueFull):
                    waiting.put_nowait(notice)

    def close(self) -> None:
        self._closed = True
        for waiting in self._queues:
            if waiting.full():
                waiting.get_nowait()
            waiting.put_nowait(None)

    async def stream(self, user: User) -> AsyncIterator[bytes]:
        """The event stream of one page, without the facilities its user may not see."""
        waiting: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(_MOST_WAITING)
        self._queues.add(waiting)
        try:
            yield b"retry: 1000\n\n: open\n\n"
            while not (self._closed and waiting.empty()):
                try:
                    notice = await asyncio.wait_for(waiting.get(), _KEEP_ALIVE_SECONDS)
                except TimeoutError:
                    yield b": still here\n\n"
                    continue
                if notice is None:
                    return
                if "facility" in notice and not user.sees(notice["facility"]):
                    continue
                yield b"data: " + json.dumps(notice).encode() + b"\n\n"
        finally:
            self._queues.discard(waiting)
