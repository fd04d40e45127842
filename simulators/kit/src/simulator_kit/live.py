"""Server-sent events: a commit sends its changes to every open page, and the page then reloads its content."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, Final

from starlette.responses import StreamingResponse

from simulator_kit.store import Notice, Store

_KEEP_ALIVE_SECONDS: Final = 15.0
_MOST_WAITING: Final = 500

Shown = Callable[[Notice], dict[str, Any] | None]
"""The part of a notice for one page; None when the notice does not concern the page."""


class Live:
    """Sends notices to the open pages. `close` ends all streams, so that the server can stop."""

    def __init__(self, store: Store) -> None:
        self._queues: set[asyncio.Queue[Notice | None]] = set()
        self._closed = False
        store.listeners.append(self._publish)

    def _publish(self, notices: list[Notice]) -> None:
        for waiting in self._queues:
            for notice in notices:
                # A full queue may drop the notice: any one notice makes the page reload.
                with suppress(asyncio.QueueFull):
                    waiting.put_nowait(notice)

    def close(self) -> None:
        self._closed = True
        for waiting in self._queues:
            if waiting.full():
                waiting.get_nowait()
            waiting.put_nowait(None)

    def response(self, shown: Shown) -> StreamingResponse:
        """The event stream of one page."""
        return StreamingResponse(self.stream(shown), media_type="text/event-stream")

    async def stream(self, shown: Shown) -> AsyncIterator[bytes]:
        waiting: asyncio.Queue[Notice | None] = asyncio.Queue(_MOST_WAITING)
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
                event = shown(notice)
                if event is not None:
                    yield b"data: " + json.dumps(event).encode() + b"\n\n"
        finally:
            self._queues.discard(waiting)
