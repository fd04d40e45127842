"""Compares a store with its topics: was one of the two set back while the other went on?

A record is sent only after its transaction is committed, so a store that was never set back knows every record of its
own on the topics. This holds through crashes: a record that was sent and not marked is still a row of the outbox. The
topics are read before the store, so that records sent in between make no difference.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg

from chassis.messaging import statements
from chassis.messaging.outbox import murmur2
from chassis.messaging.published import Published, Spot, TopicReader

Revisions = Callable[["asyncpg.Pool", Sequence[UUID]], Awaitable[Mapping[UUID, int]]]
"""The store's revisions of these aggregates; unknown aggregates are left out."""

NEWEST: Final = 20
"""Records compared in each partition. One suffices to see that a store was set back; a few also show another suite that
writes into the same topics."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """The compared records that the store should know and does not: their number, and the time of the newest."""

    count: int
    newest_at: datetime


async def unknown_of_producer(
    pool: "asyncpg.Pool",
    records: Sequence[Published],
    *,
    service: str,
    revisions: Revisions,
    is_compared: Callable[[Published], bool],
) -> Unknown | None:
    """The ``records`` that ``service`` published and its store does not know.

    A revision is known when the store has reached it, unless the outbox has published that revision with other content.
    """
    ours = [
        message
        for one in records
        if (message := one.message) is not None and message.producer == service and not is_compared(one)
    ]
    if not ours:
        return None
    known = await revisions(pool, list({message.aggregate_id for message in ours}))
    same = await _in_outbox(pool, [(message.aggregate_id, message.revision) for message in ours])
    missing = [
        message
        for message in ours
        if known.get(message.aggregate_id, 0) < message.revision
        or same.get((message.aggregate_id, message.revision), (message.message_id, 0))[0] != message.message_id
    ]
    return Unknown(len(missing), max(one.occurred_at for one in missing)) if missing else None


async def unknown_of_consumer(
    pool: "asyncpg.Pool",
    records: Sequence[Published],
    *,
    consumer: str,
    is_compared: Callable[[Published], bool],
) -> Unknown | None:
    """The ``records`` that were never handled in this store; all of ``records`` lie before the group's offsets."""
    wanted = [message for one in records if (message := one.message) is not None and not is_compared(one)]
    if not wanted:
        return None
    rows = await pool.fetch(statements.HANDLED, consumer, [message.message_id for message in wanted])
    handled = {row["message_id"] for row in rows}
    missing = [message for message in wanted if message.message_id not in handled]
    return Unknown(len(missing), max(one.occurred_at for one in missing)) if missing else None


async def lost_by_kafka(pool: "asyncpg.Pool", reader: TopicReader, records: Sequence[Published]) -> list[Spot]:
    """Partitions that lack the last event that the outbox marked as sent: Kafka was set back, or made anew.

    A partition whose records have all expired is left out.
    """
    partitions: dict[str, int] = {}
    for topic, number in reader.following:
        partitions[topic] = max(partitions.get(topic, 0), number + 1)
    sent: dict[Spot, int] = {}
    for row in await pool.fetch(statements.NEWEST_SENT):
        if row["topic"] in partitions:
            number = (murmur2(row["key"]) & 0x7FFFFFFF) % partitions[row["topic"]]
            sent.setdefault((row["topic"], number), row["id"])
    asked = [
        (one, message.aggregate_id, message.revision)
        for one in records
        if (message := one.message) is not None and one.spot in sent
    ]
    rows = await _in_outbox(pool, [(aggregate_id, revision) for _, aggregate_id, revision in asked])
    newest: dict[Spot, int] = {}
    for one, aggregate_id, revision in asked:
        _, row_id = rows.get((aggregate_id, revision), (None, 0))
        newest[one.spot] = max(newest.get(one.spot, 0), row_id)
    return sorted(
        spot for spot, row_id in sent.items() if newest.get(spot, 0) < row_id and not _has_only_expired(reader, spot)
    )


def _has_only_expired(reader: TopicReader, spot: Spot) -> bool:
    return reader.first[spot] == reader.following[spot] > 0


async def _in_outbox(
    pool: "asyncpg.Pool", asked: Sequence[tuple[UUID, int]]
) -> dict[tuple[UUID, int], tuple[UUID, int]]:
    """The message's id and the outbox row's id, by aggregate and revision."""
    if not asked:
        return {}
    rows: Sequence[Any] = await pool.fetch(statements.IN_OUTBOX, *zip(*asked, strict=True))
    return {(row["aggregate_id"], row["revision"]): (row["message_id"], row["id"]) for row in rows}
