"""By a switch Blume books, moves and cancels through the suite's scheduling API; its refusals become sentences."""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from omegaai_sim.blume.scheduling.suite import Api
from simulator_kit.serving import serving

JANE = "jane.roe@example.org"
TORONTO = ZoneInfo("America/Toronto")
START = (datetime.now(TORONTO) + timedelta(days=40)).replace(hour=9, minute=0, second=0, microsecond=0)
CHOSEN = {"study": "CT-HEAD", "location": "Toronto, ON", "service": "11"}


def issue(text: str, where: str = "start", severity: str = "fatal") -> dict[str, Any]:
    place = {"details": {"text": f"{where}: {text}"}, "expression": [where]} if where else {"details": {"text": text}}
    return {"severity": severity, "code": "conflict", **place}


@dataclass
class Suite:
    """A stand-in of the API that answers as it is told, and notes the calls."""

    calls: list[tuple[str, dict[str, Any], str]] = field(default_factory=list)
    answers: dict[str, Response] = field(default_factory=dict)

    async def answer(self, request: Request) -> Response:
        assert request.headers["authorization"] == "Bearer a-token"
        given = {one.pop("name"): next(iter(one.values())) for one in (await request.json())["parameter"]}
        operation = request.url.path.removeprefix("/fhir/Appointment/")
        self.calls.append((operation, given, request.headers.get("idempotency-key", "")))
        found = self.answers.get(operation.rpartition("/")[2])
        if found is not None:
            return found
        if operation == "$find":
            slots = [{"resource": {"start": (START + timedelta(minutes=15 * n)).isoformat()}} for n in range(3)]
            return JSONResponse({"total": 3, "entry": slots})
        return JSONResponse({"entry": [{"resource": {"id": "hold-1"}}], "id": "x"})


@pytest.fixture
async def suite() -> AsyncIterator[tuple[Suite, str]]:
    made = Suite()
    app = Starlette(routes=[Route("/{path:path}", made.answer, methods=["POST"])])
    async with serving(app, "127.0.0.1", 0, close_streams=lambda: None, grace_seconds=1) as port:
        yield made, f"http://127.0.0.1:{port}"


@pytest.fixture
def settings(settings, suite):
    return replace(settings, books_by="suite", scheduling_url=suite[1], scheduling_token="a-token")


@pytest.fixture
async def jane(omegaai):
    person = (await omegaai.create(omegaai.patient(JANE))).json()
    return person, await omegaai.portal(JANE)


async def book(jane, **more):
    person, portal = jane
    form = {**CHOSEN, "patient": person["id"], "slot": START.isoformat(), "csrf": portal.csrf, "key": "a-form", **more}
    return await portal.http.post("/blume/book", data=form)


async def times(jane):
    person, portal = jane
    day = f"{START:%Y-%m-%d}"
    return await portal.http.get("/blume/book/times", params={**CHOSEN, "patient": person["id"], "day": day})


async def test_the_times_are_the_apis(suite, jane):
    page = (await times(jane)).text
    assert re.findall(r'name="slot" value="([^"]+)"', page)[0] == START.isoformat()
    assert "A note cannot be sent" in page
    operation, given, _ = suite[0].calls[0]
    assert (operation, given["service"], given["study"]) == ("$find", "HealthcareService/11", "CT-HEAD")


async def test_a_booking_is_held_then_booked_and_blume_writes_nothing(omegaai, suite, jane):
    answer = await book(jane)
    assert (answer.status_code, answer.headers["location"]) == (303, "/blume?done=sent")
    (hold, held, key), (booking, booked, again) = suite[0].calls
    assert (hold, booking, key, again) == ("$hold", "$book", "a-form", "a-form")
    number = jane[0]["identifier"][0]
    assert held["patient"] == {"identifier": {"system": number["system"], "value": number["value"]}}
    assert held["appt-resource"]["serviceType"] == [{"coding": [{"code": "CT-HEAD", "display": "CT Head"}]}]
    assert booked["appt-reference"] == {"reference": "Appointment/hold-1"}
    assert await omegaai.ledger("Appointment.created") == []
    assert "The card appears here in a moment" in (await jane[1].http.get(answer.headers["location"])).text


async def test_a_refusal_is_told_in_sentences_with_the_times_that_are_free(suite, jane):
    free = [(START + timedelta(hours=number)).isoformat() for number in (1, 2, 3)]
    contained = [
        {"resourceType": "Appointment", "start": one, "participant": [{"actor": {"display": "BLUME CT"}}]}
        for one in free
    ]
    reasons = [
        issue("the time is taken: 1 others have a part of it"),
        issue("is past"),
        issue("x", severity="information"),
    ]
    suite[0].answers["$hold"] = JSONResponse({"issue": reasons, "contained": contained}, 409)
    answer = await book(jane)
    assert answer.status_code == 409
    assert "The time is taken: 1 others have a part of it. The time is past." in answer.text
    assert answer.text.partition("alternatives")[2].count("/blume/book/times?") >= 3
    assert [operation for operation, _, _ in suite[0].calls] == ["$hold", "$find"]


