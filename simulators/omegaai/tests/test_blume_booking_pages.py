"""Book New Appointment and the reschedule drawer as a patient meets them: choices, free times, refusals in words."""

import re
from datetime import date, datetime, time, timedelta
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import pytest

JANE = "jane.roe@example.org"
TORONTO = ZoneInfo("America/Toronto")
DAY = (datetime.now(TORONTO) + timedelta(days=40)).date()
CHOSEN = {"study": "CT-HEAD", "location": "Toronto, ON", "service": "11"}


def at(hour: int, minute: int = 0, day: date = DAY) -> str:
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=TORONTO).isoformat()


def slots(page: str) -> list[str]:
    return re.findall(r'name="slot" value="([^"]+)"', page)


@pytest.fixture
async def jane(omegaai):
    person = (await omegaai.create(omegaai.patient(JANE))).json()
    portal = await omegaai.portal(JANE)
    return person["id"], portal


async def free_times(portal, patient, status=200, **more):
    answer = await portal.http.get("/blume/book/times", params={**CHOSEN, "patient": patient, "day": str(DAY), **more})
    assert answer.status_code == status, answer.text
    return answer.text


async def book(portal, patient, slot, **more):
    form = {**CHOSEN, "patient": patient, "slot": slot, "csrf": portal.csrf, "key": "a-form", **more}
    return await portal.http.post("/blume/book", data=form)


async def taken(omegaai, start: str, minutes: int = 30, **changes):
    end = (datetime.fromisoformat(start) + timedelta(minutes=minutes)).isoformat()
    return await omegaai.book("other@example.org", start=start, end=end, minutesDuration=minutes, **changes)


async def test_providers_come_with_the_order_set_and_their_distance(jane):
    patient, portal = jane
    page = (await portal.http.get("/blume/book")).text
    assert "provider-" not in page
    page = (await portal.http.get("/blume/book", params={"study": "CT-HEAD", "location": "Hamilton, ON"})).text
    assert re.findall(r'data-testid="provider-(\d+)"', page) == ["11"]
    assert "12 King St W, Toronto, ON · 59 km" in page
    assert 'data-testid="map"' in page
    assert re.findall(r'data-testid="other-(\d+)"', page) == ["15"]  # Vancouver
    assert "from at most 500 km away" in page
    assert 'href="tel:+16045550122"' in page
    assert f'value="{patient}" selected' in page  # the only patient of the account


@pytest.mark.parametrize(
    ("organization", "words"),
    [
        ({"enablePublicBooking": False}, "It takes no bookings online."),
        ({"selfSchedulingModalities": "MR"}, "It takes no CT bookings online."),
        ({"selfSchedulingRadius": 20}, "from at most 20 km away"),
    ],
)
async def test_a_provider_without_online_booking_is_listed_with_its_phone(omegaai, jane, organization, words):
    patient, portal = jane
    stored = await omegaai.get("Organization/2")
    kinds = {bool: "valueBoolean", str: "valueString", int: "valueInteger"}
    root = "http://www.ramsoft.com/fhir/StructureDefinition/"
    more = [{"url": root + name, kinds[type(held)]: held} for name, held in organization.items()]
    await omegaai.update({**stored, "extension": [*stored["extension"], *more]}, 1)
    page = (await portal.http.get("/blume/book", params={**CHOSEN, "location": "Hamilton, ON"})).text
    assert 'data-testid="provider-11"' not in page
    assert words in page
    assert "Call +1 416 555 0111" in page
    refused = await free_times(portal, patient, 422, location="Hamilton, ON")
    assert "Choose another one, or call." in refused


NOT_CHOSEN = [
    ({"patient": ""}, "Choose the patient."),
    ({"patient": "999"}, "Choose the patient."),
    ({"study": ""}, "Choose the order set."),
    ({"study": "MR-KNEE"}, "This provider does not do this order set."),
    ({"location": ""}, "Choose your location."),
    ({"service": ""}, "Choose a healthcare provider."),
    ({"service": "99"}, "This provider takes no bookings online."),
]


async def test_next_says_what_is_not_chosen_yet(jane):
    patient, portal = jane
    for change, words in NOT_CHOSEN:
        assert words in await free_times(portal, **{"patient": patient, "status": 422, **change})


