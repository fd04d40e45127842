"""Only OmegaAI receives the client's secret, the token or patient data: a second server records stray requests."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import aiohttp
import pytest
from aiohttp import web
from fake_omegaai import FakeOmegaAI, client_of, until

from chassis.errors import Permanent, Transient
from omegaai import elements
from omegaai.feed import ChangeFeed
from omegaai.token import TokenSource

PATIENT = {"resourceType": "Patient", "id": "7", "name": [{"family": "Roe"}]}


@pytest.fixture
async def omegaai() -> AsyncIterator[FakeOmegaAI]:
    async with FakeOmegaAI().serving() as running:
        yield running


@pytest.fixture
async def elsewhere() -> AsyncIterator[FakeOmegaAI]:
    async with FakeOmegaAI().serving() as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("call", ["token", "read", "search", "create", "update"])
async def test_a_redirect_takes_nothing_elsewhere(
    omegaai: FakeOmegaAI, elsewhere: FakeOmegaAI, session: aiohttp.ClientSession, call: str, status: int
) -> None:
    path = "/auth/" if call == "token" else "/fhir/"

    def redirect(request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Location": f"{elsewhere.base_url}{request.path}"})

    omegaai.answer_once(lambda request: request.path.startswith(path), redirect)
    client = client_of(omegaai.base_url, session)
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "token": lambda: client.read("Patient", "7"),
        "read": lambda: client.read("Patient", "7"),
        "search": lambda: anext(client.search("Patient", {})),
        "create": lambda: client.create("Patient", PATIENT, if_none_exist="identifier=x"),
        "update": lambda: client.update("Patient", "7", PATIENT, version="1"),
    }
    with pytest.raises(Transient, match=str(status)):
        await calls[call]()
    assert elsewhere.requests == []
    assert len(omegaai.requests) == (1 if call == "token" else 2), "the token, and the request once"


@pytest.mark.parametrize(
    "url",
    ["{there}/fhir/Patient?page=2", "http://{here}@{host}/fhir/Patient", "//{host}/fhir/Patient", "https://{here}/x"],
)
async def test_a_next_page_takes_the_token_nowhere_else(
    omegaai: FakeOmegaAI, elsewhere: FakeOmegaAI, session: aiohttp.ClientSession, url: str
) -> None:
    here, there = omegaai.base_url.removeprefix("http://"), elsewhere.base_url
    following = url.format(here=here, there=there, host=there.removeprefix("http://"))
    bundle = {"resourceType": "Bundle", "link": [{"relation": "next", "url": following}]}
    omegaai.answer_once(lambda request: "/fhir/" in request.path, lambda _: web.json_response(bundle))
    with pytest.raises(Permanent, match=r"Bundle\.link"):
        [one async for one in client_of(omegaai.base_url, session).search("Patient", {})]
    assert elsewhere.requests == []


def test_an_absolute_reference_is_read_as_a_type_and_an_id() -> None:
    found = elements.reference({"reference": "http://elsewhere.example/fhir/Appointment/12"})
    assert found == ("Appointment", "12")


@pytest.mark.parametrize("is_allowed", ["allowed", "not allowed"])
async def test_the_feeds_hub_is_on_a_host_of_the_list(
    omegaai: FakeOmegaAI, elsewhere: FakeOmegaAI, session: aiohttp.ClientSession, is_allowed: str
) -> None:
    def hub(request: web.Request) -> web.Response:
        omegaai.answer_once(lambda one: "SignalR" in one.path, hub)
        assert request.headers["Authorization"].startswith("Bearer ")
        return web.json_response({"url": f"{elsewhere.base_url}/hub", "accessToken": "hub-token"})

    omegaai.answer_once(lambda request: "SignalR" in request.path, hub)
    values = {"client_id": "suite", "client_secret": "development-secret", "scope": "api"}
    tokens = TokenSource(session, f"{omegaai.base_url}/auth/oauth2/v2.0/token", **values)
    hosts = [elsewhere.base_url.removeprefix("http://")] if is_allowed == "allowed" else []
    feed = ChangeFeed(
        session, omegaai.base_url, tokens, hub="fhir", user="suite", wake=lambda: None, allowed_hosts=hosts
    )
    running = asyncio.create_task(feed.run())
    if is_allowed == "allowed":
        await until(lambda: feed.is_connected and elsewhere.sockets)
    else:
        asked = ("GET", "/auth/Token/SignalRConnectionInfo")
        await until(lambda: omegaai.requests.count(asked) >= 2)
        assert elsewhere.requests == []
    await feed.stop()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_a_hub_that_sends_us_on_takes_nothing_elsewhere(
    omegaai: FakeOmegaAI, elsewhere: FakeOmegaAI, session: aiohttp.ClientSession
) -> None:
    def redirect(_: web.Request) -> web.Response:
        omegaai.answer_once(lambda one: one.path == "/hub", redirect)
        return web.Response(status=302, headers={"Location": f"{elsewhere.base_url}/hub"})

    omegaai.answer_once(lambda request: request.path == "/hub", redirect)
    values = {"client_id": "suite", "client_secret": "development-secret", "scope": "api"}
    tokens = TokenSource(session, f"{omegaai.base_url}/auth/oauth2/v2.0/token", **values)
    feed = ChangeFeed(session, omegaai.base_url, tokens, hub="fhir", user="suite", wake=lambda: None)
    running = asyncio.create_task(feed.run())
    await until(lambda: omegaai.requests.count(("GET", "/hub")) >= 2)
    assert elsewhere.requests == []
    await feed.stop()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
