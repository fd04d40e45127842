"""Revisions that did not arrive: a projection that knows revision 3 and receives 5 lacks 4.

Events of one aggregate travel on several topics, so a later one may briefly overtake an earlier one. A gap is therefore
recorded when it opens, deleted when the missing revision arrives, and counted and alarmed after a minute. Everything
staged here goes out with the batch.
"""

from datetime import UTC, datetime
from typing import Final, cast
from uuid import UUID

import asyncpg
import structlog

import contracts
from chassis.messaging import statements
from chassis.observe import Metrics, meters
from chassis.store import Store, Transaction

REVISIONS_PER_EPOCH: Final = 1_000_000
"""After its store was set back a producer goes on in the next epoch (ADR 0017): that leap is no gap."""
LARGEST_GAP: Final = 100
"""Revisions recorded of one leap: the first ones."""

log = structlog.get_logger(__name__)


class RevisionGaps:
    """A participant of the batch's transaction: the projections' revisions, and the revisions that came.

    Only for a consumer that reads every event of the aggregate: a consumer that leaves out a topic misses its revisions
    on purpose.
    """

    def __init__(self, transaction: Transaction, consumer: str) -> None:
        self._transaction = transaction
        self._consumer = consumer
        self._opened: list[tuple[UUID, int, str, datetime | None]] = []
        self._came: list[tuple[UUID, int]] = []

    def saw(self, message: contracts.Message, known_revision: int | None) -> None:
        """``known_revision``: the projection's revision before ``message``; None when the aggregate is not known."""
        found = message.revision
        if known_revision is not None and found <= known_revision:
            self._came.append((message.aggregate_id, found))
            return
        first = 1 if known_revision is None else known_revision + 1
        if found == first or found // REVISIONS_PER_EPOCH != first // REVISIONS_PER_EPOCH:
            return
        made_at = None
        if known_revision is None:
            made_at = made_at_of(message.aggregate_id)
            if made_at is None:
                return
        for revision in range(first, min(found, first + LARGEST_GAP)):
            self._opened.append((message.aggregate_id, revision, message.type, made_at))

    def mark(self) -> object:
        return len(self._opened), len(self._came)

    def rollback_to(self, mark: object) -> None:
        opened, came = cast("tuple[int, int]", mark)
        del self._opened[opened:]
        del self._came[came:]

    async def flush(self, _connection: "asyncpg.Connection") -> None:
        came = set(self._came)
        opened = sorted({gap for gap in self._opened if gap[:2] not in came}, key=lambda gap: gap[:2])
        if opened:
            self._transaction.write(statements.OPEN_GAPS, self._consumer, *map(list, zip(*opened, strict=True)))
        # Only gaps that an earlier batch may have opened: no two parts of one statement may touch one row.
        if came:
            self._transaction.write(statements.CLOSE_GAPS, self._consumer, *map(list, zip(*sorted(came), strict=True)))


def made_at_of(aggregate_id: UUID) -> datetime | None:
    """The creation time of the aggregate, from its id; None where the id is no UUID version 7."""
    if aggregate_id.version != 7:
        return None
    return datetime.fromtimestamp((aggregate_id.int >> 80) / 1000, UTC)


async def count_gaps(store: Store, consumer: str, metrics: Metrics) -> None:
    """Counts and logs each gap that is a minute old; once, whichever process does it."""
    for row in await store.pool.fetch(statements.COUNT_GAPS, consumer):
        metrics.count(meters.REVISION_GAPS, type=row["type"])
        log.error(
            "consumer.revision-gap",
            consumer=consumer,
            aggregate_id=str(row["aggregate_id"]),
            revision=row["revision"],
            type=row["type"],
        )
