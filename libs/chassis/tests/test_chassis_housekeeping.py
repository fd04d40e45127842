"""What has served goes after its time; whatever somebody may still ask for stays."""

import json
from uuid import uuid4

import pytest
from chassis_bench_domain import event
from pydantic import ValidationError

from chassis import housekeeping
from chassis.housekeeping import Housekeeping
from chassis.metrics import Metrics
from chassis.settings import RetentionSettings
from chassis.transaction import Transaction

pytestmark = pytest.mark.stack
OLD, FRESH = 40.0, 3.0
RETENTION = RetentionSettings(
    outbox_days=7, deliveries_days=30, inbox_days=35, hl7_journal_days=30, dead_letters_days=35
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


async def states(store, table: str, column: str) -> list[str]:
    return [row[0] for row in await store.pool.fetch(f"SELECT {column}::text FROM {table} ORDER BY 1")]


async def test_what_has_served_goes_after_its_time_and_the_rest_stays(store) -> None:
    await add(store, OLD)
    await add(store, FRESH)
    metrics = Metrics()
    deleted = await Housekeeping(store, RETENTION, metrics).turn()
    assert deleted == {"outbox": 1, "deliveries": 2, "inbox": 1, "hl7_journal": 4, "dead_letters": 2}
    assert metrics.value("rows_deleted_total", table="hl7_journal") == 4
    assert await states(store, "outbox", "sent_at IS NULL") == ["false", "true", "true"]
    assert await states(store, "deliveries", "state") == ["dead", "dead", "done", "dropped", "pending", "pending"]
    journal = ["accepted", "dropped", "failed", "failed", "needs_setup", "needs_setup", "rejected", "replayed"]
    assert await states(store, "hl7_journal", "state") == journal
    assert await states(store, "dead_letters", "state") == ["dropped", "open", "open", "replayed"]
    assert len(await states(store, "inbox", "message_id")) == 1
    assert sum((await Housekeeping(store, RETENTION, metrics).turn()).values()) == 0


async def test_a_turn_is_bounded_and_the_next_goes_on(store, monkeypatch) -> None:
    monkeypatch.setattr(housekeeping, "ROWS_A_TURN", 10)
    await store.pool.execute(
        "INSERT INTO inbox SELECT 'c', gen_random_uuid(), clock_timestamp() - interval '40 days'"
        " FROM generate_series(1, 25)"
    )
    keeper = Housekeeping(store, RETENTION, Metrics())
    assert [(await keeper.turn())["inbox"] for _ in range(4)] == [10, 10, 5, 0]


async def test_what_is_old_in_a_large_inbox_is_found_by_its_index(store) -> None:
    await store.pool.execute("INSERT INTO inbox SELECT 'c', gen_random_uuid() FROM generate_series(1, 50000)")
    await store.pool.execute("VACUUM ANALYZE inbox")
    plan = await store.pool.fetch("EXPLAIN " + housekeeping._STATEMENTS["inbox"], 35.0, 5000)
    text = "\n".join(row[0] for row in plan)
    assert "ix_inbox_received_at" in text
    assert "Seq Scan" not in text


def test_an_inbox_that_forgets_before_kafka_does_is_refused() -> None:
    with pytest.raises(ValidationError, match="inbox_days must be more than the 30 days"):
        RetentionSettings(inbox_days=30)
