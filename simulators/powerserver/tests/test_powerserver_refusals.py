"""What the scheduler refuses, each with a sentence: rights, reservations, resources that are not for everyone."""

import pytest
from powerserver_pages import logged_in, text_of
from powerserver_requests import PLACER, asked, confirmed

from powerserver_sim.settings import assignments, reservations

DAY = "2026-12-01"
LUNCH = {"repeats": "daily", "first_day": "2026-11-30", "opens": "12:00", "closes": "13:00", "purpose": "Lunch"}


async def write(bench, change):
    return await bench.simulator.services.store.write(change)


async def refused(answer, status: int, reason: str, words: str) -> None:
    error = answer.json()["error"]
    assert (answer.status_code, error["reason"]) == (status, reason)
    assert words in error["message"]


async def reserve(bench, **more: str) -> None:
    await write(bench, lambda work: reservations.reserve(work, "FAC01", 1, {**LUNCH, **more}))


@pytest.mark.parametrize("start", ["11:45", "12:00", "12:30"])
async def test_a_reserved_time_takes_no_booking(bench, start) -> None:
    await reserve(bench)
    answer = await bench.try_to_book(resource="BLUME CT", start=f"{DAY}T{start}:00-05:00")
    await refused(answer, 409, "reserved", "BLUME CT is reserved from 12:00 to 13:00: Lunch.")


async def test_a_reservation_binds_the_partner_and_the_free_slots_too_and_ends_when_it_is_released(bench) -> None:
    await reserve(bench)
    ack = await bench.hl7(asked(start="20261201120000-0500"), "R1")
    assert (ack.code, ack.errors[0].code) == ("AE", "207")
    at = {"from": f"{DAY}T11:40:00-05:00", "facility": "FAC01", "count": 40}
    free = (await bench.api.get("/api/free-slots", params=at)).json()["slots"]
    assert min(slot["start"][11:16] for slot in free if slot["resource"] == "BLUME CT") == "13:00"
    assert (
        min(slot["start"][11:16] for slot in free if slot["resource"] == "GHOST CT" or "US" in slot["resource"]) < "12"
    )
    await bench.book(start=f"{DAY}T11:30:00-05:00")
    await bench.book(start=f"{DAY}T13:00:00-05:00")
    await write(bench, lambda work: reservations.release(work, "FAC01", 1, 1))
    await bench.book(start=f"{DAY}T12:00:00-05:00")


@pytest.mark.parametrize(
    ("more", "days"),
    [
        ({"repeats": "once", "first_day": DAY}, {1}),
        ({"repeats": "weekly", "first_day": "2026-11-24"}, {1, 8}),
        ({"repeats": "daily", "first_day": "2026-12-02", "last_day": "2026-12-03"}, {2, 3}),
    ],
)
async def test_a_reservation_holds_on_its_days_alone(bench, more, days) -> None:
    await reserve(bench, **more)
    for day in (1, 2, 3, 4, 8):
        answer = await bench.try_to_book(resource="BLUME CT", start=f"2026-12-{day:02d}T12:00:00-05:00")
        assert (answer.status_code == 409) is (day in days), day


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"repeats": "monthly"}, "repeats"),
        ({"first_day": "soon"}, "YYYY-MM-DD"),
        ({"last_day": "2026-11-29"}, "not before the first day"),
        ({"opens": "13:00"}, "ends after its start"),
        ({"closes": "25:00"}, "HH:MM"),
        ({"purpose": " "}, "purpose"),
    ],
)
async def test_a_reservation_that_makes_no_sense_is_refused(bench, change, words) -> None:
    async with logged_in(bench, "admin") as client:
        page = "/settings/facilities/FAC01/resources/1/reservations"
        answer = await client.post(page, data={**LUNCH, **change})
        assert (answer.status_code, words in answer.text) == (422, True)
        assert (await client.post(page, data=LUNCH)).status_code == 303
        assert "Lunch" in await text_of(client, "/settings/facilities/FAC01/resources/1")
    async with logged_in(bench, "frontdesk") as client:
        assert (await client.post(page, data=LUNCH)).status_code == 403


async def test_the_time_multiplier_scales_the_default_length_alone(bench) -> None:
    await write(bench, lambda work: work.run("UPDATE resource SET time_multiplier = 1.5 WHERE name = 'BLUME MR'"))
    general = await bench.try_to_book(resource="BLUME MR", start=f"{DAY}T09:00:00-05:00", study_types=["GENERAL"])
    assert general.json()["end"] == f"{DAY}T10:08:00-05:00"
    knee = await bench.try_to_book(resource="BLUME MR", start=f"{DAY}T11:00:00-05:00", study_types=["MR-KNEE"])
    assert knee.json()["end"] == f"{DAY}T11:45:00-05:00"
    await bench.partner.has(2)
    assert bench.partner.received[0].get("AIS-7") == "68"


