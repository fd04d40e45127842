"""What a long-running part of a service looks like to its host."""

import asyncio
import time
from typing import Protocol


class Loop(Protocol):
    """Runs until it is stopped. ``progressed_at`` (``time.monotonic``) moves whenever it turned, busy or idle."""

    progressed_at: float

    async def run(self) -> None: ...

    async def stop(self) -> None: ...


class LoopBase:
    """The stop signal and the heartbeat that every loop needs."""

    def __init__(self) -> None:
        self.progressed_at = time.monotonic()
        self._stopping = asyncio.Event()

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    async def stop(self) -> None:
        self._stopping.set()

    def beat(self) -> None:
        """Says that the loop turned."""
        self.progressed_at = time.monotonic()

    async def pause(self, seconds: float, wake: asyncio.Event | None = None) -> None:
        """Waits ``seconds``, or less when told to stop or when ``wake`` is set; clears ``wake``."""
        waits = [asyncio.ensure_future(self._stopping.wait())]
        if wake is not None:
            waits.append(asyncio.ensure_future(wake.wait()))
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if wake is not None:
            wake.clear()
        self.beat()
