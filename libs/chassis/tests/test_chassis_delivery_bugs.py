"""A bug of ours makes a few deliveries dead, whatever restarts; then the others are kept until one succeeds."""

import asyncio
from collections.abc import Sequence
from uuid import uuid4

import pytest
from test_chassis_deliveries import QUICK, Partner, stage, states, working

from chassis.deliveries import (
    Accepted,
    Delivery,
    DeliveryWorker,
    Receipt,
    StoppedByBugsError,
    UnreadableReceiptError,
    check_all,
)
from chassis.observe import Metrics
from chassis.settings import BreakerSettings
from chassis.store import Transaction
from chassis.testing import eventually

pytestmark = pytest.mark.stack
SOON = BreakerSettings(open_seconds=0.05)
LIMIT = 3


class Broken(Partner):
    """Every send is a bug until it is mended; ``tries`` counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.is_mended = False
        self.tries = 0

    async def __call__(self, delivery: Delivery) -> Receipt:
        self.tries += 1
        if not self.is_mended:
            raise TypeError("Roe^Jane 4711")
        return await super().__call__(delivery)


def has_tried(partner: Broken, more: int):
    wanted = partner.tries + more

    async def condition() -> bool:
        return partner.tries >= wanted

    return eventually(condition, what=f"{wanted} tries")


async def test_a_bug_makes_no_more_dead_than_the_limit_and_the_rest_goes_once_it_is_mended(store) -> None:
    await stage(store, *((uuid4(), b"1") for _ in range(40)))
    partner = Broken()
    async with working(store, partner, breaker=SOON, bugs_in_a_row=LIMIT) as metrics:
        await has_tried(partner, 20)
        found = await states(store)
        assert (found.count("dead"), found.count("pending")) == (LIMIT, 40 - LIMIT)
        assert metrics.value("deliveries_stopped", destination="partner") == 1
        partner.is_mended = True

        async def the_rest_is_done() -> bool:
            return (await states(store)).count("done") == 40 - LIMIT

        await eventually(the_rest_is_done)

        async def goes_on() -> bool:
            return metrics.value("deliveries_stopped", destination="partner") == 0

        await eventually(goes_on)
    assert (await states(store)).count("dead") == LIMIT


async def test_a_restart_loop_makes_no_more_dead_either(store) -> None:
    await stage(store, *((uuid4(), b"1") for _ in range(40)))
    partner = Broken()
    for _ in range(4):
        async with working(store, partner, breaker=SOON, bugs_in_a_row=LIMIT):
            await has_tried(partner, 4)
    assert (await states(store)).count("dead") == LIMIT


async def test_several_processes_share_the_limit(store) -> None:
    await stage(store, *((uuid4(), b"1") for _ in range(40)))
    one, two = Broken(), Broken()
    async with (
        working(store, one, breaker=SOON, bugs_in_a_row=LIMIT),
        working(store, two, breaker=SOON, bugs_in_a_row=LIMIT),
    ):
        await has_tried(one, 6)
        await has_tried(two, 6)
        assert (await states(store)).count("dead") == LIMIT
        one.is_mended = two.is_mended = True

        async def the_rest_is_done() -> bool:
            return (await states(store)).count("done") == 40 - LIMIT

        await eventually(the_rest_is_done)


async def test_while_it_is_stopped_one_at_a_time_is_tried_after_a_rest(store) -> None:
    await stage(store, *((uuid4(), b"1") for _ in range(20)))
    partner = Broken()
    rest = BreakerSettings(open_seconds=3600)
    worker = DeliveryWorker(store, "partner", partner, retry=QUICK, breaker=rest, bugs_in_a_row=1, concurrency=4,
                            poll_seconds=0.02)  # fmt: skip
    running = asyncio.create_task(worker.run())

    async def is_stopped() -> bool:
        try:
            await worker.check()
        except StoppedByBugsError:
            return True
        return False

    await eventually(is_stopped)
    before = partner.tries
    turns = 0
    while turns < 10:  # turns of the worker, each of which could claim
        turned_at = worker.progressed_at

        async def has_turned(since: float = turned_at) -> bool:
            return worker.progressed_at > since

        await eventually(has_turned)
        turns += 1
    assert before <= 4, "those that were under way together"
    assert partner.tries == before
    await worker.stop()
    await running


async def test_one_poisonous_delivery_among_good_ones_dies_alone_and_stops_nobody(store) -> None:
    poison, good = uuid4(), [uuid4() for _ in range(10)]
    partner = Partner()
    partner.refusals[poison] = [ValueError("1")] * 10
    async with working(store, partner, breaker=SOON, bugs_in_a_row=2, concurrency=1) as metrics:
        for number in range(4):
            await stage(store, (poison, bytes([number])), (good[number], b"1"))

            async def all_settled() -> bool:
                return "pending" not in await states(store)

            await eventually(all_settled)
        assert (await states(store)).count("dead") == 4
        assert metrics.value("deliveries_stopped", destination="partner") == 0


async def test_readiness_names_the_destination_and_nothing_of_the_delivery(store) -> None:
    await stage(store, (uuid4(), b"1"), (uuid4(), b"1"), destination="one")
    workers = [
        DeliveryWorker(store, name, Broken(), retry=QUICK, breaker=SOON, bugs_in_a_row=1) for name in ("one", "two")
    ]
    await check_all(workers)
    running = [asyncio.create_task(worker.run()) for worker in workers]

    async def is_said() -> str:
        try:
            await check_all(workers)
        except StoppedByBugsError as error:
            return str(error)
        return ""

    said = await eventually(is_said)
    assert said.startswith("to one: a bug of ours failed 1 in a row")
    assert "two" not in said
    assert "Roe" not in said
    for worker in workers:
        await worker.stop()
    await asyncio.gather(*running)


async def test_what_the_partner_took_is_not_sent_again_while_only_keeping_its_answer_fails(store) -> None:
    await stage(store, *((uuid4(), b"1") for _ in range(6)))
    partner, kept = Partner(), []
    is_mended = False

    async def settled(_transaction: Transaction, all_accepted: Sequence[Accepted]) -> None:
        if not is_mended:
            raise KeyError("a bug")
        kept.extend(taken.receipt.detail["id"] for taken in all_accepted)

    async with working(store, partner, settled=settled, breaker=SOON, bugs_in_a_row=2):

        async def is_held() -> bool:
            return await store.pool.fetchval("SELECT count(*) FROM deliveries WHERE receipt IS NOT NULL") >= 2

        await eventually(is_held)
        is_mended = True

        async def is_done() -> bool:
            return sorted(await states(store)) == ["dead", "dead", "done", "done", "done", "done"]

        await eventually(is_done)
    assert len(partner.keys_seen) == len(set(partner.keys_seen)) == 6
    assert kept == ["42"] * 4


@pytest.mark.parametrize("kept", ['{"name": "of former code"}', "[]", '{"id": 42}', "no JSON"])
async def test_a_kept_answer_that_this_version_cannot_read_has_the_delivery_sent_again(store, kept: str) -> None:
    """The former code kept the partner's answer; the present code needs another word of it."""
    await stage(store, (uuid4(), b"1"))
    await store.pool.execute("UPDATE deliveries SET receipt = $1, attempts = 1", kept)
    partner, settled_with = Partner(), []

    async def settled(_transaction: Transaction, all_accepted: Sequence[Accepted]) -> None:
        for taken in all_accepted:
            if "id" not in taken.receipt.detail:
                raise UnreadableReceiptError("it has no id")
            settled_with.append(dict(taken.receipt.detail))

    async with working(store, partner, settled=settled):

        async def is_done() -> bool:
            return await states(store) == ["done"]

        await eventually(is_done)
    assert settled_with == [{"id": "42"}]
    assert len(partner.keys_seen) == 1


