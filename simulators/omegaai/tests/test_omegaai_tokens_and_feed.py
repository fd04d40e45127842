"""OAuth 2 tokens, and the SignalR feed that tells of changes at most once."""

import asyncio
import json
from dataclasses import replace

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

SEPARATOR = "\x1e"


class Hub:
    """One hub connection."""

    def __init__(self, socket):
        self.socket = socket
        self._records = []

    async def hello(self):
        await self.socket.send('{"protocol":"json","version":1}' + SEPARATOR)
        assert await self.record() == {}

    async def record(self, timeout_seconds=60):
        while not self._records:
            text = await asyncio.wait_for(self.socket.recv(), timeout_seconds)
            self._records += [json.loads(one) for one in text.split(SEPARATOR) if one]
        return self._records.pop(0)

    async def change(self):
        record = await self.record()
        assert (record["type"], record["target"]) == (1, "resourceChanged")
        return record["arguments"][0]


@pytest.fixture
async def hub(omegaai):
    async with connect(await _address(omegaai)) as socket:
        opened = Hub(socket)
        await opened.hello()
        yield opened


async def _address(omegaai):
    query = {"hub": "suite", "user": "scheduler"}
    info = (await omegaai.api.get("/auth/Token/SignalRConnectionInfo", params=query)).json()
    assert set(info) == {"url", "accessToken", "expired"}
    assert info["url"] == omegaai.base.replace("http:", "ws:") + "/auth/hubs/suite"
    return f"{info['url']}?access_token={info['accessToken']}"


async def test_a_token_opens_the_door(omegaai):
    answer = await omegaai.token()
    assert answer.json().keys() == {"token_type", "access_token", "expires_in"}
    assert answer.headers["Cache-Control"] == "no-store"
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    assert (await omegaai.api.get("/fhir/Patient", headers=headers)).status_code == 200
    for wrong in ("", "Bearer nonsense", "Basic c3VpdGU6"):
        refused = await omegaai.api.get("/fhir/Patient", headers={"Authorization": wrong})
        assert refused.status_code == 401
        assert refused.json()["resourceType"] == "OperationOutcome"


async def test_wrong_clients_and_grants(omegaai):
    for changes in ({"client_secret": "wrong"}, {"client_id": "nobody"}, {"client_id": ""}):
        answer = await omegaai.token(**changes)
        assert (answer.status_code, answer.json()) == (401, {"error": "invalid_client"})
    answer = await omegaai.token(grant_type="password")
    assert (answer.status_code, answer.json()) == (400, {"error": "unsupported_grant_type"})


async def test_the_client_may_use_basic_authentication(omegaai):
    answer = await omegaai.api.post(
        "/auth/oauth2/v2.0/token", data={"grant_type": "client_credentials"}, auth=("suite", "development-secret")
    )
    assert answer.status_code == 200


class TestShortTokens:
    @pytest.fixture
    def settings(self, settings):
        return replace(settings, token_seconds=0)

    async def test_a_token_ends(self, omegaai):
        assert (await omegaai.api.get("/fhir/Patient")).status_code == 401


async def test_who_listens_hears_of_each_change(omegaai, hub):
    stored = await omegaai.book()
    person = stored["participant"][0]["actor"]["reference"].split("/")[1]
    assert await hub.change() == {"resourceType": "Patient", "id": person, "versionId": "1"}
    assert await hub.change() == {"resourceType": "Appointment", "id": stored["id"], "versionId": "1"}
    await omegaai.update({**stored, "status": "booked"}, 1)
    assert await hub.change() == {"resourceType": "Appointment", "id": stored["id"], "versionId": "2"}


async def test_logins_and_tasks_are_not_announced(omegaai, hub):
    await omegaai.book()
    await omegaai.portal("jane.roe@example.org")
    task = (await omegaai.get("Task"))["entry"][0]["resource"]
    await omegaai.update({**task, "status": "completed"}, 1)
    await omegaai.create(omegaai.patient("last@example.org"))
    assert [(await hub.change())["resourceType"] for _ in range(3)] == ["Patient", "Appointment", "Patient"]


async def test_who_comes_later_does_not_hear_what_was(omegaai):
    await omegaai.book()
    async with connect(await _address(omegaai)) as socket:
        late = Hub(socket)
        await late.hello()
        stored = (await omegaai.create(omegaai.patient("new@example.org"))).json()
        assert (await late.change())["id"] == stored["id"]


async def test_the_hub_asks_for_its_own_token_and_protocol(omegaai):
    url = (await _address(omegaai)).partition("?")[0]
    with pytest.raises(InvalidStatus):
        await connect(f"{url}?access_token=nonsense")
    async with connect(await _address(omegaai)) as socket:
        await socket.send('{"protocol":"messagepack","version":1}' + SEPARATOR)
        assert "error" in await Hub(socket).record()


async def test_connection_info_needs_a_token(omegaai):
    answer = await omegaai.api.get("/auth/Token/SignalRConnectionInfo", headers={"Authorization": ""})
    assert answer.status_code == 401


async def test_the_feed_drops_doubles_and_reorders_when_told(omegaai, hub):
    async def registered():
        return (await omegaai.create(omegaai.patient(None))).json()["id"]

    await omegaai.misbehave(target="feed", mode="drop")
    await registered()
    second = await registered()
    assert (await hub.change())["id"] == second
    await omegaai.misbehave(target="feed", mode="duplicate")
    third = await registered()
    assert [(await hub.change())["id"] for _ in range(2)] == [third, third]
    await omegaai.misbehave(target="feed", mode="reorder")
    fourth, fifth = await registered(), await registered()
    assert [(await hub.change())["id"] for _ in range(2)] == [fifth, fourth]
    await omegaai.misbehave(target="feed", mode="cut")
    await registered()
    with pytest.raises(ConnectionClosed):
        await hub.record()
