"""What Postgres does not take now is nobody's fault: no dead letter, no dead delivery, nothing sent twice."""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest
from chassis_bench_domain import Behaviour, applied, event, open_store
from sqlalchemy import text
from test_chassis_batch import counts, executor, item, messages
from test_chassis_console import OURS, client, delivery
from test_chassis_deliveries import Partner, all_are, stage, states, working
from test_chassis_exhausted import listening
from test_chassis_hl7_inbound import siu

from chassis.deliveries import Accepted, DeliveryWorker, keeping
from chassis.errors import Permanent, StoreUnavailable, Transient
from chassis.loops import LoopBase
from chassis.messaging import Done, InboxIntake, Item, parking
from chassis.messaging.batch import MOST_COLLISIONS
from chassis.observe import Metrics, meters
from chassis.store import Exclusive, Transaction, asking, meaning_of
from chassis.store import store as chassis_store
from chassis.store.store import SESSION_SETTINGS
from chassis.testing import eventually
from chassis.testing.refusals import COLLISIONS, NOT_NOW, refused, refusing
from local_stack.settings import ROOT

NOTHING = {"inbox": 0, "outbox": 0, "deliveries": 0, "dead_letters": 0, "things": 0}


# ---- what an error means


def of_state(state: str) -> asyncpg.PostgresError:
    return asyncpg.PostgresError.new({"C": state, "M": "told so", "S": "ERROR"})


@pytest.mark.parametrize(
    ("states", "meaning"),
    [
        (NOT_NOW, "not now"),
        (("57P02", "57P03", "57P04", "57P05", "25P03", "53300", "08006", "28P01", "XX001", "40003"), "not now"),
        (COLLISIONS, "again"),
        (("23505",), "taken"),
        (("22001", "22P02", "22021", "23502", "23503", "23514", "23P01", "21000", "54000", "42601", "P0001"), "fault"),
    ],
)
def test_a_state_says_whose_fault_it_is(states: Sequence[str], meaning: str) -> None:
    assert {state: meaning_of(of_state(state)) for state in states} == dict.fromkeys(states, meaning)


def test_only_one_place_knows_the_errors_by_name() -> None:
    sources = [path for member in ("libs", "services") for path in (ROOT / member).glob("*/src/**/*.py")]
    assert len(sources) > 50
    found = {path.name for path in sources if re.search(r"asyncpg\.(\w*Error|exceptions)", path.read_text())}
    assert found == {"store.py"}, "the others ask store.meaning_of"


@pytest.mark.stack
async def test_a_value_that_cannot_be_written_is_the_messages_fault_and_not_the_stores(store) -> None:
    for value in (2**40, "no number"):
        with pytest.raises(asyncpg.DataError) as caught:
            await store.pool.execute("SELECT $1::int", value)
        assert meaning_of(caught.value) == "fault"
    async with store.session() as session:
        with pytest.raises(Exception, match="nowhere") as wrapped:
            await session.exec(text("SELECT * FROM nowhere"))
    assert meaning_of(wrapped.value) == "not now", "SQLAlchemy wraps it"
    with pytest.raises(StoreUnavailable, match="has the migration run"), asking():
        await store.pool.execute("SELECT * FROM nowhere")


@pytest.mark.stack
async def test_a_table_that_changes_under_a_prepared_statement_is_nobodys_fault(store) -> None:
    async with store.pool.acquire() as connection:
        await connection.fetch("SELECT * FROM things")
        await store.pool.execute("ALTER TABLE things ADD COLUMN later int")
        with pytest.raises(asyncpg.InvalidCachedStatementError) as caught:
            async with connection.transaction():
                await connection.fetch("SELECT * FROM things")
        assert meaning_of(caught.value) == "not now"


# ---- batches


