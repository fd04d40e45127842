"""Timers on a real Postgres: never lost, never doubled, never early; moved and cancelled by revision."""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from chassis_bench_domain import Things, Work, applied, event
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chassis.errors import Permanent, StoreUnavailable, Transient, Withheld
from chassis.observe import Metrics
from chassis.store import Store, Transaction
from chassis.testing import ClockAsTold, eventually
from chassis.testing.depth import DEPTH
from chassis.timers import (
    Timer,
    TimerHandlers,
    TimerWorker,
    cancel_timer,
    list_timers,
    retry_timer,
    retry_timers,
    statements,
)
from chassis.timers import intake as timers_intake

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]
KIND = "remind"
PAST = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Desk:
    """What the handlers do to a timer of a key: nothing set means that they work."""

    transient: dict[UUID, int] = field(default_factory=dict)
    permanent: set[UUID] = field(default_factory=set)
    bug: set[UUID] = field(default_factory=set)
    breaks_the_write: set[UUID] = field(default_factory=set)
    also: Callable[[Timer, Work], None] = lambda _timer, _work: None
    seen: list[Timer] = field(default_factory=list)
    at: list[datetime] = field(default_factory=list)

    def open_work(self, transaction: Transaction) -> Work:
        things = Things(transaction)
        transaction.join(things)
        return Work(transaction, things)

    async def prefetch(self, work: Work, timers: Sequence[Timer]) -> None:
        await work.things.load([timer.key for timer in timers])
        self.at.append(await work.transaction.connection.fetchval("SELECT clock_timestamp()"))

    async def remind(self, timer: Timer, /, *, work: Work) -> None:
        self.seen.append(timer)
        work.things.apply(timer.key, timer.revision)
        work.transaction.publish(event(timer.key, timer.revision))
        work.transaction.deliver(
            "partner", key=timer.key, kind="k", payload=b"p", idempotency_key=timer.idempotency_key
        )
        self.also(timer, work)
        if timer.key in self.permanent:
            raise Permanent("told so")
        if timer.key in self.bug:
            raise ZeroDivisionError("Roe^Jane mrn 4711")
        if self.transient.get(timer.key, 0) > 0:
            self.transient[timer.key] -= 1
            raise Transient("told so", retry_after_seconds=0.02)
        if timer.key in self.breaks_the_write:
            work.things.rows[timer.key] = tuple(range(1000))

    def handlers(self, *kinds: str) -> TimerHandlers[Work]:
        return TimerHandlers(self.open_work, self.prefetch, dict.fromkeys(kinds or (KIND,), self.remind))


def worker(store: Store, desk: Desk, *kinds: str, clock: Any = None, metrics: Metrics | None = None, **more: Any):
    return TimerWorker(store, desk.handlers(*kinds), clock=clock or ClockAsTold(), metrics=metrics or Metrics(), **more)


@asynccontextmanager
async def running(*workers: TimerWorker[Work]):
    tasks = [asyncio.create_task(one.run()) for one in workers]
    try:
        yield
    finally:
        for one in workers:
            await one.stop()
        await asyncio.wait_for(asyncio.gather(*tasks), 60)


async def say(store: Store, *words: Callable[[Transaction], None]) -> None:
    async with store.pool.acquire() as connection, connection.transaction():
        transaction = Transaction(connection)
        for word in words:
            word(transaction)
        await transaction.flush()


def sets(key: UUID, revision: int, due_at: datetime = PAST, *, kind: str = KIND, name: str = "-", **payload: object):
    return lambda transaction: transaction.set_timer(
        kind, key=key, due_at=due_at, revision=revision, name=name, payload=payload
    )


def cancels(key: UUID, revision: int, *, kind: str = KIND, name: str = "-"):
    return lambda transaction: transaction.cancel_timer(kind, key=key, revision=revision, name=name)


async def rows(store: Store) -> list[tuple[Any, ...]]:
    return [
        tuple(row) for row in await store.pool.fetch("SELECT key, revision, state FROM timers ORDER BY key, revision")
    ]


async def turns(one: TimerWorker[Work]) -> None:
    while await one.turn() == 0:
        pass


# ---- set, moved, cancelled