async def test_a_fresh_answer_that_cannot_be_read_is_a_bug_and_not_sent_for_ever(store) -> None:
    await stage(store, (uuid4(), b"1"))
    partner = Partner()

    async def settled(_transaction: Transaction, _all_taken: Sequence[Accepted]) -> None:
        raise UnreadableReceiptError("it has no id")

    async with working(store, partner, settled=settled):

        async def is_dead() -> bool:
            return await states(store) == ["dead"]

        await eventually(is_dead)
    assert len(partner.keys_seen) == 1


async def test_a_destination_that_stands_still_holds_no_other_up(store) -> None:
    await stage(store, *((uuid4(), b"1") for _ in range(5)), destination="broken")
    await stage(store, *((uuid4(), b"1") for _ in range(5)))
    metrics = Metrics()
    broken = DeliveryWorker(store, "broken", Broken(), retry=QUICK, breaker=SOON, bugs_in_a_row=1, metrics=metrics)
    running = asyncio.create_task(broken.run())
    async with working(store, Partner(), bugs_in_a_row=1):

        async def is_done() -> bool:
            query = "SELECT count(*) FROM deliveries WHERE destination = 'partner' AND state = 'done'"
            return await store.pool.fetchval(query) == 5

        await eventually(is_done)
    await broken.stop()
    await running
