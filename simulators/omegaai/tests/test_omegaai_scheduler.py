"""The staff's Scheduler: the board by day and week, its filters, deletion, and the settings of the organisations."""

import re
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

TORONTO = ZoneInfo("America/Toronto")
DAY = date(2036, 12, 1)


def span(hour: float, minutes: int = 30, day: date = DAY) -> dict[str, str]:
    start = datetime.combine(day, datetime.min.time(), TORONTO) + timedelta(minutes=int(hour * 60))
    return {"start": start.isoformat(), "end": (start + timedelta(minutes=minutes)).isoformat()}


@pytest.fixture
async def desk(omegaai):
    http = await omegaai.browser()
    await http.post("/login", data={"name": "admin", "password": "development"})
    return http


async def shown(desk, **query) -> str:
    answer = await desk.get("/scheduler", params={"day": str(DAY), **query})
    assert answer.status_code == 200
    return answer.text


def placers(page: str) -> set[str]:
    return set(re.findall(r'data-testid="booking-(P\d+)"', page))


async def test_the_board_shows_a_days_resources_with_their_appointments_by_status(omegaai, desk):
    for status in ("proposed", "pending", "waitlist", "booked", "arrived", "checked-in", "noshow"):
        await omegaai.book(status=status, **span(9))
    for status in ("cancelled", "fulfilled", "entered-in-error"):
        await omegaai.book(status=status, **span(10))
    await omegaai.book(service="15", **span(9))
    await omegaai.book(**span(9, day=DAY + timedelta(days=1)))
    page = await shown(desk)
    assert placers(page) == {f"P{number}" for number in range(100045, 100052)}
    assert re.findall(r'data-testid="column-([^"]+)"', page) == ["BLUME-CT", "BLUME-MR", "BLUME-XR", "BLUME-US"]
    counts = dict(re.findall(r'data-testid="step-([a-z-]+)">[^<]*<b>(\d+)', page))
    assert counts == {
        "requested": "1", "scheduled": "2", "confirmed": "1", "arrived": "1", "ready-for-scan": "1", "no-show": "1",
    }  # fmt: skip
    assert placers(await shown(desk, status="Confirmed")) == {"P100048"}
    assert placers(await shown(desk, organization="3")) == {"P100055"}
    assert len(placers(await shown(desk, view="week"))) == 8


@pytest.mark.parametrize(("hour", "minutes"), [(0, 30), (23.5, 60), (7.75, 20), (22.9, 10), (8, 24 * 60)])
async def test_each_row_of_the_table_has_every_column_once(omegaai, desk, hour, minutes):
    await omegaai.book(**span(9, 45))
    await omegaai.book(**span(9.5, 45))
    await omegaai.book(**span(hour, minutes))
    page = await shown(desk)
    assert len(placers(page)) == 3
    body = page.partition("<tbody>")[2].partition("</tbody>")[0]
    left = [0] * 5  # rows that each column still covers
    for row in body.split("<tr")[1:]:
        spans = [int(one or 1) for one in re.findall(r'<t[hd](?: scope="row")? rowspan="(\d+)"', row)]
        for column in range(5):
            if left[column] == 0:
                left[column] = spans.pop(0)
        assert spans == []
        left = [one - 1 for one in left]
    assert left == [0] * 5


MEANINGLESS = [
    {"day": "x"},
    {"day": "0001-01-01"},
    {"day": "9999-12-31"},
    {"organization": "99"},
    {"view": "year"},
    {"status": "None"},
]


async def test_an_address_that_means_nothing_shows_something(desk):
    for query in MEANINGLESS:
        assert 'data-testid="board"' in await shown(desk, **query)


async def test_a_service_without_hours_and_a_site_without_resources_show_something(omegaai, desk):
    for number in range(11, 17):
        service = await omegaai.get(f"HealthcareService/{number}")
        await omegaai.update({name: held for name, held in service.items() if name != "availableTime"}, 1)
    assert 'data-testid="board"' in await shown(desk)
    for number in range(11, 17):
        service = await omegaai.get(f"HealthcareService/{number}")
        await omegaai.update({**service, "active": False}, 2)
    page = (await desk.get("/scheduler")).text
    assert "No organisation has resources" in page


