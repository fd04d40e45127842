"""Messages that could not be handled, kept with their reason and content; listed, replayed or dropped.

At the limit of open dead letters the consumer stops instead of writing another: so many mean a bad deploy, not bad
messages.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

import contracts
from chassis.errors import Permanent, reason_of
from chassis.messaging import statements
from chassis.messaging.batch import StopTheBatch
from chassis.messaging.records import Record
from chassis.store import Store, Transaction
from chassis.store.rows import audit, columns, fixed, postgresql, rows, sql, tables

Kind = Literal["permanent", "bug", "undecodable"]
_AGGREGATE: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class DeadLetterLimitError(StopTheBatch):
    """The consumer has reached its limit of open dead letters. It stops and drops nothing until some are settled."""


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
        raise DeadLetterLimitError(f"{consumer} would exceed its limit of {limit} open dead letters")
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


# ---- the operator's commands --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LetterRow:
    """A dead letter as lists show it: without its key, value and headers."""

    id: UUID
    consumer: str
    kind: str
    reason: str
    topic: str
    partition: int | None
    kafka_offset: int | None
    message_id: UUID | None
    attempts: int
    state: str
    created_at: datetime


async def list_dead_letters(store: Store, *, state: str = "open", limit: int = 50) -> list[LetterRow]:
    """The newest dead letters, without their content."""
    async with store.session() as session:
        letters = tables.DeadLetters
        chosen = sql.select(*columns(letters, LetterRow)).where(letters.state == fixed(state))
        return await rows(session, LetterRow, chosen.order_by(sql.col(letters.created_at).desc()).limit(limit))


async def show_dead_letter(store: Store, identifier: UUID) -> "tables.DeadLetters | None":
    """One dead letter, with its content in ``value``; None when there is none."""
    async with store.session() as session:
        letters = tables.DeadLetters
        found: tables.DeadLetters | None = (
            await session.exec(sql.select(letters).where(letters.id == identifier))
        ).first()
        return found


async def replay_dead_letter(store: Store, identifier: UUID, *, actor: str) -> bool:
    """Puts the message at the end of its key's line of parked messages; the running service handles it. Audited.

    False when there is no such open letter, or the letter has no content.
    """
    async with store.session() as session:
        letters, keys, parked = tables.DeadLetters, tables.ParkedKeys, tables.ParkedMessages
        open_one = sql.update(letters).where(letters.id == identifier, letters.state == fixed("open"))
        again = {"state": "replayed", "settled_at": sql.func.clock_timestamp(), "attempts": letters.attempts + 1}
        replayed = open_one.where(sql.col(letters.value).is_not(None)).values(again).returning(letters)
        letter = (await session.exec(replayed)).scalar_one_or_none()
        if letter is None:
            return False
        line = _line_of(letter.key, letter.id)
        key = {"consumer": letter.consumer, "key": line, "reason": "replayed by an operator"}
        message = {
            "consumer": letter.consumer,
            "key": line,
            "message_id": letter.message_id or letter.id,
            "topic": letter.topic,
            "partition": letter.partition,
            "kafka_offset": -1 if letter.kafka_offset is None else letter.kafka_offset,
            "value": letter.value,
            "headers": letter.headers,
        }
        await session.exec(
            postgresql.insert(keys)
            .values(key)
            .on_conflict_do_update(
                index_elements=[keys.consumer, keys.key], set_={"next_attempt_at": sql.func.clock_timestamp()}
            )
        )
        await session.exec(postgresql.insert(parked).values(message).on_conflict_do_nothing())
        await audit(session, actor=actor, action="dead-letter.replay", subject=str(identifier))
        await session.commit()
    return True


async def drop_dead_letter(store: Store, identifier: UUID, *, actor: str) -> bool:
    """Drops the message. Audited. False when there is no such open letter."""
    async with store.session() as session:
        letters = tables.DeadLetters
        open_one = sql.update(letters).where(letters.id == identifier, letters.state == fixed("open"))
        dropped = open_one.values(state="dropped", settled_at=sql.func.clock_timestamp())
        if not (await session.exec(dropped)).rowcount:
            return False
        await audit(session, actor=actor, action="dead-letter.drop", subject=str(identifier))
        await session.commit()
    return True


def _line_of(key: bytes | None, letter_id: UUID) -> UUID:
    """The key of the message's line: the aggregate, or a key of its own where the message's key is no aggregate's."""
    text = (key or b"").decode("ascii", "replace")
    return UUID(text) if _AGGREGATE.fullmatch(text) else letter_id