async def test_a_timer_that_is_due_has_its_effect_once_and_stands_as_fired(store) -> None:
    desk, key = Desk(), uuid4()
    await say(store, sets(key, 3, name="day-before", template="t1"))
    one = worker(store, desk, metrics=(metrics := Metrics()))
    await turns(one)
    await turns(one)
    (timer,) = desk.seen
    assert (timer.kind, timer.key, timer.name, timer.revision, timer.attempt) == (KIND, key, "day-before", 3, 1)
    assert timer.payload == {"template": "t1"}
    assert await applied(store) == {key: [3]}
    assert await store.pool.fetchval("SELECT idempotency_key FROM deliveries") == timer.idempotency_key
    assert await rows(store) == [(key, 3, "fired")]
    assert metrics.value("timers_due_total", kind=KIND, outcome="fired") == 1


async def test_what_is_rolled_back_sets_no_timer(store) -> None:
    async with store.pool.acquire() as connection, connection.transaction():
        transaction = Transaction(connection)
        mark = transaction.mark()
        transaction.set_timer(KIND, key=uuid4(), due_at=PAST, revision=1)
        transaction.rollback_to(mark)
        await transaction.flush()
    assert await rows(store) == []


async def test_a_flush_with_timers_is_one_round_trip(store) -> None:
    asked: list[str] = []
    async with store.pool.acquire() as connection, connection.transaction():
        transaction = Transaction(connection)
        transaction.publish(event(uuid4(), 1))
        for _ in range(50):
            transaction.set_timer(KIND, key=uuid4(), due_at=PAST, revision=1)
        transaction.cancel_timer(KIND, key=uuid4(), revision=1)
        with connection.query_logger(lambda record: asked.append(record.query)):
            await transaction.flush()
    assert len([one for one in asked if "timers" in one]) == len([one for one in asked if "INSERT" in one]) == 1
    assert len(await rows(store)) == 51


@pytest.mark.parametrize("kind", ["", "Jane Roe", "a" * 101, "é"])
async def test_a_kind_or_name_that_is_no_code_is_refused_without_being_repeated(store, kind) -> None:
    async with store.pool.acquire() as connection:
        with pytest.raises(ValueError, match="codes") as refused:
            Transaction(connection).set_timer("k", key=uuid4(), due_at=PAST, revision=1, name=kind)
        assert not kind or kind not in str(refused.value)
        with pytest.raises(ValueError, match="zone"):
            Transaction(connection).set_timer("k", key=uuid4(), due_at=datetime(2026, 1, 1), revision=1)  # noqa: DTZ001
        with pytest.raises(ValueError, match="payload"):
            Transaction(connection).set_timer("k", key=uuid4(), due_at=PAST, revision=1, payload={"a": "b" * 9000})


LATER = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("late", [1, 2, 3])
async def test_a_late_word_changes_nothing_whatever_became_of_the_timer(store, late) -> None:
    cancelled, fired, moved = UUID(int=1), UUID(int=2), UUID(int=3)
    await say(store, cancels(cancelled, 3), sets(fired, 3), sets(moved, 2))
    await say(store, sets(moved, 3, LATER))
    one = worker(store, Desk())
    await turns(one)
    before = [(cancelled, 3, "cancelled"), (fired, 3, "fired"), (moved, 3, "waiting")]
    assert await rows(store) == before
    await say(store, sets(cancelled, late), sets(fired, late), cancels(moved, late))
    await say(store, cancels(cancelled, late), cancels(fired, late), sets(moved, late))
    await turns(one)
    assert await rows(store) == before
    assert await applied(store) == {fired: [3]}


async def test_a_timer_that_fired_may_be_set_anew_and_fires_again(store) -> None:
    key = uuid4()
    one = worker(store, Desk())
    for revision in (1, 2):
        await say(store, sets(key, revision))
        await turns(one)
    assert await applied(store) == {key: [1, 2]}
    assert await rows(store) == [(key, 2, "fired")]


