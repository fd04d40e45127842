"""Faults on demand, the nastiest first: it was done, and no answer came."""

import time

import httpx
import pytest


async def test_accept_then_timeout_does_it_and_says_nothing(omegaai):
    person = (await omegaai.create(omegaai.patient())).json()
    body = omegaai.appointment(person["id"])
    condition = f"identifier=urn:ietf:rfc:3986|{body['identifier'][0]['value']}"
    await omegaai.misbehave(target="fhir", mode="accept-then-timeout", seconds=0.05)
    with pytest.raises(httpx.RemoteProtocolError):
        await omegaai.create(body, condition)
    assert len(await omegaai.ledger("Appointment.created")) == 1
    again = await omegaai.create(body, condition, status=200)
    assert again.json()["identifier"] == body["identifier"]
    assert len(await omegaai.ledger("Appointment.created")) == 1
    posts = [row["detail"] for row in await omegaai.ledger("http") if row["subject"] == "/fhir/Appointment"]
    assert [post["status"] for post in posts] == [0, 200]


async def test_the_client_gives_up_before_the_answer(omegaai):
    body = omegaai.patient()
    await omegaai.misbehave(target="fhir", mode="accept-then-timeout", seconds=5)
    with pytest.raises(httpx.ReadTimeout):
        await omegaai.api.post(
            "/fhir/Patient",
            json=body,
            headers={"Content-Type": "application/fhir+json"},
            timeout=httpx.Timeout(60, read=2),
        )
    assert len(await omegaai.ledger("Patient.created")) == 1


async def test_cut_does_nothing_and_hangs_up(omegaai):
    await omegaai.misbehave(target="fhir", mode="cut")
    with pytest.raises(httpx.RemoteProtocolError):
        await omegaai.create(omegaai.patient())
    assert await omegaai.ledger("Patient.created") == []
    await omegaai.create(omegaai.patient())


async def test_status_refuses_as_often_as_told(omegaai):
    for status in (429, 500, 503):
        await omegaai.misbehave(target="fhir", mode="status", status=status, count=2)
        for _ in range(2):
            answer = await omegaai.create(omegaai.patient(), status=status)
            assert answer.json()["resourceType"] == "OperationOutcome"
            assert ("Retry-After" in answer.headers) == (status in {429, 503})
    await omegaai.create(omegaai.patient())
    assert len(await omegaai.ledger("Patient.created")) == 1


async def test_slow_takes_its_time(omegaai):
    await omegaai.misbehave(target="fhir", mode="slow", seconds=0.3)
    began = time.monotonic()
    await omegaai.get("Patient")
    assert time.monotonic() - began >= 0.3


async def test_the_token_can_be_refused(omegaai):
    await omegaai.misbehave(target="token", mode="status", status=503)
    assert (await omegaai.token()).status_code == 503
    assert (await omegaai.token()).status_code == 200


async def test_the_token_can_be_refused_as_to_an_expired_secret(omegaai):
    await omegaai.misbehave(target="token", mode="refuse")
    answer = await omegaai.token()
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert (await omegaai.token()).status_code == 200


@pytest.mark.parametrize("mode", ["redirect", "page"])
async def test_what_stands_before_omegaai_can_answer_in_its_place(omegaai, mode):
    await omegaai.misbehave(target="fhir", mode=mode)
    body = omegaai.patient()
    headers = {"Content-Type": "application/fhir+json"}
    answer = await omegaai.api.post("/fhir/Patient", json=body, headers=headers)
    if mode == "redirect":
        assert (answer.status_code, answer.headers["Location"]) == (307, "/login")
    else:
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert await omegaai.ledger("Patient.created") == []


async def test_faults_are_listed_and_cleared(omegaai):
    await omegaai.misbehave(target="fhir", mode="cut", count=None, probability=0)
    listed = (await omegaai.api.get("/control/misbehave")).json()
    assert [(order["target"], order["mode"], order["count"]) for order in listed["faults"]] == [("fhir", "cut", None)]
    await omegaai.get("Patient")  # probability 0 hits nobody
    assert (await omegaai.api.delete("/control/misbehave")).status_code == 204
    assert (await omegaai.api.get("/control/misbehave")).json() == {"faults": []}


NOT_UNDERSTOOD = (
    ({"target": "mllp", "mode": "cut"}, "target"),
    ({"target": "feed", "mode": "slow"}, "mode"),
    ({"target": "fhir", "mode": "cut", "count": 0}, "count"),
    ({"target": "fhir", "mode": "status", "status": 200}, "status"),
    ({"target": "fhir", "mode": "slow", "seconds": "long"}, "seconds"),
)


async def test_a_fault_that_is_not_understood_names_its_field(omegaai):
    for order, named in NOT_UNDERSTOOD:
        answer = await omegaai.api.post("/control/misbehave", json=order)
        assert answer.status_code == 422
        assert answer.json()["error"]["field"] == named


async def test_one_page_lists_what_it_does_on_command(omegaai):
    page = (await omegaai.api.get("/control")).text
    for words in ("fhir", "token", "feed", "accept-then-timeout", "refuse", "reorder", "endless"):
        assert f"<code>{words}</code>" in page