NO_DAYS = [{"month": "0000-01"}, {"month": "9999-12"}, {"day": "2026-02-31"}, {"at": "<b>"}]


async def test_a_month_or_a_day_that_is_none_is_passed_over(jane):
    patient, portal = jane
    for given in NO_DAYS:
        page = await free_times(portal, patient, **{"day": "", **given})
        assert len(slots(page)) > 10
        assert "<b>" not in page.replace("<b>This is a request.</b>", "")


async def test_the_times_are_the_free_ones_by_the_facilitys_clock(omegaai, jane):
    patient, portal = jane
    await taken(omegaai, at(9))
    await taken(omegaai, at(11), status="cancelled")
    moved = await taken(omegaai, at(13), status="proposed")
    wish = {"start": at(15), "end": at(15, 30)}
    await omegaai.update({**moved, "requestedPeriod": [wish]}, 1)
    page = await free_times(portal, patient)
    found = slots(page)
    assert found[:4] == [at(8), at(8, 15), at(8, 30), at(9, 30)]
    assert at(11) in found
    assert not {at(13), at(15)} & set(found)  # a wish holds both places
    assert found[-1] == at(22, 30)
    assert re.search(r"Available Time \(E[SD]T, America/Toronto\)", page)
    overbooked = await omegaai.get("HealthcareService/11")
    extensions = [
        {**one, "valueBoolean": True} if one["url"].endswith("overBooking") else one for one in overbooked["extension"]
    ]
    await omegaai.update({**overbooked, "extension": extensions}, 1)
    assert at(9) in slots(await free_times(portal, patient))


async def test_an_all_day_service_is_open_from_midnight_to_midnight(omegaai, jane):
    patient, portal = jane
    service = await omegaai.get("HealthcareService/11")
    await omegaai.update({**service, "availableTime": [{"allDay": True}]}, 1)
    found = slots(await free_times(portal, patient))
    assert (found[0], found[-1]) == (at(0), at(23, 30))
    assert (await book(portal, patient, at(23, 30))).status_code == 303


def _autumn() -> date:
    """The next day with 25 hours in Toronto."""
    for number in range(1, 366):
        day = datetime.now(TORONTO).date() + timedelta(days=number)
        before, after = (datetime.combine(day + timedelta(days=more), time(), TORONTO).utcoffset() for more in (0, 1))
        if after < before:
            return day
    raise AssertionError


async def test_the_hour_that_comes_twice_has_both(omegaai, jane):
    patient, portal = jane
    service = await omegaai.get("HealthcareService/11")
    await omegaai.update({**service, "availableTime": [{"allDay": True}]}, 1)
    day = _autumn()
    found = [one for one in slots(await free_times(portal, patient, day=str(day))) if f"{day}T01" in one]
    assert [one[-6:] for one in found] == ["-04:00"] * 4 + ["-05:00"] * 4
    assert (await book(portal, patient, found[4])).status_code == 303
    found = [one for one in slots(await free_times(portal, patient, day=str(day))) if f"{day}T01:00" in one]
    assert [one[-6:] for one in found] == ["-04:00"]


async def test_what_is_booked_meanwhile_is_refused_with_other_times(omegaai, jane):
    patient, portal = jane
    assert at(9) in slots(await free_times(portal, patient))
    await taken(omegaai, at(9))
    answer = await book(portal, patient, at(9), note="claustrophobic")
    assert answer.status_code == 409
    assert "This time is taken by now" in answer.text
    assert "claustrophobic" in answer.text  # what was typed is still there
    alternatives = re.findall(r'href="(/blume/book/times\?[^"]+)"', answer.text.partition("alternatives")[2])[:3]
    wanted = [parse_qs(urlsplit(one.replace("&amp;", "&")).query)["at"][0] for one in alternatives]
    assert wanted == [at(8, 15), at(8, 30), at(9, 30)]
    page = (await portal.http.get(alternatives[0].replace("&amp;", "&"))).text
    assert re.search(rf'value="{re.escape(at(8, 15))}" required checked', page)
    assert [one["detail"]["by"] for one in await omegaai.ledger("Appointment.created")] == ["suite"]


