"""Revisions that did not come: a gap that stands is counted and alarmed; one that closes in time is not."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from chassis_bench_domain import event
from structlog.testing import capture_logs

import contracts
from chassis.messaging import RevisionGaps, missed, revisions
from chassis.messaging.revisions import REVISIONS_PER_EPOCH, count_gaps
from chassis.observe import Metrics
from chassis.store import Transaction

pytestmark = pytest.mark.stack


class Projection:
    """What a service knows of its aggregates; each call is a batch of its own."""

    def __init__(self, store) -> None:
        self._store = store
        self.known: dict[UUID, int] = {}

    async def hears(self, *messages: contracts.Message, fails: frozenset[int] = frozenset()) -> None:
        async with self._store.pool.acquire() as connection, connection.transaction():
            transaction = Transaction(connection)
            gaps = RevisionGaps(transaction, "test")
            transaction.join(gaps)
            for message in messages:
                mark, before = transaction.mark(), self.known.get(message.aggregate_id)
                gaps.saw(message, before)
                if message.revision in fails:
                    transaction.rollback_to(mark)
                elif before is None or message.revision > before:
                    self.known[message.aggregate_id] = message.revision
            await transaction.flush()

    async def gaps(self) -> list[int]:
        return [
            row["revision"] for row in await self._store.pool.fetch("SELECT revision FROM revision_gaps ORDER BY 1")
        ]


@pytest.fixture
def projection(store) -> Projection:
    return Projection(store)


async def began(store, at: datetime) -> None:
    await store.pool.execute(
        "INSERT INTO consumer_positions (consumer, topic, partition, topic_id, next_offset, began_at)"
        " VALUES ('test', 't', 0, $1, 1, $2)",
        uuid4(), at,
    )  # fmt: skip


async def test_a_revision_that_is_passed_over_is_a_gap_until_it_comes(projection) -> None:
    key = uuid4()
    await projection.hears(event(key, 1))
    await projection.hears(event(key, 4))
    assert await projection.gaps() == [2, 3]
    await projection.hears(event(key, 3))
    assert await projection.gaps() == [2]
    await projection.hears(event(key, 5), event(key, 2))
    assert await projection.gaps() == []


async def test_overtaking_within_a_batch_and_what_failed_leave_no_gap(projection) -> None:
    key = uuid4()
    await projection.hears(event(key, 1), event(key, 3), event(key, 2))
    await projection.hears(event(key, 9), fails=frozenset({9}))
    assert await projection.gaps() == []


async def test_an_epoch_after_a_restore_is_no_gap_but_one_inside_it_is(projection) -> None:
    key = uuid4()
    await projection.hears(event(key, 3))
    await projection.hears(event(key, REVISIONS_PER_EPOCH + 1))
    await projection.hears(event(uuid4(), 2 * REVISIONS_PER_EPOCH + 7))
    assert await projection.gaps() == []
    await projection.hears(event(key, REVISIONS_PER_EPOCH + 3))
    assert await projection.gaps() == [REVISIONS_PER_EPOCH + 2]


async def test_a_leap_keeps_its_first_revisions_only(projection) -> None:
    key = uuid4()
    await projection.hears(event(key, 1))
    await projection.hears(event(key, 5000))
    assert await projection.gaps() == list(range(2, 2 + revisions.LARGEST_GAP))


@pytest.mark.parametrize(
    ("began_ago", "expected"),
    [
        pytest.param(timedelta(days=1), [1, 2], id="the consumer was there"),
        pytest.param(timedelta(days=-1), [], id="the aggregate is older"),
        pytest.param(None, [], id="the consumer begins"),
    ],
)
async def test_an_aggregate_first_heard_of_in_the_middle(store, projection, began_ago, expected) -> None:
    if began_ago is not None:
        await began(store, datetime.now(UTC) - began_ago)
    await projection.hears(event(contracts.uuid7(), 3))
    assert await projection.gaps() == expected


async def test_of_an_aggregate_whose_id_tells_no_time_nothing_is_said_at_first(store, projection) -> None:
    await began(store, datetime.now(UTC) - timedelta(days=1))
    await projection.hears(event(uuid4(), 3))
    assert await projection.gaps() == []


async def test_a_gap_is_counted_and_said_once_it_has_stood_for_a_minute(store, projection) -> None:
    key, metrics = uuid4(), Metrics()
    await projection.hears(event(key, 1))
    await projection.hears(event(key, 3))
    await count_gaps(store, "test", metrics)
    assert metrics.value("revision_gaps_total", type="appointment.scheduled") == 0, "it may be an overtaking"
    assert await missed.list_missed(store) == []
    await store.pool.execute("UPDATE revision_gaps SET noticed_at = noticed_at - interval '61 seconds'")
    with capture_logs() as logs:
        await asyncio.gather(*(count_gaps(store, "test", metrics) for _ in range(5)))
    assert metrics.value("revision_gaps_total", type="appointment.scheduled") == 1
    (said,) = [one for one in logs if one["event"] == "consumer.revision-gap"]
    assert (said["aggregate_id"], said["revision"]) == (str(key), 2)
    (row,) = await missed.list_missed(store)
    assert missed.words_of(row) == "revision 2 has not come"
    assert await missed.acknowledge_one(store, key, actor="tester")
    assert await projection.gaps() == []
    assert await store.pool.fetchval("SELECT action FROM operator_audit") == "missed.acknowledge"
