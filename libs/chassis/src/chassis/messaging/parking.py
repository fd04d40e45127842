"""Parked keys: a message failed for a passing reason, so the later messages of its aggregate must not pass it.

All other keys flow; none waits for a line that is worked on. A consumer that meets a parked key locks the key's row
(FOR KEY SHARE, as a foreign key would) and puts its message at the end of the line. A loop tries each parked key again
with a growing pause, its messages in order, each under a savepoint. It locks the row against other loops only (FOR NO
KEY UPDATE), and unparks the key only when nobody else holds the row: so no message enters a line that nobody works on,
and none passes a line.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from uuid import UUID

import asyncpg
import structlog

from chassis.backoff import pause_seconds
from chassis.errors import Transient
from chassis.loops import LoopBase
from chassis.messaging import dead_letters, statements
from chassis.messaging.batch import Done, Duplicate, Failed, Outcome
from chassis.messaging.records import Item, Record
from chassis.observe import Metrics, meters
from chassis.store import Store, Transaction
from chassis.store.rows import audit, rows, sql, tables
from chassis.store.store import ERRORS

if TYPE_CHECKING:
    from chassis.messaging.batch import BatchExecutor

POLL_SECONDS = 0.5
SHORTEST_PAUSE_SECONDS = 0.02
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 60.0
FAILURES_TO_WARN_OF = 5
"""The first try comes after half a second: most short failures are over by then."""

log = structlog.get_logger(__name__)


class Waiting(NamedTuple):
    """A message for its key's line, with the reason of its failure; None when it only waits behind another."""

    key: UUID
    message_id: UUID
    record: Record
    error: Transient | None


def word_of(outcome: Outcome[Any]) -> Literal["done", "duplicate", "dead", "parked"]:
    """The name of the error in ``messages_consumed_total``."""
    match outcome:
        case Done():
            return "done"
        case Duplicate():
            return "duplicate"
        case Failed(error) if not isinstance(error, Transient):
            return "dead"
        case _:
            return "parked"


async def hold(connection: "asyncpg.Connection", consumer: str, keys: Sequence[UUID]) -> set[UUID]:
    """The parked ones of ``keys``. They stay parked until the caller's transaction has ended."""
    return {row["key"] for row in await connection.fetch(statements.HOLD_KEYS, consumer, keys)}


async def park(transaction: Transaction, consumer: str, waiting: Sequence[Waiting]) -> None:
    """Parks the keys of the failed messages, and stages all of ``waiting``, in order, for their lines.

    The transaction holds the keys of messages that did not fail, or these wait behind one that did.
    """
    connection = transaction.connection
    failed: dict[UUID, Transient] = {}
    for one in waiting:
        if one.error is not None:
            failed.setdefault(one.key, one.error)
    while failed:
        keys = sorted(failed)
        reasons = [failed[key].reason[:500] for key in keys]
        pauses = [_pause_seconds(1, failed[key]) for key in keys]
        held = {row["key"] for row in await connection.fetch(statements.PARK_KEYS, consumer, keys, reasons, pauses)}
        # another process parked the key first; its row may be gone before this transaction locks it
        if len(held) < len(keys):
            held |= await hold(connection, consumer, keys)
        failed = {key: error for key, error in failed.items() if key not in held}
    records = [one.record for one in waiting]
    transaction.write(
        statements.PARK_MESSAGES,
        consumer,
        [one.key for one in waiting],
        [one.message_id for one in waiting],
        [record.topic for record in records],
        [record.partition for record in records],
        [record.offset for record in records],
        [record.value or b"" for record in records],
        [record.headers_text() for record in records],
    )


def _pause_seconds(failures: int, error: Transient) -> float:
    return error.retry_after_seconds or pause_seconds(
        failures, first_seconds=FIRST_PAUSE_SECONDS, longest_seconds=LONGEST_PAUSE_SECONDS
    )


