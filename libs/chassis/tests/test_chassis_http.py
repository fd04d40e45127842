"""A partner is asked on its own host alone, and its answer is read to an end: over real sockets."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from chassis.errors import AccessRefused, NeedsSetup, Transient, UnusableAnswer
from chassis.http import (
    DEEPEST_JSON,
    LONGEST_RETRY_AFTER_SECONDS,
    MOST_JSON_VALUES,
    PARSED_BESIDE_BYTES,
    Answer,
    HttpPartner,
    allowed_origins,
    open_session,
    parse_json,
)


class Server:
    """Answers everything alike; ``requests`` are all that it ever saw."""

    def __init__(self, answer: Callable[[web.Request], web.StreamResponse]) -> None:
        self.answer = answer
        self.requests: list[str] = []
        self.base_url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path}")
        return self.answer(request)


@asynccontextmanager
async def serving(answer: Callable[[web.Request], web.StreamResponse]) -> AsyncIterator[Server]:
    server = Server(answer)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.base_url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with open_session(connections=4) as opened:
        yield opened


@pytest.fixture
async def elsewhere() -> AsyncIterator[Server]:
    """What nobody may ask."""
    async with serving(lambda _: web.Response(text="stolen")) as server:
        yield server


def partner(session: aiohttp.ClientSession, base_url: str, **more) -> HttpPartner:
    return HttpPartner(session, "Partner", base_url, setting="partner.base_url", **more)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("there", ["itself", "elsewhere"])
async def test_no_redirect_is_followed(
    session: aiohttp.ClientSession, elsewhere: Server, status: int, there: str
) -> None:
    def redirect(_: web.Request) -> web.Response:
        base_url = server.base_url if there == "itself" else elsewhere.base_url
        return web.Response(status=status, headers={"Location": f"{base_url}/there"})

    async with serving(redirect) as server:
        one = partner(session, server.base_url)
        for ask in (
            lambda: one.ask("POST", "/here", what="POST it", data=b"a record", headers={"Authorization": "secret"}),
            lambda: one.listen("/hub", what="the hub", largest_frame_bytes=1000),
        ):
            with pytest.raises(AccessRefused, match=f"{status}, a redirect") as refused:
                await ask()
            assert refused.value.setting == "partner.base_url"
    assert elsewhere.requests == []
    assert server.requests == ["POST /here", "GET /hub"]


@pytest.mark.parametrize(
    "address",
    [
        "{elsewhere}/x",
        "http://{own}@{elsewhere_host}/x",
        "http://{own}:80@{elsewhere_host}/x",
        "http://user:word@{own}/x",
        "//{elsewhere_host}/x",
        "https://{own}/x",
        "ftp://{own}/x",
        "file:///etc/passwd",
        "http://{own}.example/x",
        "http://localhost:{port}/x",
        "http://127.0.0.1:1/x",
        "http://127.0.0.1/x",
        "http://[::1]:{port}/x",
        "http://{own}\\@{elsewhere_host}/x",
        "http://[/x",
        "ws://{elsewhere_host}/x",
    ],
)
async def test_an_address_that_a_partner_gives_is_of_the_list_or_not_asked(
    session: aiohttp.ClientSession, elsewhere: Server, address: str
) -> None:
    async with serving(lambda _: web.Response()) as server:
        one = partner(session, server.base_url)
        own = server.base_url.removeprefix("http://")
        given = address.format(
            elsewhere=elsewhere.base_url,
            elsewhere_host=elsewhere.base_url.removeprefix("http://"),
            own=own,
            port=own.partition(":")[2],
        )
        with pytest.raises(NeedsSetup):
            await one.ask("GET", given, what="GET it")
        with pytest.raises(NeedsSetup):
            await one.listen(given, what="the hub", largest_frame_bytes=1000)
    assert elsewhere.requests == server.requests == []


async def test_an_address_of_our_own_making_is_of_the_list_too(
    session: aiohttp.ClientSession, elsewhere: Server
) -> None:
    with pytest.raises(NeedsSetup):
        await partner(session, "http://127.0.0.1:1").ask("GET", URL(elsewhere.base_url), what="GET it")
    assert elsewhere.requests == []


async def test_a_host_of_the_list_is_asked(session: aiohttp.ClientSession, elsewhere: Server) -> None:
    one = partner(session, "http://127.0.0.1:1", allowed_hosts=[elsewhere.base_url.removeprefix("http://")])
    assert (await one.ask("GET", f"{elsewhere.base_url}/x", what="GET it")).body == b"stolen"


@pytest.mark.parametrize(
    ("entry", "origin"),
    [
        ("hub.example", ("https", "hub.example", 443)),
        ("HUB.example:8443", ("https", "hub.example", 8443)),
        ("http://hub.example", ("http", "hub.example", 80)),
        ("wss://hub.example/", ("https", "hub.example", 443)),
    ],
)
def test_entries_of_the_list(entry: str, origin: tuple[str, str, int]) -> None:
    assert allowed_origins("https://a.example/x", [entry]) == {("https", "a.example", 443), origin}


@pytest.mark.parametrize("entry", ["", "http://", "a.example/path", "user@a.example", "ftp://a.example", "*", "[::1"])
def test_an_entry_that_names_no_host_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match=r"is no host|URL"):
        allowed_origins("https://a.example", [entry])


async def test_a_compressed_answer_is_read_and_cookies_are_not_kept(session: aiohttp.ClientSession) -> None:
    def answer(request: web.Request) -> web.Response:
        response = web.Response(body=b"word " * 1000, headers={"Set-Cookie": "a=b"})
        response.enable_compression(web.ContentCoding.gzip)
        assert "Cookie" not in request.headers
        return response

    async with serving(answer) as server:
        one = partner(session, server.base_url)
        for _ in range(2):
            assert (await one.ask("GET", "/", what="GET it")).body == b"word " * 1000
        with pytest.raises(UnusableAnswer, match="4999 bytes"):
            await one.ask("GET", "/", what="GET it", largest_bytes=4999)


async def test_silence_and_refusal_are_transient(session: aiohttp.ClientSession) -> None:
    with pytest.raises(Transient, match="ClientConnectorError"):
        await partner(session, "http://127.0.0.1:1").ask("GET", "/", what="GET it")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(Transient, match=r"no answer within 0\.2 s"):
            await partner(session, f"http://127.0.0.1:{port}", timeout_seconds=0.2).ask("GET", "/", what="GET it")


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("7", 7.0), ("0", 0.0), ("99999", LONGEST_RETRY_AFTER_SECONDS), ("9" * 400, LONGEST_RETRY_AFTER_SECONDS),
        ("nan", None), ("inf", None), ("-5", None), ("soon", None), ("", None), ("٣", None),
        ("Mon, 01 Jan 0001 00:00:00 GMT", 0.0), ("Mon, 99 Foo 99999 00:00:00 GMT", None),
        ("Thu, 01 Jan 2026 00:00:00 GMT", 0.0),
    ],
)  # fmt: skip
def test_retry_after_is_a_pause_or_nothing(given: str, seconds: float | None) -> None:
    assert Answer(503, {"Retry-After": given}, b"").retry_after_seconds == seconds


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize(
    "deep", ["[" * 100_000 + "]" * 100_000, '{"a":' * 5000 + '"}]"' + "}" * 5000, '[{"a":[' * 3000 + "]}]" * 3000]
)
def test_json_beyond_the_parsers_depth_leaves_the_rest_readable(deep: str, encoding: str) -> None:
    """Whoever reads a list of resources loses the one that nests too deeply, and not the others."""
    seen: list[object] = []

    def cut(value: dict[str, object]) -> object:
        seen.append(value)
        return {**value, "deep": None}

    text = '{"before": ["[{", 1], "deep": ' + deep + ', "after": "\\"]é"}'
    value = parse_json(text.encode(encoding), if_deep=cut)
    assert value == {"before": ["[{", 1], "deep": None, "after": '"]é'}
    assert len(seen) == 1
    with pytest.raises(ValueError, match=r".+"):
        parse_json(text[:-1].encode(encoding), if_deep=cut)


def test_json_is_bounded_in_values_and_depth() -> None:
    def nested(depth: int) -> bytes:
        return b"[" * depth + b"]" * depth

    assert parse_json(nested(DEEPEST_JSON))
    for depth in (DEEPEST_JSON + 1, 500, 100_000):
        with pytest.raises(UnusableAnswer, match="levels deep"):
            parse_json(nested(depth))
    wide = b"[" + b"{}," * 1000 + b"{}]"
    assert len(parse_json(wide)) == 1001, "many beside each other are not deep"
    with pytest.raises(UnusableAnswer, match="values"):
        parse_json(b"[" + b"1," * MOST_JSON_VALUES + b"1]")
    for broken in (b"", b"<html>", b"\xff\xfe", b'{"a":', b"[" * 100_000, b"[" * 100_000 + b'"\\"'):
        with pytest.raises(ValueError, match=r".+"):
            parse_json(broken)


async def test_the_loop_goes_on_while_a_large_answer_is_parsed() -> None:
    entry = {"resourceType": "HealthcareService", "id": "1", "name": "x" * 400, "a": [1, 2, {"b": "c"}]}
    body = json.dumps([entry] * 12_000).encode()
    assert len(body) > PARSED_BESIDE_BYTES
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.001)
            turns += 1

    turning = asyncio.create_task(turn())
    await asyncio.sleep(0)
    before = turns
    value = await Answer(200, {}, body).json()
    during = turns - before
    turning.cancel()
    assert value == [entry] * 12_000
    assert during >= 3, "it turned while the answer was parsed, and not only before and after"
