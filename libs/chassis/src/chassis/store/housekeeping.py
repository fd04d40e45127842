"""Deletes finished rows after their retention, a few at a turn. Only the services' history grows.

A row is deleted only when nothing can ask for it: it is sent, done or settled. The inbox outlives Kafka's retention
(``contracts.topics``): without its inbox row, a record that is read again would have a second effect.
"""

from typing import Final

import structlog

from chassis.errors import StoreUnavailable
from chassis.loops import LoopBase
from chassis.observe import Metrics, meters
from chassis.settings import RetentionSettings
from chassis.store import statements
from chassis.store.store import Store, asking

ROWS_A_TURN: Final = 5000
TURN_SECONDS: Final = 30.0
BUSY_SECONDS: Final = 1.0

log = structlog.get_logger(__name__)


class Housekeeping(LoopBase):
    """Deletes rows older than ``retention``. Several processes may run it; each row is deleted once."""

    def __init__(self, store: Store, retention: RetentionSettings, metrics: Metrics) -> None:
        super().__init__()
        self._store = store
        self._days = {
            "outbox": retention.outbox_days,
            "deliveries": retention.deliveries_days,
            "inbox": retention.inbox_days,
            "hl7_journal": retention.hl7_journal_days,
            "dead_letters": retention.dead_letters_days,
            "timers": retention.timers_days,
        }
        self._metrics = metrics

    async def run(self) -> None:
        await self.pause(TURN_SECONDS)  # the start has more urgent work
        while not self.stopping:
            try:
                with asking():
                    deleted = await self.turn()
            except StoreUnavailable as error:
                log.warning("housekeeping.store-away", reason=error.reason)
                deleted = {}
            is_behind = any(number >= ROWS_A_TURN for number in deleted.values())
            await self.pause(BUSY_SECONDS if is_behind else TURN_SECONDS)

    async def turn(self) -> dict[str, int]:
        """Deletes at most ``ROWS_A_TURN`` rows of each table. Returns the number of deleted rows by table."""
        deleted: dict[str, int] = {}
        for table, statement in statements.DELETE_OLD.items():
            answer = await self._store.pool.execute(statement, self._days[table], ROWS_A_TURN)
            deleted[table] = int(answer.rpartition(" ")[2])
            self._metrics.count(meters.ROWS_DELETED, deleted[table], table=table)
            self.beat()
        return deleted