@pytest.mark.stack
@pytest.mark.parametrize("table", ["inbox", "things", "outbox"])
async def test_a_batch_that_the_store_does_not_take_now_is_given_back_whole(store, table) -> None:
    batch, behaviour = [item(message, n) for n, message in enumerate(messages(5))], Behaviour()
    run = executor(store, behaviour)
    for state in NOT_NOW:
        async with refusing(store, table, state):
            with pytest.raises(StoreUnavailable):
                await run.run(batch)
            assert await refused(store) == 1, f"{state}: the batch was run again, or message by message"
    assert await counts(store) == NOTHING
    assert await run.run(batch) == [Done(None)] * 5


@pytest.mark.stack
async def test_a_batch_whose_statement_an_administrator_cancels_is_given_back_whole(store) -> None:
    (message,) = messages(1)
    await executor(store, Behaviour()).run([item(message)])
    again = event(message.aggregate_id, 2)
    async with store.pool.acquire() as holder, holder.transaction():
        await holder.execute("SELECT * FROM things FOR UPDATE")
        running = asyncio.create_task(executor(store, Behaviour()).run([item(again, 1)]))

        async def was_cancelled() -> bool:
            cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            return bool(await store.pool.fetch(cancel + " AND datname = current_database()"))

        await eventually(was_cancelled, what="a statement that waits, to be cancelled")
        with pytest.raises(StoreUnavailable, match="cannot do it now: QueryCanceledError"):
            await running
    assert await applied(store) == {message.aggregate_id: [1]}
    assert (await counts(store))["dead_letters"] == 0
    assert await executor(store, Behaviour()).run([item(again, 1)]) == [Done(None)]


@pytest.mark.stack
async def test_a_batch_that_lost_to_another_transaction_is_run_again_as_a_whole(store) -> None:
    for state in COLLISIONS:
        batch = [item(message, n) for n, message in enumerate(messages(5))]
        async with refusing(store, "things", state, times=2):
            assert await executor(store, Behaviour()).run(batch) == [Done(None)] * 5
        async with refusing(store, "things", state):
            with pytest.raises(StoreUnavailable):
                await executor(store, Behaviour()).run([item(messages(1)[0])])
            assert await refused(store) == MOST_COLLISIONS, "a few times, and then as for a store that is away"
    assert (await counts(store))["dead_letters"] == 0


@pytest.mark.stack
async def test_a_handler_that_asks_the_store_itself_is_not_to_blame_either(store) -> None:
    class Asks(Behaviour):
        async def handle(self, work: Any, message: Any) -> None:
            with asking():
                await work.transaction.connection.execute("SET LOCAL statement_timeout = '20ms'; SELECT pg_sleep(5)")

    with pytest.raises(StoreUnavailable):
        await executor(store, Asks()).run([item(one, n) for n, one in enumerate(messages(3))])
    assert await counts(store) == NOTHING


@pytest.fixture
async def role(database_url: str) -> AsyncIterator[tuple[str, str]]:
    """A role of its own that may be given settings: its name, and the test's database for it."""
    name, word = f"set_{secrets.token_hex(4)}", secrets.token_hex(8)
    parts = urlsplit(database_url)
    admin = await asyncpg.connect(database_url)
    await admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{word}'")
    await admin.execute(f"GRANT ALL ON SCHEMA public TO {name}")
    yield name, urlunsplit(parts._replace(netloc=f"{name}:{word}@{parts.hostname}:{parts.port}"))
    await admin.execute(f"DROP OWNED BY {name} CASCADE")
    await admin.execute(f"DROP ROLE {name}")
    await admin.close()


@pytest.mark.stack
@pytest.mark.parametrize("isolation", ["serializable", "repeatable read"])
async def test_batches_that_meet_under_any_isolation_all_have_their_effect(
    database_url, monkeypatch, isolation
) -> None:
    monkeypatch.setattr(
        chassis_store, "SESSION_SETTINGS", {**SESSION_SETTINGS, "default_transaction_isolation": isolation}
    )
    store = await open_store(database_url)
    keys = [uuid4() for _ in range(3)]
    batches = [[event(key, revision) for key in keys] for revision in range(1, 13)]

    async def until_taken(batch: list[Any]) -> list[Any]:
        run = executor(store, Behaviour())
        while True:
            try:
                return await run.run([item(message) for message in batch])
            except StoreUnavailable:
                continue  # as the consumer does

    outcomes = await asyncio.gather(*(until_taken(batch) for batch in batches))
    assert outcomes == [[Done(None)] * len(keys)] * len(batches)
    assert {key: sorted(revisions) for key, revisions in (await applied(store)).items()} == {
        key: list(range(1, 13)) for key in keys
    }
    assert (await counts(store))["dead_letters"] == 0
    await store.close()


