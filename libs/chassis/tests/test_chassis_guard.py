"""Which names the pages answer to, how wrong passwords are slowed down, and what an answer about an error carries."""

import asyncio
import base64
import socket

import httpx
import pytest
from pydantic import SecretStr, ValidationError
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from chassis.observe import Metrics
from chassis.settings import HttpSettings
from chassis.web import access
from chassis.web.brake import (
    FIRST_SECONDS,
    FORGOTTEN_SECONDS,
    LONGEST_SECONDS,
    MOST_SOURCES,
    PRESSURE_A_MINUTE,
    TRIES,
    TRIES_UNDER_PRESSURE,
    Brake,
    source_of,
)
from chassis.web.guard import Guard, header_names

PASSWORD = "hard to guess"


class Clock:
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def guarded(
    *, password: str | None = None, clock: Clock | None = None, metrics: Metrics | None = None, **http: str
) -> Guard:
    def broken(_request):
        raise LookupError("Kanariová^Wilhelmina")

    def ok(*paths: str) -> list[Route]:
        return [Route(path, lambda _request: PlainTextResponse("ok")) for path in paths]

    routes = [
        *access.viewer(Route("/console", lambda _request: PlainTextResponse("the page")), Route("/broken", broken)),
        *access.operator(Route("/console/act", lambda _request: PlainTextResponse("done"), methods=["POST"])),
        *access.probe(*ok("/livez", "/readyz", "/metrics")),
    ]
    settings = HttpSettings(console_password=None if password is None else SecretStr(password), **http)
    return Guard(
        routes, settings, service="scheduler-sync", metrics=metrics or Metrics(), brake=Brake(clock or Clock())
    )


def browser(guard: Guard, address: str = "10.0.0.1") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(guard, raise_app_exceptions=False, client=(address, 40000))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


def basic(password: str, user: str = "operator") -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


# ---- names --------------------------------------------------------------------------------------------------------

OWN = [
    "127.0.0.1", "127.0.0.1:8101", "localhost", "LOCALHOST:8101", "localhost.", "[::1]", "[::1]:8101",
    "[0:0:0:0:0:0:0:1]",
    "scheduler-sync", "scheduler-sync:8101", "scheduler-sync.powerserver-blume.svc",
    "scheduler-sync.powerserver-blume.svc.cluster.local:8101", socket.gethostname(), "console.hospital.example",
    "Console.Hospital.example:443", "10.1.2.3", "10.9.9.9:8101",
]  # fmt: skip
FOREIGN = [
    "evil.example", "evil.example:8101", "127.0.0.1.evil.example", "localhost.evil.example",
    "scheduler-sync.evil.example", "scheduler-sync.app", "scheduler-sync.evil.svc.example", "evil.svc",
    "scheduler-sync.a.b.svc", "0.0.0.0", "127.0.0.2", "169.254.169.254", "[::]", "[::1", "::1", "", " ",
    "localhost@evil.example", "evil.example#localhost", "localhost:port", "localhost, evil.example", "localhost/evil",
    "console.hospital.example.evil", "hospital.example", "8101", "[localhost]",
]  # fmt: skip


@pytest.mark.parametrize(("host", "is_own"), [*((name, True) for name in OWN), *((name, False) for name in FOREIGN)])
async def test_the_pages_answer_to_their_own_names_alone(host, is_own) -> None:
    metrics = Metrics()
    guard = guarded(metrics=metrics, host="10.1.2.3", allowed_hosts="console.hospital.example, 10.9.9.9")
    async with browser(guard) as client:
        page = await client.get("/console", headers={"Host": host})
        act = await client.post("/console/act", headers={"Host": host, "Sec-Fetch-Site": "same-origin"})
        probes = [await client.get(path, headers={"Host": host}) for path in ("/livez", "/readyz", "/metrics")]
    assert (page.status_code, act.status_code) == ((200, 200) if is_own else (421, 421))
    assert [answer.status_code for answer in probes] == [200, 200, 200]
    assert metrics.value("console_refused_total", reason="host") == (0 if is_own else 2)
    assert "HTTP__ALLOWED_HOSTS" in page.text or is_own


async def answer_to(guard: Guard, *hosts: bytes) -> int:
    """The status that a request with these Host headers has, whatever a client library would make of them."""
    sent: list[dict] = []

    async def receive() -> dict:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "GET", "path": "/console", "raw_path": b"/console", "query_string": b"",
        "root_path": "", "scheme": "http", "http_version": "1.1", "client": ("10.0.0.1", 1), "server": ("127.0.0.1", 1),
        "headers": [(b"host", host) for host in hosts],
    }  # fmt: skip
    await guard(scope, receive, send)
    return int(sent[0]["status"])


async def test_a_request_without_one_host_is_refused() -> None:
    assert await answer_to(guarded(), b"localhost") == 200
    assert await answer_to(guarded()) == 421
    assert await answer_to(guarded(), b"localhost", b"localhost") == 421
    assert await answer_to(guarded(), b"evil.example", b"localhost") == 421
    assert await answer_to(guarded(), "Kanariová".encode()) == 421


@pytest.mark.parametrize("wildcard", ["0.0.0.0", "::"])
async def test_listening_everywhere_is_no_name(wildcard) -> None:
    assert await answer_to(guarded(host=wildcard), wildcard.encode()) == 421


