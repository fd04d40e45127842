"""Settings of an administrator: rooms, statuses, priorities, assignments; each refusal with its sentence."""

import sqlite3
from datetime import UTC, datetime

import pytest
from powerserver_pages import logged_in, text_of

from powerserver_sim.app import running
from powerserver_sim.scheduler import appointments
from powerserver_sim.settings import catalogue
from powerserver_sim.worklist import orders
from simulator_kit.store import Work

FAC01 = "/settings/facilities/FAC01"
RESOURCE = {
    "name": "BLUME CT", "modality": "CT", "department": "RADIOLOGY", "room": "CT1", "opens": "08:00", "closes": "23:00",
    "default_minutes": "30",
}  # fmt: skip


@pytest.mark.parametrize(
    ("address", "form", "status", "words"),
    [
        (FAC01, {"department": "RADIOLOGY", "room": "CT1"}, 409, "This room exists already."),
        (FAC01, {"department": "RADIOLOGY", "room": ""}, 422, "A location needs a department and a room."),
        (f"{FAC01}/locations/1/remove", {}, 409, "BLUME CT stands in CT1; give it another room first."),
        (f"{FAC01}/locations/99/remove", {}, 404, "There is no such room."),
        (f"{FAC01}/resources/1", {**RESOURCE, "time_multiplier": "0"}, 422, "The time multiplier is a number"),
        (f"{FAC01}/resources/1", {**RESOURCE, "time_multiplier": "nan"}, 422, "The time multiplier is a number"),
        (f"{FAC01}/resources/1", {**RESOURCE, "group": "NOBODY"}, 404, "There is no user group of that name."),
        (f"{FAC01}/resources/1", {**RESOURCE, "workflow": "NONE"}, 404, "There is no workflow of that name."),
        ("/settings/statuses", {"value": "30", "new_name": "X"}, 409, "This order value or name is taken."),
        ("/settings/statuses", {"value": "35", "new_name": "ARRIVED"}, 409, "This order value or name is taken."),
        ("/settings/statuses", {"value": "0", "new_name": "X"}, 422, "The order value is a number from 1 to 9999."),
        ("/settings/statuses", {"default_priority": "77"}, 404, "There is no such priority."),
        (
            "/settings/priorities",
            {"value": "90", "name": "STAT", "rename": "1"},
            409,
            "Another priority has this name.",
        ),
        ("/settings/priorities", {"value": "1", "name": "X", "rename": "1"}, 404, "There is no such priority."),
    ],
)
async def test_a_setting_that_is_refused_says_why_and_changes_nothing(bench, address, form, status, words) -> None:
    async with logged_in(bench, "admin") as client:
        before = await text_of(client, FAC01)
        answer = await client.post(address, data=form)
        assert (answer.status_code, words in answer.text.replace("&#39;", "'")) == (status, True)
        assert await text_of(client, FAC01) == before
    async with logged_in(bench, "frontdesk") as client:
        assert (await client.post(address, data=form)).status_code == 403


async def test_rooms_come_and_go(bench) -> None:
    room = {"department": "CARDIOLOGY", "floor": "3", "room": "ECHO1", "fax": "(416)555-0300", "auto_fax": "on"}
    async with logged_in(bench, "admin") as client:
        assert (await client.post(FAC01, data=room)).status_code == 303
        page = await text_of(client, FAC01)
        assert "<td>CARDIOLOGY</td><td>3</td>" in page
        assert "<td>(416)555-0300</td><td>yes</td>" in page
        assert (await client.post(f"{FAC01}/locations/9/remove")).status_code == 303
        assert "ECHO1" not in await text_of(client, FAC01)


async def test_a_resource_is_assigned_to_workflows_and_groups(bench) -> None:
    form = {**RESOURCE, "group": ["FRONT DESK", "TECHNOLOGISTS"], "workflow": "WALK-IN", "time_multiplier": "1.25"}
    async with logged_in(bench, "admin") as client:
        assert (await client.post(f"{FAC01}/resources/1", data=form)).status_code == 303
        assert "<td>FRONT DESK, TECHNOLOGISTS</td>" in await text_of(client, FAC01)
        page = await text_of(client, f"{FAC01}/resources/1")
        assert 'value="WALK-IN" checked' in page
        assert 'value="CROSS-SECTIONAL" checked' not in page


async def test_a_sites_own_status_and_default_priority_are_used(bench) -> None:
    placer = await bench.book()
    async with logged_in(bench, "admin") as client:
        await client.post("/settings/statuses", data={"value": "40", "new_name": "WAITLIST"})
        await client.post("/settings/priorities", data={"value": "10", "name": "SOON", "rename": "1"})
        await client.post("/settings/statuses", data={"default_priority": "10"})
        assert (await client.post(f"/appointments/{placer}/status", data={"status": "40"})).status_code == 303
    later = await bench.book(start="2026-12-01T16:00:00-05:00")
    await bench.partner.has(2)
    moved = bench.partner.received[1]
    assert (moved.trigger, moved.get("SCH-25.1"), moved.get("SCH-25.2")) == ("S14", "40", "WAITLIST")
    assert (await bench.api.get(f"/api/appointments/{later}")).json()["priority"] == 10


async def test_a_store_of_an_older_version_gets_what_it_lacks_and_keeps_the_rest(settings, partner) -> None:
    async with running(settings):
        pass
    file = sqlite3.connect(settings.data_dir / "powerserver.sqlite3")
    file.executescript(
        "ALTER TABLE resource DROP COLUMN slot_minutes; ALTER TABLE resource DROP COLUMN time_multiplier;"
        "ALTER TABLE location DROP COLUMN fax; ALTER TABLE location DROP COLUMN auto_fax;"
        "DROP TABLE reservation; DROP TABLE assignment; DROP TABLE workflow; DROP TABLE site_default;"
        "DROP TABLE group_member; DROP TABLE group_privilege; DROP TABLE user_group; DROP TABLE second_factor;"
        "DELETE FROM action_status WHERE action IN ('completed', 'not-yet-confirmed');"
        "UPDATE action_status SET status = 70 WHERE action = 'confirmed';"
    )
    file.close()
    async with running(settings) as simulator:
        user = await simulator.services.accounts.named("frontdesk")
        start = datetime(2026, 12, 1, 15, tzinfo=UTC)

        def book(work: Work) -> int:
            done = appointments.book(
                work, user, patient=1, resource="BLUME MR", start=start, study_types=["GENERAL"],
                priority=catalogue.default_priority(work), physician=None,
            )  # fmt: skip
            number = orders.number_of(work, done.placer)
            appointments.act(work, user, number, "confirmed")
            assert orders.load(work, number)["status"] == 70
            appointments.act(work, user, number, "completed")
            return int(orders.load(work, number)["status"])

        assert await simulator.services.store.write(book) == 120
