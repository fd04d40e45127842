"""A long-running part of a service, as its host sees it."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


class Loop(Protocol):
    """Runs until it is stopped. ``progressed_at`` (``time.monotonic``) moves at every turn, busy or idle."""

    progressed_at: float

    async def run(self) -> None: ...

    async def stop(self) -> None: ...


@dataclass(frozen=True, slots=True, eq=False)
class Wait:
    """A loop waits for ``partner`` since ``since`` (``time.monotonic``); each of its calls has a deadline."""

    partner: str
    since: float
    longest_seconds: float


@runtime_checkable
class Waiting(Protocol):
    """A loop that reports the partner it waits for: a slow partner does not make the loop dead."""

    @property
    def waits(self) -> tuple[Wait, ...]: ...

    @property
    def patience_seconds(self) -> float:
        """Seconds that the loop may stand still now: its pause, or a call's own deadline."""
        ...


class LoopBase:
    """The stop signal and the heartbeat that every loop needs."""

    def __init__(self) -> None:
        self.progressed_at = time.monotonic()
        self._stopping = asyncio.Event()
        self._waits: set[Wait] = set()
        self._pause_seconds = 0.0

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    async def stop(self) -> None:
        self._stopping.set()

    def beat(self) -> None:
        """Notes that the loop turned."""
        self.progressed_at = time.monotonic()

    @property
    def waits(self) -> tuple[Wait, ...]:
        """The partners that the loop waits for now."""
        return tuple(self._waits)

    @property
    def patience_seconds(self) -> float:
        return max(self._pause_seconds, *(wait.longest_seconds for wait in self._waits), 0.0)

    @contextmanager
    def waiting(self, partner: str, *, longest_seconds: float | None) -> Iterator[None]:
        """Around calls to a partner. ``longest_seconds``: the call's own deadline, by which it ends or beats.

        Until then the loop counts as alive, whatever the host's limit; after that the usual limit applies. None: a task
        of the loop's waits, and the loop itself goes on turning.
        """
        wait = Wait(partner, time.monotonic(), longest_seconds or 0.0)
        self._waits.add(wait)
        if longest_seconds is not None:
            self.beat()
        try:
            yield
        finally:
            self._waits.discard(wait)
            if longest_seconds is not None:
                self.beat()

    async def pause(self, seconds: float, wake: asyncio.Event | None = None) -> None:
        """Waits ``seconds``, or less when told to stop or when ``wake`` is set; clears ``wake``."""
        waits = [asyncio.ensure_future(self._stopping.wait())]
        if wake is not None:
            waits.append(asyncio.ensure_future(wake.wait()))
        self.beat()
        self._pause_seconds = seconds
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._pause_seconds = 0.0
            for wait in waits:
                wait.cancel()
        if wake is not None:
            wake.clear()
        self.beat()


def standing_seconds(loop: Loop, now: float) -> float:
    """Seconds that a loop has stood still beyond its allowance: its pause, or its partner's time to answer."""
    patience_seconds = loop.patience_seconds if isinstance(loop, Waiting) else 0.0
    return now - loop.progressed_at - patience_seconds