@pytest.mark.stack
async def test_what_a_role_has_set_does_not_reach_the_services_sessions(database_url, role) -> None:
    name, url = role
    isolation = "default_transaction_isolation = serializable"
    timeouts = [
        f"{one} = '1ms'" for one in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    ]
    admin = await asyncpg.connect(database_url)
    for setting in (isolation, *timeouts):
        await admin.execute(f"ALTER ROLE {name} SET {setting}")
    await admin.close()
    wanted = {key: value for key, value in SESSION_SETTINGS.items() if key != "tcp_user_timeout"}  # 0 on a local socket
    asked = "SELECT " + ", ".join(f"current_setting('{key}')" for key in wanted)
    store = await open_store(url)
    loop, seen = LoopBase(), [await store.pool.fetchrow(asked)]

    async def look(connection: Any) -> None:
        seen.append(await connection.fetchrow(asked))
        await loop.stop()

    await Exclusive(store, lock=7, name="t", metrics=Metrics(), gauge=meters.OUTBOX_RELAY_ACTIVE).run(loop, look)
    ear = await DeliveryWorker(store, "partner", Partner())._connect()
    seen.append(await ear.fetchrow(asked))
    await ear.close()
    async with store.session() as session:
        seen.append((await session.exec(text(asked))).one())
    await store.close()
    assert [[str(value) for value in one] for one in seen] == [list(wanted.values())] * 4


# ---- parked keys


@pytest.mark.stack
async def test_a_parked_message_that_the_store_does_not_take_now_stays_parked(store) -> None:
    behaviour = Behaviour()
    parks = InboxIntake("test", dead_letter_limit=10, parks=False)
    run = executor(store, behaviour, intake=parks)
    unparker = parking.Unparker(store, "test", run, Item.of, metrics=Metrics())
    running = asyncio.create_task(unparker.run())
    for number, state in enumerate(["57014", "55P03", "42P01", *COLLISIONS]):
        message = event(uuid4(), 1)
        behaviour.transient[message.aggregate_id] = 1
        async with refusing(store, "things", state, times=2, when="INSERT"):
            await executor(store, behaviour).run([item(message, number)])

            async def is_unparked() -> bool:
                return await store.pool.fetchval("SELECT count(*) FROM parked_keys") == 0

            await eventually(is_unparked, what="the key unparked")
            assert await refused(store) == 3
        assert (await applied(store))[message.aggregate_id] == [1]
    await unparker.stop()
    await running
    assert (await counts(store))["dead_letters"] == 0


# ---- deliveries


@pytest.mark.stack
async def test_a_mark_that_the_store_does_not_take_is_tried_again_and_nothing_is_sent_twice(store) -> None:
    partner = Partner()

    async def settled(transaction: Transaction, all_accepted: Sequence[Accepted]) -> None:
        for taken in all_accepted:
            await transaction.connection.execute("INSERT INTO things VALUES ($1, 1, '{1}')", taken.delivery.key)

    states = [*NOT_NOW, *COLLISIONS, "23505"]
    async with working(store, partner, settled=settled, lease_seconds=10):
        for state in states:
            async with refusing(store, "things", state, times=6):
                await stage(store, (uuid4(), b"1"))
                await all_are(store, "done")
                assert await refused(store) == 7
    assert len(partner.keys_seen) == len(states)


