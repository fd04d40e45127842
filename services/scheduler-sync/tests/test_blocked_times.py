"""PowerServer's blocks and reservations (SIU^S23, S24, status BLOCKED) are facts that take all places of their time."""

from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import orjson
import pytest
from sync_harness import Harness
from sync_samples import directory, site_file
from test_claims_of_links import CT, HALF_AN_HOUR, HALF_PAST_TWO, asks_to_move, at, booking, claims, sync

from chassis.errors import Malformed, NeedsSetup
from scheduler_sync import explain
from scheduler_sync.store.claims import busy_between

pytestmark = pytest.mark.stack
__all__ = ["sync"]
FOUR = datetime(2026, 12, 1, 21, tzinfo=UTC)


def block(
    trigger: str = "S23", *, number: str = "R7", made: str = "20261125093000-0500", hour: int = 14, minute: int = 30,
    status: str = "", resource: str = "BLUME CT", control_id: str = "",
) -> bytes:  # fmt: skip
    times = at(hour, minute)
    control_id = control_id or f"{number}{trigger}{made[8:14]}{hour}"
    lines = [
        f"MSH|^~\\&|RAMSOFT|FAC01|SUITE|NORTHSIDE|{made}||SIU^{trigger}|{control_id}|P|2.3.1||||||UNICODE UTF-8",
        f"SCH|{number}^RAMSOFT|{number}^RAMSOFT||||^Service||||| ^^30^{times['start']}^{times['end']}"
        f"||||||||||||||{status}".replace(" ", ""),
        "RGS|1|A",
        f"AIG|1|A|{resource}^{resource}|CT" if resource else "NTE|1||no resource",
    ]
    return ("\r".join(lines) + "\r").encode()


async def capacity_of(sync: Harness, capacity: int) -> None:
    await sync.store.pool.execute("UPDATE calendars SET capacity = $1 WHERE resource_id = $2", capacity, CT)


async def room_at(sync: Harness, start: datetime) -> bool:
    busy = await busy_between(sync.store.pool, [CT], start - timedelta(days=1), start + timedelta(days=1))
    return busy[CT].has_room(start, start + HALF_AN_HOUR)


@pytest.mark.parametrize(("trigger", "status"), [("S23", ""), ("S12", "BLOCKED^Blocked"), ("S12", "^blocked"),
                                                 ("S14", "BLOCKED")])  # fmt: skip
async def test_a_blocked_time_is_claimed_and_not_free_at_any_place(sync: Harness, trigger: str, status: str) -> None:
    await capacity_of(sync, 3)
    assert await sync.hear(block(trigger, status=status)) == [None]
    assert await claims(sync) == [("block", CT, HALF_PAST_TWO, HALF_PAST_TWO + HALF_AN_HOUR)]
    assert not await room_at(sync, HALF_PAST_TWO)
    assert await room_at(sync, HALF_PAST_TWO + HALF_AN_HOUR)
    assert await sync.rows("SELECT 1 FROM appointment_links UNION ALL SELECT 1 FROM outbox") == []


@pytest.mark.parametrize("trigger", ["S24", "S15"])
async def test_an_opened_time_is_released(sync: Harness, trigger: str) -> None:
    await sync.hear(block())
    assert await sync.hear(block(trigger, made="20261125093100-0500")) == [None]
    assert await claims(sync) == []
    assert await room_at(sync, HALF_PAST_TWO)


async def test_a_moved_block_claims_the_new_time_alone(sync: Harness) -> None:
    await sync.hear(block("S12", status="BLOCKED"))
    assert await sync.hear(block("S13", status="BLOCKED", made="20261125093100-0500", hour=16, minute=0)) == [None]
    assert await claims(sync) == [("block", CT, FOUR, FOUR + HALF_AN_HOUR)]


