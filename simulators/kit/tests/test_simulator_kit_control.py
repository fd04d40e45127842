"""The control routes and the page that lists them, the session's cookie, and the headers of every answer."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from simulator_kit import misbehaviour, session, web
from simulator_kit.control import Control
from simulator_kit.live import Live
from simulator_kit.misbehaviour import Misbehaviour, Mode, Target
from simulator_kit.serving import serving
from simulator_kit.store import Store

TARGETS = [
    Target("door", "Who knocks.", [misbehaviour.status(503, range(400, 600)), misbehaviour.slow(2.0)]),
    Target("bell", "Who rings.", [misbehaviour.CUT, Mode("sing", "Sings.")]),
]
FRAME = "{% set product = 'The Simulator' %}{% extends 'kit/base.html' %}"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await Store.open(tmp_path / "store.sqlite3")
    yield opened
    await opened.close()


@pytest.fixture
async def http(store: Store, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    (tmp_path / "frame.html").write_text(FRAME)
    sessions = session.Sessions("key", "the_session")

    async def login(request: Request) -> Response:
        response = PlainTextResponse("in")
        sessions.begin(request, response, "jane")
        return response

    async def who(request: Request) -> Response:
        return PlainTextResponse(f"{sessions.subject(request)}")

    control = Control(
        store, Misbehaviour(TARGETS), web.templates(tmp_path), frame="frame.html", health=lambda _: {"things": 7}
    )
    app = Starlette(
        routes=[*control.routes(), Route("/login", login), Route("/who", who), web.static(tmp_path)],
        middleware=web.middleware("simulator"),
    )
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://simulator", trust_env=False) as client:
        yield client


async def test_faults_are_put_in_force_listed_and_cleared(http: httpx.AsyncClient) -> None:
    answer = await http.post("/control/misbehave", json={"target": "door", "mode": "status", "count": None})
    fault = {"target": "door", "mode": "status", "count": None, "probability": 1.0, "seconds": 0.0, "status": 503}
    assert (answer.status_code, answer.json()) == (201, fault)
    assert (await http.get("/control/misbehave")).json() == {"faults": [fault]}
    assert "until cleared" in (await http.get("/control")).text
    assert (await http.delete("/control/misbehave")).status_code == 204
    assert (await http.get("/control/misbehave")).json() == {"faults": []}


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"mode": "cut"}, "target"),
        ({"target": "window", "mode": "cut"}, "target"),
        ({"target": "door", "mode": "cut"}, "mode"),
        ({"target": "bell", "mode": "cut", "count": 0}, "count"),
        ({"target": "bell", "mode": "cut", "count": True}, "count"),
        ({"target": "bell", "mode": "cut", "probability": 1.5}, "probability"),
        ({"target": "door", "mode": "slow", "seconds": "long"}, "seconds"),
        ({"target": "door", "mode": "status", "status": 200}, "status"),
        (["cut"], ""),
    ],
)
async def test_a_fault_that_is_not_understood_names_its_field(
    http: httpx.AsyncClient, given: object, field: str
) -> None:
    answer = await http.post("/control/misbehave", json=given)
    error = answer.json()["error"]
    assert (answer.status_code, error["reason"], error["field"]) == (422, "invalid", field)
    assert (await http.get("/control/misbehave")).json() == {"faults": []}


def test_a_fault_hits_its_target_as_often_as_its_count() -> None:
    faults = Misbehaviour(TARGETS)
    faults.order("slow", target="door", count=2)
    assert faults.take("bell") is None
    assert [fault and fault.mode for fault in (faults.take("door"), faults.take("door"), faults.take("door"))] == [
        "slow", "slow", None,
    ]  # fmt: skip
    faults.order("cut", target="bell", probability=0)
    assert faults.take("bell") is None


def test_the_only_target_may_be_left_out() -> None:
    assert Misbehaviour(TARGETS[1:]).order("sing")["target"] == "bell"


async def test_the_page_lists_every_mode(http: httpx.AsyncClient) -> None:
    page = (await http.get("/control")).text
    for words in ("The Simulator", "<code>status</code>", "400 to 599", "<code>sing</code>", "Cuts the connection"):
        assert words in page
    assert "<script>" not in page


async def test_health_and_a_ledger_that_is_asked_with_nonsense(http: httpx.AsyncClient) -> None:
    assert (await http.get("/healthz")).json() == {"things": 7}
    assert (await http.get("/ledger")).json() == {"rows": [], "last": 0}
    for query in ("after=x", "limit=-1", "after=1e3"):
        assert (await http.get(f"/ledger?{query}")).status_code == 422


async def test_a_session_is_a_cookie_that_cannot_be_made_up(http: httpx.AsyncClient) -> None:
    assert (await http.get("/who")).text == "None"
    await http.get("/login")
    assert (await http.get("/who")).text == "jane"
    signed = http.cookies["the_session"]
    http.cookies.clear()
    signer = session.Signer("key")
    for forged in (
        signed[:-1] + ("A" if signed[-1] != "A" else "B"),
        session.Signer("another key").sign("the_session", "jane", 60),
        signer.sign("another_session", "jane", 60),
        signer.sign("the_session", "jane", -1),
    ):
        assert (await http.get("/who", headers={"Cookie": f"the_session={forged}"})).text == "None"
    right = signer.sign("the_session", "jane", 60)
    assert (await http.get("/who", headers={"Cookie": f"the_session={right}"})).text == "jane"


async def test_every_answer_has_the_headers_and_only_own_names_are_served(http: httpx.AsyncClient) -> None:
    for path in ("/healthz", "/control", "/static/tokens.css", "/nothing"):
        headers = (await http.get(path)).headers
        assert "default-src 'none'" in headers["content-security-policy"], path
        assert headers["cache-control"] == ("no-cache" if path.startswith("/static/") else "no-store")
    assert (await http.get("/healthz", headers={"Host": "evil.example"})).status_code == 400


@pytest.mark.parametrize("target", ["//evil.example", "/\\evil.example", "https://evil.example", "evil"])
def test_a_login_leads_to_this_site_only(target: str) -> None:
    assert web.safe_next(target) == "/"


async def test_a_stream_tells_what_concerns_its_page_and_ends_with_the_server(store: Store) -> None:
    live = Live(store)

    async def stream(request: Request) -> Response:
        return live.response(lambda notice: {"id": notice["id"]} if notice["kind"] == "mine" else None)

    app = Starlette(routes=[Route("/events", stream)])
    async with (
        serving(app, "127.0.0.1", 0, close_streams=live.close) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
        client.stream("GET", "/events", timeout=60) as answer,
    ):
        lines = answer.aiter_lines()
        assert await anext(lines) == "retry: 1000"

        def change(work) -> None:
            work.notice("other", id=1)
            work.notice("mine", id=2)

        await store.write(change)
        async with asyncio.timeout(60):
            assert [line async for line in _until_data(lines)][-1] == 'data: {"id": 2}'


async def _until_data(lines):
    async for line in lines:
        yield line
        if line.startswith("data: "):
            return
