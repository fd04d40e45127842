"""One suite over the fake and a real Postgres: the fake behaves like Postgres where the simulation relies on it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from simulated_postgres import Connection, Database, Immediate
from simulated_statements import LOAD_THINGS, SAVE_THING, STATEMENTS

import contracts
from chassis.deliveries import statements as lines
from chassis.errors import Transient
from chassis.messaging import Record, outbox, parking
from chassis.messaging import statements as messaging_sql
from chassis.store import Transaction, exclusive, schema
from chassis.store import statements as store_sql
from chassis.testing import eventually
from chassis.timers import statements as timers
from contracts.examples import EXAMPLES

KEY, OTHER = UUID(int=1), UUID(int=2)
IDS = [UUID(int=number) for number in range(10, 20)]
TOKEN, SECOND_TOKEN = UUID(int=98), UUID(int=99)
THINGS = "CREATE TABLE things (id uuid PRIMARY KEY, revision int NOT NULL, applied int[] NOT NULL)"
LEASE = 1000.0
Connect = Callable[[], Awaitable[Any]]


@pytest.fixture(params=["fake", pytest.param("postgres", marks=pytest.mark.stack)])
def server_url(request: pytest.FixtureRequest) -> str | None:
    """The URL of the real server; None for the fake."""
    return None if request.param == "fake" else request.getfixturevalue("database_url")


@pytest.fixture
async def connect(server_url: str | None) -> AsyncIterator[Connect]:
    opened: list[Any] = []
    if server_url is None:
        database = Database(time.time, STATEMENTS)

        async def one() -> Any:
            opened.append(Connection(database, Immediate()))
            return opened[-1]
    else:
        first = await asyncpg.connect(server_url)
        await first.execute(schema.whole())
        await first.execute(THINGS)
        await first.close()

        async def one() -> Any:
            opened.append(await asyncpg.connect(server_url))
            return opened[-1]

    yield one
    for connection in opened:
        connection.terminate()


async def stage(connection: Any, *rows: tuple[UUID, UUID]) -> None:
    """Deliveries (id, key), in order."""
    async with connection.transaction():
        transaction = Transaction(connection)
        for identifier, key in rows:
            transaction.deliver(
                "partner", key=key, kind="k", payload=b"p", idempotency_key=identifier.hex, delivery_id=identifier
            )
        await transaction.flush()


async def claim(connection: Any, *, limit: int = 10, token: UUID = TOKEN, lease: float = LEASE) -> list[UUID]:
    rows = await connection.fetch(lines.CLAIM, "partner", limit, token, lease)
    return [row["id"] for row in sorted(rows, key=lambda row: row["sequence"])]


async def done(connection: Any, *ids: UUID, token: UUID = TOKEN) -> list[UUID]:
    rows = await connection.fetch(lines.DONE, list(ids), [token] * len(ids), ["{}"] * len(ids))
    return [row["id"] for row in rows]


async def park(connection: Any, *messages: tuple[UUID, UUID], failed: tuple[UUID, ...] = (), pause: float = 0) -> None:
    """Parks as a consumer does: the same transaction has found parked the keys that have not failed."""
    error = Transient("told so", retry_after_seconds=pause or 0.001)
    async with connection.transaction():
        await parking.hold(connection, "c", [key for key, _ in messages])
        waiting = [
            parking.Waiting(key, message_id, Record("t", 0, place, None, b"v", []), error if key in failed else None)
            for place, (key, message_id) in enumerate(messages)
        ]
        transaction = Transaction(connection)
        await parking.park(transaction, "c", waiting)
        await transaction.flush()


@asynccontextmanager
async def blocked(work: Awaitable[Any]) -> AsyncIterator["asyncio.Future[Any]"]:
    """Runs ``work``, which waits for a lock, while the body starts; the body must release the lock."""
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait({task}, timeout=0.2)
    assert not done, "nothing held it back"
    yield task
    await asyncio.wait_for(task, 60)


async def test_the_heads_of_the_lines_are_claimed_in_order_and_nothing_behind_them(connect: Connect) -> None:
    one = await connect()
    await stage(one, (IDS[0], KEY), (IDS[1], KEY), (IDS[2], OTHER))
    assert await claim(one, limit=1) == [IDS[0]]
    assert await claim(one) == [IDS[2]]
    assert await claim(one) == []
    assert await done(one, IDS[0]) == [IDS[0]]
    (row,) = await one.fetch(lines.CLAIM, "partner", 5, TOKEN, LEASE)
    assert (row["id"], row["attempts"], row["idempotency_key"]) == (IDS[1], 1, IDS[1].hex)


async def test_a_lease_that_has_run_out_is_anybodys_and_its_old_token_settles_nothing(connect: Connect) -> None:
    one = await connect()
    await stage(one, (IDS[0], KEY))
    assert await claim(one, lease=-1) == [IDS[0]]
    assert await claim(one, token=SECOND_TOKEN) == [IDS[0]]
    assert await done(one, IDS[0]) == []
    await one.execute(lines.AGAIN, IDS[0], TOKEN, "late", 0.0)
    await one.execute(lines.DEAD, IDS[0], TOKEN, "late")
    assert await claim(one) == []
    assert await done(one, IDS[0], token=SECOND_TOKEN) == [IDS[0]]


async def test_a_renewed_lease_holds(connect: Connect) -> None:
    one = await connect()
    await stage(one, (IDS[0], KEY))
    await claim(one, lease=-1)
    await one.execute(lines.RENEW, [TOKEN], LEASE)
    assert await claim(one, token=SECOND_TOKEN) == []


async def test_of_several_that_are_marked_together_only_ones_own_are(connect: Connect) -> None:
    one = await connect()
    await stage(one, (IDS[0], KEY), (IDS[1], OTHER), (IDS[2], KEY))
    await claim(one, limit=1)
    await claim(one, token=SECOND_TOKEN)
    assert await done(one, IDS[0], IDS[1], IDS[2]) == [IDS[0]]
    assert await done(one, IDS[0], IDS[1], token=SECOND_TOKEN) == [IDS[1]]


async def test_what_another_transaction_marks_is_neither_waited_for_nor_renewed(connect: Connect) -> None:
    one, two = await connect(), await connect()
    await stage(one, (IDS[0], KEY), (IDS[1], OTHER))
    await claim(one, lease=-1)
    async with two.transaction():
        assert await done(two, IDS[0]) == [IDS[0]]
        await asyncio.wait_for(one.execute(lines.RENEW, [TOKEN], LEASE), 60)
    assert await claim(one, token=SECOND_TOKEN) == []


async def test_bugs_make_as_many_dead_as_the_limit_and_then_none_until_one_is_done(connect: Connect) -> None:
    one = await connect()
    await stage(one, *((identifier, uuid4()) for identifier in IDS[:3]))
    await claim(one)
    assert await one.fetchval(lines.DEAD_OF_A_BUG, IDS[0], TOKEN, "bug: E", "partner", 1) == 1
    assert await one.fetchval(lines.DEAD_OF_A_BUG, IDS[1], TOKEN, "bug: E", "partner", 1) is None
    await one.execute(lines.HELD_BACK, IDS[1], TOKEN, "bug: E", 0.0, '{"id": "42"}')
    row = await one.fetchrow(lines.WAITING, "partner")
    assert (row["pending"], row["dead"], row["bugs"]) == (2, 1, 1)
    (row,) = await one.fetch(lines.CLAIM, "partner", 1, TOKEN, LEASE)
    assert (row["id"], row["receipt"]) == (IDS[1], '{"id": "42"}')
    await one.execute(lines.NO_BUGS, "partner")
    assert await one.fetchval(lines.BUGS, "partner") == 0
    assert await one.fetchval(lines.DEAD_OF_A_BUG, IDS[1], TOKEN, "bug: E", "partner", 1) == 1


async def test_a_pause_holds_the_whole_line_and_a_dead_head_frees_it(connect: Connect) -> None:
    one = await connect()
    await stage(one, (IDS[0], KEY), (IDS[1], KEY))
    await claim(one)
    await one.execute(lines.AGAIN, IDS[0], TOKEN, "busy", 1000.0)
    assert await claim(one) == []
    await one.execute(lines.AGAIN, IDS[0], TOKEN, "no longer ours", 0.0)
    assert await claim(one) == []
    await stage(one, (IDS[2], OTHER))
    assert await claim(one) == [IDS[2]]
    await one.execute(lines.DEAD, IDS[2], TOKEN, "422")
    row = await one.fetchrow(lines.WAITING, "partner")
    assert (row["pending"], row["dead"]) == (2, 1)


async def test_a_row_that_another_transaction_claims_is_skipped(connect: Connect) -> None:
    one, two = await connect(), await connect()
    await stage(one, (IDS[0], KEY), (IDS[1], OTHER))
    async with one.transaction():
        assert await claim(one, limit=1) == [IDS[0]]
        assert await claim(two, token=SECOND_TOKEN) == [IDS[1]]


async def test_a_second_delivery_with_one_idempotency_key_is_not_written(connect: Connect) -> None:
    one = await connect()
    for identifier in IDS[:2]:
        async with one.transaction():
            transaction = Transaction(one)
            transaction.deliver(
                "partner", key=KEY, kind="k", payload=b"", idempotency_key="same", delivery_id=identifier
            )
            await transaction.flush()
    assert await claim(one) == [IDS[0]]


async def test_a_message_is_claimed_once_and_again_after_a_rollback_or_release(connect: Connect) -> None:
    one, two = await connect(), await connect()
    with suppress(ZeroDivisionError):
        async with one.transaction():
            assert len(await one.fetch(messaging_sql.CLAIM, "c", IDS[:2])) == 2
            raise ZeroDivisionError
    assert len(await one.fetch(messaging_sql.CLAIM, "c", IDS[:2])) == 2
    assert [row["message_id"] for row in await two.fetch(messaging_sql.CLAIM, "c", IDS[1:3])] == [IDS[2]]
    assert len(await one.fetch(messaging_sql.CLAIM, "another", [IDS[0], IDS[0]])) == 1
    transaction = Transaction(one)
    transaction.write(messaging_sql.RELEASE, "c", IDS[:1])
    await transaction.flush()
    assert [row["message_id"] for row in await two.fetch(messaging_sql.CLAIM, "c", IDS[:2])] == [IDS[0]]


@pytest.mark.parametrize("commits", [True, False])
async def test_who_claims_the_same_message_waits_for_the_first_to_end(connect: Connect, *, commits: bool) -> None:
    one, two = await connect(), await connect()
    transaction = one.transaction()
    await transaction.__aenter__()
    await one.fetch(messaging_sql.CLAIM, "c", IDS[:1])
    async with blocked(two.fetch(messaging_sql.CLAIM, "c", IDS[:1])) as second:
        error = None if commits else ZeroDivisionError
        await transaction.__aexit__(error, None, None)
    assert len(second.result()) == (0 if commits else 1)


async def test_a_savepoint_takes_back_its_own_rows_alone(connect: Connect) -> None:
    one = await connect()
    async with one.transaction():
        await one.fetch(messaging_sql.CLAIM, "c", IDS[:1])
        with suppress(ZeroDivisionError):
            async with one.transaction():
                await one.fetch(messaging_sql.CLAIM, "c", IDS[1:2])
                raise ZeroDivisionError
    assert [row["message_id"] for row in await one.fetch(messaging_sql.CLAIM, "c", IDS[:2])] == [IDS[1]]


async def test_parked_messages_keep_their_order_and_their_key_waits(connect: Connect) -> None:
    one = await connect()
    await park(one, (KEY, IDS[1]), (OTHER, IDS[2]), (KEY, IDS[0]), failed=(KEY, OTHER), pause=1000)
    await park(one, (KEY, IDS[0]), (KEY, IDS[3]), failed=(KEY,))
    assert [row["message_id"] for row in await one.fetch(messaging_sql.LINE_OF_KEY, "c", KEY)] == [
        IDS[1],
        IDS[0],
        IDS[3],
    ]
    assert await one.fetchrow(messaging_sql.TAKE_KEY, "c") is None
    assert await parking.hold(one, "c", [OTHER, KEY, IDS[0]]) == {KEY, OTHER}
    standing = await one.fetchrow(messaging_sql.PARKED_KEYS, "c")
    assert (standing["parked"], 900 < standing["due_in_seconds"] <= 1000) == (2, True)
    assert dict(await one.fetchrow(messaging_sql.PARKED_KEYS, "another")) == {
        "parked": 0,
        "due_in_seconds": None,
    }


async def test_a_line_that_is_empty_unparks_its_key_and_no_other(connect: Connect) -> None:
    one = await connect()
    await park(one, (KEY, IDS[0]), failed=(KEY,))
    row = await eventually(lambda: one.fetchrow(messaging_sql.TAKE_KEY, "c"), what="the key falls due")
    assert (row["key"], row["attempts"]) == (KEY, 1)
    await one.execute(messaging_sql.UNPARK, "c", KEY)
    assert await one.fetchrow(messaging_sql.TAKE_KEY, "c") is not None
    (line,) = await one.fetch(messaging_sql.LINE_OF_KEY, "c", KEY)
    await one.execute("DELETE FROM parked_messages WHERE sequence = $1", line["sequence"])
    await one.execute(messaging_sql.TRY_KEY_LATER, "c", KEY, 1, "busy", -1.0)
    await one.execute(messaging_sql.TRY_KEY_LATER, "c", KEY, 0, None, -1.0)
    assert (await one.fetchrow(messaging_sql.TAKE_KEY, "c"))["attempts"] == 2
    assert await one.fetchrow(messaging_sql.HAVE_KEY_ALONE, "c", OTHER) is None
    await one.execute(messaging_sql.UNPARK, "c", KEY)
    assert await one.fetchrow(messaging_sql.TAKE_KEY, "c") is None


async def test_nobody_waits_for_a_line_that_is_worked_on_and_what_comes_then_stands_behind_it(
    connect: Connect,
) -> None:
    one, two, three = await connect(), await connect(), await connect()
    await park(one, (KEY, IDS[0]), failed=(KEY,))
    await eventually(lambda: one.fetchrow(messaging_sql.TAKE_KEY, "c"), what="the key falls due")
    async with one.transaction():
        assert await one.fetchrow(messaging_sql.TAKE_KEY, "c") is not None
        assert await two.fetchrow(messaging_sql.TAKE_KEY, "c") is None, "another does not work on it too"
        (line,) = await one.fetch(messaging_sql.LINE_OF_KEY, "c", KEY)
        await one.execute("DELETE FROM parked_messages WHERE sequence = $1", line["sequence"])
        async with two.transaction():
            assert await asyncio.wait_for(parking.hold(two, "c", [KEY]), 60) == {KEY}
            assert await one.fetchrow(messaging_sql.HAVE_KEY_ALONE, "c", KEY) is None, (
                "its message is not in the line yet"
            )
            await asyncio.wait_for(park(two, (KEY, IDS[1])), 60)
            await asyncio.wait_for(park(three, (KEY, IDS[2]), failed=(KEY,)), 60)
        assert await one.fetchrow(messaging_sql.HAVE_KEY_ALONE, "c", KEY) is not None
        await one.execute(messaging_sql.UNPARK, "c", KEY)
    assert {row["message_id"] for row in await one.fetch(messaging_sql.LINE_OF_KEY, "c", KEY)} == set(IDS[1:3])
    assert (await one.fetchrow(messaging_sql.TAKE_KEY, "c"))["key"] == KEY, "it is tried again for those behind"


async def test_who_meets_a_key_that_is_about_to_be_unparked_waits_and_finds_it_free(connect: Connect) -> None:
    one, two, three = await connect(), await connect(), await connect()
    await park(one, (KEY, IDS[0]), failed=(KEY,))
    transaction = one.transaction()
    await transaction.__aenter__()
    assert await one.fetchrow(messaging_sql.HAVE_KEY_ALONE, "c", KEY) is not None
    parks_it_anew = park(three, (KEY, IDS[1]), failed=(KEY,))
    async with blocked(parking.hold(two, "c", [KEY])) as held, blocked(parks_it_anew):
        (line,) = await one.fetch(messaging_sql.LINE_OF_KEY, "c", KEY)
        await one.execute("DELETE FROM parked_messages WHERE sequence = $1", line["sequence"])
        await one.execute(messaging_sql.UNPARK, "c", KEY)
        await transaction.__aexit__(None, None, None)
        await asyncio.wait({held}, timeout=60)
    assert held.result() in (set(), {KEY}), "the third may have parked it before the second looked"
    assert [row["message_id"] for row in await one.fetch(messaging_sql.LINE_OF_KEY, "c", KEY)] == [IDS[1]]
    assert (await eventually(lambda: one.fetchrow(messaging_sql.TAKE_KEY, "c"), what="the new key"))["key"] == KEY


async def test_a_circle_of_waiting_is_broken(connect: Connect) -> None:
    one, two = await connect(), await connect()
    for key in (KEY, OTHER):
        await one.executemany(SAVE_THING, [(key, 1, [1])])

    async def both(connection: Any, first: UUID, second: UUID) -> None:
        async with connection.transaction():
            await connection.fetch(LOAD_THINGS, [first])
            await barrier.wait()
            await connection.fetch(LOAD_THINGS, [second])

    barrier = asyncio.Barrier(2)
    outcomes = await asyncio.gather(both(one, KEY, OTHER), both(two, OTHER, KEY), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["DeadlockDetectedError", "NoneType"]


def event(key: UUID, revision: int) -> contracts.Message:
    message = EXAMPLES[contracts.AppointmentScheduled]
    return message.model_copy(
        update={"aggregate_id": key, "revision": revision, "message_id": UUID(int=key.int * 1000 + revision)}
    )


async def publish(connection: Any, *events: tuple[UUID, int]) -> None:
    transaction = Transaction(connection)
    for key, revision in events:
        transaction.publish(event(key, revision))
    await transaction.flush()


async def test_unsent_rows_come_in_order_and_say_what_lies_before_them(connect: Connect) -> None:
    one, two = await connect(), await connect()
    async with one.transaction():
        await publish(one, (KEY, 1))  # draws the first id and commits last
        await publish(two, (OTHER, 1), (OTHER, 2))
        second, third = await two.fetch(messaging_sql.UNSENT, 0)
        assert (second["key"], second["earlier"], third["id"]) == (str(OTHER).encode(), 0, second["id"] + 1)
        assert [row["earlier"] for row in await two.fetch(messaging_sql.UNSENT, second["id"])] == [1]
    assert [row["earlier"] for row in await two.fetch(messaging_sql.UNSENT, second["id"])] == [2]
    await two.execute(messaging_sql.MARK_SENT, [second["id"]])
    assert [row["key"] for row in await two.fetch(messaging_sql.UNSENT, 0)] == [
        str(KEY).encode(),
        str(OTHER).encode(),
    ]


async def test_a_late_mark_is_of_the_row_that_was_sent_and_a_mark_of_nothing_changes_nothing(connect: Connect) -> None:
    one = await connect()
    await publish(one, (KEY, 1), (OTHER, 1), (OTHER, 2))
    first, second, third = await one.fetch(messaging_sql.UNSENT, 0)
    await one.execute(messaging_sql.MARK_NOTHING)
    assert len(await one.fetch(messaging_sql.UNSENT, 0)) == 3
    moments = [first["created_at"], second["created_at"] - timedelta(seconds=1)]
    answer = await one.execute(messaging_sql.MARK_SENT_LATE, [first["id"], second["id"]], moments)
    assert answer.rpartition(" ")[2] == "1"
    assert [row["id"] for row in await one.fetch(messaging_sql.UNSENT, 0)] == [second["id"], third["id"]]
    assert await one.fetch(exclusive._STANDING_STILL, outbox.LOCK, 0.0) == []


async def test_the_relays_lock_is_one_sessions_and_free_when_that_ends(connect: Connect) -> None:
    one, two = await connect(), await connect()
    assert await one.fetchval("SELECT pg_try_advisory_lock($1)", outbox.LOCK)
    assert not await two.fetchval("SELECT pg_try_advisory_lock($1)", outbox.LOCK)
    one.terminate()

    async def is_free() -> bool:
        return await two.fetchval("SELECT pg_try_advisory_lock($1)", outbox.LOCK)

    await eventually(is_free, what="the lock of a session that has ended")


async def test_a_notification_comes_with_the_commit_and_not_without(connect: Connect) -> None:
    one, two = await connect(), await connect()
    heard: list[object] = []
    await two.add_listener("deliveries", lambda *_: heard.append(1))
    with suppress(ZeroDivisionError):
        async with one.transaction():
            await stage(one, (IDS[0], KEY))
            raise ZeroDivisionError
    await stage(one, (IDS[1], KEY))

    async def was_heard() -> bool:
        await two.fetchrow(lines.WAITING, "partner")
        return bool(heard)

    await eventually(was_heard, what="the notification")
    assert len(heard) == 1
    assert await claim(two) == [IDS[1]]


async def test_what_is_not_committed_is_seen_by_nobody_else_and_ends_with_its_session(connect: Connect) -> None:
    one, two = await connect(), await connect()
    transaction = one.transaction()
    await transaction.__aenter__()
    await stage(one, (IDS[0], KEY))
    assert await claim(two) == []
    one.terminate()
    with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError)):
        await one.fetchrow(lines.WAITING, "partner")
    assert await claim(two) == []


# ---- timers

DUE = datetime(2026, 1, 1, tzinfo=UTC)
NEVER_BEFORE = datetime(2100, 1, 1, tzinfo=UTC)


async def say(connection: Any, *words: tuple[str, UUID, int, float]) -> None:
    """Writes timer events (set or cancel, key, revision, minutes after ``DUE``), each in its own transaction."""
    for what, key, revision, minutes in words:
        async with connection.transaction():
            transaction = Transaction(connection)
            if what == "set":
                due_at = DUE + timedelta(minutes=minutes)
                transaction.set_timer("ring", key=key, due_at=due_at, revision=revision, name=f"n{minutes}")
            else:
                transaction.cancel_timer("ring", key=key, revision=revision, name=f"n{minutes}")
            await transaction.flush()


async def due(connection: Any, *, limit: int = 10, earliest: datetime = NEVER_BEFORE) -> list[tuple[UUID, int]]:
    rows = await connection.fetch(timers.CLAIM, ["ring"], earliest, limit)
    return [(row["key"], row["revision"]) for row in rows]


def columns(*rows: tuple[UUID, int, str]) -> list[list[Any]]:
    return [["ring"] * len(rows), [row[0] for row in rows], [row[2] for row in rows], [row[1] for row in rows]]


async def mark(connection: Any, *rows: tuple[UUID, int, str], state: str = "fired", pause: float = 0.0) -> None:
    async with connection.transaction():
        transaction = Transaction(connection)
        states = [[state] * len(rows), ["told so"] * len(rows), [pause] * len(rows)]
        transaction.write(timers.MARK, *columns(*rows), *states)
        await transaction.flush()


async def test_due_timers_are_claimed_earliest_first_and_one_of_a_key(connect: Connect) -> None:
    one = await connect()
    await say(one, ("set", KEY, 1, 1), ("set", KEY, 2, 0), ("set", OTHER, 3, 0.5), ("set", IDS[0], 4, 60 * 24 * 36500))
    assert await due(one) == [(KEY, 2), (OTHER, 3)]
    assert await due(one, limit=1) == [(KEY, 2)]
    assert await due(one, earliest=DUE) == [(KEY, 2)]
    assert await due(one, earliest=DUE - timedelta(seconds=1)) == []
    await mark(one, (KEY, 2, "n0"))
    assert await due(one) == [(OTHER, 3), (KEY, 1)]
    await mark(one, (OTHER, 3, "n0.5"), (KEY, 1, "n1"), state="dead")
    assert await due(one) == []
    assert await one.fetchval(timers.DEAD) == 2
    assert await one.fetchval(timers.NEXT, ["ring"]) > 0
    assert await one.fetchval(timers.NEXT, ["other"]) is None


async def test_a_timer_that_waits_for_another_try_holds_the_later_ones_of_its_key(connect: Connect) -> None:
    one = await connect()
    await say(one, ("set", KEY, 1, 0), ("set", KEY, 2, 1))
    await mark(one, (KEY, 1, "n0"), state="waiting", pause=1000.0)
    assert await due(one) == []
    await mark(one, (KEY, 1, "n0"), state="waiting", pause=0.0)
    (row,) = await one.fetch(timers.CLAIM, ["ring"], NEVER_BEFORE, 5)
    assert (row["key"], row["revision"], row["attempts"], row["payload"]) == (KEY, 1, 2, "{}")


async def test_a_newer_word_counts_and_a_late_one_does_not(connect: Connect) -> None:
    one = await connect()
    await say(one, ("set", KEY, 3, 0), ("cancel", KEY, 2, 0), ("set", KEY, 3, 0), ("set", OTHER, 1, 0))
    assert await due(one) == [(KEY, 3), (OTHER, 1)]
    await say(one, ("cancel", KEY, 4, 0), ("set", KEY, 4, 0), ("set", OTHER, 2, 0))
    assert await due(one) == [(OTHER, 2)]
    await mark(one, (OTHER, 2, "n0"))
    await say(one, ("set", OTHER, 2, 0))
    assert await due(one) == []


async def test_a_claimed_timer_is_passed_over_and_a_newer_word_about_it_waits_for_nobody(connect: Connect) -> None:
    one, two = await connect(), await connect()
    await say(one, ("set", KEY, 1, 0))
    async with one.transaction():
        assert await due(one) == [(KEY, 1)]
        assert await due(two) == []
        assert await one.fetch(timers.SUPERSEDED, *columns((KEY, 1, "n0"))) == []
        await say(two, ("cancel", KEY, 2, 0))
        (row,) = await one.fetch(timers.SUPERSEDED, *columns((KEY, 1, "n0")))
        assert row["place"] == 1
        transaction = Transaction(one)
        transaction.write(store_sql.FORGET_OLDER_TIMERS, *columns((KEY, 2, "n0")))
        await transaction.flush()
    await say(two, ("set", KEY, 1, 0))
    assert await due(two) == []


async def test_a_batch_marks_forgets_and_says_new_words_in_one_statement(connect: Connect) -> None:
    one = await connect()
    await say(one, ("set", KEY, 1, 0), ("set", OTHER, 1, 0))
    async with one.transaction():
        transaction = Transaction(one)
        transaction.write(timers.MARK, *columns((OTHER, 1, "n0")), ["fired"], [None], [0.0])
        transaction.write(store_sql.FORGET_OLDER_TIMERS, *columns((OTHER, 1, "n0")))
        transaction.set_timer("ring", key=KEY, due_at=DUE, revision=2, name="n0")
        await transaction.flush()
    assert await due(one) == [(KEY, 2)]
