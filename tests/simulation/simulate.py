"""Runs seeds of the simulated world: ``make simulate SEEDS=100000``, or one of them with its trace: ``SEED=4711``."""

import argparse
import asyncio
import gc
import json
import multiprocessing
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock
from uuid import UUID

sys.path.insert(0, str(Path(__file__).parent))

import asyncpg
from simulated_kafka import Producer
from simulated_loop import SimulatedLoop, run
from simulated_world import (
    FAULTS_SECONDS,
    KEYS,
    MESSAGES,
    REVISIONS,
    SETTLING_SECONDS,
    Mutations,
    World,
)

from chassis import loops
from chassis.deliveries import DeliveryWorker, bugs, keeping
from chassis.deliveries import worker as delivery_worker
from chassis.messaging import consumer, outbox, parking
from chassis.store import Transaction, exclusive
from chassis.timers import worker as timers_worker
from local_stack.arguments import above_zero, at_least

LOGGING = (outbox, exclusive, delivery_worker, keeping, consumer, parking, timers_worker)
UPSTREAM = ("upstream-1", "upstream-2")
DOWNSTREAM = ("downstream-1", "downstream-2")
ROWS_PER_TURN = 3
"""The relay's batch: small, so that a short backlog takes several overlapping turns."""


@dataclass
class Result:
    """The result of a seed. ``faults`` counts the injected faults by kind."""

    seed: int
    violations: list[str] = field(default_factory=list)
    trace: list[str] | None = None
    steps: int = 0
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)


class _Clock:
    """Replaces the module ``time`` in the chassis."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    time = monotonic


class _Log:
    """Replaces the chassis' logs: their texts go into the trace."""

    world: World | None = None

    def __getattr__(self, level: str) -> Any:
        return self._say

    def _say(self, event: str, **values: object) -> None:
        if self.world is not None and self.world.trace is not None:
            self.world.note(f"{event} {values}")


LOG = _Log()


@contextmanager
def on_fakes() -> Iterator[None]:
    """The chassis with the simulated world's clock, store, broker and log."""

    async def connect(url: str, **more: Any) -> Any:
        assert LOG.world is not None
        return await LOG.world.connect(url, **more)

    def producer(**_: Any) -> Producer:
        assert LOG.world is not None
        return Producer(LOG.world.broker)

    patches = [
        mock.patch.object(asyncpg, "connect", connect),
        mock.patch.object(outbox, "AIOKafkaProducer", producer),
        mock.patch.object(outbox, "BATCH_ROWS", ROWS_PER_TURN),
        *(mock.patch.object(module, "time", _Clock()) for module in (delivery_worker, bugs, loops)),
        *(
            mock.patch.object(module, "log", LOG)
            for module in (outbox, exclusive, delivery_worker, consumer, parking, timers_worker)
        ),
    ]
    for patch in patches:
        patch.start()
    was_collecting = gc.isenabled()
    gc.disable()  # by hand between seeds: a collection during a run could end a task's coroutine at any place
    gc.freeze()  # imported modules stay, so collections need not examine them
    try:
        yield
    finally:
        gc.unfreeze()
        if was_collecting:
            gc.enable()
        for patch in patches:
            patch.stop()


def run_seed(seed: int, *, mutations: Mutations | None = None, is_traced: bool = False) -> Result:
    """One whole run of the world. Call inside ``on_fakes``."""
    random.seed(seed)
    loop = SimulatedLoop(seed)
    world = World(loop, seed, mutations=mutations or Mutations(), is_traced=is_traced)
    LOG.world = world
    result = Result(seed, world.violations, world.trace)
    try:
        run(loop, _story(world, result.faults))
    except RuntimeError as error:
        world.violated(str(error))
    finally:
        LOG.world = None
    result.steps, result.seconds = loop.steps, loop.time() - 1000
    return result


