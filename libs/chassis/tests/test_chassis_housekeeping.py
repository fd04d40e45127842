"""What has served goes after its time; whatever somebody may still ask for stays."""

import json
import re
from typing import Any
from uuid import UUID, uuid4

import pytest
from chassis_bench_domain import event
from pydantic import ValidationError

from chassis.observe import Metrics
from chassis.settings import RetentionSettings
from chassis.store import Housekeeping, Transaction, housekeeping
from chassis.store import statements as store_sql

pytestmark = pytest.mark.stack
OLD, FRESH = 40.0, 3.0
RETENTION = RetentionSettings(
    outbox_days=7, deliveries_days=30, inbox_days=35, hl7_journal_days=30, dead_letters_days=35, timers_days=35
)


async def add(store, days: float) -> None:
    """One row of each table and state, ``days`` old."""
    ago = f"clock_timestamp() - {days} * interval '1 day'"
    async with store.pool.acquire() as connection, connection.transaction():
        transaction = Transaction(connection)
        for state in ("sent", "unsent"):
            message = event(uuid4(), 1)
            transaction.publish(message)
            await transaction.flush()
            at = "NULL" if state == "unsent" else ago
            await connection.execute(f"UPDATE outbox SET sent_at = {at} WHERE message_id = $1", message.message_id)
        for state in ("pending", "done", "dead", "dropped"):
            delivery = transaction.deliver(
                "partner", key=uuid4(), kind="k", payload=b"", idempotency_key=f"{state}{days}"
            )
            await transaction.flush()
            await connection.execute(
                f"UPDATE deliveries SET state = $2, done_at = {ago} WHERE id = $1", delivery, state
            )
        await connection.execute(f"INSERT INTO inbox VALUES ('c', $1, {ago})", uuid4())
        for state in ("accepted", "needs_setup", "rejected", "failed", "replayed", "dropped"):
            await connection.execute(
                "INSERT INTO hl7_journal (id, sender, control_id, digest, type, raw, state, received_at, processed_at)"
                f" VALUES ($1, 's', $2, '', 't', '', $3, {ago}, {ago})",
                uuid4(), f"{state}{days}", state,
            )  # fmt: skip
        for state in ("open", "replayed", "dropped"):
            await connection.execute(
                "INSERT INTO dead_letters (id, consumer, kind, reason, topic, headers, attempts, state, settled_at)"
                f" VALUES ($1, 'c', 'bug', 'r', 't', $3, 1, $2, {ago})",
                uuid4(), state, json.dumps({}),
            )  # fmt: skip
        for state in ("waiting", "dead", "fired", "cancelled"):
            await timer(connection, uuid4(), 1, state, ago)


async def timer(connection: Any, key: UUID, revision: int, state: str, at: str) -> None:
    await connection.execute(
        "INSERT INTO timers (kind, key, name, revision, state, due_at, next_attempt_at, settled_at)"
        f" VALUES ('k', $1, '-', $2, $3, {at}, {at}, {at})",
        key, revision, state,
    )  # fmt: skip


async def states(store, table: str, column: str) -> list[str]:
    return [row[0] for row in await store.pool.fetch(f"SELECT {column}::text FROM {table} ORDER BY 1")]


async def test_what_has_served_goes_after_its_time_and_the_rest_stays(store) -> None:
    await add(store, OLD)
    await add(store, FRESH)
    metrics = Metrics()
    deleted = await Housekeeping(store, RETENTION, metrics).turn()
    assert deleted == {"outbox": 1, "deliveries": 2, "inbox": 1, "hl7_journal": 4, "dead_letters": 2, "timers": 2}
    assert metrics.value("rows_deleted_total", table="hl7_journal") == 4
    assert await states(store, "outbox", "sent_at IS NULL") == ["false", "true", "true"]
    assert await states(store, "deliveries", "state") == ["dead", "dead", "done", "dropped", "pending", "pending"]
    journal = ["accepted", "dropped", "failed", "failed", "needs_setup", "needs_setup", "rejected", "replayed"]
    assert await states(store, "hl7_journal", "state") == journal
    assert await states(store, "dead_letters", "state") == ["dropped", "open", "open", "replayed"]
    timers = ["cancelled", "dead", "dead", "fired", "waiting", "waiting"]
    assert await states(store, "timers", "state") == timers
    assert len(await states(store, "inbox", "message_id")) == 1
    assert sum((await Housekeeping(store, RETENTION, metrics).turn()).values()) == 0