async def test_a_handler_may_set_its_own_timer_anew(store) -> None:
    key = uuid4()

    def again(timer: Timer, work: Work) -> None:
        if timer.revision < 4:
            work.transaction.set_timer(KIND, key=key, due_at=PAST, revision=timer.revision + 1)

    await say(store, sets(key, 1))
    await turns(worker(store, Desk(also=again)))
    assert await applied(store) == {key: [1, 2, 3, 4]}
    assert await rows(store) == [(key, 4, "fired")]


async def test_a_handler_cancels_another_timer_of_its_batch(store) -> None:
    first, second = UUID(int=1), UUID(int=2)

    def cancel(timer: Timer, work: Work) -> None:
        if timer.key == first:
            work.transaction.cancel_timer(KIND, key=second, revision=2)

    await say(store, sets(first, 1, PAST), sets(second, 1, PAST + timedelta(seconds=1)))
    await turns(worker(store, Desk(also=cancel)))
    assert await applied(store) == {first: [1]}
    await turns(worker(store, Desk()))
    assert (second, 2, "cancelled") in await rows(store)
    assert await applied(store) == {first: [1]}


WORDS = st.lists(
    st.tuples(st.sampled_from(["set", "cancel", "work"]), st.integers(1, 3), st.integers(1, 6)), min_size=1, max_size=14
)


@settings(max_examples=DEPTH.examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=WORDS)
async def test_any_order_of_words_and_work_leaves_what_the_newest_word_says(store, words) -> None:
    """The model: of each key the newest revision and what it said; work fires what waits."""
    await store.pool.execute("TRUNCATE timers, things, outbox, deliveries")
    one = worker(store, desk := Desk())
    known: dict[UUID, tuple[int, str]] = {}
    effects: dict[UUID, list[int]] = {}
    for what, number, revision in words:
        key = UUID(int=number)
        if what == "work":
            await turns(one)
            for key, (newest, state) in known.items():
                if state == "waiting":
                    known[key] = newest, "fired"
                    effects.setdefault(key, []).append(newest)
            continue
        await say(store, sets(key, revision) if what == "set" else cancels(key, revision))
        if revision > known.get(key, (0, ""))[0]:
            known[key] = revision, "waiting" if what == "set" else "cancelled"
    assert await rows(store) == sorted((key, *value) for key, value in known.items())
    assert await applied(store) == effects
    assert len(desk.seen) == sum(map(len, effects.values()))


# ---- several at once


async def test_workers_side_by_side_and_handlers_that_move_and_cancel(store) -> None:
    """Each key's handler locks its aggregate, says a newer word and keeps what it said. Nobody waits in a circle."""
    chance, keys = random.Random(4711), [uuid4() for _ in range(20)]
    last: dict[UUID, tuple[int, str]] = {}
    collisions = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    await store.pool.executemany("INSERT INTO things VALUES ($1, 0, '{}')", [(key,) for key in keys])

    async def handler(key: UUID) -> None:
        for revision in range(1, 41):
            async with store.pool.acquire() as connection, connection.transaction():
                await connection.fetchrow("SELECT 1 FROM things WHERE id = $1 FOR UPDATE", key)
                await asyncio.sleep(chance.random() * 0.01)
                transaction = Transaction(connection)
                word = (cancels if chance.random() < 0.3 else sets)(key, revision)
                word(transaction)
                await transaction.flush()
                fired = await connection.fetchval("SELECT applied FROM things WHERE id = $1", key)
                assert revision not in fired
            last[key] = (revision, transaction_state(word))

    def transaction_state(word: Callable[[Any], None]) -> str:
        seen: list[str] = []

        class Spy:
            def set_timer(self, *_: object, **__: object) -> None:
                seen.append("fired")

            def cancel_timer(self, *_: object, **__: object) -> None:
                seen.append("cancelled")

        word(Spy())
        return seen[0]

    workers = [worker(store, Desk()) for _ in range(3)]
    async with running(*workers):
        await asyncio.gather(*map(handler, keys))

        async def at_rest() -> bool:
            return await store.pool.fetchval("SELECT count(*) FROM timers WHERE state = 'waiting'") == 0

        await eventually(at_rest, what="every timer fired or cancelled")
    done = await applied(store)
    for key in keys:
        assert done[key] == sorted(set(done[key])), "each revision once and in order"
        assert (last[key][0] in done[key]) == (last[key][1] == "fired"), "the newest word counts"
    newest = await store.pool.fetch(
        "SELECT DISTINCT ON (key) key, revision, state FROM timers ORDER BY key, revision DESC"
    )
    assert {row["key"]: (row["revision"], row["state"]) for row in newest} == last
    assert await store.pool.fetchval(collisions) == 0


