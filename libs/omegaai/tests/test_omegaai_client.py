"""The FHIR client over a real socket: each answer of the server becomes a value or one of our errors."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import aiohttp
import pytest
from aiohttp import web
from fake_omegaai import FakeOmegaAI

from chassis.errors import AccessRefused, Permanent, Transient
from omegaai.client import FhirClient, NotFoundError, VersionMovedError
from omegaai.token import TokenSource


@pytest.fixture
async def server() -> AsyncIterator[FakeOmegaAI]:
    async with FakeOmegaAI().serving() as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1)) as opened:
        yield opened


def tokens(server: FakeOmegaAI, session: aiohttp.ClientSession, **more) -> TokenSource:
    values = {"client_id": "suite", "client_secret": "development-secret", "scope": "api"}
    return TokenSource(session, f"{server.base_url}/auth/oauth2/v2.0/token", **{**values, **more})


@pytest.fixture
def client(server: FakeOmegaAI, session: aiohttp.ClientSession) -> FhirClient:
    return FhirClient(session, server.base_url, tokens(server, session))


def instead(
    server: FakeOmegaAI, method: str, status: int, headers: dict | None = None, body: dict | None = None
) -> None:
    def answer(_: web.Request) -> web.Response:
        return web.json_response(body or {}, status=status, headers=headers)

    server.answer_once(lambda request: request.method == method and "/fhir/" in request.path, answer)


async def test_one_token_serves_many_requests(server: FakeOmegaAI, client: FhirClient):
    for _ in range(3):
        assert (await client.read("Organization", "1")).id == "1"
    assert server.tokens_given == 1


async def test_a_token_is_fetched_again_before_it_expires(server: FakeOmegaAI, session: aiohttp.ClientSession):
    now = [0.0]
    source = tokens(server, session, clock=lambda: now[0])
    server.token_lifetime_seconds = 600
    first = await source.token()
    now[0] = 539.0
    assert await source.token() == first
    now[0] = 541.0
    assert await source.token() != first


async def test_a_token_that_is_no_longer_taken_is_replaced_once(server: FakeOmegaAI, client: FhirClient):
    await client.read("Organization", "1")
    server.valid_tokens.clear()
    assert (await client.read("Organization", "1")).id == "1"
    assert server.tokens_given == 2


async def test_a_wrong_secret_names_the_setting(server: FakeOmegaAI, session: aiohttp.ClientSession):
    with pytest.raises(AccessRefused) as caught:
        await tokens(server, session, client_secret="wrong").token()
    assert "omegaai.client_secret" in caught.value.setting
    assert "wrong" not in caught.value.reason


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_what_passes_is_transient_with_the_servers_wish(server: FakeOmegaAI, client: FhirClient, status: int):
    instead(server, "GET", status, {"Retry-After": "7"})
    with pytest.raises(Transient) as caught:
        await client.read("Organization", "1")
    assert caught.value.retry_after_seconds == 7.0


async def test_a_retry_after_may_be_a_date(server: FakeOmegaAI, client: FhirClient):
    instead(server, "GET", 503, {"Retry-After": format_datetime(datetime.now(UTC) + timedelta(seconds=60))})
    with pytest.raises(Transient) as caught:
        await client.read("Organization", "1")
    assert caught.value.retry_after_seconds == pytest.approx(60, abs=5)


@pytest.mark.parametrize("off", [timedelta(hours=5), timedelta(hours=-5)])
async def test_a_date_of_retry_after_is_read_by_the_servers_clock(
    server: FakeOmegaAI, client: FhirClient, off: timedelta
):
    at = datetime.now(UTC) + off
    headers = {"Retry-After": format_datetime(at + timedelta(seconds=60)), "Date": format_datetime(at, usegmt=True)}
    instead(server, "GET", 503, headers)
    with pytest.raises(Transient) as caught:
        await client.read("Organization", "1")
    assert caught.value.retry_after_seconds == 60


async def test_what_is_final_names_the_elements_and_not_their_values(server: FakeOmegaAI, client: FhirClient):
    outcome = {"issue": [{"code": "value", "expression": ["Patient.birthDate"], "diagnostics": "Jane Roe 1980"}]}
    instead(server, "POST", 422, body=outcome)
    with pytest.raises(Permanent) as caught:
        await client.create("Patient", {"resourceType": "Patient"}, if_none_exist="identifier=x")
    assert "Patient.birthDate (value)" in caught.value.reason
    assert "422" in caught.value.reason
    assert "Roe" not in caught.value.reason


async def test_another_version_is_the_callers_matter(client: FhirClient):
    found = await client.read("Organization", "1")
    with pytest.raises(VersionMovedError):
        await client.update("Organization", "1", found.resource, version="99")


async def test_what_is_not_there_is_said(client: FhirClient):
    with pytest.raises(NotFoundError):
        await client.read("Appointment", "none")


async def test_a_create_happens_once(server: FakeOmegaAI, client: FhirClient):
    body = {"resourceType": "Patient", "identifier": [{"system": "s", "value": "4711"}]}
    first = await client.create("Patient", body, if_none_exist="identifier=s%7C4711")
    second = await client.create("Patient", body, if_none_exist="identifier=s%7C4711")
    assert (first.was_created, second.was_created) == (True, False)
    assert first.id == second.id
    assert first.version == "1"
    assert len(server.all("Patient")) == 1


async def test_several_matches_are_final(server: FakeOmegaAI, client: FhirClient):
    same = {"system": "s", "value": "4711"}
    for number in ("1", "2"):
        server.put_directly({"resourceType": "Patient", "id": number, "identifier": [same]})
    with pytest.raises(Permanent, match="several"):
        await client.create("Patient", {}, if_none_exist="identifier=s%7C4711")


async def test_a_search_reads_every_page(server: FakeOmegaAI, client: FhirClient):
    server.page_size = 2
    found = [one.id async for one in client.search("HealthcareService", {"_count": "100"})]
    assert found == ["hs-1", "hs-2", "hs-3"]


async def test_a_next_page_on_another_host_does_not_get_our_token(server: FakeOmegaAI, client: FhirClient):
    bundle = {"resourceType": "Bundle", "link": [{"relation": "next", "url": "http://elsewhere.example/fhir/x"}]}
    instead(server, "GET", 200, body=bundle)
    with pytest.raises(Permanent, match=r"Bundle\.link"):
        [one async for one in client.search("HealthcareService", {})]


async def test_no_answer_in_time_is_transient(server: FakeOmegaAI, session: aiohttp.ClientSession):
    client = FhirClient(session, "http://127.0.0.1:1", tokens(server, session))
    with pytest.raises(Transient):
        await client.read("Organization", "1")
