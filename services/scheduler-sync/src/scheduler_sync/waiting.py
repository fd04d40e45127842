"""Counts what waits for a person, as a gauge for alarms."""

from typing import Final

import structlog

from chassis.errors import StoreUnavailable
from chassis.loops import LoopBase
from chassis.observe import Metrics
from chassis.store import Store, asking
from scheduler_sync.metrics import NEEDS_SETUP
from scheduler_sync.store import statements

_log = structlog.get_logger(__name__)
_INTERVAL_SECONDS: Final = 5.0


class WaitingGauge(LoopBase):
    """Keeps ``needs_setup`` at the number of messages and Tasks that wait for a setting or a person."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        super().__init__()
        self._store = store
        self._metrics = metrics

    async def run(self) -> None:
        while not self.stopping:
            self.beat()
            try:
                with asking():
                    self._metrics.set(NEEDS_SETUP, await self._store.pool.fetchval(statements.WAITING_FOR_A_PERSON))
            except StoreUnavailable as error:
                _log.warning("waiting.store-away", reason=error.reason)
            await self.pause(_INTERVAL_SECONDS)
