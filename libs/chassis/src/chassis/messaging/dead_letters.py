"""Messages that could not be handled: kept with their reason and content, listed, replayed, dropped; nothing is lost.

At the limit of open ones the consumer stops instead of writing another: so many are a bad deploy, not bad messages.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal
from uuid import UUID

import contracts
from chassis.errors import Permanent, reason_of
from chassis.messaging import statements
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


async def keep(
    transaction: Transaction,
    consumer: str,
    failures: Sequence[tuple[Record, UUID | None, BaseException]],
    *,
    limit: int,
) -> None:
    """Stages the failed records. Raises ``DeadLetterLimitError``."""
    if await transaction.connection.fetchval(statements.COUNT_DEAD_LETTERS, consumer) + len(failures) > limit:
        raise DeadLetterLimitError(f"{consumer} may have {limit} open dead letters and would get more")
    records = [record for record, _, _ in failures]
    transaction.write(
        statements.KEEP_DEAD_LETTERS,
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
