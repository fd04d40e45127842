"""P5: inbox + state + history + outbox. Ours: the chassis' batch executor, with contract messages made and written.

Floors: (a) four separate statements per message, one transaction a message, at 8 connections; (b) the same rows for
batches of 50 in one hand-written transaction.
"""

import asyncio
import sys
import time
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

sys.path.insert(0, str(Path(__file__).parents[1]))

import asyncpg

import contracts
from bench.harness import at_least, database, main, pairs
from chassis.messaging import BatchExecutor, InboxIntake, Item, Record
from chassis.settings import StoreSettings
from chassis.store import Store, Transaction
from contracts.examples import EXAMPLES

MESSAGES = 2000
CONNECTIONS = 8
BATCH = 50
EXAMPLE: Any = EXAMPLES[contracts.AppointmentScheduled]
TABLES = """
CREATE TABLE state (id uuid PRIMARY KEY, revision int NOT NULL, body text NOT NULL);
CREATE TABLE history (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, aggregate_id uuid NOT NULL, revision int NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
"""


class States:
    """A repository like those of the services."""

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction
        self.rows: dict[UUID, int] = {}
        self.changed: list[tuple[UUID, int]] = []

    def mark(self) -> Any:
        return dict(self.rows), len(self.changed)

    def rollback_to(self, mark: Any) -> None:
        self.rows = mark[0]
        del self.changed[mark[1] :]

    async def load(self, ids: list[UUID]) -> None:
        statement = "SELECT id, revision FROM state WHERE id = ANY($1::uuid[]) ORDER BY id FOR UPDATE"
        for found in await self.transaction.connection.fetch(statement, ids):
            self.rows[found["id"]] = found["revision"]

    async def flush(self, _connection: Any) -> None:
        ids, revisions = [one for one, _ in self.changed], [one for _, one in self.changed]
        newest = dict(self.changed)
        self.transaction.write(WRITE_HISTORY, ids, revisions)
        self.transaction.write(WRITE_STATE, list(newest), list(newest.values()))
        self.changed.clear()


