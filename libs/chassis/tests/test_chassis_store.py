"""Tables, migrations and the transaction: what is declared is there, and the fake does what the real one does."""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest
from chassis_bench_domain import event
from sqlalchemy import text

from chassis.errors import StoreUnavailable
from chassis.settings import StoreSettings
from chassis.store import Store, Transaction, migrations
from chassis.testing import RecordingTransaction, RevisionTakenError, eventually

pytestmark = pytest.mark.stack

ROOT = Path(__file__).resolve().parents[3]
OF_THE_SESSION = re.compile(
    r"add_listener|pg_(try_)?advisory_lock|[\"'\n;] *(SET (?!LOCAL)[a-z_]+ *(=|TO )|LISTEN |PREPARE |DECLARE )"
)

FIRST = '''"""The first tables."""
from alembic import op
from chassis.store import schema
revision, down_revision, phase = "t001", None, "before"
def upgrade():
    schema.upgrade("v001", op)
'''
SECOND = '''"""A column that goes."""
from alembic import op
revision, down_revision, phase = "t002", "t001", "{phase}"
def upgrade():
    op.execute("ALTER TABLE inbox ADD COLUMN note text")
'''


@pytest.fixture
def folder(tmp_path) -> Path:
    versions = tmp_path / "migrations" / "versions"
    versions.mkdir(parents=True)
    (versions / "t001.py").write_text(FIRST)
    (versions / "t002.py").write_text(SECOND.format(phase="after"))
    return tmp_path / "migrations"


async def test_a_transaction_that_was_left_open_ends_when_its_connection_goes_back(database_url, store) -> None:
    del store  # made the tables
    alone = await Store.open(StoreSettings(url=database_url, pool_size=2))
    async with alone.pool.acquire() as connection:
        left_by = await connection.fetchval("SELECT pg_backend_pid()")
        await connection.execute("BEGIN")
        await connection.execute("INSERT INTO inbox VALUES ('left open', $1)", uuid4())
    async with alone.pool.acquire() as connection:
        assert await connection.fetchval("SELECT pg_backend_pid()") == left_by, "the same connection again"
        assert not connection.is_in_transaction()
        assert await connection.fetchval("SELECT count(*) FROM inbox WHERE consumer = 'left open'") == 0
    await alone.close()


def test_nothing_is_left_on_a_pooled_connection_that_only_a_reset_would_take_back() -> None:
    """The pool's reset does nothing: settings, ears and locks of a session belong to connections of one's own."""
    sources = [path for member in ("libs", "services") for path in (ROOT / member).glob("*/src/**/*.py")]
    assert len(sources) > 50
    found = {path.name for path in sources if OF_THE_SESSION.search(path.read_text())}
    assert found == {"outbox.py", "worker.py", "exclusive.py", "migrations.py"}, (
        "each of these works on a connection of its own"
    )


async def test_the_models_are_what_the_schema_makes(store) -> None:
    assert await migrations.differences(store.url) == ["remove_table things"], "the tests' own"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("ALTER TABLE outbox RENAME sent_at TO gone_at", "add_column outbox.sent_at"),
        ("ALTER TABLE outbox ADD extra integer", "remove_column outbox.extra"),
        (
            "ALTER TABLE deliveries ALTER receipt SET NOT NULL",
            "modify_nullable deliveries.receipt: is False, True",
        ),
        ("ALTER TABLE deliveries ALTER attempts TYPE bigint", "modify_type deliveries.attempts: is BIGINT, INTEGER in"),
        ("DROP INDEX ix_deliveries_key", "add_index deliveries.ix_deliveries_key"),
        ("CREATE INDEX ix_more ON inbox (consumer)", "remove_index inbox.ix_more"),
        ("ALTER TABLE parked_messages DROP CONSTRAINT uq_parked_messages_consumer", "add_constraint parked_messages."),
        ("DROP TABLE revision_gaps", "add_table revision_gaps"),
        ("CREATE TABLE more ()", "remove_table more"),
    ],
)
async def test_a_store_that_differs_from_the_models_is_told_apart(store, change, said) -> None:
    await store.pool.execute(change)
    found = await migrations.differences(store.url)
    assert [line for line in found if line.startswith(said)], found


async def test_migrations_go_in_phases_and_only_once(folder, database_url) -> None:
    assert await migrations.run(folder, database_url, "before") == ["t001 (The first tables.)"]
    assert await migrations.run(folder, database_url, "before") == []
    assert await migrations.run(folder, database_url, "after") == ["t002 (A column that goes.)"]
    assert await migrations.run(folder, database_url) == []
    connection = await asyncpg.connect(database_url)
    assert await connection.fetchval("SELECT version_num FROM alembic_version") == "t002"
    await connection.close()


