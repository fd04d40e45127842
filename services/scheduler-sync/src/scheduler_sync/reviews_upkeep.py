"""Keeps the review list, beside the messages: nothing on their way waits for it.

It looks for patients who may be one person, and carries a decision out: once PowerServer has merged two records, the
messages that named both are processed again.
"""

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final
from uuid import UUID

import structlog

from chassis.errors import StoreUnavailable
from chassis.loops import LoopBase
from scheduler_sync.store.reviews import Reviews

LOOK_SECONDS: Final = 300.0
INTERVAL_SECONDS: Final = 15.0
_log = structlog.get_logger(__name__)

Replay = Callable[[UUID, str], Awaitable[object]]
"""Processes a kept message again, for the named actor. KeyError when it does not wait."""


class ReviewsUpkeep(LoopBase):
    """Several processes may work at once: a pair is kept once, and a message that was processed waits no more."""

    def __init__(
        self,
        reviews: Reviews,
        replay: Replay,
        *,
        interval_seconds: float = INTERVAL_SECONDS,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        super().__init__()
        self._reviews = reviews
        self._replay = replay
        self._interval_seconds = interval_seconds
        self._look_seconds = look_seconds

    async def run(self) -> None:
        looked_at = None
        while not self.stopping:
            self.beat()
            try:
                await self.replay_merged()
                if looked_at is None or time.monotonic() - looked_at >= self._look_seconds:
                    await self._reviews.look()
                    looked_at = time.monotonic()
                else:
                    await self._reviews.end()
            except StoreUnavailable as error:
                _log.warning("reviews.store-away", reason=error.reason)
            await self.pause(self._interval_seconds)

    async def replay_merged(self) -> None:
        """Processes the messages of merged records again. The reviews end after that, so a death loses none."""
        for review_id, messages in await self._reviews.merged_with_messages():
            for one in messages:
                self.beat()
                with suppress(KeyError):  # it was processed, or edited, meanwhile
                    await self._replay(one, f"scheduler-sync, review {review_id}")