async def test_a_handler_does_not_wait_for_a_worker_that_waits_for_its_aggregate(store) -> None:
    """The worker has the timer's row, the handler the aggregate: the handler's word goes through and counts."""
    key = uuid4()
    await store.pool.execute("INSERT INTO things VALUES ($1, 0, '{}')", key)
    await say(store, sets(key, 1))
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    async with store.pool.acquire() as connection:
        opened = connection.transaction()
        await opened.start()
        await connection.fetchrow("SELECT 1 FROM things WHERE id = $1 FOR UPDATE", key)
        turn = asyncio.create_task(worker(store, desk := Desk()).turn())

        async def waits() -> bool:
            return await store.pool.fetchval(waiting) == 1

        await eventually(waits, what="the worker waiting for the aggregate")
        transaction = Transaction(connection)
        transaction.cancel_timer(KIND, key=key, revision=2)
        await connection.execute("SET LOCAL lock_timeout = '100ms'")
        await transaction.flush()
        await opened.commit()
    await turn
    assert desk.seen == []
    assert await rows(store) == [(key, 2, "cancelled")]


async def test_of_one_key_the_earliest_goes_first_and_none_passes_one_that_fails(store) -> None:
    key = uuid4()
    names = ["first", "second", "third"]
    for number, name in enumerate(names):
        await say(store, sets(key, number + 1, PAST + timedelta(minutes=number), name=name))
    desk = Desk(transient={key: 4})
    async with running(worker(store, desk), worker(store, desk)):

        async def all_done() -> bool:
            return await applied(store) == {key: [1, 2, 3]}

        await eventually(all_done, what="all three in their order")
    assert [timer.name for timer in desk.seen] == ["first"] * 5 + ["second", "third"]


# ---- failures


async def test_a_failing_timer_costs_the_others_nothing_and_is_tried_again(store) -> None:
    keys = [uuid4() for _ in range(30)]
    await say(store, *(sets(key, 1) for key in keys))
    desk = Desk(transient={keys[4]: 6}, permanent={keys[7]}, bug={keys[9]}, breaks_the_write={keys[11]})
    metrics = Metrics()  # the batch that holds the bugs is handled several times over before one counts as tried again
    async with running(worker(store, desk, metrics=metrics)):

        async def at_rest() -> bool:
            return await store.pool.fetchval("SELECT count(*) FROM timers WHERE state = 'waiting'") == 0

        await eventually(at_rest, what="nothing waits")
    good = {key: [1] for key in keys if key not in {keys[7], keys[9], keys[11]}}
    assert await applied(store) == good
    assert await store.pool.fetchval("SELECT count(*) FROM outbox") == len(good)
    dead = {row.key: row.last_error for row in await list_timers(store, state="dead")}
    assert dead == {keys[7]: "told so", keys[9]: "bug: ZeroDivisionError", keys[11]: "bug: CheckViolationError"}
    assert metrics.value("timers_due_total", kind=KIND, outcome="again") >= 1
    assert metrics.value("timers_due_total", kind=KIND, outcome="failed") == 3


async def test_at_the_limit_of_dead_ones_the_others_wait_and_go_on_with_the_next_release(store) -> None:
    keys = [uuid4() for _ in range(10)]
    await say(store, *(sets(key, 1) for key in keys))
    await turns(worker(store, Desk(bug=set(keys)), dead_limit=3))
    assert len(await list_timers(store, state="dead")) == 3
    assert len(await list_timers(store, state="overdue")) == 7
    async with running(worker(store, Desk())):

        async def seven() -> bool:
            return len(await applied(store)) == 7

        await eventually(seven, what="those that waited")
        assert await retry_timers(store, KIND, actor="me") == 3

        async def all_of_them() -> bool:
            return len(await applied(store)) == 10

        await eventually(all_of_them, what="those that were dead")