def incoming(number: int) -> list[contracts.Message]:
    keys = [uuid4() for _ in range(number // 2)]
    return [
        contracts.new_message(
            contracts.AppointmentScheduled, aggregate_id=keys[n % len(keys)], revision=1 + n // len(keys),
            data=EXAMPLE.data, producer="scheduler-sync", occurred_at=EXAMPLE.occurred_at,
        )
        for n in range(number)
    ]  # fmt: skip


def executor(store: Store) -> BatchExecutor[Item, Any, None]:
    def open_work(transaction: Transaction) -> States:
        states = States(transaction)
        transaction.join(states)
        return states

    async def prefetch(states: States, items: Any) -> None:
        await states.load([item.message.aggregate_id for item in items])

    async def handle(states: States, item: Item) -> None:
        message = item.message
        states.rows[message.aggregate_id] = message.revision
        states.changed.append((message.aggregate_id, message.revision))
        states.transaction.publish(message)

    return BatchExecutor(
        store,
        intake=InboxIntake("bench", dead_letter_limit=10),
        open_work=open_work,
        prefetch=prefetch,
        handle=handle,
    )


def rows_of(message: contracts.Message) -> tuple[Any, ...]:
    return (message.type, message.aggregate_id, message.revision, message.message_id, message.to_bytes(), "{}")


WRITE_HISTORY = "INSERT INTO history (aggregate_id, revision) SELECT * FROM unnest($1::uuid[], $2::int[])"
WRITE_STATE = """
INSERT INTO state SELECT id, revision, 'body' FROM unnest($1::uuid[], $2::int[]) AS n (id, revision)
ON CONFLICT (id) DO UPDATE SET revision = excluded.revision
"""
INBOX = "INSERT INTO inbox (consumer, message_id) VALUES ('floor', $1) ON CONFLICT DO NOTHING"
STATE = "INSERT INTO state VALUES ($1, $2, 'body') ON CONFLICT (id) DO UPDATE SET revision = excluded.revision"
HISTORY = "INSERT INTO history (aggregate_id, revision) VALUES ($1, $2)"
OUTBOX = (
    "INSERT INTO outbox (topic, aggregate_id, revision, message_id, value, headers) VALUES ($1, $2, $3, $4, $5, $6)"
)
HAND_INBOX = """
INSERT INTO inbox (consumer, message_id) SELECT 'floor', unnest($1::uuid[]) ON CONFLICT DO NOTHING
"""
HAND_STATE = """
WITH h AS (INSERT INTO history (aggregate_id, revision) SELECT * FROM unnest($1::uuid[], $2::int[]))
INSERT INTO state SELECT DISTINCT ON (id) id, revision, 'body' FROM unnest($1::uuid[], $2::int[]) AS n (id, revision)
ORDER BY id, revision DESC ON CONFLICT (id) DO UPDATE SET revision = excluded.revision
"""
HAND_OUTBOX = """
INSERT INTO outbox (topic, aggregate_id, revision, message_id, value, headers)
SELECT * FROM unnest($1::text[], $2::uuid[], $3::int[], $4::uuid[], $5::bytea[], $6::text[])
"""


async def four_statements(pool: asyncpg.Pool, messages: list[contracts.Message]) -> None:
    waiting = iter(messages)

    async def one_connection() -> None:
        async with pool.acquire() as connection:
            for message in waiting:
                async with connection.transaction():
                    await connection.execute(INBOX, message.message_id)
                    await connection.execute(STATE, message.aggregate_id, message.revision)
                    await connection.execute(HISTORY, message.aggregate_id, message.revision)
                    await connection.execute(OUTBOX, *rows_of(message))

    await asyncio.gather(*(one_connection() for _ in range(CONNECTIONS)))


async def by_hand(pool: asyncpg.Pool, batches: list[list[contracts.Message]]) -> None:
    waiting = iter(batches)

    async def one_connection() -> None:
        async with pool.acquire() as connection:
            for batch in waiting:
                ids, revisions = [m.aggregate_id for m in batch], [m.revision for m in batch]
                async with connection.transaction():
                    await connection.execute(HAND_INBOX, [m.message_id for m in batch])
                    await connection.execute(HAND_STATE, ids, revisions)
                    await connection.execute(HAND_OUTBOX, *zip(*(rows_of(m) for m in batch), strict=True))

    await asyncio.gather(*(one_connection() for _ in range(2)))


async def rows() -> list[dict[str, Any]]:
    async with database() as url:
        store = await Store.open(StoreSettings(url=url, pool_size=CONNECTIONS))
        await store.pool.execute(TABLES)
        run = executor(store)

        async def ours(size: int, connections: int) -> float:
            messages = incoming(MESSAGES)
            items = [Item(Record("t", 0, n, None, b"", []), message) for n, message in enumerate(messages)]
            waiting = iter([items[n : n + size] for n in range(0, len(items), size)])

            async def one_connection() -> None:
                for batch in waiting:
                    await run.run(batch)

            started = time.perf_counter()
            await asyncio.gather(*(one_connection() for _ in range(connections)))
            return MESSAGES / (time.perf_counter() - started)

        async def floor_of_four() -> float:
            messages = incoming(MESSAGES)
            started = time.perf_counter()
            await four_statements(store.pool, messages)
            return MESSAGES / (time.perf_counter() - started)

        async def floor_by_hand() -> float:
            messages = incoming(MESSAGES)
            batches = [messages[n : n + BATCH] for n in range(0, len(messages), BATCH)]
            started = time.perf_counter()
            await by_hand(store.pool, batches)
            return MESSAGES / (time.perf_counter() - started)

        result = [
            at_least(
                "P5a",
                "inbox + state + history + outbox, messages/s (floor: four statements each, 8 connections)",
                await pairs(lambda: ours(BATCH, 2), floor_of_four),
                2.5,
            ),
            at_least(
                "P5b",
                "the same, messages/s (floor: batches of 50 in one hand-written transaction)",
                await pairs(lambda: ours(BATCH, 2), floor_by_hand),
                0.7,
            ),
        ]
        await store.close()
        return result


if __name__ == "__main__":
    main(rows)
