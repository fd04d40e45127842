"""`outbox resend`: what Kafka has lost leaves again, in order; readers that know it drop it. And `missed`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from chassis_bench_domain import event, kafka_settings
from test_chassis_cli import DemoSettings, never
from test_chassis_console import OURS, client

import contracts
from chassis.clock import since_of
from chassis.messaging import Relay, missed, positions, resend, topics
from chassis.messaging.positions import Log, Partition, Position, Positions
from chassis.observe import Metrics
from chassis.operate import ServiceDefinition, inbox, main
from chassis.operate import resend as cli_resend
from chassis.store import Transaction
from chassis.testing import eventually

TOPIC = "appointment.scheduled"
NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("30m", NOW - timedelta(minutes=30)),
        ("2h", NOW - timedelta(hours=2)),
        ("3d", NOW - timedelta(days=3)),
        ("2 h", NOW - timedelta(hours=2)),
        ("2026-11-30T10:15", datetime(2026, 11, 30, 10, 15, tzinfo=UTC)),
        ("2026-11-30T10:15:00Z", datetime(2026, 11, 30, 10, 15, tzinfo=UTC)),
        ("2026-11-30T10:15:00-05:00", datetime(2026, 11, 30, 15, 15, tzinfo=UTC)),
    ],
)
def test_since_is_a_time_or_how_long_ago(text: str, expected: datetime) -> None:
    assert since_of(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "2", "h", "-2h", "yesterday", "9999999h"])
def test_a_since_that_says_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        since_of(text, NOW)


Operator = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
def settings(database_url, topic_prefix, kafka_bootstrap, monkeypatch) -> None:
    monkeypatch.setenv("DEMO_STORE__URL", database_url)
    monkeypatch.setenv("DEMO_KAFKA__BOOTSTRAP_SERVERS", kafka_bootstrap)
    monkeypatch.setenv("DEMO_KAFKA__TOPIC_PREFIX", topic_prefix)


@pytest.fixture
def operator(store, settings, capsys, monkeypatch) -> Operator:
    monkeypatch.setattr("getpass.getuser", lambda: "ops")

    async def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        definition = ServiceDefinition("demo", DemoSettings, never, Path(), intakes=[inbox.commands])
        try:
            code = await asyncio.to_thread(main, definition, [str(word) for word in words])
        except SystemExit as end:
            code = int(end.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@asynccontextmanager
async def relaying(store, bootstrap: str, prefix: str) -> AsyncIterator[Metrics]:
    metrics = Metrics()
    relay = Relay(store, kafka_settings(bootstrap, prefix), metrics, poll_seconds=0.2)
    running = asyncio.create_task(relay.run())
    try:
        yield metrics
    finally:
        await relay.stop()
        await asyncio.wait_for(running, 60)


async def commit(store, *messages: contracts.Message) -> None:
    async with store.pool.acquire() as connection, connection.transaction():
        transaction = Transaction(connection)
        for message in messages:
            transaction.publish(message)
        await transaction.flush()


async def all_sent(store) -> bool:
    return await store.pool.fetchval("SELECT count(*) FROM outbox WHERE sent_at IS NULL") == 0


async def on_the_bus(bootstrap: str, prefix: str, number: int) -> dict[UUID, list[int]]:
    consumer = AIOKafkaConsumer(prefix + TOPIC, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    found: dict[UUID, list[int]] = {}
    count = 0
    try:
        async with asyncio.timeout(60):
            while count < number:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    count += len(records)
                    for message in (contracts.parse(record.value) for record in records):
                        found.setdefault(message.aggregate_id, []).append(message.revision)
    finally:
        await consumer.stop()
    return found


@pytest.mark.stack
async def test_what_a_topic_has_lost_is_sent_again_in_order_before_what_is_new(
    store, operator, kafka_bootstrap, topic_prefix
) -> None:
    keys = [uuid4() for _ in range(50)]
    connection = {"bootstrap_servers": kafka_bootstrap}
    assert (await operator("topics"))[0] == 0
    async with relaying(store, kafka_bootstrap, topic_prefix):
        await commit(store, *(event(key, 1) for key in keys))
        await eventually(lambda: all_sent(store), what="what is too old to be sent again")
        await store.pool.execute("UPDATE outbox SET sent_at = sent_at - interval '3 hours'")
        await commit(store, *(event(key, revision) for revision in (2, 3) for key in keys))
        await eventually(lambda: all_sent(store), what="the events")
    admin = AIOKafkaAdminClient(**connection)
    await admin.start()
    await admin.delete_topics([topic_prefix + TOPIC])
    await admin.close()

    async def made_anew() -> bool:
        return topic_prefix + TOPIC in await topics.ensure(connection, prefix=topic_prefix)

    await eventually(made_anew, what="the topic")
    await commit(store, *(event(key, 4) for key in keys))  # waits: no relay runs
    command = asyncio.create_task(operator("outbox", "resend", "--since", "2h", "--topic", TOPIC, "--yes"))

    async def marked() -> bool:
        return await store.pool.fetchval("SELECT count(*) FROM outbox WHERE sent_at IS NULL") == 150

    await eventually(marked, what="the rows to send again")
    async with relaying(store, kafka_bootstrap, topic_prefix):
        code, out, err = await asyncio.wait_for(command, 60)
        await eventually(lambda: all_sent(store), what="all rows")
    assert (code, err) == (0, "")
    assert out.splitlines()[0].split() == ["100", TOPIC]
    assert out.splitlines()[-1] == "demo: 100 events sent again"
    assert await on_the_bus(kafka_bootstrap, topic_prefix, 150) == {key: [2, 3, 4] for key in keys}
    row = await store.pool.fetchrow("SELECT actor, action, detail::json->>'number' AS number FROM operator_audit")
    assert tuple(row) == ("ops", "outbox.resend", "100")


@pytest.mark.stack
async def test_what_is_sent_again_raises_no_alarm_for_its_age(store, kafka_bootstrap, topic_prefix) -> None:
    await topics.ensure({"bootstrap_servers": kafka_bootstrap}, prefix=topic_prefix)
    await commit(store, event(uuid4(), 1))
    await store.pool.execute("UPDATE outbox SET created_at = now() - interval '5 hours', sent_at = now()")
    await resend.resend(store, datetime.now(UTC) - timedelta(hours=1), actor="tester")
    async with relaying(store, kafka_bootstrap, topic_prefix) as metrics:
        await eventually(lambda: all_sent(store), what="the row")

        async def looked() -> bool:
            return metrics.registry.get_sample_value("outbox_lag_seconds_count") == 1

        await eventually(looked, what="the lag")
        assert metrics.value("outbox_oldest_unsent_age_seconds") < 3600
        assert metrics.registry.get_sample_value("outbox_lag_seconds_sum") < 3600


@pytest.mark.stack
async def test_the_operator_is_asked_and_misuse_and_nothing_to_do_are_told_apart(store, operator, monkeypatch) -> None:
    monkeypatch.setattr(cli_resend, "RESEND_PATIENCE_SECONDS", 0.5)
    code, _, err = await operator("outbox", "resend", "--since", "2h")
    assert (code, "no event was sent since" in err) == (1, True)
    assert (await operator("outbox", "resend"))[0] == 2
    assert (await operator("outbox", "resend", "--since", "soon"))[0] == 2
    assert (await operator("outbox", "resend", "--since", "2h", "--topic", "unknown"))[0] == 2
    await commit(store, event(uuid4(), 1))
    await store.pool.execute("UPDATE outbox SET sent_at = now()")
    answers: dict[str, Any] = {"n": 1, "": 1}
    for answer, expected in answers.items():
        monkeypatch.setattr("builtins.input", lambda _question, answer=answer: answer)
        code, out, _ = await operator("outbox", "resend", "--since", "2h")
        assert (code, out.splitlines()[-1]) == (expected, "demo: nothing was sent again")
        assert await all_sent(store)

    def nobody(_question: str) -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", nobody)
    code, _, err = await operator("outbox", "resend", "--since", "2h")
    assert (code, "--yes" in err) == (1, True)
    assert await all_sent(store)
    monkeypatch.setattr("builtins.input", lambda _question: "y")
    code, out, err = await operator("outbox", "resend", "--since", "30d")
    assert (code, "1 events still wait" in err) == (1, True), "no relay runs"
    assert out.startswith("the outbox keeps 7 days")
    assert not await all_sent(store)


# ---- missed


async def miss(store, *, kind: positions.Kind = "expired") -> UUID:
    one, old, new = Positions("test", Metrics()), uuid4(), uuid4()
    await store.pool.execute(
        "INSERT INTO consumer_positions (consumer, topic, partition, topic_id, next_offset)"
        " VALUES ('test', 'p.appointment.scheduled', 3, $1, 5) ON CONFLICT (consumer, topic, partition)"
        " DO UPDATE SET topic_id = excluded.topic_id, next_offset = excluded.next_offset",
        old,
    )
    position = Position(old, 5, None, datetime(2026, 11, 30, 9, 0, tzinfo=UTC))
    await one.begin_again(store, Partition("p.appointment.scheduled", 3), position, Log(new, 12, 40), kind)
    return await store.pool.fetchval("SELECT id FROM missed_records ORDER BY noticed_at DESC LIMIT 1")


@pytest.mark.stack
async def test_what_was_missed_is_listed_until_somebody_acknowledges_it(store, operator) -> None:
    assert (await operator("missed", "list"))[1].splitlines() == ["0 entries"]
    first = await miss(store)
    code, out, _ = await operator("missed", "list")
    assert (code, out.splitlines()[-1]) == (0, "1 entry")
    assert f"{first}" in out
    assert out.splitlines()[1].split()[-2:] == ["expired", "test"]
    assert "p.appointment.scheduled 3: 7 records from offset 5 on expired before they were read" in out
    await miss(store, kind="made-anew")
    await miss(store, kind="set-back")
    out = (await operator("missed", "list"))[1]
    assert "the topic was made anew; what came after 2026-11-30 09:00:00 UTC may be missing" in " ".join(out.split())
    assert "Kafka was set back to before offset 5" in out
    assert await operator("missed", "acknowledge", first) == (0, "1 acknowledged\n", "")
    code, _, err = await operator("missed", "acknowledge", first)
    assert (code, err.strip()) == (1, f"there is no open entry {first}")
    assert (await operator("missed", "acknowledge"))[0] == 2
    assert await operator("missed", "acknowledge", "--all") == (0, "2 acknowledged\n", "")
    assert await missed.list_missed(store) == []
    assert await store.pool.fetchval("SELECT count(*) FROM operator_audit WHERE action = 'missed.acknowledge'") == 3


@pytest.mark.stack
async def test_the_console_shows_what_was_missed_and_takes_the_acknowledgement(store) -> None:
    identifier = await miss(store)
    async with client(store) as browser:
        page = (await browser.get("/console")).text
        assert "7 records from offset 5 on expired before they were read" in page
        answer = await browser.post(f"/console/missed/{identifier}/acknowledge", headers=OURS)
        assert answer.status_code == 303
        page = (await browser.get(answer.headers["location"])).text
        assert f"Entry {identifier} is acknowledged." in page
        assert "expired before they were read" not in page
