"""Counts what waits for a person, as a gauge for alarms."""

from typing import Final

import structlog

from chassis.errors import StoreUnavailable
from chassis.loops import LoopBase
from chassis.observe import Metrics
from chassis.store import Store, asking
from scheduler_sync.metrics import NEEDS_SETUP, REVIEWS_OPEN
from scheduler_sync.store import statements

_log = structlog.get_logger(__name__)
_INTERVAL_SECONDS: Final = 5.0


class WaitingGauge(LoopBase):
    """Keeps ``needs_setup`` and ``patient_reviews_open`` at the numbers of what waits for a person."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        super().__init__()
        self._store = store
        self._metrics = metrics

    async def run(self) -> None:
        while not self.stopping:
            self.beat()
            try:
                with asking():
                    waiting = await self._store.pool.fetchrow(statements.WAITING_FOR_A_PERSON)
                self._metrics.set(NEEDS_SETUP, waiting["inputs"])
                self._metrics.set(REVIEWS_OPEN, waiting["reviews"])
            except StoreUnavailable as error:
                _log.warning("waiting.store-away", reason=error.reason)
            await self.pause(_INTERVAL_SECONDS)
