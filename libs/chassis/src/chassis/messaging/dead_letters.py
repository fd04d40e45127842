"""Messages that could not be handled: kept with their reason and content, listed, replayed, dropped; nothing is lost.

At the limit of open ones the consumer stops instead of writing another: so many are a bad deploy, not bad messages.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal
from uuid import UUID

import contracts
from chassis.errors import Permanent, reason_of
from chassis.messaging.batch import StopTheBatch
from chassis.messaging.records import Record
from chassis.store import Store, Transaction

Kind = Literal["permanent", "bug", "undecodable"]


class DeadLetterLimitError(StopTheBatch):
    """The consumer has as many open dead letters as it may: it stops and drops nothing until some are settled."""


def kind_of(error: BaseException) -> Kind:
    if isinstance(error, contracts.ContractError):
        return "undecodable"
    return "permanent" if isinstance(error, Permanent) else "bug"


# A record that comes again from its place has its letter already, also one that was dropped. Another record may come
# from the same place when the topic was made anew: its letter has no offset, because the place is taken.
_INSERT = """
INSERT INTO dead_letters
    (id, consumer, kind, reason, topic, partition, kafka_offset, message_id, key, value, headers, attempts)
SELECT id, $1, kind, reason, topic, partition, CASE WHEN NOT EXISTS (
        SELECT 1 FROM dead_letters l WHERE (l.consumer, l.topic, l.partition, l.kafka_offset)
            = ($1, failed.topic, failed.partition, failed.kafka_offset)
            AND l.state = 'open' AND l.value IS DISTINCT FROM failed.value
    ) THEN kafka_offset END, message_id, key, value, headers, 1
FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::int[], $7::bigint[], $8::uuid[], $9::bytea[],
    $10::bytea[], $11::text[])
    AS failed (id, kind, reason, topic, partition, kafka_offset, message_id, key, value, headers)
WHERE NOT EXISTS (
    SELECT 1 FROM dead_letters l WHERE (l.consumer, l.topic, l.partition, l.kafka_offset)
        = ($1, failed.topic, failed.partition, failed.kafka_offset)
        AND l.state <> 'replayed' AND l.value IS NOT DISTINCT FROM failed.value
)
ON CONFLICT (consumer, topic, partition, kafka_offset) WHERE kafka_offset IS NOT NULL AND state = 'open' DO NOTHING
"""


async def keep(
    transaction: Transaction,
    consumer: str,
    failures: Sequence[tuple[Record, UUID | None, BaseException]],
    *,
    limit: int,
) -> None:
    """Stages the failed records. Raises ``DeadLetterLimitError``."""
    count = "SELECT count(*) FROM dead_letters WHERE consumer = $1 AND state = 'open'"
    if await transaction.connection.fetchval(count, consumer) + len(failures) > limit:
        raise DeadLetterLimitError(f"{consumer} may have {limit} open dead letters and would get more")
    records = [record for record, _, _ in failures]
    transaction.write(
        _INSERT,
        consumer,
        [contracts.uuid7() for _ in failures],
        [kind_of(error) for _, _, error in failures],
        [_reason_of(error)[:1000] for _, _, error in failures],
        [record.topic for record in records],
        [record.partition for record in records],
        [record.offset for record in records],
        [message_id for _, message_id, _ in failures],
        [record.key for record in records],
        [record.value for record in records],
        [record.headers_text() for record in records],
    )


def _reason_of(error: BaseException) -> str:
    return str(error) if isinstance(error, contracts.ContractError) else reason_of(error)


# ---- the operator's hand ------------------------------------------------------------------------------------------

_LIST = """
SELECT id, consumer, kind, reason, topic, partition, kafka_offset, message_id, attempts, state, created_at
FROM dead_letters WHERE state = $1 ORDER BY created_at DESC LIMIT $2
"""


async def list_dead_letters(store: Store, *, state: str = "open", limit: int = 50) -> list[Mapping[str, Any]]:
    """The newest, without their content."""
    return list(await store.pool.fetch(_LIST, state, limit))


async def show_dead_letter(store: Store, identifier: UUID) -> dict[str, Any] | None:
    """One, with its content in ``value``; None when there is none."""
    row = await store.pool.fetchrow("SELECT * FROM dead_letters WHERE id = $1", identifier)
    return dict(row) if row is not None else None


# A key that is no aggregate's puts the letter into a line of its own.
_REPLAY = """
WITH letter AS (
    UPDATE dead_letters SET state = 'replayed', settled_at = clock_timestamp(), attempts = attempts + 1
    WHERE id = $1 AND state = 'open' AND value IS NOT NULL
    RETURNING *, CASE WHEN encode(key, 'escape') ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
        THEN encode(key, 'escape')::uuid ELSE id END AS line
), parked AS (
    INSERT INTO parked_keys (consumer, key, reason)
    SELECT consumer, line, 'replayed by an operator' FROM letter
    ON CONFLICT (consumer, key) DO UPDATE SET next_attempt_at = clock_timestamp()
)
INSERT INTO parked_messages (consumer, key, message_id, topic, partition, kafka_offset, value, headers)
SELECT consumer, line, coalesce(message_id, id), topic, partition, coalesce(kafka_offset, -1), value, headers
FROM letter ON CONFLICT (consumer, message_id) DO NOTHING RETURNING consumer
"""
_DROP = """
UPDATE dead_letters SET state = 'dropped', settled_at = clock_timestamp() WHERE id = $1 AND state = 'open' RETURNING id
"""


async def replay_dead_letter(store: Store, identifier: UUID, *, actor: str) -> bool:
    """Puts the message at the end of its key's line of parked messages, from where the running service handles it.

    Audited. False when there is no such open letter, or it has no content to handle.
    """
    return await _settle(store, _REPLAY, identifier, actor=actor, action="dead-letter.replay")


async def drop_dead_letter(store: Store, identifier: UUID, *, actor: str) -> bool:
    """Gives the message up. Audited. False when there is no such open letter."""
    return await _settle(store, _DROP, identifier, actor=actor, action="dead-letter.drop")


async def _settle(store: Store, statement: str, identifier: UUID, *, actor: str, action: str) -> bool:
    async with store.pool.acquire() as connection, connection.transaction():
        if await connection.fetchval(statement, identifier) is None:
            return False
        transaction = Transaction(connection)
        transaction.audit(actor=actor, action=action, subject=str(identifier))
        await transaction.flush()
    return True