async def test_every_order_of_a_blocks_messages_ends_alike(sync: Harness) -> None:
    for number, order in enumerate(permutations([("S23", 0, 14, 30), ("S23", 1, 16, 0), ("S24", 2, 16, 0)])):
        messages: list[Any] = [
            block(trigger, number=f"R{number}", made=f"2026112509{30 + later}00-0500", hour=hour, minute=minute)
            for trigger, later, hour, minute in order
        ]
        for one in (*messages, *messages):
            assert await sync.hear(one) == [None]
        assert await claims(sync) == [], order
    await sync.hear(block(number="R9"), block("S24", number="R9", made="20261125093100-0500"))
    assert await claims(sync) == []


async def test_a_block_displaces_every_promise_of_its_time_and_the_patients_are_told(sync: Harness) -> None:
    await capacity_of(sync, 3)
    await sync.hear(booking(1, hour=9), booking(2, hour=10))
    asked = [await asks_to_move(sync, "P1", HALF_PAST_TWO), await asks_to_move(sync, "P2", HALF_PAST_TWO)]
    assert [kind for kind, *_ in await claims(sync)] == ["fact", "fact", "request", "request"]
    assert await sync.hear(block()) == [None]
    assert sorted(kind for kind, *_ in await claims(sync)) == ["block", "fact", "fact"]
    conflicts = await sync.rows("SELECT link_id, why, cause_id FROM conflicts ORDER BY link_id")
    assert {row["link_id"] for row in conflicts} == {one.id for one in asked}
    assert all(row["why"].startswith("PowerServer blocked the time") for row in conflicts)
    assert len({row["cause_id"] for row in conflicts}) == 1
    rows = await sync.rows("SELECT value FROM outbox WHERE topic = 'appointment.requested'")
    events = [one for row in rows if (one := orjson.loads(row["value"]))["data"]["displaced"]]
    assert len(events) == 2
    assert all(len(one["data"]["alternatives"]) >= 3 for one in events)


async def test_staff_may_book_in_a_blocked_time_and_a_patient_may_not(sync: Harness) -> None:
    await sync.hear(block())
    assert await sync.hear(booking(1)) == [None]
    assert sorted(kind for kind, *_ in await claims(sync)) == ["block", "fact"]
    await sync.hear(booking(2, hour=9))
    await asks_to_move(sync, "P2", HALF_PAST_TWO)
    assert "request" not in [kind for kind, *_ in await claims(sync)]


async def test_a_block_and_a_request_of_one_batch_end(sync: Harness) -> None:
    """The block comes first: its own transaction refuses the wish, and does not run for ever."""
    await sync.hear(booking(1, hour=9))
    assert await sync.hear(block(), booking(1, hour=9, trigger="S14")) == [None, None]
    assert sorted(kind for kind, *_ in await claims(sync)) == ["block", "fact"]


@pytest.mark.parametrize(("message", "error"), [
    (block(resource=""), Malformed), (block(resource="NO SUCH"), NeedsSetup),
    (block().replace(b"AIG|1", b"AIG|1|A|BLUME MR|MR\rAIG|2"), NeedsSetup),
    (block().replace(b"R7^RAMSOFT", b""), Malformed),
])  # fmt: skip
async def test_a_block_that_cannot_be_read_claims_nothing_and_says_why(
    sync: Harness, message: bytes, error: type[Exception]
) -> None:
    (found,) = await sync.hear(message)
    assert isinstance(found, error)
    assert await claims(sync) == []


async def test_a_block_is_explained() -> None:
    found = explain.explain(block(), site_file(), directory(), received_at=HALF_PAST_TWO)
    assert (found.code, found.meaning) == ("AA", "a time of a resource that is blocked")
    assert (found.effect["resource"], found.effect["blocked"]) == ("BLUME CT", "yes")
    opened = explain.explain(block("S24"), site_file(), directory(), received_at=HALF_PAST_TWO)
    assert opened.effect["blocked"] == "no: the time is opened"