async def test_no_websocket_is_opened() -> None:
    sent: list[dict] = []

    async def receive() -> dict:
        return {"type": "websocket.connect"}

    async def send(message: dict) -> None:
        sent.append(message)

    await guarded()({"type": "websocket", "path": "/console", "headers": []}, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


def test_allowed_hosts_are_names() -> None:
    with pytest.raises(ValidationError):
        HttpSettings(allowed_hosts="https://console.example/")
    assert HttpSettings(allowed_hosts="").allowed_hosts == ""


# ---- the brake ----------------------------------------------------------------------------------------------------


async def statuses(client: httpx.AsyncClient, *passwords: str) -> list[int]:
    return [(await client.get("/console", headers=basic(one))).status_code for one in passwords]


async def test_wrong_passwords_wait_longer_and_longer_and_are_forgotten() -> None:
    clock, metrics = Clock(), Metrics()
    guard = guarded(password=PASSWORD, clock=clock, metrics=metrics)
    async with browser(guard) as client:
        assert await statuses(client, *["wrong"] * TRIES) == [401] * TRIES
        wanted = FIRST_SECONDS
        for _ in range(8):
            refused = await client.get("/console", headers=basic("wrong"))
            assert (refused.status_code, refused.headers["retry-after"]) == (429, f"{wanted:.0f}")
            # The right one is not tried either, or an answer would tell which it is.
            assert await statuses(client, PASSWORD) == [429]
            clock.seconds += wanted
            assert await statuses(client, "wrong") == [401]
            wanted = min(wanted * 2, LONGEST_SECONDS)
        assert metrics.value("console_refused_total", reason="password") == TRIES + 8
        assert metrics.value("console_refused_total", reason="brake") == 16
        clock.seconds += LONGEST_SECONDS
        assert await statuses(client, PASSWORD, PASSWORD) == [200, 200]
        assert await statuses(client, "wrong", "wrong") == [401, 429], "a right try brought new wrong ones"
        clock.seconds += FORGOTTEN_SECONDS + 1
        assert await statuses(client, *["wrong"] * TRIES, "wrong") == [401] * TRIES + [429]


async def test_tries_at_the_same_moment_are_all_counted() -> None:
    guard = guarded(password=PASSWORD)
    async with browser(guard) as client:
        answers = await asyncio.gather(*(client.get("/console", headers=basic(f"wrong {n}")) for n in range(200)))
    assert sorted(answer.status_code for answer in answers) == [401] * TRIES + [429] * (200 - TRIES)


async def test_the_right_password_from_elsewhere_works_while_others_guess() -> None:
    guard = guarded(password=PASSWORD)
    async with browser(guard, "10.0.0.66") as guesser, browser(guard, "10.0.0.1") as operator:
        assert (await statuses(guesser, *["wrong"] * 50))[-1] == 429
        assert await statuses(operator, PASSWORD) == [200]
    for number in range(PRESSURE_A_MINUTE):
        async with browser(guard, f"10.7.0.{number}") as guesser:
            assert await statuses(guesser, "wrong") == [401]
    async with browser(guard, "10.9.0.1") as guesser, browser(guard, "10.9.0.2") as operator:
        assert await statuses(guesser, "wrong", "wrong") == [401] * TRIES_UNDER_PRESSURE + [429]
        assert await statuses(operator, PASSWORD, PASSWORD) == [200, 200]


async def test_what_is_no_wrong_password_is_not_counted_as_one() -> None:
    guard = guarded(password=PASSWORD)
    async with browser(guard) as client:
        for _ in range(3 * TRIES):
            refused = await client.get("/console")
            assert (refused.status_code, refused.headers["www-authenticate"][:5]) == (401, "Basic")
        assert await statuses(client, PASSWORD) == [200]


@pytest.mark.parametrize(
    "header",
    [
        "Basic ?",
        "Basic",
        "Bearer x",
        "",
        "Basic " + base64.b64encode(b"operator").decode(),
        basic(PASSWORD, "other")["Authorization"],
    ],
)
async def test_a_header_that_holds_no_right_password_counts_as_a_wrong_one(header) -> None:
    guard = guarded(password=PASSWORD)
    async with browser(guard) as client:
        answers = [await client.get("/console", headers={"Authorization": header}) for _ in range(TRIES + 1)]
    assert [answer.status_code for answer in answers] == [401] * TRIES + [429]


async def test_without_a_password_nothing_is_braked() -> None:
    async with browser(guarded()) as client:
        assert await statuses(client, *["wrong"] * 20) == [200] * 20


def test_the_brake_remembers_so_many_sources_and_no_more() -> None:
    brake = Brake(Clock())
    for number in range(MOST_SOURCES + 500):
        brake.wrong(f"10.{number // 65536}.{number // 256 % 256}.{number % 256}")
    assert len(brake) == MOST_SOURCES
    assert brake.wait_seconds("10.0.5.219") > 0  # the last one
    assert brake.wait_seconds("10.0.0.0") == 0


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("", "", True),
    ],
)
def test_a_network_of_ipv6_is_one_source(one, other, is_same) -> None:
    assert (source_of(one) == source_of(other)) is is_same


# ---- errors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404), ("DELETE", "/console", 405), ("GET", "/broken", 500), ("HEAD", "/console", 200),
        ("GET", "/console/act", 405), ("HEAD", "/nowhere", 404),
    ],
)  # fmt: skip
async def test_an_answer_about_an_error_has_the_headers_and_tells_nothing(method, path, status) -> None:
    async with browser(guarded(password=PASSWORD)) as client:
        headers = basic(PASSWORD) | {"Sec-Fetch-Site": "same-origin"}
        answer = await client.request(method, path, headers=headers)
    assert answer.status_code == status
    assert {name.lower() for name in header_names()} <= set(answer.headers)
    assert "Kanariov" not in answer.text
    assert "Traceback" not in answer.text
    assert len(answer.text) < 100
    if method == "HEAD":
        assert answer.headers["content-length"] != "0"