class Unparker(LoopBase):
    """Tries the parked keys of one consumer again."""

    def __init__(
        self,
        store: Store,
        consumer: str,
        executor: "BatchExecutor[Item, Any, Any]",
        item_of: Callable[[Record], "Item"],
        *,
        metrics: Metrics,
    ) -> None:
        super().__init__()
        self._store = store
        self._consumer = consumer
        self._executor = executor
        self._item_of = item_of
        self._metrics = metrics
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Tells the loop that a key was parked: the key may be due before the next look."""
        self._wake.set()

    async def run(self) -> None:
        while not self.stopping:
            self.beat()
            try:
                pause = await self.turn()
            except (*ERRORS, dead_letters.DeadLetterLimitError) as error:
                # Whatever the error is, the lines stay unchanged, and other keys may go on.
                log.warning("parking.not-now", consumer=self._consumer, reason=type(error).__name__)
                pause = POLL_SECONDS
            if pause:
                await self.pause(pause, self._wake)

    async def turn(self) -> float:
        """Works on one due key. Returns the seconds until the next look: 0 where a key was due."""
        words: Counter[str] = Counter()
        async with self._store.pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(statements.TAKE_KEY, self._consumer)
            if row is None:
                return await self._look_ahead(connection)
            key = row["key"]
            for parked in await connection.fetch(statements.LINE_OF_KEY, self._consumer, key):
                outcome = await self._executor.run_alone(connection, self._item_of(_record_of(parked)))
                if isinstance(outcome, Failed) and isinstance(outcome.error, Transient):
                    await self._put_off(connection, key, row["attempts"] + 1, outcome.error)
                    break
                await connection.execute(statements.FORGET_PARKED, parked["sequence"])
                words[word_of(outcome)] += 1
            else:
                await self._unpark(connection, key)
        for word, number in words.items():
            self._metrics.count(meters.MESSAGES_CONSUMED, number, consumer=self._consumer, outcome=word)
        return 0.0

    async def _put_off(self, connection: "asyncpg.Connection", key: UUID, failures: int, error: Transient) -> None:
        pause = _pause_seconds(failures, error)
        await connection.execute(statements.TRY_KEY_LATER, self._consumer, key, 1, error.reason[:500], pause)
        if failures == FAILURES_TO_WARN_OF:
            log.warning("parking.still-fails", consumer=self._consumer, key=str(key), reason=error.reason)

    async def _unpark(self, connection: "asyncpg.Connection", key: UUID) -> None:
        """Only when no consumer holds the key: it may have a message for the line."""
        if await connection.fetchrow(statements.HAVE_KEY_ALONE, self._consumer, key) is not None:
            await connection.execute(statements.UNPARK, self._consumer, key)
        else:
            await connection.execute(statements.TRY_KEY_LATER, self._consumer, key, 0, None, SHORTEST_PAUSE_SECONDS)

    async def _look_ahead(self, connection: "asyncpg.Connection") -> float:
        row = await connection.fetchrow(statements.PARKED_KEYS, self._consumer)
        self._metrics.set(meters.PARKED_KEYS, row["parked"], consumer=self._consumer)
        due_in_seconds: float | None = row["due_in_seconds"]
        if due_in_seconds is None:
            return POLL_SECONDS
        # A due key that was not taken is held by another process: no reason to look again without a pause.
        return min(max(due_in_seconds, SHORTEST_PAUSE_SECONDS), POLL_SECONDS)


def _record_of(parked: Any) -> Record:
    headers = [(name, text.encode()) for name, text in json.loads(parked["headers"]).items()]
    value = bytes(parked["value"])
    return Record(parked["topic"], parked["partition"], parked["kafka_offset"], None, value, headers)


# ---- the operator's commands --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ParkedRow:
    """A parked key, and the number of messages that wait behind it."""

    consumer: str
    key: UUID
    reason: str
    attempts: int
    since: datetime
    next_attempt_at: datetime
    waiting: int


async def list_parked(store: Store, *, limit: int = 50) -> list[ParkedRow]:
    """The parked keys, longest first."""
    async with store.session() as session:
        keys, parked = tables.ParkedKeys, tables.ParkedMessages
        behind = sql.select(sql.func.count()).where(parked.consumer == keys.consumer, parked.key == keys.key)
        found = sql.select(
            keys.consumer, keys.key, keys.reason, keys.attempts, keys.since, keys.next_attempt_at,
            behind.scalar_subquery(),
        ).order_by(sql.col(keys.since)).limit(limit)  # fmt: skip
        return await rows(session, ParkedRow, found)


async def release(store: Store, consumer: str, key: UUID, *, actor: str) -> bool:
    """Makes a key due at once. Audited. False when the key is not parked."""
    async with store.session() as session:
        keys = tables.ParkedKeys
        one = sql.update(keys).where(keys.consumer == consumer, keys.key == key)
        if not (await session.exec(one.values(next_attempt_at=sql.func.clock_timestamp()))).rowcount:
            return False
        await audit(session, actor=actor, action="parked.release", subject=str(key), detail={"consumer": consumer})
        await session.commit()
    return True
