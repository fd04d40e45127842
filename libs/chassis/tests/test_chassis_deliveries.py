"""Deliveries: in order per key, tried until answered, and seen by the partner under one key whatever dies."""

import asyncio
from collections.abc import Sequence
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import asyncpg
import pytest
import structlog

from chassis import deliveries, failpoints
from chassis.deliveries import Accepted, Delivery, DeliveryWorker, Receipt
from chassis.deliveries.breaker import Breaker
from chassis.errors import AccessRefused, Permanent, Transient
from chassis.observe import Metrics
from chassis.settings import BreakerSettings, RetrySettings
from chassis.store import Transaction
from chassis.testing import eventually

QUICK = RetrySettings(first_seconds=0.02, longest_seconds=0.1)
LEASE_SECONDS = 3.0
"""Long enough that a worker on a busy machine renews it in time."""


class Partner:
    """Takes deliveries; does to a key what it was told, as often as it was told."""

    def __init__(self) -> None:
        self.taken: list[tuple[UUID, bytes]] = []
        self.keys_seen: list[str] = []
        self.refusals: dict[UUID, list[Exception]] = {}
        self.hangs = asyncio.Event()
        self.hangs.set()

    async def __call__(self, delivery: Delivery) -> Receipt:
        self.keys_seen.append(delivery.idempotency_key)
        await self.hangs.wait()
        if self.refusals.get(delivery.key):
            raise self.refusals[delivery.key].pop(0)
        self.taken.append((delivery.key, delivery.payload))
        return Receipt({"id": "42"})


async def stage(store, *rows: tuple[UUID, bytes], destination: str = "partner") -> None:
    async with store.pool.acquire() as connection, connection.transaction():
        transaction = Transaction(connection)
        for key, payload in rows:
            transaction.deliver(destination, key=key, kind="k", payload=payload, idempotency_key=uuid4().hex)
        await transaction.flush()


@asynccontextmanager
async def working(store, partner, *, lease_seconds: float = 60, **more):
    """A worker at work. Its lease outlives a machine that is too busy to renew it."""
    metrics = Metrics()
    worker = DeliveryWorker(
        store, "partner", partner, retry=QUICK, metrics=metrics, lease_seconds=lease_seconds, **more
    )
    running = asyncio.create_task(worker.run())
    try:
        yield metrics
    finally:
        partner.hangs.set()
        await worker.stop()
        await asyncio.wait_for(running, 60)


async def states(store) -> list[str]:
    return [row["state"] for row in await store.pool.fetch("SELECT state FROM deliveries ORDER BY sequence")]


def all_are(store, state: str):
    async def condition() -> bool:
        return set(await states(store)) == {state}

    return eventually(condition, what=f"every delivery {state}")


pytestmark = pytest.mark.stack


async def test_each_key_in_order_and_keys_side_by_side(store) -> None:
    keys = [uuid4() for _ in range(10)]
    await stage(store, *((key, bytes([n])) for n in range(10) for key in keys))
    partner = Partner()
    async with working(store, partner):
        await all_are(store, "done")
    for key in keys:
        assert [payload for found, payload in partner.taken if found == key] == [bytes([n]) for n in range(10)]
    assert await store.pool.fetchval("SELECT receipt FROM deliveries LIMIT 1") == '{"id": "42"}'


async def test_a_passing_failure_holds_its_key_alone_and_keeps_its_idempotency_key(store) -> None:
    sick, well = uuid4(), uuid4()
    partner = Partner()
    partner.refusals[sick] = [Transient("busy")] * 4
    await stage(store, (sick, b"1"), (sick, b"2"), (well, b"1"))
    async with working(store, partner):
        await all_are(store, "done")
    assert [payload for key, payload in partner.taken if key == sick] == [b"1", b"2"]
    assert partner.taken[0][0] == well
    first = await store.pool.fetchrow("SELECT idempotency_key, attempts FROM deliveries ORDER BY sequence LIMIT 1")
    assert partner.keys_seen.count(first["idempotency_key"]) == first["attempts"] == 5


