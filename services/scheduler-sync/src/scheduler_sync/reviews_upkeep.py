"""Looks for patients who may be one person, beside the messages: nothing on their way waits for it."""

from typing import Final

import structlog

from chassis.errors import StoreUnavailable
from chassis.loops import LoopBase
from scheduler_sync.store.reviews import Reviews

INTERVAL_SECONDS: Final = 300.0
_log = structlog.get_logger(__name__)


class ReviewsUpkeep(LoopBase):
    """Keeps the review list. Several processes may look at once: a pair is kept once."""

    def __init__(self, reviews: Reviews, *, interval_seconds: float = INTERVAL_SECONDS) -> None:
        super().__init__()
        self._reviews = reviews
        self._interval_seconds = interval_seconds

    async def run(self) -> None:
        while not self.stopping:
            self.beat()
            try:
                await self._reviews.look()
            except StoreUnavailable as error:
                _log.warning("reviews.store-away", reason=error.reason)
            await self.pause(self._interval_seconds)