THIRD = '''"""Indexes beside a running service."""
from alembic import op
from chassis.store import schema
revision, down_revision, phase = "t003", "t002", "before"
def upgrade():
    schema.upgrade("v003", op)
'''
INVALID = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"


async def test_indexes_are_made_while_a_service_goes_on_writing_and_two_jobs_wait_for_each_other(
    folder, database_url
) -> None:
    await migrations.run(folder, database_url)
    (folder / "versions" / "t003.py").write_text(THIRD)
    slow, quick = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    write = "INSERT INTO inbox VALUES ('c', $1, clock_timestamp())"
    begun = slow.transaction()
    await begun.start()
    await slow.execute(write, uuid4())
    await slow.execute("UPDATE outbox SET sent_at = NULL")  # it holds every table that gets an index
    await slow.execute("UPDATE deliveries SET done_at = NULL")
    jobs = [asyncio.create_task(migrations.run(folder, database_url)) for _ in range(2)]

    async def waits() -> bool:
        return bool(
            await quick.fetchval(
                "SELECT count(*) FROM pg_stat_progress_create_index WHERE datname = current_database()"
            )
        )

    await eventually(waits, what="the index waits for the slow transaction")
    await asyncio.wait_for(quick.execute(write, uuid4()), 60)
    await begun.commit()
    assert sorted(await asyncio.gather(*jobs)) == [[], ["t003 (Indexes beside a running service.)"]]
    assert await quick.fetchval(INVALID) == 0
    await slow.close()
    await quick.close()


async def test_an_index_that_an_interrupted_job_left_invalid_is_made_anew(folder, database_url) -> None:
    await migrations.run(folder, database_url)
    (folder / "versions" / "t003.py").write_text(THIRD)
    slow, job = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    begun = slow.transaction()
    await begun.start()
    await slow.execute("UPDATE outbox SET sent_at = NULL")
    await slow.execute("INSERT INTO inbox VALUES ('c', $1, clock_timestamp())", uuid4())
    await job.execute("SET lock_timeout = '100ms'")
    with pytest.raises(asyncpg.LockNotAvailableError):
        await job.execute("CREATE INDEX CONCURRENTLY ix_outbox_sent ON outbox (sent_at) WHERE sent_at IS NOT NULL")
    await begun.commit()
    assert await slow.fetchval(INVALID) == 1
    assert await migrations.run(folder, database_url) == ["t003 (Indexes beside a running service.)"]
    assert await slow.fetchval(INVALID) == 0
    await slow.close()
    await job.close()


async def test_a_migration_without_a_phase_is_refused(folder, database_url) -> None:
    (folder / "versions" / "t002.py").write_text(SECOND.format(phase="someday"))
    with pytest.raises(migrations.MigrationError, match="t002 has no phase"):
        await migrations.run(folder, database_url)


async def test_a_store_that_does_not_answer_is_named_without_its_password(folder) -> None:
    url = "postgresql://u:hidden@127.0.0.1:1/x"
    for attempt in (lambda: Store.open(StoreSettings(url=url)), lambda: migrations.run(folder, url)):
        with pytest.raises(StoreUnavailable, match=r":1/x does not answer: ConnectionRefusedError") as caught:
            await attempt()
        assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("part", "wrong", "words"),
    [
        ("password", "hidden", "password authentication failed"),
        ("path", "/nowhere", 'database "nowhere" does not exist'),
    ],
)
async def test_a_store_that_refuses_the_login_says_why(folder, database_url, part, wrong, words) -> None:
    parts = urlsplit(database_url)
    netloc = f"{parts.username}:{wrong}@{parts.hostname}:{parts.port}"
    changed = parts._replace(netloc=netloc) if part == "password" else parts._replace(path=wrong)
    for attempt in (
        lambda: Store.open(StoreSettings(url=urlunsplit(changed))),
        lambda: migrations.run(folder, urlunsplit(changed)),
    ):
        with pytest.raises(StoreUnavailable, match=words) as caught:
            await attempt()
        assert "hidden" not in str(caught.value)


async def test_the_urls_tls_settings_reach_asyncpg_from_migrations_and_sessions_too(folder, database_url) -> None:
    url = f"{database_url}?sslmode=prefer"  # the server of the tests speaks no TLS; production says verify-full
    await migrations.run(folder, url)
    store = await Store.open(StoreSettings(url=url))
    async with store.session() as session:
        assert (await session.exec(text("SELECT count(*) FROM inbox"))).scalar_one() == 0
    await store.close()
    with pytest.raises(StoreUnavailable, match="does not answer: ConnectionError"):
        await migrations.run(folder, f"{database_url}?sslmode=require")