async def test_a_refusal_for_good_is_kept_with_the_answer_and_the_key_goes_on(store) -> None:
    key = uuid4()
    partner = Partner()
    partner.refusals[key] = [Permanent("422: Appointment.start")]
    await stage(store, (key, b"1"), (key, b"2"))
    async with working(store, partner):

        async def is_settled() -> bool:
            return await states(store) == ["dead", "done"]

        await eventually(is_settled, what="one dead, one done")
        (dead,) = await deliveries.list_deliveries(store, state="dead", destination=None, limit=10)
        assert dead.last_error == "422: Appointment.start"
        assert await deliveries.retry_delivery(store, dead.id, actor="tester")
        await all_are(store, "done")
    assert await store.pool.fetchval("SELECT action FROM operator_audit") == "delivery.retry"


async def test_a_bug_of_ours_is_kept_without_its_text(store) -> None:
    key = uuid4()
    partner = Partner()
    partner.refusals[key] = [ValueError("Roe^Jane 4711")]
    await stage(store, (key, b"1"))
    async with working(store, partner):
        await all_are(store, "dead")
    assert await store.pool.fetchval("SELECT last_error FROM deliveries") == "bug: ValueError"


async def test_a_store_that_goes_away_under_a_sender_that_reads_it_makes_no_dead_letter(store) -> None:
    """Seed 2004 of the chaos harness: Postgres was killed while a sender looked its ids up."""
    key = uuid4()
    partner = Partner()
    partner.refusals[key] = [
        asyncpg.ConnectionDoesNotExistError("closed in the middle of operation"),
        asyncpg.CannotConnectNowError("the database system is starting up"),
        asyncpg.InternalClientError('the protocol is in the "failed" state'),
        ConnectionResetError(),
    ]
    await stage(store, (key, b"1"))
    async with working(store, partner, breaker=BreakerSettings(failures=1, open_seconds=60)):
        await all_are(store, "done")  # and the partner's breaker, which one failure opens, stayed closed


async def test_a_death_between_send_and_mark_repeats_under_the_same_key(store) -> None:
    await stage(store, (uuid4(), b"1"))
    partner = Partner()
    failpoints.arm("delivery.after-send-before-mark=raise")

    async def once() -> None:
        worker = DeliveryWorker(store, "partner", partner, retry=QUICK, lease_seconds=0.3, metrics=Metrics())
        running = asyncio.create_task(worker.run())

        async def was_sent() -> bool:
            return len(partner.taken) >= 1

        await eventually(was_sent, what="the first try")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)  # the task that "died" is not waited for by anyone
    await once()
    failpoints.arm("")
    assert await states(store) == ["pending"]
    async with working(store, partner):
        await all_are(store, "done")
    assert len(partner.taken) == 2
    assert len(set(partner.keys_seen)) == 1


async def test_who_lives_keeps_its_lease_and_a_second_worker_stays_away(store) -> None:
    await stage(store, (uuid4(), b"1"))
    partner, other = Partner(), Partner()
    partner.hangs.clear()
    async with working(store, partner, lease_seconds=LEASE_SECONDS):

        async def is_underway() -> bool:
            return bool(partner.keys_seen)

        await eventually(is_underway, what="the first worker's try")
        taken = "SELECT lease_until FROM deliveries"
        before = await store.pool.fetchval(taken)
        async with working(store, other, lease_seconds=LEASE_SECONDS):

            async def was_renewed_often() -> bool:
                return (await store.pool.fetchval(taken) - before).total_seconds() > LEASE_SECONDS

            await eventually(was_renewed_often, what="renewed leases")
            assert other.keys_seen == []
            partner.hangs.set()
            await all_are(store, "done")
    assert len(partner.taken) == 1


class StandsStill(Partner):
    """Meanwhile another worker takes the first delivery over."""

    def __init__(self, store) -> None:
        super().__init__()
        self._store = store
        self.answers: list[bool] = []

    async def __call__(self, delivery: Delivery) -> Receipt:
        if self.answers:
            return await super().__call__(delivery)
        self.answers.append(await delivery.still_ours())
        await self._store.pool.execute("UPDATE deliveries SET lease_token = $1", uuid4())  # as a claim does
        self.answers.append(await delivery.still_ours())
        raise Transient("another worker has it")


async def test_who_stood_still_learns_that_another_has_its_delivery(store) -> None:
    await stage(store, (uuid4(), b"1"))
    partner = StandsStill(store)
    async with working(store, partner, lease_seconds=LEASE_SECONDS):
        await all_are(store, "done")
    assert partner.answers == [True, False]
    assert len(partner.taken) == 1


