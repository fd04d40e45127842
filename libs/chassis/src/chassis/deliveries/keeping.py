"""A mark is tried again for as long as the store does not take it: what was sent must not be sent again meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import structlog

from chassis.backoff import pause_seconds
from chassis.errors import Transient
from chassis.store import is_passing, meaning_of

MOST_TRIES: Final = 8
"""Of a mark, in 2 s, where it is not for the store alone to take it."""

T = TypeVar("T")
log = structlog.get_logger(__name__)


class Keeping:
    """The marks of one worker. ``stopping`` says whether the worker was told to stop."""

    def __init__(self, destination: str, stopping: Callable[[], bool]) -> None:
        self._destination = destination
        self._stopping = stopping
        self._waiting: set[Callable[[], Awaitable[Any]]] = set()

    @property
    def is_behind(self) -> bool:
        """Whether the store did not take a mark yet; a lease may have run out meanwhile."""
        return bool(self._waiting)

    async def kept(self, mark: Callable[[], Awaitable[T]]) -> T:
        """What ``mark`` returns, once the store takes it.

        The lease is renewed meanwhile, or the store takes no claim either. When the worker is told to stop, or the
        mark fails by other than the store's doing, it is given up after ``MOST_TRIES`` and its error raised.
        """
        failures = 0
        try:
            while True:
                try:
                    return await mark()
                except Exception as error:
                    failures += 1
                    is_patient = is_passing(error) and not self._stopping()
                    may_pass = is_passing(error) or isinstance(error, Transient) or meaning_of(error) == "taken"
                    if not may_pass or (failures >= MOST_TRIES and not is_patient):
                        raise
                    if is_passing(error):
                        self._waiting.add(mark)
                    reason = type(error).__name__
                    log.warning("deliveries.mark-again", destination=self._destination, reason=reason)
                await asyncio.sleep(pause_seconds(failures, first_seconds=0.02, longest_seconds=1))
        finally:
            self._waiting.discard(mark)