@pytest.fixture(params=["real", "recording"])
async def transaction(request, store):
    """The same expectations hold for the real transaction and for the one of handlers' tests."""
    if request.param == "recording":
        yield RecordingTransaction()
        return
    async with store.pool.acquire() as connection:
        outer = connection.transaction()
        await outer.start()
        yield Transaction(connection)
        await outer.rollback()


async def written(transaction) -> dict[str, list]:
    if isinstance(transaction, RecordingTransaction):
        return {
            "events": [(message.aggregate_id, message.revision) for message in transaction.events],
            "deliveries": [(row["idempotency_key"], row["payload"]) for row in transaction.deliveries],
            "audits": [(row["action"], row["detail"]) for row in transaction.audits],
            "timers": sorted((word.kind, word.revision, word.due_at) for word in transaction.timers),
        }
    fetch = transaction.connection.fetch
    return {
        "events": [tuple(row) for row in await fetch("SELECT aggregate_id, revision FROM outbox ORDER BY id")],
        "deliveries": [
            (row[0], bytes(row[1]))
            for row in await fetch("SELECT idempotency_key, payload FROM deliveries ORDER BY sequence")
        ],
        "audits": [(row[0], json.loads(row[1])) for row in await fetch("SELECT action, detail FROM operator_audit")],
        "timers": [
            tuple(row)
            for row in await fetch(
                "SELECT kind, revision, CASE WHEN state = 'waiting' THEN due_at END FROM timers ORDER BY kind"
            )
        ],
    }


async def test_contract_what_is_staged_is_written_in_order(transaction) -> None:
    key = uuid4()
    for revision in (1, 2, 3):
        transaction.publish(event(key, revision))
        transaction.deliver("p", key=key, kind="k", payload=bytes([revision]), idempotency_key=f"i{revision}")
    transaction.audit(actor="a", action="b", subject="c", detail={"d": 1})
    await transaction.flush()
    assert await written(transaction) == {
        "events": [(key, 1), (key, 2), (key, 3)],
        "deliveries": [("i1", b"\x01"), ("i2", b"\x02"), ("i3", b"\x03")],
        "audits": [("b", {"d": 1})],
        "timers": [],
    }


async def test_contract_rolled_back_to_a_mark_nothing_later_is_written(transaction) -> None:
    key = uuid4()
    transaction.publish(event(key, 1))
    mark = transaction.mark()
    transaction.publish(event(key, 2))
    transaction.deliver("p", key=key, kind="k", payload=b"", idempotency_key="i")
    transaction.audit(actor="a", action="b", subject="c")
    transaction.rollback_to(mark)
    await transaction.flush()
    assert await written(transaction) == {"events": [(key, 1)], "deliveries": [], "audits": [], "timers": []}


async def test_contract_of_several_words_about_a_timer_the_newest_is_written(transaction) -> None:
    key, due, later = uuid4(), datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    transaction.set_timer("a", key=key, due_at=due, revision=1)
    transaction.set_timer("b", key=key, due_at=later, revision=2)
    transaction.cancel_timer("a", key=key, revision=2)
    transaction.set_timer("b", key=key, due_at=due, revision=1)
    transaction.set_timer("a", key=key, due_at=later, revision=3)
    mark = transaction.mark()
    transaction.cancel_timer("b", key=key, revision=9)
    transaction.rollback_to(mark)
    transaction.cancel_timer("c", key=key, revision=1)
    await transaction.flush()
    assert (await written(transaction))["timers"] == [("a", 3, later), ("b", 2, later), ("c", 1, None)]


async def test_contract_one_idempotency_key_is_one_delivery(transaction) -> None:
    for payload in (b"first", b"second"):
        transaction.deliver("p", key=uuid4(), kind="k", payload=payload, idempotency_key="same")
    transaction.deliver("q", key=uuid4(), kind="k", payload=b"elsewhere", idempotency_key="same")
    await transaction.flush()
    assert (await written(transaction))["deliveries"] == [("same", b"first"), ("same", b"elsewhere")]


async def test_contract_a_revision_taken_twice_is_an_error(transaction) -> None:
    key = uuid4()
    transaction.publish(event(key, 1))
    transaction.publish(event(key, 1))
    with pytest.raises((asyncpg.UniqueViolationError, RevisionTakenError)):
        await transaction.flush()


PARENTS = """
CREATE TABLE parents (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE children (parent_id int NOT NULL REFERENCES parents (id));
"""


