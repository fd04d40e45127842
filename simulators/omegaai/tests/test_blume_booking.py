"""The patient books, asks for another time, and meets the organisation's switches."""

from datetime import UTC, datetime, timedelta

import pytest

JANE = "jane.roe@example.org"


def in_days(days: int, hour: int = 15) -> str:
    """An instant at which the development site is open: 15:00 UTC is 10 or 11 in Toronto."""
    return (datetime.now(UTC) + timedelta(days=days)).replace(hour=hour, minute=0, second=0, microsecond=0).isoformat()


async def logged_in(omegaai, **changes):
    person = (await omegaai.create(omegaai.patient(JANE, **changes))).json()
    portal = await omegaai.portal()
    assert (await portal.log_in(JANE)).status_code == 303
    portal.http.headers["Accept"] = "application/json"
    return person, portal


async def book(portal, **changes):
    form = {"service": "11", "study": "CT-HEAD", "start": in_days(3), "csrf": portal.csrf, **changes}
    return await portal.http.post("/blume/book", data=form)


async def test_a_booking_is_a_proposed_appointment_and_a_task(omegaai):
    person, portal = await logged_in(omegaai)
    answer = await book(portal, patient=person["id"], note="claustrophobic")
    assert (answer.status_code, answer.json()["label"]) == (201, "Requested")
    stored = await omegaai.get(f"Appointment/{answer.json()['id']}")
    assert (stored["status"], stored["minutesDuration"], stored["comment"]) == ("proposed", 30, "claustrophobic")
    assert [one["actor"]["reference"] for one in stored["participant"]] == [
        f"Patient/{person['id']}", "HealthcareService/11",
    ]  # fmt: skip
    focus = {"reference": f"Appointment/{stored['id']}"}
    tasks = [one["resource"] for one in (await omegaai.get("Task", status="ready"))["entry"]]
    assert focus in [task["focus"] for task in tasks]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"patient": "999"}, 404),
        ({"service": "99"}, 404),
        ({"study": "MR-KNEE"}, 422),
        ({"study": "NONE"}, 422),
        ({"start": ""}, 422),
        ({"start": "soon"}, 422),
        ({"start": "2021-12-01T10:00:00-05:00"}, 422),
        ({"start": in_days(3, hour=8)}, 422),
        ({"start": in_days(800)}, 422),
        ({"note": "x" * 501}, 422),
        ({"csrf": "wrong"}, 403),
    ],
)
async def test_what_cannot_be_booked_is_refused(omegaai, change, status):
    person, portal = await logged_in(omegaai)
    assert (await book(portal, **{"patient": person["id"], **change})).status_code == status
    assert await omegaai.ledger("Appointment.created") == []


async def test_nobody_books_for_another_accounts_patient(omegaai):
    stranger = (await omegaai.create(omegaai.patient("joan@example.org"))).json()
    _, portal = await logged_in(omegaai)
    assert (await book(portal, patient=stranger["id"])).status_code == 404


async def scheduled(omegaai, portal, person):
    body = omegaai.appointment(person["id"], status="booked", start=in_days(3), end=in_days(3)[:11] + "15:30:00+00:00")
    return (await omegaai.create(body)).json()


async def test_a_wish_keeps_the_present_time_until_the_facility_answers(omegaai):
    person, portal = await logged_in(omegaai)
    stored = await scheduled(omegaai, portal, person)
    wanted = in_days(4)
    answer = await portal.act(stored["id"], "reschedule", start=stored["start"], wanted=wanted)
    assert answer.status_code == 200, answer.text
    card = (await portal.cards())["P100045"]
    assert (card["label"], datetime.fromisoformat(card["wanted"])) == ("Requested", datetime.fromisoformat(wanted))
    body = await omegaai.get(f"Appointment/{stored['id']}")
    assert body["start"] == stored["start"]
    assert datetime.fromisoformat(body["requestedPeriod"][0]["start"]) == datetime.fromisoformat(wanted)
    again = await portal.act(stored["id"], "reschedule", start=stored["start"], wanted=in_days(5))
    assert again.status_code == 409  # the facility's turn


@pytest.mark.parametrize("wanted", ["", "soon", in_days(-1), in_days(4, hour=8)])
async def test_a_wish_for_an_impossible_time_is_refused(omegaai, wanted):
    person, portal = await logged_in(omegaai)
    stored = await scheduled(omegaai, portal, person)
    assert (await portal.act(stored["id"], "reschedule", wanted=wanted)).status_code == 422


async def test_an_organisation_switches_booking_rescheduling_and_cancelling_off(omegaai):
    person, portal = await logged_in(omegaai)
    stored = await scheduled(omegaai, portal, person)
    switches = {"enablePublicBooking": False, "IsRescheduleAllowed": False, "IsCancelledAllowed": False}
    assert (await omegaai.api.post("/control/organizations/2", json=switches)).status_code == 200
    assert (await book(portal, patient=person["id"])).status_code == 404
    assert (await portal.act(stored["id"], "reschedule", wanted=in_days(4))).status_code == 409
    assert (await portal.act(stored["id"], "cancel", reason="no time")).status_code == 409
    offers = (await portal.http.get("/blume/api/offers")).json()["services"]
    assert {one["facility"] for one in offers} == {"Lakeshore Imaging"}
    assert (await omegaai.api.post("/control/organizations/2", json={"IsCancelledAllowed": True})).status_code == 200
    assert (await portal.act(stored["id"], "cancel", reason="no time")).status_code == 200


@pytest.mark.parametrize(
    ("identifier", "body", "status"), [("2", {"other": True}, 400), ("2", [], 400), ("9", {}, 404)]
)
async def test_a_switch_that_is_none_is_refused(omegaai, identifier, body, status):
    assert (await omegaai.api.post(f"/control/organizations/{identifier}", json=body)).status_code == status


async def test_the_forms_work_without_scripts(omegaai):
    person, portal = await logged_in(omegaai)
    portal.http.headers["Accept"] = "text/html"
    assert "Book New Appointment" in (await portal.http.get("/blume/book")).text
    day = (datetime.now(UTC) + timedelta(days=3)).date().isoformat()
    form = {"patient": person["id"], "service": "11", "study": "CT-HEAD", "day": day, "clock": "10:00"}
    answer = await portal.http.post("/blume/book", data={**form, "csrf": portal.csrf})
    assert answer.status_code == 303, answer.text
    refused = await portal.http.post("/blume/book", data={**form, "clock": "03:00", "csrf": portal.csrf})
    assert (refused.status_code, "not open" in refused.text) == (422, True)
    assert "Requested" in (await portal.http.get("/blume")).text