async def test_what_the_service_keeps_of_an_answer_commits_with_the_mark(store) -> None:
    await stage(store, (uuid4(), b"1"))
    fails = [True]

    async def settled(transaction: Transaction, all_accepted: Sequence[Accepted]) -> None:
        ((delivery, receipt),) = all_accepted
        statement = "INSERT INTO things VALUES ($1, $2, '{1}')"
        await transaction.connection.execute(statement, delivery.key, int(receipt.detail["id"]))
        if fails and fails.pop():
            raise OSError("a fault while settling")

    async with working(store, Partner(), settled=settled, lease_seconds=LEASE_SECONDS):
        await all_are(store, "done")
    assert await store.pool.fetchval("SELECT revision FROM things") == 42


async def test_an_answer_that_cannot_be_kept_waits_for_a_person_and_is_not_asked_for_again(store) -> None:
    await stage(store, (uuid4(), b"1"))
    partner = Partner()

    async def settled(_transaction: Transaction, all_accepted: Sequence[Accepted]) -> None:
        raise KeyError(all_accepted[0].receipt.detail["no such detail"])

    async with working(store, partner, settled=settled, lease_seconds=LEASE_SECONDS):
        await all_are(store, "dead")
    assert len(partner.taken) == 1
    assert await store.pool.fetchval("SELECT last_error FROM deliveries") == "bug: KeyError"


async def test_an_error_of_a_delivery_is_in_no_cycle(store, left_in_cycles) -> None:
    """It would keep its traceback, and with that what the frames hold: the mail, the answer."""

    class Busy(Partner):
        async def __call__(self, delivery: Delivery) -> Receipt:
            if delivery.attempt == 1:
                raise Transient("busy")
            return await super().__call__(delivery)

    collisions = [asyncpg.DeadlockDetectedError("a fault while settling")]

    async def settled(_transaction: Transaction, _all_taken: Sequence[Accepted]) -> None:
        if collisions:
            raise collisions.pop()

    await stage(store, (uuid4(), b"1"))
    async with working(store, Busy(), settled=settled, lease_seconds=LEASE_SECONDS):
        await all_are(store, "done")
    assert not collisions
    assert left_in_cycles((Transient, asyncpg.DeadlockDetectedError)) == []


async def test_many_answers_are_kept_in_few_transactions_and_one_that_cannot_be_kept_concerns_no_other(store) -> None:
    keys = [uuid4() for _ in range(8)]
    await stage(store, *((key, b"1") for key in keys), (keys[0], b"2"))
    partner = Partner()
    partner.hangs.clear()
    sets: list[int] = []

    async def settled(transaction: Transaction, all_accepted: Sequence[Accepted]) -> None:
        sets.append(len(all_accepted))
        for delivery, _ in all_accepted:
            statement = "INSERT INTO things VALUES ($1, 1, '{1}') ON CONFLICT DO NOTHING"
            await transaction.connection.execute(statement, delivery.key)
            if delivery.key == keys[3]:
                raise KeyError("a bug in settling this one")

    async with working(store, partner, settled=settled, lease_seconds=60, gather_seconds=0.1):

        async def all_are_underway() -> bool:
            return len(partner.keys_seen) == len(keys)

        await eventually(all_are_underway, what="one delivery of each key under way")
        partner.hangs.set()

        async def none_waits() -> bool:
            return "pending" not in await states(store)

        await eventually(none_waits, what="every delivery settled")
    assert max(sets) == len(keys)
    assert await states(store) == ["done"] * 3 + ["dead"] + ["done"] * 5
    kept = {row["id"] for row in await store.pool.fetch("SELECT id FROM things")}
    assert kept == {*keys} - {keys[3]}
    assert len(partner.taken) == len(keys) + 1, "nothing was sent twice"


class Away(Partner):
    """Answers nothing for as long as it is away."""

    is_away = True

    async def __call__(self, delivery: Delivery) -> Receipt:
        if self.is_away:
            raise Transient("away", retry_after_seconds=0.01)
        return await super().__call__(delivery)