async def test_a_kind_that_nobody_knows_waits_is_counted_and_in_nobodys_way(store) -> None:
    key = uuid4()
    await say(store, sets(key, 2, kind="unknown"), sets(key, 1, PAST + timedelta(minutes=1)))
    one = worker(store, Desk(), metrics=(metrics := Metrics()))
    await turns(one)
    assert await applied(store) == {key: [1]}
    one._tell(await store.pool.fetchrow(statements.COUNTS, [KIND]))
    assert metrics.value("timers_of_unknown_kind") == metrics.value("timers_overdue") == 1
    assert metrics.value("timers_oldest_overdue_age_seconds") > 60
    await turns(worker(store, desk := Desk(), KIND, "unknown"))
    assert [timer.kind for timer in desk.seen] == ["unknown"]


async def test_a_store_that_is_away_is_nobodys_fault(store) -> None:
    await say(store, sets(key := uuid4(), 1))

    def away(_timer: Timer, _work: Work) -> None:
        raise StoreUnavailable("told so")

    one = worker(store, Desk(also=away))
    with pytest.raises(StoreUnavailable):
        await one.turn()
    assert await store.pool.fetchval("SELECT attempts FROM timers") == 0
    await turns(worker(store, Desk()))
    assert await applied(store) == {key: [1]}


# ---- time


