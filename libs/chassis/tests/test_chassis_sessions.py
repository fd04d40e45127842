"""Sessions of the store: typed rows, asyncpg's own errors, and no longer waits than the pool's."""

import asyncio
import subprocess
import sys
from types import SimpleNamespace

import asyncpg
import pytest

from chassis.errors import StoreUnavailable
from chassis.store import Store, is_passing, meaning_of
from chassis.store import store as store_module
from chassis.store.rows import audit, fixed, is_any, rows, sql, tables
from chassis.store.store import ERRORS, MOST_SESSIONS

pytestmark = pytest.mark.stack


@pytest.mark.parametrize(
    ("statement", "error", "meaning"),
    [
        ("SELECT 1 FROM nothing_of_that_name", asyncpg.UndefinedTableError, "not now"),
        ("SELECT 1 / 0", asyncpg.DivisionByZeroError, "fault"),
        ("INSERT INTO inbox VALUES ('c', gen_random_uuid(), now()); SELECT 1", asyncpg.PostgresSyntaxError, "fault"),
        ("SELECT pg_terminate_backend(pg_backend_pid())", asyncpg.PostgresError, "not now"),
    ],
)
async def test_a_session_raises_what_the_pool_raises(store, statement, error, meaning) -> None:
    with pytest.raises(error) as caught:
        async with store.session() as session:
            await session.exec(sql.text(statement))
    assert isinstance(caught.value, ERRORS)
    assert meaning_of(caught.value) == meaning


async def test_a_unique_value_that_is_taken_is_told_as_such(store) -> None:
    row = {"consumer": "c", "aggregate_id": "00000000-0000-0000-0000-000000000001", "revision": 1, "type": "t"}
    with pytest.raises(asyncpg.UniqueViolationError) as caught:
        async with store.session() as session:
            await session.exec(sql.insert(tables.RevisionGaps).values([row, row]))
    assert meaning_of(caught.value) == "taken"


async def test_an_answer_that_does_not_come_is_given_up_after_the_pools_time(store, monkeypatch) -> None:
    monkeypatch.setattr(store_module, "COMMAND_TIMEOUT_SECONDS", 0.3)
    with pytest.raises(TimeoutError) as caught:
        async with store.session(statement_seconds=0.3) as session:
            await session.exec(sql.text("SELECT pg_sleep(60)"))
    assert is_passing(caught.value)


async def test_a_server_that_was_started_anew_is_no_error(store) -> None:
    async with store.session() as session:
        (pid,) = (await session.exec(sql.text("SELECT pg_backend_pid()"))).one()
    await store.pool.execute("SELECT pg_terminate_backend($1)", pid)
    async with store.session() as session:
        (other,) = (await session.exec(sql.text("SELECT pg_backend_pid()"))).one()
    assert other != pid


async def test_who_finds_all_sessions_taken_hears_that_the_store_does_not_answer(store, monkeypatch) -> None:
    monkeypatch.setattr(store_module, "CONNECT_TIMEOUT_SECONDS", 3)
    taken, free = asyncio.Event(), asyncio.Event()
    open_ones = 0

    async def hold() -> None:
        nonlocal open_ones
        async with store.session() as session:
            await session.exec(sql.text("SELECT 1"))
            open_ones += 1
            if open_ones == MOST_SESSIONS:
                taken.set()
            await free.wait()

    holders = [asyncio.create_task(hold()) for _ in range(MOST_SESSIONS)]
    await asyncio.wait_for(taken.wait(), 60)
    with pytest.raises(StoreUnavailable):
        async with store.session() as session:
            await session.exec(sql.text("SELECT 1"))
    free.set()
    await asyncio.gather(*holders)


async def test_a_store_that_is_closed_opens_no_session(database_url) -> None:
    opened = await Store.open(SimpleNamespace(url=database_url, pool_size=1))
    await opened.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        async with opened.session():
            pass


async def test_what_is_not_committed_is_taken_back(store) -> None:
    async with store.session() as session:
        await audit(session, actor="a", action="x", subject="s")
    assert await store.pool.fetchval("SELECT count(*) FROM operator_audit") == 0


async def test_a_session_has_the_pools_settings(store) -> None:
    for name in (*store_module.SESSION_SETTINGS, "application_name", "jit", "max_parallel_workers_per_gather"):
        ask = f"SHOW {name}"
        async with store.session() as session:
            (found,) = (await session.exec(sql.text(ask))).one()
        assert found == await store.pool.fetchval(ask), name


async def test_a_partial_index_is_used_for_a_fixed_value(store) -> None:
    statement = sql.select(tables.DeadLetters.id).where(tables.DeadLetters.state == fixed("open"))
    engine = store_module.sqlalchemy_engine(store.url)
    compiled = str(statement.compile(engine.sync_engine, compile_kwargs={"literal_binds": False}))
    await engine.dispose()
    async with store.session() as session:
        await session.exec(sql.text("SET LOCAL enable_seqscan = off"))
        explained = sql.text(f"EXPLAIN {compiled.replace('__[POSTCOMPILE_param_1]', repr('open'))}")
        plan = "\n".join(line for (line,) in await session.exec(explained))
    assert "ix_dead_letters_open" in plan, plan


async def test_many_values_are_one_parameter(store) -> None:
    wanted = [f"consumer {number}" for number in range(40_000)]  # Postgres takes 32,767 parameters
    async with store.session() as session:
        found = sql.select(tables.Inbox.consumer, tables.Inbox.message_id).where(is_any(tables.Inbox.consumer, wanted))
        assert await rows(session, tuple, found) == []


def test_the_first_session_loads_sqlalchemy_and_not_before(database_url) -> None:
    program = f"""
import asyncio, sys
from types import SimpleNamespace
from chassis.store import Store
async def main():
    store = await Store.open(SimpleNamespace(url={database_url!r}, pool_size=1))
    print("sqlalchemy" in sys.modules)
    async with store.session():
        print("sqlalchemy" in sys.modules)
    await store.close()
asyncio.run(main())
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "True"]
