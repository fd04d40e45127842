"""What consumers missed: listed for a person, and acknowledged after what can be sent again was sent again.

Records that Kafka no longer had (``positions``), and revisions that did not arrive (``revisions``).
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from chassis.clock import moment
from chassis.store import Store
from chassis.store.rows import audit, rows, sql, tables


@dataclass(frozen=True, slots=True)
class MissedRow:
    """A gap of a consumer.

    ``kind``: expired, made-anew or set-back for records, else revisions. ``first`` and ``number``: offsets of the
    partition, or revisions of the aggregate ``id``; ``number`` is None where it cannot be known. Records after
    ``handled_until`` may be missing. Where revisions are missing, ``topic`` is the type of the event that came instead.
    """

    id: UUID
    consumer: str
    kind: str
    topic: str
    partition: int | None
    first: int
    number: int | None
    handled_until: datetime | None
    noticed_at: datetime


async def list_missed(store: Store, *, limit: int = 50) -> list[MissedRow]:
    """The gaps that nobody has acknowledged, newest first."""
    async with store.session() as session:
        missed, gaps = tables.MissedRecords, tables.RevisionGaps
        records = sql.select(
            missed.id, missed.consumer, missed.kind, missed.topic, missed.partition, missed.first_offset, missed.number,
            missed.handled_until, sql.col(missed.noticed_at).label("noticed_at"),
        ).where(sql.col(missed.acknowledged_at).is_(None))  # fmt: skip
        revisions = sql.select(
            gaps.aggregate_id, gaps.consumer, sql.literal("revisions"), sql.func.min(gaps.type),
            sql.cast(sql.null(), sql.Integer), sql.func.min(gaps.revision), sql.func.count(),
            sql.cast(sql.null(), sql.DateTime(timezone=True)), sql.func.min(gaps.noticed_at),
        ).where(sql.col(gaps.counted_at).is_not(None)).group_by(gaps.aggregate_id, gaps.consumer)  # fmt: skip
        found = sql.union_all(records, revisions).order_by(sql.desc("noticed_at")).limit(limit)
        return await rows(session, MissedRow, found)


async def acknowledge(store: Store, missed_id: UUID | None, *, actor: str) -> int:
    """Acknowledges one gap, or all where ``missed_id`` is None: their alarms end. Audited. Returns the number."""
    async with store.session() as session:
        missed, gaps = tables.MissedRecords, tables.RevisionGaps
        records = sql.update(missed).where(sql.col(missed.acknowledged_at).is_(None))
        revisions = sql.delete(gaps).where(sql.col(gaps.counted_at).is_not(None))
        if missed_id is not None:
            records, revisions = records.where(missed.id == missed_id), revisions.where(gaps.aggregate_id == missed_id)
        records = records.values(acknowledged_at=sql.func.clock_timestamp())
        ids = list((await session.exec(records.returning(missed.id))).scalars())
        ids += set((await session.exec(revisions.returning(gaps.aggregate_id))).scalars())
        for one in ids:
            await audit(session, actor=actor, action="missed.acknowledge", subject=str(one))
        await session.commit()
    return len(ids)


async def acknowledge_one(store: Store, missed_id: UUID, *, actor: str) -> bool:
    """Acknowledges one gap. False when there is no open gap of that id."""
    return await acknowledge(store, missed_id, actor=actor) > 0


def words_of(row: MissedRow) -> str:
    """The gap in a sentence."""
    if row.kind == "revisions":
        which = f"revision {row.first} has" if row.number == 1 else f"{row.number} revisions from {row.first} on have"
        return f"{which} not come"
    if row.kind == "expired":
        return f"{row.number} records from offset {row.first} on expired before they were read"
    until = "" if row.handled_until is None else f"; what came after {moment(row.handled_until)} UTC may be missing"
    if row.kind == "made-anew":
        return f"the topic was made anew{until}"
    return f"Kafka was set back to before offset {row.first}{until}"


def place_of(row: MissedRow) -> str:
    """The topic and partition of the gap, or the type of event that came instead."""
    return row.topic if row.partition is None else f"{row.topic} {row.partition}"