BAD_ANSWERS = [
    (PlainTextResponse("<html>", 200), 502, "no answer that can be read"),
    (JSONResponse({}, 503), 503, "cannot answer now"),
    (JSONResponse({}, 401), 502, "refuses Blume"),
    (JSONResponse([], 200), 502, "refuses Blume"),
    (JSONResponse({"issue": [issue("patients may not book", "")]}, 422), 422, "Patients may not book."),
    (JSONResponse({"issue": "?"}, 400), 502, "no answer that can be read"),
    (JSONResponse({"no": "entry"}, 200), 502, "no answer that can be read"),
]


async def test_a_bad_answer_is_a_sentence(suite, jane):
    for answer, status, words in BAD_ANSWERS:
        suite[0].answers |= {"$hold": answer, "$find": answer}
        found = await book(jane)
        assert (found.status_code, words in found.text) == (status, True), found.text


@pytest.mark.parametrize("operation", ["$find", "$hold"])
async def test_an_api_that_is_away_is_a_sentence(omegaai, jane, monkeypatch, operation):
    def away(*_args):
        raise ConnectionRefusedError

    monkeypatch.setattr(Api, "_post", away)
    answer = await (times(jane) if operation == "$find" else book(jane))
    assert (answer.status_code, "does not answer" in answer.text) == (503, True)


async def test_the_switch_gives_the_booking_back_to_blume(omegaai, suite, jane):
    assert (await omegaai.api.post("/control/booking", json={"by": "own"})).json() == {"by": "own"}
    assert "A note cannot be sent" not in (await times(jane)).text
    assert (await book(jane)).headers["location"].startswith("/blume?done=requested")
    assert suite[0].calls == []


async def test_moving_and_cancelling_go_by_the_suites_id(omegaai, suite, jane):
    person, portal = jane
    body = omegaai.appointment(
        person["id"], status="booked", start=START.isoformat(), end=(START + timedelta(minutes=30)).isoformat()
    )
    stored = (await omegaai.create(body)).json()
    link = stored["identifier"][0]["value"].removeprefix("urn:uuid:")
    page = (await portal.http.get(f"/blume/appointments/{stored['id']}/reschedule")).text
    assert suite[0].calls[-1][1]["ignore-appointment"] == {"reference": f"Appointment/{link}"}
    wanted = (START + timedelta(minutes=15)).isoformat()
    assert wanted in page
    answer = await portal.act(stored["id"], "reschedule", slot=wanted, start=START.isoformat())
    assert "done=move-sent" in answer.headers["location"]
    assert suite[0].calls[-1][0] == f"{link}/$reschedule"
    assert datetime.fromisoformat(suite[0].calls[-1][1]["start"]) == START + timedelta(minutes=15)
    portal.http.headers["Accept"] = "application/json"
    told = (await portal.act(stored["id"], "cancel", reason="ill")).json()
    assert (told["appointment"], told["title"]) == (None, "Cancellation sent")
    assert suite[0].calls[-1][:2] == (f"{link}/$cancel", {"reason": "ill"})
    assert [row["kind"] for row in await omegaai.ledger("Appointment.updated")] == []
    suite[0].answers["$cancel"] = JSONResponse({"issue": [issue("patients may not cancel", "")]}, 422)
    refused = await portal.act(stored["id"], "cancel", reason="ill")
    assert (refused.status_code, refused.json()) == (422, {"error": "Patients may not cancel."})


async def test_what_the_suite_does_not_know_yet_is_said(omegaai, suite, jane):
    person, portal = jane
    stored = (
        await omegaai.create(
            omegaai.appointment(person["id"], status="booked", identifier=[{"system": "x", "value": "1"}])
        )
    ).json()
    answer = await portal.act(stored["id"], "cancel", reason="ill")
    assert (answer.status_code, "does not know this appointment yet" in answer.text) == (409, True)
    assert suite[0].calls == []


NO_SWITCHES = [{"by": "nobody"}, {"by": 1}, [], "own"]


async def test_a_switch_that_is_none_is_refused(omegaai):
    for given in NO_SWITCHES:
        assert (await omegaai.api.post("/control/booking", content=json.dumps(given))).status_code == 400
        assert (await omegaai.api.get("/control/booking")).json() == {"by": "suite"}