async def delete(desk, identifier, version=None):
    page = (await desk.get(f"/appointments/{identifier}")).text
    hidden = dict(re.findall(r'name="(csrf|version)" value="([^"]*)"', page))
    form = {**hidden, **({"version": version} if version else {})}
    return await desk.post(f"/scheduler/appointments/{identifier}/delete", data=form)


async def test_a_deleted_appointment_puts_its_order_back_to_ordered(omegaai, desk):
    stored = await omegaai.book(status="booked", **span(9))
    answer = await delete(desk, stored["id"])
    assert answer.status_code == 303, answer.text
    page = (await desk.get(answer.headers["location"])).text
    assert placers(page) == set()
    assert 'data-testid="order-P100045"' in page
    assert 'data-testid="deleted"' in page
    body = await omegaai.get(f"Appointment/{stored['id']}")
    assert body["status"] == "entered-in-error"
    tasks = [one["resource"]["focus"]["reference"] for one in (await omegaai.get("Task", status="ready"))["entry"]]
    assert tasks.count(f"Appointment/{stored['id']}") == 2  # the suite is told
    # What the suite answers with keeps the order there, until it has a time again.
    await omegaai.update({**body, "status": "cancelled"}, 2)
    assert 'data-testid="order-P100045"' in await shown(desk)
    await omegaai.update({**body, "status": "pending"}, 3)
    assert 'data-testid="order-P100045"' not in await shown(desk)


async def test_what_changed_or_is_done_is_not_deleted(omegaai, desk):
    stored = await omegaai.book(**span(9))
    stale = await delete(desk, stored["id"], version="7")
    assert (stale.status_code, "meanwhile" in stale.text) == (409, True)
    done = await omegaai.book(status="fulfilled", **span(9))
    assert 'data-testid="delete"' not in (await desk.get(f"/appointments/{done['id']}")).text
    page = (await desk.get(f"/appointments/{stored['id']}")).text
    csrf = re.search(r'name="csrf" value="([^"]*)"', page)[1]
    form = {"csrf": csrf, "version": "1"}
    assert (await desk.post(f"/scheduler/appointments/{done['id']}/delete", data=form)).status_code == 409
    assert (await desk.post("/scheduler/appointments/4711/delete", data=form)).status_code == 404
    assert (await desk.post(f"/scheduler/appointments/{stored['id']}/delete", data={"version": "1"})).status_code == 403


async def test_the_settings_say_what_patients_may_do_and_what_blume_books_by(omegaai, desk):
    assert (await desk.get("/scheduler/settings")).headers["location"] == "/scheduler/settings/organization"
    await omegaai.api.post("/control/organizations/2", json={"IsCancelledAllowed": False})
    page = (await desk.get("/scheduler/settings/organization")).text
    assert page.count("<dd>off</dd>") == 1
    csrf = re.search(r'name="csrf" value="([^"]*)"', page)[1]
    refused = await desk.post("/scheduler/settings/organization", data={"csrf": csrf, "books_by": "suite"})
    assert (refused.status_code, "No scheduling API is set" in refused.text) == (409, True)
    saved = await desk.post("/scheduler/settings/organization", data={"csrf": csrf, "books_by": "own"})
    assert saved.status_code == 303


PAGES = ["/scheduler", "/scheduler?view=week", "/scheduler/settings/organization"]


async def test_pages_are_the_staffs_and_hold_nothing_inline(omegaai, desk):
    await omegaai.book(**span(9))
    for path in PAGES:
        assert not re.search(r"<style|style=|onclick|<script(?![^>]*src=)", (await desk.get(path)).text)
        assert (await (await omegaai.browser()).get(path)).headers["location"] == "/login"
