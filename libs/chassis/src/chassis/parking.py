"""Keys whose messages wait: one failed for a passing reason, so the later ones of its aggregate must not pass it.

All other keys flow. A loop tries each parked key again with a growing pause, its messages in order, each under a
savepoint of its own; the key's row is locked meanwhile, so that the consumer cannot slip a message past the line.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import structlog

import contracts
from chassis import dead_letters
from chassis.backoff import pause_seconds
from chassis.batch import Failed
from chassis.dead_letters import Record
from chassis.errors import StoreUnavailable, Transient
from chassis.loops import LoopBase
from chassis.metrics import Metrics
from chassis.store import UNAVAILABLE, Store
from chassis.transaction import Transaction

if TYPE_CHECKING:
    from chassis.batch import BatchExecutor
    from chassis.consumer import Item

LARGEST_TURN = 100
POLL_SECONDS = 0.5
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 60.0

log = structlog.get_logger(__name__)

# A key that is parked already stays as it is, but locked: nobody finds its line empty and unparks it before our
# messages are in it.
_PARK_KEYS = """
INSERT INTO parked_keys (consumer, key, reason, attempts, next_attempt_at)
SELECT $1, key, reason, 1, clock_timestamp() + pause * interval '1 second'
FROM unnest($2::uuid[], $3::text[], $4::float8[]) AS failed (key, reason, pause)
ON CONFLICT (consumer, key) DO UPDATE SET reason = parked_keys.reason
"""
_PARK_MESSAGES = """
INSERT INTO parked_messages (consumer, key, message_id, topic, partition, kafka_offset, value, headers)
SELECT $1, key, message_id, topic, partition, kafka_offset, value, headers
FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::int[], $6::bigint[], $7::bytea[], $8::text[])
    WITH ORDINALITY AS waiting (key, message_id, topic, partition, kafka_offset, value, headers, place)
ORDER BY place ON CONFLICT (consumer, message_id) DO NOTHING
"""


async def park(
    connection: "asyncpg.Connection",
    consumer: str,
    failed: Mapping[UUID, Transient],
    waiting: Sequence[tuple[UUID, UUID, Record]],
) -> None:
    """Parks the keys of ``waiting`` (key, message id, record; in order), which it puts into their lines.

    ``failed`` says why. A key that did not fail was found parked; its line may have been worked off meanwhile.
    """
    keys = sorted({key for key, _, _ in waiting})
    reasons = [failed[key].reason[:500] if key in failed else "behind a parked message" for key in keys]
    pauses = [_first_pause_seconds(failed.get(key)) for key in keys]
    await connection.execute(_PARK_KEYS, consumer, keys, reasons, pauses)
    records = [record for _, _, record in waiting]
    await connection.execute(
        _PARK_MESSAGES,
        consumer,
        [key for key, _, _ in waiting],
        [message_id for _, message_id, _ in waiting],
        [record.topic for record in records],
        [record.partition for record in records],
        [record.offset for record in records],
        [record.value or b"" for record in records],
        [record.headers_text() for record in records],
    )


def _first_pause_seconds(error: Transient | None) -> float:
    if error is None:
        return 0.0
    return error.retry_after_seconds or pause_seconds(1, first_seconds=FIRST_PAUSE_SECONDS)


_TAKE = """
SELECT key, attempts FROM parked_keys WHERE consumer = $1 AND next_attempt_at <= clock_timestamp()
ORDER BY next_attempt_at LIMIT 1 FOR UPDATE SKIP LOCKED
"""
_LINE = f"""
SELECT sequence, message_id, topic, partition, kafka_offset, value, headers FROM parked_messages
WHERE consumer = $1 AND key = $2 ORDER BY sequence LIMIT {LARGEST_TURN}
"""  # noqa: S608 (a constant)
_LATER = """
UPDATE parked_keys SET attempts = attempts + 1, reason = $3,
    next_attempt_at = clock_timestamp() + $4 * interval '1 second'
WHERE consumer = $1 AND key = $2
"""
_EMPTY = """
DELETE FROM parked_keys k WHERE consumer = $1 AND key = $2
    AND NOT EXISTS (SELECT 1 FROM parked_messages m WHERE m.consumer = k.consumer AND m.key = k.key)
