"""What patients ask for in Blume: taken as strictly as a booking, proposed to staff, and answered by them."""

import pytest
from powerserver_requests import PLACER, asked, confirmed, shown, wish

from hl7v2 import Message


@pytest.mark.parametrize("kind", ["SIU^S12", "ORM^O01"])
async def test_a_request_waits_for_staff_under_the_partners_number(bench, kind: str) -> None:
    assert (await bench.hl7(asked(kind), "R1")).code == "AA"
    found = await shown(bench)
    assert (found["status_value"], found["priority"], found["request"]["kind"]) == (30, 90, "new")
    await bench.partner.has(1)
    said: Message = bench.partner.received[0]
    assert (said.trigger, said.get("SCH-1.1"), said.get("SCH-25")) == ("S12", PLACER, "30")
    assert said.get("SCH-2.1").startswith("A")
    assert (await bench.act(PLACER, "confirmed")).json()["status_value"] == 50
    assert (await shown(bench))["request"] is None
    kinds = [row["kind"] for row in await bench.ledger() if row["subject"] == PLACER]
    assert sorted(kinds) == ["appointment.booked", "appointment.status", "request.closed", "request.received"]


@pytest.mark.parametrize(
    ("change", "place", "code"),
    [
        ({"priority": "SOME OTHER"}, "SCH-11.6", "103"),
        ({"resource": "NO SUCH"}, "AIG-3", "204"),
        ({"study": "NO-SUCH"}, "AIS-3", "204"),
        ({"patient": "999999"}, "PID-3", "204"),
        ({"study": "MR-KNEE"}, "AIG-3", "207"),
        ({"start": "20261201030000-0500"}, "SCH-11.4", "207"),
        ({"placer": "P999999"}, "SCH-1.1", "204"),
        ({"start": ""}, "SCH-11.4", "101"),
        ({"start": "soon"}, "SCH-11.4", "102"),
        ({"resource": ""}, "AIG-3", "101"),
        ({"study": ""}, "AIS-3", "101"),
    ],
)
async def test_what_cannot_be_booked_is_refused_by_its_place(bench, change: dict, place: str, code: str) -> None:
    ack = await bench.hl7(asked(**change), "R1")
    assert ack.code == ("AR" if code in {"101", "102"} else "AE")
    assert (ack.errors[0].code, ack.errors[0].location.replace("[1]", "")) == (code, place.partition(".")[0])
    assert await bench.ledger("request.received") == []
    assert (await bench.api.get(f"/api/appointments/{PLACER}")).status_code == 404


async def test_a_request_for_a_taken_slot_is_refused(bench) -> None:
    await bench.book(start="2026-12-01T10:00:00-05:00")
    ack = await bench.hl7(asked(), "R1")
    assert (ack.code, ack.errors[0].code) == ("AE", "207")


async def test_a_short_study_is_made_fifteen_minutes_long(bench) -> None:
    assert (await bench.hl7(asked(resource="BLUME XR", study="XR-CHEST"), "R1")).code == "AA"
    found = await shown(bench)
    assert (found["start"][11:16], found["end"][11:16]) == ("10:00", "10:15")


async def test_a_request_that_comes_twice_books_once(bench) -> None:
    for number in ("R1", "R1", "R2"):
        assert (await bench.hl7(asked(number=number), number)).code == "AA"
    assert len(await bench.ledger("appointment.booked")) == 1


async def test_a_wanted_time_is_proposed_and_the_old_one_stays_booked(bench) -> None:
    placer = await confirmed(bench)
    assert (await bench.hl7(wish(placer), "R9")).code == "AA"
    found = await shown(bench, placer)
    assert (found["status_value"], found["start"][:16]) == (30, "2026-12-01T10:00")
    assert (found["request"]["kind"], found["request"]["start"][:16]) == ("move", "2026-12-02T11:00")
    page = (await bench.api.get(f"/api/appointments/{placer}/request")).status_code
    assert page == 405


@pytest.mark.parametrize(("answer", "start"), [("accept", "2026-12-02T11:00"), ("decline", "2026-12-01T10:00")])
async def test_staff_accept_the_wanted_time_or_let_the_old_one_stand(bench, answer: str, start: str) -> None:
    placer = await confirmed(bench)
    await bench.hl7(wish(placer), "R9")
    answered = await bench.api.post(f"/api/appointments/{placer}/request", json={"answer": answer})
    assert answered.json()["status_value"] == 50
    found = await shown(bench, placer)
    assert (found["start"][:16], found["request"]) == (start, None)
    again = await bench.api.post(f"/api/appointments/{placer}/request", json={"answer": answer})
    assert again.status_code == 409


async def test_a_declined_request_is_cancelled_and_its_reason_is_sent(bench) -> None:
    await bench.hl7(asked(), "R1")
    said = {"answer": "decline", "reason": "please see your physician first"}
    assert (await bench.api.post(f"/api/appointments/{PLACER}/request", json=said)).json()["status_value"] == 80
    await bench.partner.has(2)
    message: Message = bench.partner.received[1]
    assert (message.trigger, message.get("SCH-6.2")) == ("S15", "please see your physician first")


async def test_a_no_show_has_its_reason(bench) -> None:
    placer = await bench.book()
    url = f"/api/appointments/{placer}/status"
    assert (await bench.api.post(url, json={"action": "no-show", "reason": "did not come"})).status_code == 200
    await bench.partner.has(2)
    message: Message = bench.partner.received[1]
    assert (message.trigger, message.get("SCH-6.2")) == ("S26", "did not come")


async def test_an_order_that_loses_its_time_is_on_the_worklist_again(bench) -> None:
    placer = await bench.book()
    data = asked("SIU^S14", "R7", placer=placer, priority="").replace(b"30^SCHEDULED", b"20^ORDERED")
    assert (await bench.hl7(data, "R7")).code == "AA"
    found = await shown(bench, placer)
    assert (found["status_value"], found["start"]) == (20, None)


async def test_the_page_of_an_appointment_shows_what_is_asked(bench) -> None:
    placer = await confirmed(bench)
    await bench.hl7(wish(placer), "R9")
    async with bench.browser() as browser:
        await browser.post("/login", data={"name": "admin", "password": "development"})
        page = (await browser.get(f"/appointments/{placer}")).text
        assert "Wed 2 Dec 2026, 11:00" in page
        await browser.post(f"/appointments/{placer}/request", data={"answer": "accept"})
        assert 'data-testid="request"' not in (await browser.get(f"/appointments/{placer}")).text
    assert (await shown(bench, placer))["start"][:16] == "2026-12-02T11:00"