async def _story(world: World, faults: Counter[str]) -> None:
    for name in (*UPSTREAM, *DOWNSTREAM):
        world.start(name)
    writing = asyncio.ensure_future(world.write_all())
    await _go_wrong(world, faults)
    _heal(world)
    deadline = world.loop.time() + SETTLING_SECONDS
    while not (writing.done() and _is_at_rest(world)):
        if world.loop.time() > deadline:
            world.violated(f"not at rest after {SETTLING_SECONDS:g} s: {_what_is_left(world)}")
            return
        await asyncio.sleep(0.5)
    await writing
    _check_the_end(world)
    await _check_breakers(world)


async def _go_wrong(world: World, faults: Counter[str]) -> None:
    """Injects a random fault now and then for a while."""
    chance, rates = world.chance, world.rates
    end = world.loop.time() + FAULTS_SECONDS
    while world.loop.time() < end:
        await asyncio.sleep(chance.random() * 0.6)
        if chance.random() < rates.crashes:
            name = chance.choice((*UPSTREAM, *DOWNSTREAM))
            if not world.processes[name].is_dead:
                faults["kill"] += 1
                world.kill(name)
        database = chance.choice(list(world.databases.values()))
        if chance.random() < rates.away:
            faults["store away"] += 1
            world.disturbed_at = world.loop.time() + 2
            database.is_away = True
            for session in list(database.sessions):
                session.terminate()
            world.note("a store is away")
            world.loop.call_later(chance.random() * 2, setattr, database, "is_away", False)
        if database.sessions and chance.random() < rates.away:
            faults["session cut"] += 1
            world.disturbed_at = world.loop.time()
            world.note("a store's session is cut")
            chance.choice(sorted(database.sessions, key=lambda one: one.number)).terminate()
        if world.chance_of_cancels.random() < world.cancelling:
            faults["statements cancelled"] += 1
            world.disturbed_at = world.loop.time() + 1
            world.is_cancelling = True
            world.note("statements are cancelled")
            world.loop.call_later(world.chance_of_cancels.random(), setattr, world, "is_cancelling", False)
        if chance.random() < rates.away * 0.3:
            faults["clock jump"] += 1
            world.disturbed_at = world.loop.time() + 5
            database.offset += chance.uniform(-4, 4)
        if world.chance_of_apart.random() < rates.away * 0.3:
            faults["clocks apart"] += 1
            world.clock.apart = timedelta(seconds=world.chance_of_apart.random() * 3)
            world.note(f"the clocks are apart by {world.clock.apart}")
            world.loop.call_later(world.chance_of_apart.random() * 2, setattr, world.clock, "apart", timedelta())
        _disturb_the_broker(world, faults)


def _disturb_the_broker(world: World, faults: Counter[str]) -> None:
    chance, rates = world.chance, world.rates
    if chance.random() < rates.broker:
        faults["broker away"] += 1
        world.broker.is_away = True
        world.note("the broker is away")
        world.loop.call_later(chance.random() * 2, setattr, world.broker, "is_away", False)
    if chance.random() < rates.refused:
        faults["partition refuses"] += 1
        partition = chance.choice((0, 1))
        world.broker.refuses.add(partition)
        world.note(f"partition {partition} refuses")
        world.loop.call_later(chance.random(), world.broker.refuses.discard, partition)
    if world.broker.members and chance.random() < rates.kicks:
        faults["rebalance"] += 1
        world.note("a member is put out of the group")
        chance.choice(world.broker.members).leave()


def _heal(world: World) -> None:
    world.note("the causes go")
    world.is_healed = True
    world.is_cancelling = False
    world.broker.is_away = False
    world.broker.refuses.clear()
    world.clock.apart = timedelta()
    for database in world.databases.values():
        database.is_away = False


def _keys() -> list[UUID]:
    return [UUID(int=key) for key in range(1, KEYS + 1)]


def _is_at_rest(world: World) -> bool:
    up, down = (world.databases[name].tables for name in ("upstream", "downstream"))
    return (
        all(row["sent_at"] is not None for row in up["outbox"].values())
        and world.broker.lag() == 0
        and not down["parked_messages"]
        and not down["parked_keys"]
        and all(row["state"] != "pending" for row in down["deliveries"].values())
        and all(row["state"] != "waiting" for row in down["timers"].values())
    )


