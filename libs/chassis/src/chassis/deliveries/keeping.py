"""Retries a mark until the store takes it: a delivery that was sent must not be sent again meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import structlog

from chassis.backoff import pause_seconds
from chassis.errors import Transient
from chassis.store import is_passing, meaning_of

MOST_TRIES: Final = 8
"""Most tries of a mark, within 2 s, when the worker stops or the error is not the store's."""

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
        """Whether a mark still waits for the store; a lease may have run out meanwhile."""
        return bool(self._waiting)

    async def kept(self, mark: Callable[[], Awaitable[T]]) -> T:
        """The result of ``mark``, once the store takes it.

        The lease is renewed meanwhile; a store that cannot renew it cannot take another claim either. When the worker
        is told to stop, or ``mark`` fails by an error that is not the store's, its error is raised after
        ``MOST_TRIES``.
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
