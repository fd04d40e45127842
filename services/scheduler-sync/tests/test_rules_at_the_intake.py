"""The site's rules of self-scheduling hold for requests from Blume too, and a refused wish is told with free times."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from scheduling_stand import RULES, Stand, at, booked_by_staff, standing
from sync_harness import Harness
from test_patients_requests import asked, reading, to_powerserver

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
HALF_AN_HOUR = timedelta(minutes=30)
BOOKING = "patients of this facility may not book by themselves"
MODALITY = "exams of this modality are not open to self-scheduling here"
NOT_OPEN = "OmegaAI does not open this resource to self-scheduling"
MOVING = "patients of this facility may not move appointments by themselves"
CLOSED = RULES.replace("public_booking: true", "public_booking: false")
OF_MR = RULES.replace("modalities: [CT, MR]", "modalities: [MR]")
FIXED = RULES.replace("reschedule: true", "reschedule: false")


async def asks(stand: Stand, **more: Any) -> Any:
    """A request that begins in Blume; the link that it becomes."""
    when = {"start": at(11).isoformat(), "end": at(11, 30).isoformat()}
    async with reading(stand.sync) as (server, queue):
        server.put_directly(asked(**{**when, **more}))
        await queue.read_once()
        assert not server.open_tasks()
    return await stand.sync.row("SELECT * FROM appointment_links WHERE omegaai_id = '9'")


@pytest.mark.parametrize(
    ("rules", "is_open", "reasons"),
    [(CLOSED, True, [BOOKING]), (OF_MR, True, [MODALITY]), (RULES, False, [NOT_OPEN]),
     (CLOSED.replace("[CT, MR]", "[MR]"), False, [BOOKING, MODALITY, NOT_OPEN])],
)  # fmt: skip
async def test_a_booking_that_the_rules_forbid_is_declined_with_every_reason(
    rules: str, reasons: list[str], migrated_url: str, tmp_path: Path, *, is_open: bool
) -> None:
    async with standing(migrated_url, tmp_path, rules=rules) as stand:
        known = stand.sync.resources.all_of("FAC01")
        stand.sync.resources.fill([replace(one, self_scheduling=is_open) for one in known])
        link = await asks(stand)
        assert link["state"] == "cancelled"
        assert all(reason in link["reason"] for reason in reasons)
        assert "Please call the facility" in link["reason"]
        assert await to_powerserver(stand.sync) == []
        event = await stand.sync.event("appointment.cancelled")
        assert event["data"]["reason"] == link["reason"]


@pytest.mark.parametrize("rules", [RULES, ""], ids=["allowed", "without rules the portal decides"])
async def test_a_booking_that_no_rule_forbids_waits_for_staff(rules: str, migrated_url: str, tmp_path: Path) -> None:
    async with standing(migrated_url, tmp_path, rules=rules) as stand:
        assert (await asks(stand))["state"] == "patient-booked"


def wish(stand: Harness, link: Any, hour: int) -> dict[str, Any]:
    period = {"start": at(hour).isoformat(), "end": (at(hour) + HALF_AN_HOUR).isoformat()}
    return {
        "resourceType": "Appointment", "id": "77", "status": "proposed", "requestedPeriod": [period],
        "start": link["slot_start"].isoformat(), "end": link["slot_end"].isoformat(),
        "identifier": [{"system": "urn:powerserver:placer", "value": link["placer_number"]}],
        "participant": [{"actor": {"reference": "Patient/p1"}, "status": "accepted"}],
    }  # fmt: skip


async def wishes(stand: Stand, hour: int) -> Any:
    """The patient of P7 asks for another time."""
    sync = stand.sync
    assert await sync.hear(booked_by_staff(7, at(9), status="50^CONFIRMED^99PS")) == [None]
    link = await sync.row("SELECT * FROM appointment_links WHERE placer_number = 'P7'")
    async with reading(sync) as (server, queue):
        server.put_directly(wish(sync, link, hour))
        await queue.read_once()
    return await sync.row("SELECT * FROM appointment_links WHERE placer_number = 'P7'")


async def powerserver_takes_the_wish(stand: Stand) -> None:
    """It shows SCHEDULED until staff answer."""
    made = {"control_id": "W1", "made": "20261125100000-0500"}
    assert await stand.sync.hear(booked_by_staff(7, at(9), trigger="S14", **made)) == [None]


async def last_event(stand: Stand, topic: str) -> dict[str, Any]:
    row = await stand.sync.row(
        "SELECT max(revision) AS newest FROM outbox WHERE topic = $1 AND aggregate_id = "
        "(SELECT id FROM appointment_links WHERE placer_number = 'P7')",
        topic,
    )
    return await stand.sync.event(topic, revision=row["newest"])


async def test_a_wish_that_the_rules_forbid_is_declined(migrated_url: str, tmp_path: Path) -> None:
    async with standing(migrated_url, tmp_path, rules=FIXED) as stand:
        link = await wishes(stand, 11)
        assert (link["state"], link["requested_start"]) == ("confirmed", None)
        conflict = await stand.sync.row("SELECT why FROM conflicts")
        assert MOVING in conflict["why"]


async def test_a_wish_for_a_taken_time_is_told_with_the_time_and_what_is_free(
    migrated_url: str, tmp_path: Path
) -> None:
    rules = RULES.replace("self_scheduling_capacity: 3", "self_scheduling_capacity: 1")
    async with standing(migrated_url, tmp_path, rules=rules) as stand:
        await stand.sync.hear(booked_by_staff(8, at(11)))
        link = await wishes(stand, 11)
        assert (link["state"], link["requested_start"]) == ("confirmed", None)
        data = (await last_event(stand, "appointment.confirmed"))["data"]
        assert (
            data["refused_start"][:16] == at(11).astimezone(stand.rooms.all_of("FAC01")[0].hours.zone).isoformat()[:16]
        )
        assert len(data["alternatives"]) >= 3


async def test_a_wish_that_staff_decline_is_told_with_the_time_and_what_is_free(
    migrated_url: str, tmp_path: Path
) -> None:
    async with standing(migrated_url, tmp_path) as stand:
        assert (await wishes(stand, 11))["state"] == "move-requested"
        await powerserver_takes_the_wish(stand)
        made = {"control_id": "D1", "made": "20261125103000-0500"}
        declined = booked_by_staff(7, at(9), trigger="S14", status="50^CONFIRMED^99PS", **made)
        assert await stand.sync.hear(declined) == [None]
        data = (await last_event(stand, "appointment.confirmed"))["data"]
        assert data["refused_start"] is not None
        assert len(data["alternatives"]) >= 3


async def test_a_wish_that_staff_grant_is_told_without_alternatives(migrated_url: str, tmp_path: Path) -> None:
    async with standing(migrated_url, tmp_path) as stand:
        await wishes(stand, 11)
        await powerserver_takes_the_wish(stand)
        made = {"control_id": "D1", "made": "20261125103000-0500"}
        await stand.sync.hear(booked_by_staff(7, at(11), trigger="S14", status="50^CONFIRMED^99PS", **made))
        data = (await last_event(stand, "appointment.confirmed"))["data"]
        assert (data["refused_start"], data["alternatives"]) == (None, [])


async def test_a_request_that_staff_decline_is_told_with_what_is_free(migrated_url: str, tmp_path: Path) -> None:
    async with standing(migrated_url, tmp_path) as stand:
        _, booked = await stand.book(at(11))
        link = await stand.sync.row("SELECT * FROM appointment_links WHERE id = $1::text::uuid", booked["id"])
        pid = "PID|1|N0^^^NORTHSIDE|N0^^^NORTHSIDE||Roe^Jane||19800229|F"
        off = booked_by_staff(
            1, at(11), trigger="S15", status="80^CANCELLED^99PS", placer=link["placer_number"], pid=pid
        )
        assert await stand.sync.hear(off) == [None]
        data = (await stand.sync.event("appointment.cancelled"))["data"]
        assert len(data["alternatives"]) >= 3
        assert data["displaced"] is False
