"""``python -m tests.chaos.chimes``: a small service on the chassis' timers, for the harness to kill.

No service of the suite uses timers yet. This one consumes the appointments' events. Each event sets, moves or cancels
the appointment's chime, which becomes a row when it is due. The rows are counted at the end of a run.
"""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import contracts
import contracts.topics as contracts_topics
from chassis.host import Service
from chassis.messaging import Consumer, Subscription
from chassis.observe import Metrics, telemetry
from chassis.settings import ClockSettings, HttpSettings, KafkaSettings, StoreSettings, TelemetrySettings
from chassis.store import Store, StoreClock, Transaction, schema
from chassis.timers import Timer, TimerHandlers, TimerWorker

NAME: Final = "chimes"
TOPICS: Final = tuple(name for name in contracts_topics.TOPICS if name.startswith("appointment."))
DELAY_SECONDS: Final = 2.0
_TABLES: Final = """
CREATE TABLE heard (key uuid PRIMARY KEY, revision integer NOT NULL, word text NOT NULL);
CREATE TABLE chimed (key uuid NOT NULL, revision integer NOT NULL, due_at timestamptz NOT NULL,
    newest integer NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp());
"""
_LOAD: Final = "SELECT key, revision FROM heard WHERE key = ANY($1::uuid[]) ORDER BY key FOR UPDATE"
_HEARD: Final = """
INSERT INTO heard SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[])
ON CONFLICT (key) DO UPDATE SET revision = excluded.revision, word = excluded.word
"""
_CHIMED: Final = """
INSERT INTO chimed (key, revision, due_at, newest)
SELECT * FROM unnest($1::uuid[], $2::int[], $3::timestamptz[], $4::int[])
"""


@dataclass
class Bell:
    """The repository: the newest known revision of each appointment, and the chimes that fired.

    ``chimed`` has no unique constraint, so that a second effect is visible.
    """

    transaction: Transaction
    clock: StoreClock

    def __post_init__(self) -> None:
        self.newest: dict[UUID, int] = {}
        self.heard: dict[UUID, tuple[int, str]] = {}
        self.chimed: list[tuple[Any, ...]] = []
        self.transaction.join(self)

    async def load(self, keys: Sequence[UUID]) -> None:
        for row in await self.transaction.connection.fetch(_LOAD, sorted(set(keys))):
            self.newest[row["key"]] = row["revision"]

    def mark(self) -> Any:
        return dict(self.newest), dict(self.heard), len(self.chimed)

    def rollback_to(self, mark: Any) -> None:
        self.newest, self.heard = mark[0], mark[1]
        del self.chimed[mark[2] :]

    async def flush(self, _connection: Any) -> None:
        if self.heard:
            rows = [(key, *said) for key, said in sorted(self.heard.items())]
            self.transaction.write(_HEARD, *zip(*rows, strict=True))
        if self.chimed:
            self.transaction.write(_CHIMED, *zip(*self.chimed, strict=True))


async def hear(bell: Bell, message: contracts.Message) -> None:
    """Idempotent by the revision: an older event changes no chime."""
    key, revision = message.aggregate_id, message.revision
    if revision <= bell.newest.get(key, 0):
        return
    bell.newest[key] = revision
    word = "cancel" if message.type == "appointment.cancelled" else "set"
    bell.heard[key] = (revision, word)
    if word == "cancel":
        bell.transaction.cancel_timer("chime", key=key, revision=revision)
    else:
        due_at = bell.clock.now() + timedelta(seconds=DELAY_SECONDS)
        bell.transaction.set_timer("chime", key=key, due_at=due_at, revision=revision)


async def chime(timer: Timer, /, *, work: Bell) -> None:
    """The claim makes this happen once. The harness looks for two rows of one revision."""
    work.chimed.append((timer.key, timer.revision, timer.due_at, work.newest.get(timer.key, 0)))


async def build() -> Service:
    """Makes missing tables. Raises StoreUnavailable."""
    store = await Store.open(StoreSettings(url=os.environ["CHIMES_STORE__URL"], pool_size=4))
    async with store.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(1)")  # two replicas may start at once
        if not await connection.fetchval("SELECT to_regclass('heard') IS NOT NULL"):
            await connection.execute(schema.whole() + _TABLES)
    metrics = Metrics()
    clock = StoreClock(store, ClockSettings(), metrics)
    await clock.start()

    def open_work(transaction: Transaction) -> Bell:
        return Bell(transaction, clock)

    async def load_heard(bell: Bell, messages: Sequence[contracts.Message]) -> None:
        await bell.load([message.aggregate_id for message in messages])

    async def load_due(bell: Bell, timers: Sequence[Timer]) -> None:
        await bell.load([timer.key for timer in timers])

    kafka = KafkaSettings(bootstrap_servers=os.environ["CHIMES_KAFKA__BOOTSTRAP_SERVERS"], session_timeout_seconds=2)
    consumer = Consumer(store, kafka, Subscription(NAME, TOPICS, open_work, load_heard, hear), metrics=metrics)
    handlers = TimerHandlers(open_work, load_due, {"chime": chime})
    timers = TimerWorker(store, handlers, clock=clock, metrics=metrics)
    http = HttpSettings(port=int(os.environ["CHIMES_HTTP__PORT"]))
    loops = {"consumer": consumer, "timers": timers, "clock": clock}
    checks = {"store": store.ping, "consumer": consumer.check}
    return Service(NAME, http, metrics, loops, checks, closers=[store.close])


async def main() -> int:
    telemetry.configure(NAME, TelemetrySettings())
    return await (await build()).run()


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
