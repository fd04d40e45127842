"""Server-sent events: what a commit changed, told to every open page; the page fetches what it shows anew."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

from starlette.responses import StreamingResponse

from omegaai_sim.store import Store

_KEEP_ALIVE_SECONDS: Final = 15.0
_MOST_WAITING: Final = 500
_Waiting = asyncio.Queue[dict[str, Any] | None]


class Live:
    """Fans notices out; ``close`` ends all streams so that the server can stop."""

    def __init__(self, store: Store) -> None:
        self._queues: set[_Waiting] = set()
        self._closed = False
        store.listeners.append(self._publish)

    def _publish(self, notices: list[dict[str, Any]]) -> None:
        for waiting in self._queues:
            for notice in notices:
                # A page that cannot keep up has notices waiting anyway: any one of them makes it look again.
                with contextlib.suppress(asyncio.QueueFull):
                    waiting.put_nowait(notice)

    def close(self) -> None:
        self._closed = True
        for waiting in self._queues:
            if waiting.full():
                waiting.get_nowait()
            waiting.put_nowait(None)

    def response(self, concerns: Callable[[Mapping[str, Any]], bool]) -> StreamingResponse:
        """The event stream of one page; its events name a kind of resource and an id, never a person."""
        return StreamingResponse(self._stream(concerns), media_type="text/event-stream")

    async def _stream(self, concerns: Callable[[Mapping[str, Any]], bool]) -> AsyncIterator[bytes]:
        waiting: _Waiting = asyncio.Queue(_MOST_WAITING)
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
                if concerns(notice):
                    event = {"kind": notice["resource"], "id": notice["id"]}
                    yield b"data: " + json.dumps(event).encode() + b"\n\n"
        finally:
            self._queues.discard(waiting)
