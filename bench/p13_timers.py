"""P13: 10,000 timers that are due at once among a million later ones, with messages of another key meanwhile.

An effect is a handler's work on a message: state, history and an event, in the transaction that marks the timer. Floor:
the same number of messages through the inbox, in batches of the same size.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

sys.path.insert(0, str(Path(__file__).parents[1]))

import psutil

import contracts
from bench.harness import database, main, progress, row
from bench.p5_batch import EXAMPLE, TABLES, States, executor
from chassis.clock import Span, utc_now
from chassis.messaging import Item, Record
from chassis.observe import Metrics
from chassis.settings import StoreSettings
from chassis.store import Store, Transaction
from chassis.timers import Timer, TimerHandlers, TimerWorker
from chassis.timers.intake import LARGEST_BATCH

DUE, TO_COME = 10_000, 1_000_000
MOST_SECONDS, MOST_WAIT_SECONDS = 2.0, 0.1
BETWEEN_MESSAGES_SECONDS = 0.01
TURNS = 3
_TO_COME = """
INSERT INTO timers (kind, key, name, revision, due_at, next_attempt_at)
SELECT 'remind', gen_random_uuid(), '-', 1, due, due
FROM (SELECT now() + (1 + random() * 365) * interval '1 day' AS due FROM generate_series(1, $1::int)) AS made
"""
_FALL_DUE = """
INSERT INTO timers (kind, key, name, revision, due_at, next_attempt_at)
SELECT 'remind', key, '-', 1, now() - interval '1 minute', now() - interval '1 minute' FROM unnest($1::uuid[]) AS key
"""


class Clock:
    """The machine's, which is the store's too."""

    def now(self) -> datetime:
        return utc_now()

    def span(self) -> Span:
        return Span(utc_now(), utc_now())


def message(key: UUID) -> contracts.Message:
    return contracts.new_message(
        contracts.AppointmentScheduled, aggregate_id=key, revision=1, data=EXAMPLE.data, producer="scheduler-sync",
        occurred_at=datetime.now(UTC),
    )  # fmt: skip


def item(key: UUID) -> Item:
    return Item(Record("t", 0, 0, None, b"", []), message(key))


def worker(store: Store) -> TimerWorker[States]:
    def open_work(transaction: Transaction) -> States:
        states = States(transaction)
        transaction.join(states)
        return states

    async def prefetch(states: States, timers: Sequence[Timer]) -> None:
        await states.load([timer.key for timer in timers])

    async def remind(timer: Timer, /, *, work: States) -> None:
        work.rows[timer.key] = 1
        work.changed.append((timer.key, 1))
        work.transaction.publish(message(timer.key))

    return TimerWorker(store, TimerHandlers(open_work, prefetch, {"remind": remind}), clock=Clock(), metrics=Metrics())


async def cpu_seconds(store: Store) -> float:
    """Processor time of this process and its sessions in Postgres; NaN when Postgres runs elsewhere."""
    pids = await store.pool.fetch("SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
    try:
        taken = [psutil.Process(row["pid"]).cpu_times() for row in pids]
    except psutil.Error:
        return float("nan")
    return time.process_time() + sum(one.user + one.system for one in taken)


async def hear(store: Store, waits: list[float], is_over: asyncio.Event) -> None:
    """Handles messages of another key until told to stop; ``waits``: seconds from arrival to commit of each."""
    inbox = executor(store)
    while not is_over.is_set():
        asked = time.perf_counter()
        await inbox.run([item(uuid4())])
        waits.append(time.perf_counter() - asked)
        await asyncio.sleep(BETWEEN_MESSAGES_SECONDS)


async def fire(store: Store, waits: list[float] | None = None) -> float:
    """The time until all due timers have had their effect; with ``waits``, messages of other keys arrive meanwhile."""
    await store.pool.execute(_FALL_DUE, [uuid4() for _ in range(DUE)], timeout=60)
    one, is_over = worker(store), asyncio.Event()
    hearing = [] if waits is None else [asyncio.create_task(hear(store, waits, is_over))]
    started = time.perf_counter()
    while await one.turn() == 0:
        pass
    seconds = time.perf_counter() - started
    is_over.set()
    await asyncio.gather(*hearing)
    left: Any = await store.pool.fetchval("SELECT count(*) FROM timers WHERE state = 'waiting' AND due_at <= now()")
    if left:
        raise RuntimeError(f"{left} timers are still due")
    return seconds


async def hear_as_many(store: Store) -> float:
    inbox = executor(store)
    items = [item(uuid4()) for _ in range(DUE)]
    started = time.perf_counter()
    for first in range(0, DUE, LARGEST_BATCH):
        await inbox.run(items[first : first + LARGEST_BATCH])
    return time.perf_counter() - started


async def hear_alone(store: Store, seconds: float) -> list[float]:
    waits: list[float] = []
    is_over = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, is_over.set)
    await hear(store, waits, is_over)
    return waits


def late(waits: list[float]) -> float:
    return sorted(waits)[int(len(waits) * 0.99)]


async def rows() -> list[dict[str, Any]]:
    async with database() as url:
        store = await Store.open(StoreSettings(url=url, pool_size=8))
        await store.pool.execute(TABLES)
        for _ in range(10):
            await store.pool.execute(_TO_COME, TO_COME // 10, timeout=300)
        await store.pool.execute("VACUUM ANALYZE timers", timeout=300)
        progress(f"{TO_COME:,} timers to come")
        measured, floors, cpu, waits, alone = [], [], [], list[float](), list[float]()
        for turn in range(TURNS):
            before = await cpu_seconds(store)
            measured.append(await fire(store))
            cpu.append(await cpu_seconds(store) - before)
            floors.append(await hear_as_many(store))
            alone += await hear_alone(store, measured[-1])
            await fire(store, waits)
            progress(
                f"turn {turn + 1} of {TURNS}: {measured[-1]:.2f} s, {cpu[-1]:.2f} s of CPU, beside {floors[-1]:.2f}"
            )
        await store.close()
    seconds, floor = statistics.median(measured), statistics.median(floors)
    ratio = statistics.median(one / other for one, other in zip(measured, floors, strict=True))
    taken = statistics.median(cpu)
    return [
        row(
            "P13a",
            f"{DUE:,} timers due among {TO_COME:,} to come become effects, s (floor: as many messages)",
            (seconds, floor, ratio),
            f"≤ {MOST_SECONDS:g} s",
            met=seconds <= MOST_SECONDS,
        ),
        row(
            "P13a-cpu",
            "the same: what service and Postgres take of the processors, s",
            (taken, None, None),
            f"≤ {MOST_SECONDS:g} s",
            met=taken <= MOST_SECONDS,
        ),
        row(
            "P13b",
            f"a message of another key meanwhile, s, p99 of {len(waits)}, longest {max(waits):.3f} (floor: without)",
            (late(waits), late(alone), late(waits) / late(alone)),
            f"≤ {MOST_WAIT_SECONDS:g} s",
            met=late(waits) <= MOST_WAIT_SECONDS,
        ),
    ]


if __name__ == "__main__":
    main(rows)