async def test_a_cancelled_timer_is_remembered_for_as_long_as_an_older_word_could_count(store) -> None:
    """Two that set one timer without its aggregate's lock may leave the older word beside the newer one."""
    key, ago = uuid4(), f"clock_timestamp() - {OLD} * interval '1 day'"
    await timer(store.pool, key, 1, "waiting", ago)
    await timer(store.pool, key, 2, "cancelled", ago)
    keeper = Housekeeping(store, RETENTION, Metrics())
    assert (await keeper.turn())["timers"] == 0
    await store.pool.execute("DELETE FROM timers WHERE revision = 1")
    assert (await keeper.turn())["timers"] == 1


async def test_a_dead_timer_that_a_newer_word_overtook_waits_for_nobody(store) -> None:
    key, now = uuid4(), "clock_timestamp()"
    await timer(store.pool, key, 1, "dead", now)
    await timer(store.pool, key, 2, "waiting", now)
    assert (await Housekeeping(store, RETENTION, Metrics()).turn())["timers"] == 1
    assert await states(store, "timers", "state") == ["waiting"]


async def test_a_turn_is_bounded_and_the_next_goes_on(store, monkeypatch) -> None:
    monkeypatch.setattr(housekeeping, "ROWS_A_TURN", 10)
    await store.pool.execute(
        "INSERT INTO inbox SELECT 'c', gen_random_uuid(), clock_timestamp() - interval '40 days'"
        " FROM generate_series(1, 25)"
    )
    keeper = Housekeeping(store, RETENTION, Metrics())
    assert [(await keeper.turn())["inbox"] for _ in range(4)] == [10, 10, 5, 0]


# What must stay, put in first, and behind it what may go: how each table's rows are made. $1: how many, $2: days ago.
HEADS = {
    "outbox": """
        INSERT INTO outbox (topic, aggregate_id, revision, message_id, value, headers, sent_at)
        SELECT 't', gen_random_uuid(), 1, gen_random_uuid(), '', '{}', NULL FROM generate_series(1, $1::int)""",
    "deliveries": """
        INSERT INTO deliveries (id, destination, key, kind, payload, idempotency_key, state, done_at)
        SELECT ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, 'p', gen_random_uuid(), 'k', '',
            'head' || n, 'dead', now() - interval '90 days' FROM generate_series(1, $1::int) AS n""",
    "inbox": """
        INSERT INTO inbox SELECT 'c', gen_random_uuid(), now() FROM generate_series(1, $1::int)""",
    "hl7_journal": """
        INSERT INTO hl7_journal (id, sender, control_id, digest, type, raw, state, received_at, processed_at)
        SELECT gen_random_uuid(), 'head', n::text, '', 't', '', 'needs_setup', now() - interval '90 days',
            now() - interval '90 days' FROM generate_series(1, $1::int) AS n""",
    "dead_letters": """
        INSERT INTO dead_letters (id, consumer, kind, reason, topic, headers, attempts, state, settled_at)
        SELECT ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, 'c', 'bug', 'r', 't', '{}', 1, 'open',
            NULL FROM generate_series(1, $1::int) AS n""",
    "timers": """
        INSERT INTO timers (kind, key, name, revision, state, due_at, next_attempt_at, settled_at)
        SELECT 'head', gen_random_uuid(), '-', 1, 'waiting', now(), now(), now() - interval '90 days'
        FROM generate_series(1, $1::int)""",
}
SERVED = {
    "outbox": """
        INSERT INTO outbox (topic, aggregate_id, revision, message_id, value, headers, sent_at)
        SELECT 't', gen_random_uuid(), 1, gen_random_uuid(), '', '{}', now() - $2::float8 * interval '1 day'
        FROM generate_series(1, $1::int)""",
    "deliveries": """
        INSERT INTO deliveries (id, destination, key, kind, payload, idempotency_key, state, done_at)
        SELECT gen_random_uuid(), 'p', gen_random_uuid(), 'k', '', gen_random_uuid()::text, 'done',
            now() - $2::float8 * interval '1 day' FROM generate_series(1, $1::int)""",
    "inbox": """
        INSERT INTO inbox SELECT 'c', gen_random_uuid(), now() - $2::float8 * interval '1 day'
        FROM generate_series(1, $1::int)""",
    "hl7_journal": """
        INSERT INTO hl7_journal (id, sender, control_id, digest, type, raw, state, received_at, processed_at)
        SELECT gen_random_uuid(), 's', gen_random_uuid()::text, '', 't', '', 'accepted', now(),
            now() - $2::float8 * interval '1 day' FROM generate_series(1, $1::int)""",
    "dead_letters": """
        INSERT INTO dead_letters (id, consumer, kind, reason, topic, headers, attempts, state, settled_at)
        SELECT gen_random_uuid(), 'c', 'bug', 'r', 't', '{}', 1, 'dropped', now() - $2::float8 * interval '1 day'
        FROM generate_series(1, $1::int)""",
    "timers": """
        INSERT INTO timers (kind, key, name, revision, state, due_at, next_attempt_at, settled_at)
        SELECT 'k', gen_random_uuid(), '-', 1, 'fired', now(), now(), now() - $2::float8 * interval '1 day'
        FROM generate_series(1, $1::int)""",
}


