"""An answer without end costs bounded memory and time; measured in a separate process, over a socket."""

import asyncio
import json
import sys
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from endless_omegaai import ENDLESS, endless_frame, serving, whole
from fake_omegaai import FakeOmegaAI

from chassis.errors import Transient
from chassis.testing import MACHINE_SECONDS
from omegaai.client import FhirClient
from omegaai.token import TokenSource

TIMEOUT_SECONDS = 3.0
MOST_BYTES = 96 * 2**20
CLIENT = """
import asyncio, json, resource, sys, time
import aiohttp
from chassis.errors import Transient
from omegaai.client import FhirClient
from omegaai.feed import ChangeFeed
from omegaai.token import TokenSource

resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30))  # it must not take the machine with it


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def main(base, call, timeout):
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout)) as session:
        tokens = TokenSource(session, f"{base}/auth/oauth2/v2.0/token", client_id="s", client_secret="s", scope="a")
        client = FhirClient(session, base, tokens)
        before, started = peak(), time.monotonic()
        try:
            if call == "read":
                await client.read("Appointment", "1")
            elif call == "search":
                [one async for one in client.search("HealthcareService", {})]
            elif call == "token":
                await tokens.token()
            else:
                feed = ChangeFeed(session, base, tokens, hub="fhir", user="s", wake=lambda: None)
                async with asyncio.timeout(timeout):
                    await feed.run()
            came = "an answer"
        except Exception as error:
            came = type(error).__name__ if not isinstance(error, Transient) else "Transient"
        print(json.dumps({"came": came, "bytes": peak() - before, "seconds": time.monotonic() - started}))

asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
"""


async def asked(port: int, call: str) -> dict:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CLIENT, f"http://127.0.0.1:{port}", call, str(TIMEOUT_SECONDS),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(120):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return json.loads(said.splitlines()[-1])


pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="limits of a process are Linux's")


OTHER_CALLS = ("endless chunks", "a byte at a time", "gzip bomb", "a nest of five hundred objects")


@pytest.mark.parametrize(
    ("name", "call"),
    [(name, "read") for name in ENDLESS]
    + [(name, call) for call in ("search", "token") for name in OTHER_CALLS]
    + [("a Bundle of a million entries", "search")],
)
async def test_an_answer_without_end_is_given_up_in_bounded_memory_and_time(name: str, call: str) -> None:
    path = b"/auth/oauth2" if call == "token" else b"/fhir/"
    async with serving({path: ENDLESS[name]}) as port:
        found = await asked(port, call)
    assert found["came"] == "Transient", "it is OmegaAI's state, and none of the message's"
    assert found["bytes"] <= MOST_BYTES
    assert found["seconds"] <= 3 * TIMEOUT_SECONDS + MACHINE_SECONDS, "a deadline for all of it"


@pytest.mark.parametrize("name", ["endless body", "a byte at a time", "gzip bomb", "a nest of five hundred objects"])
async def test_a_feed_without_end_is_given_up_in_bounded_memory(name: str) -> None:
    async with serving({b"/auth/Token/SignalR": ENDLESS[name]}) as port:
        found = await asked(port, "feed")
    assert found["came"] in ("TimeoutError", "Transient"), "the loop goes on trying until it is stopped"
    assert found["bytes"] <= MOST_BYTES


async def test_a_frame_without_end_is_given_up_in_bounded_memory() -> None:
    answers = {b"/hub": endless_frame}
    async with serving(answers) as port:
        answers[b"/auth/Token/SignalR"] = whole(json.dumps({"url": f"http://127.0.0.1:{port}/hub"}).encode())
        found = await asked(port, "feed")
    assert found["came"] in ("TimeoutError", "Transient")
    assert found["bytes"] <= MOST_BYTES


def open_client(server: FakeOmegaAI, session: aiohttp.ClientSession) -> FhirClient:
    tokens = TokenSource(
        session, f"{server.base_url}/auth/oauth2/v2.0/token",
        client_id="suite", client_secret="development-secret", scope="api",
    )  # fmt: skip
    return FhirClient(session, server.base_url, tokens)


def bundle(*ids: str, following: int | None = None) -> dict:
    entries = [{"resource": {"resourceType": "HealthcareService", "id": one}} for one in ids]
    links = [] if following is None else [{"relation": "next", "url": f"HealthcareService?page={following}"}]
    return {"resourceType": "Bundle", "entry": entries, "link": links}


def pages(server: FakeOmegaAI, of: "dict[str, dict] | None" = None) -> list[str]:
    """Answers each page by its number in the address; without ``of``, each page names a next one that repeats it."""
    asked: list[str] = []

    def answer(request: web.Request) -> web.Response:
        number = request.query.get("page", "1")
        asked.append(number)
        server.answer_once(lambda one: "HealthcareService" in one.path, answer)
        made = of[number] if of is not None else bundle("hs-1", following=int(number) + 1)
        return web.json_response(made)

    server.answer_once(lambda one: "HealthcareService" in one.path, answer)
    return asked


@pytest.mark.parametrize(
    "of",
    [
        pytest.param({"1": bundle("a", following=1)}, id="a page that names itself"),
        pytest.param(
            {
                "1": bundle("a", following=2),
                "2": bundle("b", following=1),
            },
            id="two that take turns",
        ),
        pytest.param(None, id="always another, and nothing new"),
        pytest.param(
            {str(n): bundle(following=n + 1) for n in range(1, 2000)},
            id="always another, and empty",
        ),
    ],
)
async def test_a_list_of_pages_that_repeats_is_refused(of: dict[str, dict] | None) -> None:
    async with FakeOmegaAI().serving() as server, aiohttp.ClientSession() as session:
        asked = pages(server, of)
        async with asyncio.timeout(60):
            with pytest.raises(Transient, match="repeat themselves"):
                [one async for one in open_client(server, session).search("HealthcareService", {})]
    assert len(asked) < 10


async def test_what_two_pages_hold_is_found_once() -> None:
    async with FakeOmegaAI().serving() as server, aiohttp.ClientSession() as session:
        pages(server, {"1": bundle("a", "b", following=2), "2": bundle("b", "c", following=None)})
        found = [one.id async for one in open_client(server, session).search("HealthcareService", {})]
    assert found == ["a", "b", "c"]
