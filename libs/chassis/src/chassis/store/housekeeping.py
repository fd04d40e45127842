"""What has served is deleted after its time, a little at a turn, so that no table grows but the services' history.

Only rows that nothing can ask for any more: what was sent, done or settled. The inbox remembers longer than Kafka keeps
a record (``contracts.topics``), or a record that is read again would have a second effect.
"""

from typing import Final

import structlog

from chassis.errors import StoreUnavailable
from chassis.loops import LoopBase
from chassis.observe import Metrics, meters
from chassis.settings import RetentionSettings
from chassis.store.store import Store, asking

ROWS_A_TURN: Final = 5000
TURN_SECONDS: Final = 30.0
BUSY_SECONDS: Final = 1.0

# Each finds by an index what may go, oldest first, whatever else stands in the table: a turn costs the same however
# much there is, and what waits for somebody hides nothing. now() and not clock_timestamp(), which differs from row to
# row and so cannot be looked up in an index. By ctid: a join could read the whole table to find what was selected.
_STATEMENTS: Final = {
    "outbox": """
        DELETE FROM outbox WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM outbox WHERE sent_at < now() - $1 * interval '1 day' ORDER BY sent_at LIMIT $2
        ))""",
    "deliveries": """
        DELETE FROM deliveries WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM deliveries
            WHERE state IN ('done', 'dropped') AND done_at < now() - $1 * interval '1 day'
            ORDER BY done_at LIMIT $2
        ))""",
    "inbox": """
        DELETE FROM inbox WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM inbox WHERE received_at < now() - $1 * interval '1 day' ORDER BY received_at LIMIT $2
        ))""",
    "hl7_journal": """
        DELETE FROM hl7_journal WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM hl7_journal
            WHERE state NOT IN ('needs_setup', 'failed') AND processed_at < now() - $1 * interval '1 day'
            ORDER BY processed_at LIMIT $2
        ))""",
    "dead_letters": """
        DELETE FROM dead_letters WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM dead_letters
            WHERE state <> 'open' AND settled_at < now() - $1 * interval '1 day'
            ORDER BY settled_at LIMIT $2
        ))""",
    # An older row that is left of the timer goes first: alone it would count again. A dead row with a newer one waits
    # for nobody.
    "timers": """
        DELETE FROM timers WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM timers t
            WHERE state IN ('fired', 'cancelled') AND settled_at < now() - $1 * interval '1 day' AND revision = (
                SELECT known.revision FROM timers known
                WHERE (known.kind, known.key, known.name) = (t.kind, t.key, t.name) ORDER BY known.revision LIMIT 1
            )
            ORDER BY settled_at LIMIT $2
        )) OR ctid = ANY (ARRAY(
            SELECT ctid FROM timers t WHERE state = 'dead' AND revision < (
                SELECT known.revision FROM timers known
                WHERE (known.kind, known.key, known.name) = (t.kind, t.key, t.name)
                ORDER BY known.revision DESC LIMIT 1
            )
        ))""",
}

log = structlog.get_logger(__name__)


class Housekeeping(LoopBase):
    """Deletes what is older than ``retention`` says. Several processes may run one: a row is deleted once."""

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
        await self.pause(TURN_SECONDS)  # a start has other things to do
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
        """Deletes at most ``ROWS_A_TURN`` rows of each table. Returns how many of which."""
        deleted: dict[str, int] = {}
        for table, statement in _STATEMENTS.items():
            answer = await self._store.pool.execute(statement, self._days[table], ROWS_A_TURN)
            deleted[table] = int(answer.rpartition(" ")[2])
            self._metrics.count(meters.ROWS_DELETED, deleted[table], table=table)
            self.beat()
        return deleted