class Family:
    """A participant that stages its rows; the children's table refers to the parents'."""

    def __init__(self, transaction: Transaction, children: list[int]) -> None:
        self.transaction = transaction
        self.children = children

    def mark(self) -> None:
        return None

    def rollback_to(self, mark: object) -> None:
        del mark

    async def flush(self, _connection: asyncpg.Connection) -> None:
        self.transaction.write("INSERT INTO children SELECT unnest($1::int[])", self.children)
        parents = "INSERT INTO parents SELECT id, name FROM unnest($1::text[], $2::int[]) AS given (name, id)"
        self.transaction.write(parents, ["a", "b"], [1, 2])


async def test_what_is_staged_is_written_in_one_statement_whatever_refers_to_what(store) -> None:
    await store.pool.execute(PARENTS)
    asked: list[str] = []
    async with store.pool.acquire() as connection, connection.transaction():
        transaction = Transaction(connection)
        transaction.join(Family(transaction, [2, 1, 2]))
        transaction.publish(event(uuid4(), 1))
        transaction.deliver("partner", key=uuid4(), kind="k", payload=b"p", idempotency_key="one")
        transaction.audit(actor="a", action="b", subject="c")
        with connection.query_logger(lambda record: asked.append(record.query)):
            await transaction.flush()
    assert sum("INSERT" in one for one in asked) == 1  # the others are asyncpg's, about types
    assert await store.pool.fetch("SELECT id, name FROM parents ORDER BY id") == [(1, "a"), (2, "b")]
    assert [row[0] for row in await store.pool.fetch("SELECT parent_id FROM children ORDER BY 1")] == [1, 2, 2]
    for table in ("outbox", "deliveries", "operator_audit"):
        assert await store.pool.fetchval(f"SELECT count(*) FROM {table}") == 1


async def test_of_what_is_staged_a_refused_part_lets_nothing_through(store) -> None:
    await store.pool.execute(PARENTS)
    async with store.pool.acquire() as connection:
        transaction = Transaction(connection)
        transaction.join(Family(transaction, [3]))
        transaction.publish(event(uuid4(), 1))
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await transaction.flush()
    assert await store.pool.fetchval("SELECT (SELECT count(*) FROM parents) + (SELECT count(*) FROM outbox)") == 0


class Asking(Family):
    """A participant whose rows go out with a query; it stages another row for each that the query returns."""

    heard: Sequence[Mapping[str, Any]] = ()

    async def flush(self, connection: asyncpg.Connection) -> None:
        await super().flush(connection)
        self.transaction.ask("SELECT id, $2 AS word FROM kept($1::int[]) AS id", [7, 9], "told", then=self.then)

    async def then(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self.heard = rows
        self.transaction.write("INSERT INTO children SELECT unnest($1::int[])", [1])


KEPT = """
CREATE FUNCTION kept(ids int[]) RETURNS SETOF int LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO parents SELECT unnest(ids), 'seen ' || (SELECT count(*) FROM parents);
    RETURN QUERY SELECT id FROM parents WHERE id > 7;
END $$
"""


async def test_a_query_goes_out_with_what_is_staged_and_before_it(store) -> None:
    await store.pool.execute(PARENTS)
    await store.pool.execute(KEPT)
    asked: list[str] = []
    async with store.pool.acquire() as connection, connection.transaction():
        transaction = Transaction(connection)
        asking = Asking(transaction, [2])
        transaction.join(asking)
        transaction.publish(event(uuid4(), 1))
        with connection.query_logger(lambda record: asked.append(record.query)):
            await transaction.flush()
    assert [dict(row) for row in asking.heard] == [{"id": 9, "word": "told"}]
    assert sum("INSERT" in one for one in asked) == 2  # the second is what the answer has staged
    parents = await store.pool.fetch("SELECT id, name FROM parents ORDER BY id")
    assert parents == [(1, "a"), (2, "b"), (7, "seen 0"), (9, "seen 0")]  # none of the staged rows was there yet
    assert [row[0] for row in await store.pool.fetch("SELECT parent_id FROM children ORDER BY 1")] == [1, 2]


async def test_a_query_without_rows_tells_nothing_and_wakes_the_workers(store) -> None:
    await store.pool.execute(PARENTS)
    await store.pool.execute(KEPT.replace("id > 7", "false"))
    woken = asyncio.Event()

    def wake(*_: object) -> None:
        woken.set()

    async with store.pool.acquire() as listening, store.pool.acquire() as connection:
        await listening.add_listener("outbox", wake)
        async with connection.transaction():
            transaction = Transaction(connection)
            asking = Asking(transaction, [2])
            transaction.join(asking)
            transaction.publish(event(uuid4(), 1))
            await transaction.flush()
        await asyncio.wait_for(woken.wait(), 60)
        await listening.remove_listener("outbox", wake)
    assert asking.heard == ()
    assert await store.pool.fetchval("SELECT count(*) FROM children") == 1