async def test_while_the_breaker_is_open_commits_wake_nobody_and_a_success_closes_it(store) -> None:
    partner = Away()
    last_words = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND query LIKE $1"

    def said(words: str):
        async def condition() -> bool:
            return bool(await store.pool.fetch(last_words, words))

        return eventually(condition, what=words)

    async with working(store, partner, breaker=BreakerSettings(failures=1, open_seconds=0.2)) as metrics:
        await said("LISTEN %")
        await stage(store, (uuid4(), b"1"))
        await said("UNLISTEN %")

        async def is_gauged() -> bool:
            return metrics.value("breaker_open", destination="partner") == 1

        await eventually(is_gauged, what="the gauge, which follows the statement")
        await stage(store, *((uuid4(), b"1") for _ in range(3)))
        partner.is_away = False
        await all_are(store, "done")
        await said("LISTEN %")
    assert metrics.value("breaker_open", destination="partner") == 0


async def test_the_second_delivery_with_one_idempotency_key_is_not_written(store) -> None:
    async with store.pool.acquire() as connection:
        for _ in range(2):
            async with connection.transaction():
                transaction = Transaction(connection)
                transaction.deliver("partner", key=uuid4(), kind="k", payload=b"1", idempotency_key="same")
                await transaction.flush()
    assert await states(store) == ["pending"]


def test_the_breaker_rests_then_tries_one_then_lets_all_go() -> None:
    now = [0.0]
    breaker = Breaker(BreakerSettings(failures=3, open_seconds=5), now=lambda: now[0])
    for _ in range(3):
        assert breaker.allowance(8) == 8
        breaker.failed()
    assert breaker.allowance(8) == 0
    now[0] = 5
    assert breaker.allowance(8) == 1
    breaker.failed()
    assert breaker.allowance(8) == 0
    now[0] = 10
    breaker.succeeded()
    assert breaker.allowance(8) == 8


def test_the_breaker_rests_longer_each_time_that_access_is_refused() -> None:
    now = [0.0]
    breaker = Breaker(BreakerSettings(failures=3, open_seconds=5), now=lambda: now[0])
    for _ in range(8):  # all that were under way
        breaker.refused()
    rests = []
    for _ in range(6):
        began = now[0]
        while breaker.allowance(8) == 0:
            now[0] += 1
        rests.append(now[0] - began)
        assert breaker.allowance(8) == 1
        breaker.refused()
    assert rests == [5, 10, 20, 40, 60, 60]
    breaker.succeeded()
    assert breaker.allowance(8) == 8
    breaker.refused()
    now[0] += 5
    assert breaker.allowance(8) == 1, "a new refusal rests as the first"
    breaker.failed()
    assert breaker.allowance(8) == 0, "it did not answer the trial"


@pytest.mark.stack
async def test_a_partner_that_refuses_our_access_makes_nothing_dead_and_says_so_once(store) -> None:
    partner = Partner()
    keys = [uuid4() for _ in range(20)]
    for key in keys:
        partner.refusals[key] = [AccessRefused("the partner refuses the client", setting="partner.secret")] * 3
    await stage(store, *((key, b"1") for key in keys))
    quick = BreakerSettings(failures=10, open_seconds=0.05)
    with structlog.testing.capture_logs() as logs:
        async with working(store, partner, concurrency=8, breaker=quick) as metrics:

            async def is_refused() -> bool:
                return metrics.value("partner_access_refused", destination="partner") == 1

            await eventually(is_refused, what="the gauge")
            assert metrics.value("breaker_open", destination="partner") == 1 or len(partner.keys_seen) <= 8
            asked = len(partner.keys_seen)
            assert asked <= 9, "those under way and a trial, not all that wait"
            errors = await store.pool.fetch("SELECT last_error FROM deliveries WHERE last_error IS NOT NULL")
            assert {row["last_error"] for row in errors} == {
                "the partner refuses the client; to be put right: partner.secret"
            }
            partner.refusals.clear()

            async def all_done() -> bool:
                return await states(store) == ["done"] * 20

            await eventually(all_done, what="the deliveries, once a person has put it right")
            assert metrics.value("partner_access_refused", destination="partner") == 0
            assert metrics.value("deliveries_total", destination="partner", outcome="dead") == 0
    said = [line for line in logs if line["event"] == "deliveries.again" and line["log_level"] == "warning"]
    assert len(said) == 1, "the reason is said once, not at each try"
