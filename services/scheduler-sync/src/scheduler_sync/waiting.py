"""How much waits for a person, as a gauge for alarms."""

from typing import Final

import structlog

from chassis.errors import StoreUnavailable
from chassis.loops import LoopBase
from chassis.observe import Metrics
from chassis.store import Store, asking
from scheduler_sync.metrics import NEEDS_SETUP

_log = structlog.get_logger(__name__)
_INTERVAL_SECONDS: Final = 5.0
_WAITING: Final = """
SELECT (SELECT count(*) FROM hl7_journal WHERE state IN ('needs_setup', 'failed'))
     + (SELECT count(*) FROM parked_tasks WHERE replayed_at IS NULL)"""


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
                    self._metrics.set(NEEDS_SETUP, await self._store.pool.fetchval(_WAITING))
            except StoreUnavailable as error:
                _log.warning("waiting.store-away", reason=error.reason)
            await self.pause(_INTERVAL_SECONDS)
