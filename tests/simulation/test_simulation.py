"""Hundreds of seeds on the real chassis, and proof that the simulation notices when the chassis breaks a promise."""

import os
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
import simulate
from simulated_statements import claim, claim_timers
from simulated_world import Mutations

from chassis.deliveries import statements as lines
from chassis.messaging import Done, Failed, Held, consumer, outbox
from chassis.messaging import statements as messaging_sql
from chassis.testing.depth import DEPTH
from chassis.timers import TimerWorker, statements

FOUND = {
    4: "a store that went away while the worker looked for what falls due ended its loop",
    11: "a producer that a partition had refused was kept, and everything after it was out of sequence for ever",
    149: "a message that was done came again while its key was parked, and had its effect twice",
    2962: "a cancellation that met a lost connection was survived, and the end of the run waited for ever",
}
"""Seeds that once showed a fault."""


pytestmark = pytest.mark.usefixtures("fakes")


@pytest.fixture(scope="module")
def fakes() -> Iterator[None]:
    with simulate.on_fakes():
        yield


@pytest.mark.timeout(300)
def test_hundreds_of_seeds_keep_every_promise() -> None:
    """As many seeds as a slow machine can run in the time: each has the same chance to show a fault."""
    total = simulate.run_many(
        0,
        DEPTH.simulation_seeds,
        processes=os.cpu_count() or 1,
        shows_progress=False,
        most_seconds=DEPTH.simulation_seconds,
    )
    told = [f"make simulate SEED={result.seed}: {result.violations[0]}" for result in total.failed]
    assert not told, "\n".join(told[:10])
    print(f"{total.seeds} seeds, {total.steps} steps, {dict(total.faults)}")
    assert total.seeds >= 200, "too few seeds for the run to say anything"
    assert total.steps > total.seeds * 500
    store = {"store away", "session cut", "statements cancelled"}
    kinds = {"kill", "clock jump", "clocks apart", "broker away", "partition refuses", "rebalance"} | store
    assert set(total.faults) == kinds


@pytest.mark.parametrize("seed", FOUND)
def test_a_seed_that_once_showed_a_fault_keeps_every_promise(seed: int) -> None:
    assert simulate.run_seed(seed).violations == []


def test_a_seed_runs_the_same_way_each_time() -> None:
    first, second = (simulate.run_seed(11, is_traced=True) for _ in range(2))
    assert first.trace == second.trace
    assert first.steps == second.steps


def first_violation(mutations: Mutations, *, most_seeds: int = 300) -> str:
    """The first violation that a seed shows; fails when no seed shows any."""
    for seed in range(most_seeds):
        result = simulate.run_seed(seed, mutations=mutations)
        if result.violations:
            return result.violations[0]
    pytest.fail(f"{most_seeds} seeds and none noticed")


class MarksFirst(outbox.Relay):
    """Marks rows before they are sent."""

    async def _send(self, connection: Any, producer: Any, rows: Any) -> tuple[int, int]:
        await connection.execute(messaging_sql.MARK_SENT, [row["id"] for row in rows])
        return await super()._send(connection, producer, rows)


def test_marking_before_sending_is_caught() -> None:
    assert "the bus" in first_violation(Mutations(relay=MarksFirst))


class HandsOverAtOnce(outbox.Relay):
    """Does not wait for the batch before it sends the next one."""

    async def _acknowledged(self, turn: Any) -> tuple[list[Any], int]:
        for send, _ in turn:
            send.add_done_callback(lambda one: one.cancelled() or one.exception())
        return [row for _, sent in turn for row in sent], 0


def test_marking_what_is_not_acknowledged_is_caught() -> None:
    assert "the bus" in first_violation(Mutations(relay=HandsOverAtOnce))


def test_a_lease_that_is_not_renewed_is_caught() -> None:
    assert "by two processes at once" in first_violation(Mutations(renews_leases=False), most_seeds=600)


async def any_pending(session: Any, values: Any) -> list[Any]:
    return await claim(session, values, in_order=False)


def test_claiming_past_the_head_of_a_line_is_caught() -> None:
    text = " ".join(lines.CLAIM.split())
    assert "the partner took" in first_violation(Mutations(statements={text: any_pending}))


def test_messages_that_pass_a_parked_key_are_caught() -> None:
    def ignores_parking(one: consumer.Consumer[Any]) -> None:
        claim = one._executor._intake.claim

        async def claims(connection: Any, items: Any) -> list[Any]:
            return [None if isinstance(one, Held) else one for one in await claim(connection, items)]

        one._executor._intake.claim = claims

    noticed = first_violation(Mutations(on_consumer=ignores_parking))
    assert " after " in noticed or "applied to" in noticed


def test_unparking_a_key_that_a_consumer_holds_is_caught() -> None:
    async def never_asks(_session: Any, values: Any) -> list[Any]:
        return [{"key": values[1]}]

    text = " ".join(messaging_sql.HAVE_KEY_ALONE.split())
    noticed = first_violation(Mutations(statements={text: never_asks}))
    assert " after " in noticed or "'parked messages'" in noticed


def test_a_consumer_without_an_inbox_is_caught() -> None:
    async def claims_all(_session: Any, values: Any) -> list[Any]:
        return [{"message_id": one} for one in values[1]]

    text = " ".join(messaging_sql.CLAIM.split())
    assert "applied to" in first_violation(Mutations(statements={text: claims_all}))


def test_offsets_that_move_before_the_commit_are_caught() -> None:
    def acknowledges_first(one: consumer.Consumer[Any]) -> None:
        reader_batch = one._on_batch

        async def on_batch(message: Any) -> None:
            await message.ack()
            await reader_batch(message)

        one._on_batch = on_batch

    assert first_violation(Mutations(on_consumer=acknowledges_first))


def test_a_timer_that_fires_past_a_newer_word_is_caught() -> None:
    async def knows_none(_session: Any, _values: Any) -> list[Any]:
        return []

    text = " ".join(statements.SUPERSEDED.split())
    assert "was the newest word" in first_violation(Mutations(statements={text: knows_none}))


def test_a_timer_that_is_not_always_marked_is_caught() -> None:
    def settles_every_other(one: TimerWorker[Any]) -> None:
        settle, turn = one._executor._intake.settle, count()

        async def settles(*given: Any) -> None:
            if next(turn) % 2:
                await settle(*given)

        one._executor._intake.settle = settles  # type: ignore[method-assign]

    assert "rang twice" in first_violation(Mutations(on_timers=settles_every_other))


async def at_any_time(session: Any, values: Any) -> list[Any]:
    return await claim_timers(session, values, is_early=True)


def test_a_timer_that_is_due_by_one_clock_alone_is_caught() -> None:
    text = " ".join(statements.CLAIM.split())
    assert "rang early" in first_violation(Mutations(statements={text: at_any_time}))


def test_a_failed_timer_that_counts_as_fired_is_caught() -> None:
    def takes_all_as_fired(one: TimerWorker[Any]) -> None:
        settle = one._executor._intake.settle

        async def settles(transaction: Any, items: Any, outcomes: Any) -> None:
            await settle(transaction, items, [Done("fired") if isinstance(one, Failed) else one for one in outcomes])

        one._executor._intake.settle = settles  # type: ignore[method-assign]

    assert "did not ring" in first_violation(Mutations(on_timers=takes_all_as_fired))