"""


class Unparker(LoopBase):
    """Tries the parked keys of one consumer again."""

    def __init__(
        self,
        store: Store,
        consumer: str,
        executor: "BatchExecutor[Item, Any, Any]",
        item_of: Callable[[Record], Awaitable["Item"]],
        *,
        metrics: Metrics,
        dead_letter_limit: int,
    ) -> None:
        super().__init__()
        self._store = store
        self._consumer = consumer
        self._executor = executor
        self._item_of = item_of
        self._metrics = metrics
        self._dead_letter_limit = dead_letter_limit

    async def run(self) -> None:
        while not self.stopping:
            self.beat()
            try:
                busy = await self.turn()
            except (StoreUnavailable, dead_letters.DeadLetterLimitError, *UNAVAILABLE) as error:
                log.warning("parking.not-now", consumer=self._consumer, reason=type(error).__name__)
                busy = False
            if not busy:
                await self.pause(POLL_SECONDS)

    async def turn(self) -> bool:
        """Works on one key that is due. Returns whether there was one."""
        async with self._store.pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(_TAKE, self._consumer)
            if row is None:
                await self._gauge(connection)
                return False
            key = row["key"]
            for parked in await connection.fetch(_LINE, self._consumer, key):
                failure = await self._handle(connection, parked)
                if failure is not None:
                    pause = failure.retry_after_seconds or pause_seconds(
                        row["attempts"] + 1, first_seconds=FIRST_PAUSE_SECONDS, longest_seconds=LONGEST_PAUSE_SECONDS
                    )
                    await connection.execute(_LATER, self._consumer, key, failure.reason[:500], pause)
                    break
                await connection.execute("DELETE FROM parked_messages WHERE sequence = $1", parked["sequence"])
            await connection.execute(_EMPTY, self._consumer, key)
        return True

    async def _handle(self, connection: "asyncpg.Connection", parked: Any) -> Transient | None:
        """Handles one message of the line. Returns why it must wait on, if it must."""
        headers = [(name, text.encode()) for name, text in json.loads(parked["headers"]).items()]
        record = Record(
            parked["topic"], parked["partition"], parked["kafka_offset"], None, bytes(parked["value"]), headers
        )
        try:
            item = await self._item_of(record)
        except contracts.ContractError as error:
            failures = [(record, parked["message_id"], error)]
            await dead_letters.keep(connection, self._consumer, failures, limit=self._dead_letter_limit)
            return None
        outcome = await self._executor.run_alone(connection, item)
        if isinstance(outcome, Failed) and isinstance(outcome.error, Transient):
            return outcome.error
        return None

    async def _gauge(self, connection: "asyncpg.Connection") -> None:
        parked = await connection.fetchval("SELECT count(*) FROM parked_keys WHERE consumer = $1", self._consumer)
        self._metrics.set("parked_keys", parked, consumer=self._consumer)


# ---- the operator's hand ------------------------------------------------------------------------------------------

_LIST = """
SELECT k.consumer, k.key, k.reason, k.attempts, k.since, k.next_attempt_at,
    (SELECT count(*) FROM parked_messages m WHERE m.consumer = k.consumer AND m.key = k.key) AS waiting
FROM parked_keys k ORDER BY k.since LIMIT $1
"""


async def list_parked(store: Store, *, limit: int = 50) -> list[Mapping[str, Any]]:
    """The parked keys, longest first, and how many messages wait behind each."""
    return list(await store.pool.fetch(_LIST, limit))


async def release(store: Store, consumer: str, key: UUID, *, actor: str) -> bool:
    """Lets a key be tried at once. Audited. False when it is not parked."""
    statement = """
    UPDATE parked_keys SET next_attempt_at = clock_timestamp() WHERE consumer = $1 AND key = $2 RETURNING key
    """
    async with store.pool.acquire() as connection, connection.transaction():
        if await connection.fetchval(statement, consumer, key) is None:
            return False
        transaction = Transaction(connection)
        transaction.audit(actor=actor, action="parked.release", subject=str(key), detail={"consumer": consumer})
        await transaction.flush()
    return True