async def test_none_is_early_and_none_much_later_than_a_second(store) -> None:
    """By the store's clock. Those due within two seconds wake the worker; it sleeps until the next one is due."""
    desk = Desk()
    async with running(worker(store, desk)):
        now = await store.now()
        dues = [now + timedelta(seconds=0.15 * number) for number in range(1, 16)]
        for due in dues:
            await say(store, sets(uuid4(), 1, due))

        async def all_done() -> bool:
            return len(desk.seen) == len(dues)

        await eventually(all_done, what="all of them")
    fired = await store.pool.fetch("SELECT due_at, settled_at FROM timers")
    assert all(row["settled_at"] >= row["due_at"] for row in fired)
    late = sorted((row["settled_at"] - row["due_at"]).total_seconds() for row in fired)
    assert late[len(late) // 2] < 1, "the half of them; the machine may be busy"


@pytest.mark.parametrize("apart_seconds", [3600, 10])
async def test_while_the_clocks_are_apart_a_timer_is_due_by_the_earlier_one(store, apart_seconds) -> None:
    """The other clock says that it is earlier: what is due by the store's alone waits until they agree."""
    now = await store.now()
    await say(store, sets(early := UUID(int=1), 1, now - timedelta(seconds=5)))
    await say(store, sets(due := UUID(int=2), 1, now - timedelta(seconds=2 * apart_seconds)))
    clock = ClockAsTold(at=now, apart=timedelta(seconds=apart_seconds))
    one = worker(store, Desk(), clock=clock)
    await turns(one)
    assert await applied(store) == {due: [1]}
    clock.apart = timedelta()
    await turns(one)
    assert await applied(store) == {due: [1], early: [1]}


async def test_a_clock_of_ours_that_is_ahead_makes_nothing_early(store) -> None:
    now = await store.now()
    await say(store, sets(due := uuid4(), 1), sets(uuid4(), 1, now + timedelta(minutes=30)))
    await turns(worker(store, desk := Desk(), clock=ClockAsTold(at=now + timedelta(hours=1))))
    assert [timer.key for timer in desk.seen] == [due]


async def test_while_nobody_knows_the_time_nothing_fires_and_the_worker_turns(store) -> None:
    class NotKnown(ClockAsTold):
        def span(self):
            raise Withheld("not known")

    await say(store, sets(uuid4(), 1))
    one = worker(store, desk := Desk(), clock=NotKnown())
    async with running(one):
        since = one.progressed_at

        async def turned() -> bool:
            return one._is_withheld and one.progressed_at > since

        await eventually(turned, what="a turn without effect")
    assert desk.seen == []


# ---- a store that was set back, an operator, what is forgotten


async def test_in_a_store_that_was_set_back_a_timer_fires_again_under_the_same_key(store) -> None:
    await say(store, sets(uuid4(), 5))
    before = await store.pool.fetch("SELECT * FROM timers")
    one = worker(store, desk := Desk())
    await turns(one)
    await store.pool.execute("TRUNCATE timers, things, outbox, deliveries")
    await store.pool.executemany(
        f"INSERT INTO timers VALUES ({', '.join(f'${n + 1}' for n in range(len(before[0])))})", before
    )
    await turns(one)
    first, second = desk.seen
    assert first.idempotency_key == second.idempotency_key
    assert first.effect_id == second.effect_id


async def test_an_operator_lists_retries_and_cancels(store) -> None:
    dead, given_up = UUID(int=1), UUID(int=2)
    await say(store, sets(dead, 1), sets(given_up, 1), sets(UUID(int=3), 1, LATER))
    desk = Desk(permanent={dead, given_up})
    one = worker(store, desk)
    await turns(one)
    assert [row.key for row in await list_timers(store, state="waiting")] == [UUID(int=3)]
    assert {row.key for row in await list_timers(store, state="dead", kind=KIND)} == {dead, given_up}
    assert await list_timers(store, state="dead", kind="other") == []
    assert not await retry_timer(store, KIND, uuid4(), "-", actor="me")
    assert await cancel_timer(store, KIND, given_up, "-", actor="me")
    assert not await cancel_timer(store, KIND, given_up, "-", actor="me")
    desk.permanent.clear()
    assert await retry_timer(store, KIND, dead, "-", actor="me")
    await turns(one)
    assert await applied(store) == {dead: [1]}
    await say(store, sets(given_up, 1))
    assert (given_up, 1, "cancelled") in await rows(store), "an older word does not set it again"
    audit = await store.pool.fetch("SELECT action, subject FROM operator_audit ORDER BY id")
    assert [tuple(row) for row in audit] == [
        ("timer.cancel", str(given_up)), ("timer.retry", str(dead)),
    ]  # fmt: skip


async def test_a_newer_word_takes_the_place_of_a_dead_one(store) -> None:
    key = uuid4()
    await say(store, sets(key, 1))
    await turns(worker(store, Desk(bug={key})))
    await say(store, sets(key, 2, LATER))
    assert await rows(store) == [(key, 2, "waiting")]


# ---- many


async def explained(store: Store, statement: str, *values: Any) -> str:
    async with store.pool.acquire() as connection, connection.transaction():
        found = await connection.fetch(f"EXPLAIN (ANALYZE, BUFFERS OFF, TIMING OFF) {statement}", *values)
    return "\n".join(row[0] for row in found)


async def test_what_is_due_is_found_by_the_index_among_what_is_not(store) -> None:
    await store.pool.execute(
        """
        INSERT INTO timers (kind, key, name, revision, due_at, next_attempt_at)
        SELECT CASE number % 3 WHEN 0 THEN 'unknown' ELSE $1 END, gen_random_uuid(), '-', 1, due, due FROM (
            SELECT number, clock_timestamp() + (CASE WHEN number % 100 = 0 THEN -1 ELSE 1 END) * interval '1 day' AS due
            FROM generate_series(1, 50000) AS number
        ) AS made
        """,
        KIND,
    )
    now = await store.now()
    keys = [row["key"] for row in await store.pool.fetch("SELECT key FROM timers LIMIT 100")]
    columns = ([KIND] * 100, keys, ["-"] * 100, [1] * 100)
    words = (*columns, [LATER] * 100, ["{}"] * 100, [None] * 100)
    marks = (*columns, ["fired"] * 100, [None] * 100, [0.0] * 100)
    from chassis.store import statements as words_of  # noqa: PLC0415

    asked = [
        (statements.CLAIM, ([KIND], now, timers_intake.LARGEST_BATCH)),
        (statements.NEXT, ([KIND],)),
        (statements.SUPERSEDED, columns),
        (statements.MARK, marks),
        (words_of.WRITE_TIMERS, words),
        (words_of.FORGET_OLDER_TIMERS, columns),
    ]
    for is_analysed in (False, True):
        if is_analysed:
            await store.pool.execute("ANALYZE timers")
        for statement, values in asked:
            plan = await explained(store, statement, *values)
            assert "Seq Scan on timers" not in plan, plan
            assert "Index" in plan
