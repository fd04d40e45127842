"""PowerServer's messages claim their times with their own transaction, and promises give way to them."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sync_harness import Harness, open_harness
from sync_samples import orm, siu

from chassis.errors import StoreUnavailable
from chassis.store import Transaction
from scheduler_sync.claims_upkeep import ClaimsUpkeep
from scheduler_sync.domain.appointment import AppointmentLink, State, WorkflowStep
from scheduler_sync.domain.resource import Resource
from scheduler_sync.domain.slots import Opening, Slot
from scheduler_sync.store.repositories import LinkRepository

pytestmark = pytest.mark.stack
CT, MR = UUID(int=1), UUID(int=2)
HALF_PAST_TWO = datetime(2026, 12, 1, 19, 30, tzinfo=UTC)
HALF_AN_HOUR = timedelta(minutes=30)
ALL_DAY = tuple(Opening(day, 8 * 60, 20 * 60) for day in range(7))


@pytest.fixture
async def sync(migrated_url: str) -> AsyncIterator[Harness]:
    """The harness, with its resources in the store as well."""
    opened = await open_harness(migrated_url)
    known = [replace(one, hours=ALL_DAY) for one in opened.resources.all_of("FAC01")]
    opened.resources.fill(known)
    await keep(opened, known)
    yield opened
    await opened.store.close()


async def keep(sync: Harness, resources: Sequence[Resource]) -> None:
    for one in resources:
        await sync.store.pool.execute(
            "INSERT INTO resources (id, facility, organization, name, modality, healthcare_service_id, hours, "
            "overbooking, self_scheduling, active, aliases, seen_at) "
            "VALUES ($1, $2, '2', $3, $4, $5, '[]', true, true, true, '{}', now())",
            one.id, one.facility, one.name, one.modality, one.healthcare_service_id,
        )  # fmt: skip


async def claims(sync: Harness) -> list[tuple[str, UUID, datetime, datetime]]:
    rows = await sync.rows("SELECT * FROM claims WHERE NOT released ORDER BY lower(during), kind, resource_id")
    return [(row["kind"], row["resource_id"], row["during"].lower, row["during"].upper) for row in rows]


async def asks_to_move(sync: Harness, placer: str, wanted: datetime, minutes: int = 30) -> AppointmentLink:
    """The patient of this appointment asks for another time, by the link itself."""
    async with sync.store.pool.acquire() as connection, connection.transaction():
        transaction = Transaction(connection)
        work = sync.open_work(transaction)
        await work.links.load([placer])
        link = work.links.by_placer_number(placer)
        assert link is not None
        asked = replace(
            link, state=State.MOVE_REQUESTED, step=WorkflowStep.REQUESTED, revision=link.revision + 1,
            requested_slot=Slot(wanted, wanted + timedelta(minutes=minutes), "America/Toronto"),
        )  # fmt: skip
        work.links.save(asked)
        await transaction.flush()
    return asked


def at(hour: int, minute: int = 0) -> dict[str, str]:
    return {
        "start": f"20261201{hour:02}{minute:02}00-0500",
        "end": (datetime(2026, 12, 1, hour, minute, tzinfo=UTC) + HALF_AN_HOUR).strftime("%Y%m%d%H%M%S-0500"),
    }


def booking(number: int, *, hour: int = 14, minute: int = 30, trigger: str = "S12", **more: str) -> bytes:
    pid = f"PID|1|{number}^^^NORTHSIDE|{number}^^^NORTHSIDE||Roe^Jane||19800229|F"
    control_id = f"C{number}{trigger}{hour}{minute}"
    return siu(trigger, control_id=control_id, placer=f"P{number}", pid=pid, **at(hour, minute), **more)


async def test_a_booking_claims_its_time(sync: Harness):
    assert await sync.hear(siu()) == [None]
    assert await claims(sync) == [("fact", CT, HALF_PAST_TWO, HALF_PAST_TWO + HALF_AN_HOUR)]


async def test_a_move_releases_and_claims(sync: Harness):
    await sync.hear(siu())
    moved = siu("S13", control_id="C2", made="20261125093100-0500", resource="BLUME MR", **at(16))
    assert await sync.hear(moved) == [None]
    start = datetime(2026, 12, 1, 21, tzinfo=UTC)
    assert await claims(sync) == [("fact", MR, start, start + HALF_AN_HOUR)]


@pytest.mark.parametrize("status", ["80^CANCELLED^99PS", "85^NO SHOW^99PS"])
async def test_a_cancellation_and_a_no_show_release(sync: Harness, status: str):
    await sync.hear(siu())
    await sync.hear(siu("S15", control_id="C2", made="20261125093100-0500", status=status))
    assert await claims(sync) == []


async def test_a_patient_on_the_waiting_list_has_no_time(sync: Harness):
    await sync.hear(siu(status="40^WAITLIST^99PS"))
    assert await claims(sync) == []


async def test_an_order_by_orm_claims_as_well(sync: Harness):
    await sync.hear(orm())
    assert [kind for kind, *_ in await claims(sync)] == ["fact"]


async def test_a_status_alone_claims_nothing_anew(sync: Harness):
    await sync.hear(siu())
    before = await sync.rows("SELECT ctid, * FROM claims")
    await sync.hear(siu("S14", control_id="C2", made="20261125093100-0500", status="50^CONFIRMED^99PS"))
    assert await sync.rows("SELECT ctid, * FROM claims") == before


async def test_staff_overbook_without_limit_and_in_one_batch(sync: Harness):
    assert await sync.hear(*(booking(number) for number in range(40))) == [None] * 40
    assert await sync.hear(*(booking(number) for number in range(40, 60))) == [None] * 20
    rows = await sync.rows("SELECT lane FROM claims ORDER BY lane")
    assert [row["lane"] for row in rows] == list(range(1, 61))


async def test_a_message_that_fails_claims_nothing(sync: Harness):
    failed, none = await sync.hear(booking(1, resource="NO SUCH"), booking(2))
    assert failed is not None
    assert none is None
    assert len(await claims(sync)) == 1


async def test_a_resource_that_the_store_does_not_have_claims_nothing(migrated_url: str):
    sync = await open_harness(migrated_url)
    assert await sync.hear(siu()) == [None]
    assert await claims(sync) == []
    await sync.store.close()


async def test_a_request_holds_the_wanted_time_beside_the_booked_one(sync: Harness):
    await sync.hear(booking(1))
    await asks_to_move(sync, "P1", HALF_PAST_TWO + timedelta(hours=2))
    assert [(kind, start) for kind, _, start, _ in await claims(sync)] == [
        ("fact", HALF_PAST_TWO), ("request", HALF_PAST_TWO + timedelta(hours=2)),
    ]  # fmt: skip


async def test_a_booking_displaces_a_request_and_the_patient_is_told(sync: Harness):
    await sync.hear(booking(1))
    wanted = HALF_PAST_TWO + timedelta(hours=2)
    asked = await asks_to_move(sync, "P1", wanted)
    await sync.store.pool.execute("DELETE FROM outbox")
    assert await sync.hear(booking(2, hour=16, minute=30)) == [None]
    assert [kind for kind, *_ in await claims(sync)] == ["fact", "fact"]
    told = await sync.event("appointment.requested")
    assert told["aggregate_id"] == str(asked.id)
    assert told["revision"] == asked.revision + 1
    assert told["data"]["displaced"] is True
    offers = [(one["resource"], datetime.fromisoformat(one["start"])) for one in told["data"]["alternatives"]]
    assert len(offers) >= 3
    # The nearest free times of the same resource: 16:00 and 17:00, as 16:15 would run into the booking.
    assert offers[:2] == [("BLUME CT", wanted - HALF_AN_HOUR), ("BLUME CT", wanted + HALF_AN_HOUR)]
    conflict = await sync.row("SELECT * FROM conflicts")
    assert conflict["link_id"] == asked.id
    cause = await sync.row("SELECT cause_id FROM link_history WHERE message LIKE 'SIU^S12' ORDER BY id DESC LIMIT 1")
    assert conflict["cause_id"] == cause["cause_id"]
    link = await sync.row("SELECT * FROM appointment_links WHERE id = $1", asked.id)
    assert (link["state"], link["requested_start"], link["revision"]) == ("move-requested", None, asked.revision + 1)


async def test_a_booking_of_the_wanted_time_for_the_patient_itself_displaces_nobody(sync: Harness):
    await sync.hear(booking(1))
    await asks_to_move(sync, "P1", HALF_PAST_TWO + timedelta(hours=2))
    confirmed = booking(1, hour=16, minute=30, trigger="S13", made="20261125093100-0500", status="50^CONFIRMED^99PS")
    assert await sync.hear(confirmed) == [None]
    assert [(kind, start) for kind, _, start, _ in await claims(sync)] == [
        ("fact", HALF_PAST_TWO + timedelta(hours=2))
    ]  # fmt: skip
    assert await sync.rows("SELECT * FROM conflicts") == []


async def test_a_fact_spares_the_promise_that_does_not_stand_in_its_way(sync: Harness):
    """Two may stand at once. From 14:30 two facts do, the promise stands alone from 15:00: a fact over both fits it."""
    await sync.store.pool.execute("UPDATE calendars SET capacity = 2")
    await sync.hear(booking(1), booking(2), booking(3, hour=9))
    await asks_to_move(sync, "P3", HALF_PAST_TWO + HALF_AN_HOUR)
    long = booking(4).replace(b"20261201150000-0500", b"20261201153000-0500").replace(b"^^30^", b"^^60^")
    assert await sync.hear(long.replace(b"|||30|min", b"|||60|min").replace(b"||30|min^", b"||60|min^")) == [None]
    assert [kind for kind, *_ in await claims(sync)].count("request") == 1
    assert await sync.rows("SELECT * FROM conflicts") == []


async def heard_at_last(sync: Harness, raw: bytes) -> None:
    """As PowerServer does: a message that is answered AE comes again."""
    while True:
        try:
            assert await sync.hear(raw) == [None]
        except StoreUnavailable:
            continue
        return


async def test_a_displaced_patient_whose_appointment_is_being_changed_is_told_after_that(
    sync: Harness, monkeypatch: pytest.MonkeyPatch
):
    """The batch does not wait for a link while it holds a resource; it runs again."""
    take_over, met = LinkRepository.take_over, asyncio.Event()

    async def seen_to_take_over(links: LinkRepository, link_ids: Iterable[UUID]) -> bool:
        has_all = await take_over(links, link_ids)
        if not has_all:
            met.set()
        return has_all

    monkeypatch.setattr(LinkRepository, "take_over", seen_to_take_over)
    await sync.hear(booking(1))
    asked = await asks_to_move(sync, "P1", HALF_PAST_TWO + timedelta(hours=2))
    async with sync.store.pool.acquire() as other:
        change = other.transaction()
        await change.start()
        await other.execute("UPDATE appointment_links SET reason = 'x' WHERE id = $1", asked.id)
        hearing = asyncio.create_task(heard_at_last(sync, booking(2, hour=16, minute=30)))
        async with asyncio.timeout(60):
            await met.wait()
        await change.commit()
    await hearing
    assert len(await sync.rows("SELECT * FROM conflicts")) == 1


async def test_the_event_of_a_displaced_request_holds_no_name(sync: Harness):
    await sync.hear(booking(1))
    await asks_to_move(sync, "P1", HALF_PAST_TWO + timedelta(hours=2))
    await sync.hear(booking(2, hour=16, minute=30))
    conflict: Any = await sync.row("SELECT * FROM conflicts")
    assert "Roe" not in json.dumps(conflict["why"])


async def test_appointments_without_a_claim_get_one(sync: Harness):
    await sync.hear(booking(1), booking(2), booking(3, resource="BLUME MR"))
    await sync.hear(booking(4, hour=16))
    await asks_to_move(sync, "P4", HALF_PAST_TWO + timedelta(hours=4))
    await sync.store.pool.execute("DELETE FROM claims")
    assert await ClaimsUpkeep(sync.store, sync.open_work).turn() == 4
    assert [kind for kind, *_ in await claims(sync)] == ["fact"] * 4
    assert await ClaimsUpkeep(sync.store, sync.open_work).turn() == 0


async def test_a_resource_that_comes_later_is_claimed_then(sync: Harness):
    known = sync.resources.all_of("FAC01")
    sync.resources.fill([replace(known[0], name="OTHER")])
    sync.resources._by_name["FAC01", "BLUME CT"] = replace(known[0], id=UUID(int=99))
    await sync.hear(booking(1))
    assert await claims(sync) == []
    sync.resources.fill(known)
    await ClaimsUpkeep(sync.store, sync.open_work).turn()
    assert [kind for kind, *_ in await claims(sync)] == ["fact"]


async def test_past_claims_are_forgotten(sync: Harness):
    await sync.hear(booking(1))
    await sync.store.pool.execute(
        "UPDATE claims SET during = tstzrange(now() - interval '3 days', now() - interval '2 days')"
    )
    await ClaimsUpkeep(sync.store, sync.open_work).turn()
    assert len(await claims(sync)) == 1  # the appointment itself is ahead, and is claimed again


async def test_a_wish_that_runs_into_the_booked_time_claims_the_rest(sync: Harness):
    await sync.hear(booking(1))
    quarter = timedelta(minutes=15)
    await asks_to_move(sync, "P1", HALF_PAST_TWO + quarter)
    end = HALF_PAST_TWO + HALF_AN_HOUR
    assert await claims(sync) == [("fact", CT, HALF_PAST_TWO, end), ("request", CT, end, end + quarter)]


async def test_both_sides_of_a_wish_around_the_booked_time_are_lost_together(sync: Harness):
    await sync.hear(booking(1))
    asked = await asks_to_move(sync, "P1", HALF_PAST_TWO - timedelta(minutes=15), minutes=60)
    assert [kind for kind, *_ in await claims(sync)] == ["request", "fact", "request"]
    assert await sync.hear(booking(2, hour=15, minute=0)) == [None]
    assert [kind for kind, *_ in await claims(sync)] == ["fact", "fact"]
    assert [row["link_id"] for row in await sync.rows("SELECT * FROM conflicts")] == [asked.id]