def _what_is_left(world: World) -> dict[str, Any]:
    up, down = (world.databases[name].tables for name in ("upstream", "downstream"))
    return {
        "unsent": sum(row["sent_at"] is None for row in up["outbox"].values()),
        "unread": world.broker.lag(),
        "parked keys": len(down["parked_keys"]),
        "parked messages": len(down["parked_messages"]),
        "pending": sum(row["state"] == "pending" for row in down["deliveries"].values()),
        "timers": sum(row["state"] == "waiting" for row in down["timers"].values()),
    }


def _check_the_end(world: World) -> None:
    up, down = (world.databases[name].tables for name in ("upstream", "downstream"))
    if len(up["outbox"]) != len(MESSAGES):
        world.violated(f"{len(up['outbox'])} rows in the outbox, {len(MESSAGES)} were committed")
    if world.broker.swallowed:
        world.violated(f"FastStream went on after {world.broker.swallowed[0]!r}")
    settled = {row["idempotency_key"]: row for row in down["deliveries"].values()}
    dead_letters = {row["message_id"] for row in down["dead_letters"].values()}
    for key in _keys():
        if world.seen_on_the_bus.get(key, 0) != REVISIONS:
            world.violated(f"{world.seen_on_the_bus.get(key, 0)} revisions of {key.int} on the bus, not {REVISIONS}")
        wanted = [revision for revision in range(1, REVISIONS + 1) if (key, revision) not in world.refused]
        happened = list(down["things"][key]["applied"]) if key in down["things"] else []
        _check_timers(world, key, happened)
        applied = [revision for revision in happened if revision > 0]
        if applied != wanted:
            world.violated(f"applied to {key.int}: {applied}, not {wanted}")
        refused = {MESSAGES[key, one].message_id for one in range(1, REVISIONS + 1) if (key, one) in world.refused}
        if not refused <= dead_letters:
            world.violated(f"a refused message of {key.int} is not among the dead letters")
        for revision in wanted:
            _check_delivery(world, settled, MESSAGES[key, revision].message_id)
    if len(world.partner.effects) != len(set(world.partner.effects)):
        world.violated("the partner took something twice")


def _check_timers(world: World, key: UUID, happened: list[int]) -> None:
    """A timer fires once, and only while its event is the newest. At the end the newest event's timer has fired."""
    newest, fired = 0, set[int]()
    for revision in happened:
        if revision > 0:
            newest = revision if world.words[key, revision] else newest
        elif -revision != newest or world.words[key, -revision] != "set":
            world.violated(f"the timer of {key.int} rang for revision {-revision}, and {newest} was the newest word")
        elif -revision in fired:
            world.violated(f"the timer of {key.int} rang twice for revision {-revision}")
        fired.add(-revision)
    if newest and world.words[key, newest] == "set" and newest not in fired:
        world.violated(f"the timer of {key.int} did not ring for revision {newest}")


def _check_delivery(world: World, settled: dict[str, Any], message_id: UUID) -> None:
    row = settled.get(message_id.hex)
    wanted = "dead" if message_id in world.partner.refused else "done"
    if row is None or row["state"] != wanted or row["lease_token"] is not None:
        world.violated(f"the delivery of {message_id.int} is {row and row['state']}, not {wanted}")
    if (message_id in world.partner.effects) != (wanted == "done"):
        world.violated(f"the partner has {message_id.int}, or has not: {wanted}")


def _workers(world: World) -> dict[str, DeliveryWorker]:
    return {name: world.parts[name][2] for name in DOWNSTREAM if not world.processes[name].is_dead}


async def _check_breakers(world: World) -> None:
    """A breaker that is still open closes with the next delivery."""
    if not any(worker._breaker.is_open for worker in _workers(world).values()):
        return
    await asyncio.sleep(20)  # simulated time, until every process has restarted
    workers = _workers(world)
    for name, worker in workers.items():
        if not worker._breaker.is_open:
            continue
        for other in workers.values():
            if other is not worker:
                await other.stop()
        await asyncio.sleep(20)  # simulated: until the others have ended, and with them what they were about to claim
        store = world.store("downstream")
        async with store.pool.acquire() as connection, connection.transaction():
            transaction = Transaction(connection)
            probe = UUID(int=900_000)
            transaction.deliver("partner", key=probe, kind="k", payload=b"p", idempotency_key=probe.hex)
            await transaction.flush()
        await asyncio.sleep(20)
        if worker._breaker.is_open:
            world.violated(f"the breaker of {name} did not close again")
        return