async def test_a_booked_time_is_a_requested_card(omegaai, jane):
    patient, portal = jane
    answer = await book(portal, patient, at(9), note="claustrophobic\nand tall")
    assert answer.status_code == 303, answer.text
    page = (await portal.http.get(answer.headers["location"])).text
    assert "not confirmed until the facility confirms" in page
    (card,) = (await portal.cards()).values()
    stored = await omegaai.get(f"Appointment/{card['id']}")
    assert (card["label"], stored["start"], stored["comment"]) == ("Requested", at(9), "claustrophobic\nand tall")
    assert (await book(portal, patient, at(9))).status_code == 409


NOT_OFFERED = ["", "soon", at(9)[:16], at(3), at(9, 7)]


async def test_a_time_that_is_not_offered_is_refused(jane):
    patient, portal = jane
    for slot in NOT_OFFERED:
        answer = await book(portal, patient, slot)
        assert answer.status_code in {409, 422}
        assert 'data-testid="problem"' in answer.text


async def test_the_drawer_asks_for_a_free_time_and_the_present_one_stands(omegaai, jane):
    patient, portal = jane
    body = omegaai.appointment(patient, status="booked", start=at(9), end=at(9, 30))
    stored = (await omegaai.create(body)).json()
    await taken(omegaai, at(10))
    drawer = f"/blume/appointments/{stored['id']}/reschedule"
    page = (await portal.http.get(drawer)).text
    assert f"{DAY:%B %-d}" in page
    page = (await portal.http.get(drawer, params={"day": str(DAY)})).text
    assert at(9) not in slots(page)  # the present time is no other one
    assert at(9, 15) in slots(page)  # its own appointment is not in its way
    assert at(10) not in slots(page)
    refused = await portal.act(stored["id"], "reschedule", slot=at(10), start=at(9), note="mornings please")
    assert (refused.status_code, "taken by now" in refused.text, "mornings please" in refused.text) == (409, True, True)
    answer = await portal.act(stored["id"], "reschedule", slot=at(9, 15), start=at(9), note="mornings please")
    assert answer.status_code == 303, answer.text
    after = await omegaai.get(f"Appointment/{stored['id']}")
    assert (after["status"], after["start"], after["comment"]) == ("proposed", at(9), "mornings please")
    assert after["requestedPeriod"] == [{"start": at(9, 15), "end": at(9, 45)}]
    assert (await portal.http.get(drawer)).status_code == 409  # the facility answers first


async def test_another_patients_drawer_does_not_exist(omegaai, jane):
    theirs = await omegaai.book("other@example.org", status="booked")
    assert (await jane[1].http.get(f"/blume/appointments/{theirs['id']}/reschedule")).status_code == 404


async def test_switches_hide_buttons_and_say_whom_to_call(omegaai, jane):
    patient, portal = jane
    await omegaai.create(omegaai.appointment(patient, status="booked"))
    page = (await portal.http.get("/blume")).text
    assert 'data-testid="reschedule"' in page
    assert "please call" not in page
    switches = {"IsRescheduleAllowed": False, "IsCancelledAllowed": False}
    await omegaai.api.post("/control/organizations/2", json=switches)
    page = (await portal.http.get("/blume")).text
    assert 'data-testid="reschedule"' not in page
    assert 'data-testid="cancel"' not in page
    assert "To move or cancel this appointment please call Northside Imaging" in page


async def test_labels_are_filtered(omegaai, jane):
    patient, portal = jane
    past = {"start": "2021-12-01T14:30:00-05:00", "end": "2021-12-01T15:00:00-05:00"}
    for placer, status, more in (("P1", "booked", {}), ("P2", "booked", past), ("P3", "fulfilled", past)):
        await omegaai.create(omegaai.appointment(patient, placer=placer, status=status, **more))
    for query, wanted in (
        ("", {"P1", "P2"}), ("?show=past", {"P2"}), ("?show=scheduled", {"P1"}), ("?show=cancelled", set()),
        ("?tab=completed", {"P3"}), ("?show=nonsense", {"P1", "P2"}),
    ):  # fmt: skip
        page = (await portal.http.get(f"/blume{query}")).text
        assert set(re.findall(r'data-testid="appointment-(P\d)"', page)) == wanted, query


async def test_an_entry_in_error_is_no_card_that_can_be_acted_on(omegaai, jane):
    patient, portal = jane
    stored = (await omegaai.create(omegaai.appointment(patient, status="entered-in-error"))).json()
    assert await portal.cards() == {}
    assert (await portal.act(stored["id"], "cancel", reason="no")).status_code == 404
