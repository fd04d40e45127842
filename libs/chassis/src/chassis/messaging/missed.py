"""What consumers missed, for a person: listed, and acknowledged once what can be sent again was sent again.

Records that Kafka no longer had (``positions``), and revisions that did not come (``revisions``).
"""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from chassis.clock import moment
from chassis.store import Store, Transaction

_LIST: Final = """
SELECT id, consumer, kind, topic, partition, first_offset AS first, number, handled_until, noticed_at
FROM missed_records WHERE acknowledged_at IS NULL
UNION ALL
SELECT aggregate_id, consumer, 'revisions', min(type), NULL, min(revision), count(*), NULL, min(noticed_at)
FROM revision_gaps WHERE counted_at IS NOT NULL GROUP BY aggregate_id, consumer
ORDER BY noticed_at DESC LIMIT $1
"""
_ACKNOWLEDGE_RECORDS: Final = """
UPDATE missed_records SET acknowledged_at = clock_timestamp()
WHERE acknowledged_at IS NULL AND ($1::uuid IS NULL OR id = $1) RETURNING id
"""
_ACKNOWLEDGE_REVISIONS: Final = """
WITH gone AS (
    DELETE FROM revision_gaps WHERE counted_at IS NOT NULL AND ($1::uuid IS NULL OR aggregate_id = $1)
    RETURNING aggregate_id
)
SELECT DISTINCT aggregate_id AS id FROM gone
"""


async def list_missed(store: Store, *, limit: int = 50) -> list[Mapping[str, Any]]:
    """What nobody has acknowledged, newest first.

    ``first`` and ``number``: offsets of the partition, or revisions of the aggregate that ``id`` is; ``number`` is None
    where nobody can know it. What came after ``handled_until`` may be missing.
    """
    return list(await store.pool.fetch(_LIST, limit))


async def acknowledge(store: Store, missed_id: UUID | None, *, actor: str) -> int:
    """Settles one, or all where ``missed_id`` is None: their alarms end. Audited. Returns how many."""
    async with store.pool.acquire() as connection, connection.transaction():
        transaction = Transaction(connection)
        settled = 0
        for statement in (_ACKNOWLEDGE_RECORDS, _ACKNOWLEDGE_REVISIONS):
            for row in await connection.fetch(statement, missed_id):
                transaction.audit(actor=actor, action="missed.acknowledge", subject=str(row["id"]))
                settled += 1
        await transaction.flush()
    return settled


async def acknowledge_one(store: Store, missed_id: UUID, *, actor: str) -> bool:
    """False when there is no open one of that id."""
    return await acknowledge(store, missed_id, actor=actor) > 0


def words_of(row: Mapping[str, Any]) -> str:
    """What happened, in a sentence."""
    first, number = row["first"], row["number"]
    if row["kind"] == "revisions":
        which = f"revision {first} has" if number == 1 else f"{number} revisions from {first} on have"
        return f"{which} not come"
    until = f"what came after {moment(row['handled_until'])} UTC may be missing"
    if row["kind"] == "expired":
        return f"{number} records from offset {first} on expired before they were read"
    if row["kind"] == "made-anew":
        return f"the topic was made anew; {until}"
    return f"Kafka was set back to before offset {first}; {until}"


def place_of(row: Mapping[str, Any]) -> str:
    """The topic and its partition, or the type of event that came instead."""
    return str(row["topic"]) if row["partition"] is None else f"{row['topic']} {row['partition']}"