async def test_without_the_privilege_nobody_books_moves_or_answers(bench) -> None:
    placer = await confirmed(bench)
    await bench.hl7(asked(start="20261201110000-0500"), "R1")
    json = {"Accept": "application/json"}
    async with logged_in(bench, "technologist") as client:
        client.headers.update(json)
        time = {"resource": "BLUME CT", "start": f"{DAY}T15:00:00-05:00"}
        form = {"patient": "1", "study_type": "CT-HEAD", "resource": "BLUME CT", "date": DAY, "time": "15:00"}
        for path, data in (
            (f"/appointments/{placer}/time", time),
            ("/appointments/P100001/time", time),
            ("/orders", form),
            (f"/appointments/{PLACER}/request", {"answer": "accept"}),
            (f"/appointments/{placer}/status", {"status": "20"}),
        ):
            await refused(await client.post(path, data=data), 403, "privilege", "lacks the privilege Schedule Studies")
        slot = await client.get("/orders/new?resource=BLUME%20CT&start=2026-12-01T15:00:00-05:00&fragment=1")
        await refused(slot, 403, "privilege", "Schedule Studies")
        assert (await client.post("/orders", data={**form, "resource": "", "facility": "FAC01"})).status_code == 201
        assert (await client.post(f"/appointments/{placer}/status", data={"action": "arrived"})).status_code == 200
        page = await text_of(client, f"/scheduler?day={DAY}")
    assert "draggable" not in page
    assert "data-pick-up" not in page
    assert "booking needs the privilege Schedule Studies" in page


async def test_a_resource_of_other_groups_is_neither_shown_nor_booked(bench) -> None:
    await write(bench, lambda work: assignments.assign(work, 1, "group", ["TECHNOLOGISTS"]))
    async with logged_in(bench, "frontdesk") as client:
        page = await text_of(client, f"/scheduler?day={DAY}")
        assert 'data-testid="resource-BLUME-CT"' not in page
        assert 'data-testid="resource-GHOST-CT"' in page
        time = {"resource": "BLUME CT", "start": f"{DAY}T15:00:00-05:00"}
        answer = await client.post("/appointments/P100001/time", data=time, headers={"Accept": "application/json"})
        await refused(answer, 403, "privilege", "BLUME CT is assigned to other user groups than yours.")
    await bench.book()  # an administrator uses every resource


async def test_a_workflow_narrows_the_calendar(bench) -> None:
    await write(bench, lambda work: assignments.assign(work, 2, "workflow", ["WALK-IN"]))
    async with logged_in(bench, "admin") as client:
        page = await text_of(client, f"/scheduler?day={DAY}&workflow=WALK-IN")
        assert 'data-testid="resource-BLUME-MR"' in page
        assert 'data-testid="resource-BLUME-CT"' not in page


async def test_any_status_of_the_site_is_set_and_one_below_scheduled_takes_the_time_away(bench) -> None:
    placer = await bench.book()
    async with logged_in(bench, "frontdesk") as client:
        for status, expected in (("100", 100), ("7", 100), ("20", 20)):
            await client.post(f"/appointments/{placer}/status", data={"status": status})
            assert await bench.status(placer) == expected
        assert "none yet" in await text_of(client, f"/appointments/{placer}")
        assert (await client.post(f"/appointments/{placer}/status", data={"status": "50"})).status_code == 409


async def test_study_info_follows_a_changed_date(bench) -> None:
    placer = await bench.book(start=f"{DAY}T09:00:00-05:00", study_types=["CT-HEAD", "CT-CHEST"])
    body = {"start": "2026-12-02T10:00:00-05:00"}
    assert (await bench.api.post(f"/api/appointments/{placer}/time", json=body)).status_code == 200
    async with logged_in(bench, "frontdesk") as client:
        page = await text_of(client, f"/appointments/{placer}")
    assert "Wed 2 Dec 2026, 10:00" in page
    assert "by staff, from Tue 1 Dec 2026, 09:00" in page
    assert "10:30–11:00" in page


async def test_a_layout_is_each_users_own_and_keeps_one_resource_at_least(bench) -> None:
    order = ["GHOST CT", "BLUME XR", "BLUME CT", "BLUME MR", "BLUME US"]
    form = {"facility": "FAC01", "order": order, "shown": ["BLUME CT", "GHOST CT"]}
    async with logged_in(bench, "frontdesk") as client:
        client.headers["Accept"] = "application/json"
        answer = await client.post("/scheduler/layout", data={**form, "shown": []})
        await refused(answer, 422, "invalid", "Show at least one resource.")
        for wrong in (["LAKE CT"], ["BLUME CT", "BLUME CT"]):
            answer = await client.post("/scheduler/layout", data={**form, "order": wrong})
            await refused(answer, 404, "unknown", "not on your scheduler")
        assert (await client.post("/scheduler/layout", data=form)).status_code == 200
        page = await text_of(client, f"/scheduler?day={DAY}")
        columns = [name for name in order if f'data-testid="resource-{name.replace(" ", "-")}"' in page]
        assert columns == ["GHOST CT", "BLUME CT"]
        assert page.index("resource-GHOST-CT") < page.index("resource-BLUME-CT")
    async with logged_in(bench, "admin") as client:
        page = await text_of(client, f"/scheduler?day={DAY}")
        assert page.index("resource-BLUME-CT") < page.index("resource-BLUME-MR") < page.index("resource-GHOST-CT")


async def test_a_row_is_as_long_as_the_time_scale(bench) -> None:
    placer = await bench.book(start=f"{DAY}T10:15:00-05:00")
    async with logged_in(bench, "admin") as client:
        page = await text_of(client, f"/scheduler?day={DAY}&scale=30")
        assert 'data-testid="slot-BLUME-CT-08:30"' in page
        assert 'data-testid="slot-BLUME-CT-08:15"' not in page
        assert f'row-4 rows-2 lane-1 is-scheduled" data-testid="appointment-{placer}"' in page
        assert (await client.get("/scheduler?scale=7")).status_code == 422
        await write(bench, lambda work: work.run("UPDATE resource SET opens = '08:20' WHERE name = 'BLUME CT'"))
        page = await text_of(client, f"/scheduler?day={DAY}&scale=60")
        assert 'aria-label="BLUME CT, 09:00, free" tabindex="0"' in page