@pytest.mark.parametrize("table", list(HEADS))
async def test_what_must_stay_at_the_head_of_a_table_hides_nothing(store, table) -> None:
    await store.pool.execute(HEADS[table], 6000, timeout=60)
    await store.pool.execute(SERVED[table], 7000, OLD, timeout=60)
    keeper = Housekeeping(store, RETENTION, Metrics())
    assert [(await keeper.turn())[table] for _ in range(3)] == [5000, 2000, 0]
    assert await store.pool.fetchval(f"SELECT count(*) FROM {table}") == 6000


@pytest.mark.parametrize("table", list(HEADS))
async def test_a_turn_reads_what_it_deletes_and_not_the_table(store, table) -> None:
    """200,000 rows that stay, 6,000 of them at the head; also when the planner knows nothing of the table yet."""
    await store.pool.execute(HEADS[table], 6000, timeout=60)
    await store.pool.execute(SERVED[table], 194_000, FRESH, timeout=60)
    statement = store_sql.DELETE_OLD[table]
    for prepare in ("SELECT 1", f"VACUUM ANALYZE {table}"):
        await store.pool.execute(prepare, timeout=60)
        for old in (0, 100):
            await store.pool.execute(SERVED[table], old, OLD, timeout=60)
            async with store.pool.acquire() as connection:
                text = await explained(connection, statement, table)
            assert "Seq Scan" not in text, text
            assert f"rows={old}" in text.partition("->")[2] or not old, text
            assert buffers(text) < 2000, text


async def explained(connection: Any, statement: str, table: str) -> str:
    days = {"outbox": 7, "dead_letters": 35, "inbox": 35, "timers": 35}.get(table, 30)
    rows = await connection.fetch(
        "EXPLAIN (ANALYZE, BUFFERS, COSTS off, TIMING off) " + statement, days, 5000, timeout=60
    )
    return "\n".join(row[0] for row in rows)


def buffers(plan: str) -> int:
    """Pages that the whole statement touched."""
    (line,) = re.findall(r"Buffers: shared (.*)", plan)[:1]
    return sum(int(number) for _, number in re.findall(r"(hit|read)=(\d+)", line))


async def test_the_inbox_is_looked_through_by_its_index_also_when_the_space_of_old_rows_was_used_again(store) -> None:
    """A BRIN's ranges stay as wide as they ever were: every look would read all of them."""
    spread = "INSERT INTO inbox SELECT 'c', gen_random_uuid(), now() - (n / 2000.0) * interval '1 day'"
    await store.pool.execute(f"{spread} FROM generate_series(70000, 20000, -1) AS n", timeout=60)
    for _ in range(2):
        await store.pool.execute("UPDATE inbox SET received_at = received_at - interval '10 days'", timeout=60)
        await store.pool.execute("VACUUM inbox", timeout=60)
        await store.pool.execute("DELETE FROM inbox WHERE received_at < now() - interval '35 days'", timeout=60)
        await store.pool.execute("VACUUM ANALYZE inbox", timeout=60)
        await store.pool.execute(f"{spread} FROM generate_series(20000, 1, -1) AS n", timeout=60)
    async with store.pool.acquire() as connection:
        text = await explained(connection, store_sql.DELETE_OLD["inbox"], "inbox")
    assert buffers(text) < 100, text


@pytest.mark.parametrize("setting", ["inbox_days", "timers_days"])
def test_an_inbox_that_forgets_before_kafka_does_is_refused(setting) -> None:
    with pytest.raises(ValidationError, match=f"{setting} must be more than the 31 days"):
        RetentionSettings(**{setting: 30})