@pytest.mark.stack
async def test_a_mark_outlives_a_store_that_takes_no_writes_for_longer_than_a_lease(store, monkeypatch) -> None:
    """Neither renewed nor claimed: the mark comes before anything is sent again."""
    monkeypatch.setattr(keeping, "pause_seconds", lambda *_, **__: 3.0)  # of the mark; claims are tried each second
    monkeypatch.setattr(DeliveryWorker, "_renew_leases", lambda _self: asyncio.Event().wait())
    await stage(store, (uuid4(), b"1"))
    partner = Partner()
    partner.hangs.clear()
    async with working(store, partner, lease_seconds=0.3):

        async def is_sent() -> bool:
            return len(partner.keys_seen) == 1

        await eventually(is_sent, what="the delivery on its way")
        async with refusing(store, "deliveries", "25006"):
            partner.hangs.set()
            until = "SELECT lease_until < clock_timestamp() - interval '1 second' FROM deliveries"
            await eventually(lambda: store.pool.fetchval(until), what="a lease that ran out")
        await all_are(store, "done")
    assert len(partner.keys_seen) == 1


@pytest.mark.stack
@pytest.mark.parametrize("answer", [Permanent("422"), Transient("busy", retry_after_seconds=0.01), ValueError("a bug")])
async def test_a_refusal_that_cannot_be_kept_now_is_kept_later_and_not_asked_for_again(store, answer) -> None:
    key, partner = uuid4(), Partner()
    partner.refusals[key] = [answer]
    partner.hangs.clear()
    await stage(store, (key, b"1"))
    async with working(store, partner, lease_seconds=10):

        async def is_sent() -> bool:
            return len(partner.keys_seen) == 1

        await eventually(is_sent, what="the delivery on its way")
        async with refusing(store, "deliveries", "57014", times=6):
            partner.hangs.set()

            async def is_over() -> bool:
                return await refused(store) > 6

            await eventually(is_over, what="refused six times")
        await all_are(store, "done" if isinstance(answer, Transient) else "dead")
    assert len(partner.keys_seen) == (2 if isinstance(answer, Transient) else 1)


@pytest.mark.stack
async def test_a_sender_that_asks_the_store_makes_no_dead_delivery(store) -> None:
    key, partner = uuid4(), Partner()
    partner.refusals[key] = [of_state(state) for state in (*NOT_NOW, *COLLISIONS)]
    await stage(store, (key, b"1"))
    async with working(store, partner):
        await all_are(store, "done")
    assert len(partner.keys_seen) == len(NOT_NOW) + len(COLLISIONS) + 1


# ---- HL7


@pytest.mark.stack
async def test_hl7_that_the_store_does_not_take_now_is_answered_ae_and_not_kept(store) -> None:
    without_type = b"MSH|^~\\&|RAMSOFT|FAC01|SUITE|NORTHSIDE|20261125093000-0500|||C2|P|2.3.1\r"
    async with listening(store) as bench:
        for number, state in enumerate(["57014", "55P03", "42P01", "42501", "40001"]):
            message, control_id = siu(f"A{number}", f"P{number}"), f"A{number}"
            async with refusing(store, "hl7_journal", state):
                assert (await bench.send(message, control_id)).code == "AE"
                assert (await bench.send(without_type, "C2")).code == "AE"
            async with refusing(store, "things", state):
                assert (await bench.send(message, control_id)).code == "AE"
            kept = await store.pool.fetchval("SELECT count(*) FROM hl7_journal")
            assert kept == number, state
            assert (await bench.send(message, control_id)).code == "AA"
        assert (await bench.send(without_type, "C2")).code == "AR"


# ---- pages


@pytest.mark.stack
async def test_a_page_says_that_the_store_is_away(store) -> None:
    identifier = await delivery(store)
    async with client(store) as browser:
        async with refusing(store, "deliveries", "57014"):
            act = await browser.post(f"/console/deliveries/{identifier}/retry", headers=OURS)
        await store.pool.execute("ALTER TABLE deliveries RENAME TO elsewhere")
        page = await browser.get("/console")
        await store.pool.execute("ALTER TABLE elsewhere RENAME TO deliveries")
    assert act.status_code == 503
    assert "cannot do it now: QueryCanceledError" in act.text
    assert "before you repeat it" in act.text
    assert page.status_code == 200
    assert "nothing can be listed" in page.text
    assert await states(store) == ["dead"]