@dataclass
class Sum:
    """The result of many seeds. ``virtual_seconds`` passed in their worlds."""

    seeds: int = 0
    steps: int = 0
    virtual_seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    failed: list[Result] = field(default_factory=list)

    def __add__(self, other: "Sum") -> "Sum":
        return Sum(
            self.seeds + other.seeds,
            self.steps + other.steps,
            self.virtual_seconds + other.virtual_seconds,
            self.faults + other.faults,
            self.failed + other.failed,
        )


def _run_some(seeds: range) -> Sum:
    total = Sum()
    with on_fakes():
        for seed in seeds:
            result = run_seed(seed)
            failed = [result] if result.violations else []
            total += Sum(1, result.steps, result.seconds, result.faults, failed)
        gc.collect()
    return total


def run_many(
    first: int, number: int, *, processes: int, shows_progress: bool, most_seconds: float = float("inf")
) -> Sum:
    """``number`` seeds from ``first``, or as many as ``most_seconds`` allow."""
    parts = [range(start, min(start + 25, first + number)) for start in range(first, first + number, 25)]
    started, total = time.monotonic(), Sum()
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for part in pool.imap_unordered(_run_some, parts):
            total += part
            seconds = time.monotonic() - started
            if shows_progress:
                rate = total.seeds / seconds
                sys.stdout.write(f"\r{total.seeds}/{number} seeds, {rate:.0f} a second, {len(total.failed)} failed ")
                sys.stdout.flush()
            if seconds > most_seconds:
                break
    return total


def _report(first: int, total: Sum, seconds: float) -> str:
    told = {
        "first_seed": first,
        "seeds": total.seeds,
        "steps": total.steps,
        "virtual_seconds": round(total.virtual_seconds),
        "faults": dict(sorted(total.faults.items())),
        "violations": {result.seed: result.violations for result in sorted(total.failed, key=lambda one: one.seed)},
        "duration_seconds": round(seconds),
    }
    return json.dumps(told, indent=2) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=at_least(1), default=2000)
    parser.add_argument("--first", type=at_least(0), default=0)
    parser.add_argument("--seed", type=at_least(0))
    parser.add_argument("--processes", type=at_least(1), default=multiprocessing.cpu_count())
    parser.add_argument("--most-minutes", type=above_zero, default=float("inf"), help="ends with what is done by then")
    parser.add_argument("--report", type=Path, help="where to write what came of it, as JSON")
    asked = parser.parse_args()
    if asked.seed is not None:
        with on_fakes():
            result = run_seed(asked.seed, is_traced=True)
        print("\n".join(result.trace or []))
        print(f"seed {asked.seed}: {'; '.join(result.violations) or 'all held'} ({result.steps} steps)")
        return bool(result.violations)
    started = time.monotonic()
    total = run_many(
        asked.first,
        asked.seeds,
        processes=asked.processes,
        shows_progress=sys.stdout.isatty(),
        most_seconds=asked.most_minutes * 60,
    )
    seconds = time.monotonic() - started
    if asked.report is not None:
        asked.report.write_text(_report(asked.first, total, seconds))
    for result in sorted(total.failed, key=lambda one: one.seed)[:20]:
        print(f"\nSEED={result.seed}: {result.violations[0]}", end="")
    told = ", ".join(f"{number:,} × {kind}" for kind, number in sorted(total.faults.items()))
    print(f"\nfaults: {told}")
    print(
        f"simulate: {total.seeds:,} seeds from {asked.first}, {total.steps:,} steps, "
        f"{total.virtual_seconds:,.0f} virtual seconds, {len(total.failed)} failed, {seconds:.0f} s"
    )
    return bool(total.failed)


if __name__ == "__main__":
    raise SystemExit(main())
