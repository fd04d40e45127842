"""A slow or silent OmegaAI shows as OmegaAI's slowness, and is no reason to kill the service that takes HL7.

The host's patience with a loop is cut from a minute to a second here, and the partner's answers to match.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace

import aiohttp
import httpx
import pytest
from aiohttp import web
from fake_omegaai import FakeOmegaAI, service, until

from chassis.host import Service
from chassis.loops import Loop
from chassis.observe import Metrics
from chassis.settings import HttpSettings
from chassis.testing import MACHINE_SECONDS
from omegaai.client import FhirClient, Page
from omegaai.feed import ChangeFeed
from omegaai.token import TokenSource
from scheduler_sync.adapters.omegaai.reader import ServiceFound
from scheduler_sync.adapters.omegaai.tasks import TaskItem, TaskQueue
from scheduler_sync.domain.resource import Resource
from scheduler_sync.resources import ResourceDirectory, ResourceImport
from scheduler_sync.resources.matching import Comparison

STALLED_SECONDS = 3.0
"""Of a loop, here: longer than a busy machine lets it wait for its turn."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chassis.host.service.STALLED_SECONDS", STALLED_SECONDS)
    monkeypatch.setattr("chassis.host.service.SLOW_PARTNER_SECONDS", STALLED_SECONDS)


class Probed:
    """What the probes say of one loop, asked all the time while it runs."""

    def __init__(self, loop: Loop) -> None:
        self.metrics = Metrics()
        self.service = Service("sync", HttpSettings(port=0), self.metrics, {"loop": loop}, {})
        self.dead_at: float | None = None
        self.waits: list[str] = []
        self.longest_wait_seconds = 0.0

    async def watch(self) -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self.service.app()), base_url="http://s") as http:
            while True:
                if (await http.get("/livez")).status_code != 200 and self.dead_at is None:
                    self.dead_at = time.monotonic()
                ready = await http.get("/readyz")
                assert ready.status_code == 200, "a partner's slowness does not keep anybody from being asked"
                self.waits += [f"{name} {value}" for name, value in ready.json().items()]
                await http.get("/metrics")
                seconds = self.metrics.value("partner_wait_seconds", loop="loop", partner="omegaai")
                self.longest_wait_seconds = max(self.longest_wait_seconds, seconds)
                await asyncio.sleep(0.02)


@asynccontextmanager
async def running(loop: Loop) -> AsyncIterator[Probed]:
    probed = Probed(loop)
    tasks = [asyncio.create_task(loop.run()), asyncio.create_task(probed.watch())]
    try:
        yield probed
    finally:
        await loop.stop()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


class SlowOmegaAI(FakeOmegaAI):
    """Answers each request of a path that holds ``slow`` after ``seconds``."""

    def __init__(self, slow: str, seconds: float) -> None:
        super().__init__()
        self.slow, self.seconds = slow, seconds

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Callable) -> web.StreamResponse:
        if self.slow in request.path:
            await asyncio.sleep(self.seconds)
        return await super()._middleware(request, handler)


def client_of(server: FakeOmegaAI, session: aiohttp.ClientSession, timeout_seconds: float = 30) -> FhirClient:
    return FhirClient(session, server.base_url, tokens_of(server, session), timeout_seconds=timeout_seconds)


def tokens_of(server: FakeOmegaAI, session: aiohttp.ClientSession) -> TokenSource:
    values = {"client_id": "suite", "client_secret": "development-secret", "scope": "api"}
    return TokenSource(session, f"{server.base_url}/auth/oauth2/v2.0/token", **values)


async def take(items: Sequence[TaskItem]) -> list[None]:
    return [None for _ in items]


def an_appointment(number: int) -> dict:
    return {
        "resourceType": "Appointment", "id": str(number), "status": "booked",
        "start": "2026-12-01T14:30:00-05:00", "end": "2026-12-01T15:00:00-05:00",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("slow", "seconds"),
    [
        pytest.param("/fhir/Task", 2 * STALLED_SECONDS, id="each answer takes twice as long as a loop may stand"),
        pytest.param("/fhir/Appointment", 1.0, id="many answers take their time one after the other"),
        pytest.param("/oauth2/", 2 * STALLED_SECONDS, id="the token"),
    ],
)
async def test_a_queue_that_waits_for_omegaai_is_alive_and_says_for_whom(slow: str, seconds: float) -> None:
    async with SlowOmegaAI(slow, seconds).serving() as server, aiohttp.ClientSession() as session:
        for number in range(50):
            server.put_directly(an_appointment(number))
        queue = TaskQueue(client_of(server, session), take, poll_seconds=0.05)
        async with running(queue) as probed:
            await until(lambda: not server.open_tasks())
            await until(lambda: probed.waits and probed.longest_wait_seconds >= STALLED_SECONDS)
    assert probed.dead_at is None
    assert any(said.startswith("loop waits for omegaai since") for said in probed.waits)


async def test_a_pause_that_omegaai_asks_for_is_no_death() -> None:
    async with FakeOmegaAI().serving() as server, aiohttp.ClientSession() as session:
        server.answer_once(
            lambda request: "/fhir/Task" in request.path,
            lambda _: web.Response(status=503, headers={"Retry-After": str(int(4 * STALLED_SECONDS))}),
        )
        server.put_directly(an_appointment(1))
        async with running(TaskQueue(client_of(server, session), take, poll_seconds=0.05)) as probed:
            await until(lambda: not server.open_tasks())
    assert probed.dead_at is None


async def test_a_queue_that_hangs_in_the_store_is_still_found_dead() -> None:
    async def hang(_: Sequence[TaskItem]) -> list[None]:
        await asyncio.Event().wait()
        raise AssertionError

    async with FakeOmegaAI().serving() as server, aiohttp.ClientSession() as session:
        server.put_directly(an_appointment(1))
        async with running(TaskQueue(client_of(server, session), hang, poll_seconds=0.05)) as probed:
            await until(lambda: probed.dead_at)


async def test_a_call_that_outlasts_its_own_deadline_is_found_dead() -> None:
    class Hanging:
        longest_call_seconds = 2 * STALLED_SECONDS

        async def pages(self, *_: object, **__: object) -> AsyncIterator[Page]:
            await asyncio.Event().wait()
            yield Page([], is_last=True)

    async with running(TaskQueue(Hanging(), take, poll_seconds=0.05)) as probed:
        started = time.monotonic()
        await until(lambda: probed.dead_at)
    assert probed.dead_at - started >= 2 * STALLED_SECONDS, "until then it was the partner's time"


class Kept:
    """The resources' store, in memory."""

    def __init__(self) -> None:
        self.facilities: dict[str, list[ServiceFound]] = {}

    async def keep(self, facility: str, services: Sequence[ServiceFound]) -> None:
        self.facilities[facility] = list(services)

    async def all(self) -> Sequence[Resource]:
        return []

    async def compare(self, site: object) -> Comparison:
        del site
        return Comparison()

    async def newest_change(self) -> int | None:
        return None


def import_of(client: FhirClient, kept: Kept, metrics: Metrics | None = None) -> ResourceImport:
    facilities = {
        code: SimpleNamespace(organization=number, time_zone="America/Toronto")
        for code, number in (("NORTH", "2"), ("LAKE", "3"))
    }
    site = SimpleNamespace(
        file=SimpleNamespace(facilities=facilities, resource_aliases={}), refresh=lambda: False, problem=None
    )
    directory = ResourceDirectory(lambda: site.file)
    return ResourceImport(client, site, kept, directory, interval_seconds=3600, metrics=metrics)


async def test_an_import_of_many_slow_pages_is_alive() -> None:
    async with SlowOmegaAI("/fhir/", 0.4).serving() as server, aiohttp.ClientSession() as session:
        server.page_size = 1
        for number in range(4, 12):
            server.put_directly(service(f"hs-{number}", f"BLUME {number}", "2", "CT"))
        kept = Kept()
        async with running(import_of(client_of(server, session), kept)) as probed:
            await until(lambda: len(kept.facilities) == 2)
    assert len(kept.facilities["NORTH"]) == 10
    assert probed.dead_at is None
    assert probed.longest_wait_seconds > STALLED_SECONDS


async def test_a_feed_that_waits_for_its_address_is_alive() -> None:
    async with (
        SlowOmegaAI("/SignalRConnectionInfo", 2 * STALLED_SECONDS).serving() as server,
        aiohttp.ClientSession() as session,
    ):
        tokens = tokens_of(server, session)
        feed = ChangeFeed(session, server.base_url, tokens, hub="fhir", user="suite", wake=lambda: None)
        async with running(feed) as probed:
            await until(lambda: feed.is_connected)
    assert probed.dead_at is None


async def test_a_silent_token_endpoint_costs_all_who_wait_one_time_out() -> None:
    async with SlowOmegaAI("/oauth2/", 3600).serving() as server, aiohttp.ClientSession() as session:
        values = {"client_id": "suite", "client_secret": "development-secret", "scope": "api"}
        url = f"{server.base_url}/auth/oauth2/v2.0/token"
        tokens = TokenSource(session, url, **values, timeout_seconds=2)
        started = time.monotonic()
        tries = await asyncio.gather(*(tokens.token() for _ in range(20)), return_exceptions=True)
        took_seconds = time.monotonic() - started
    assert all("no answer within 2 s" in str(one) for one in tries)
    assert took_seconds < 2 + MACHINE_SECONDS, "one after the other they would take forty seconds"


# ---- one bad of many ----------------------------------------------------------------------------------------------


BAD_SERVICES = {
    "no name": {"name": None},
    "a number that nobody can keep": {"extension": [{"url": "Duration", "valueInteger": 10**30}]},
    "a number of five thousand digits": {"extension": [{"url": "Duration", "valueString": "9" * 5000}]},
    "a NUL in its name": {"name": "BLUME\0CT"},
    "half a surrogate": {"name": "BLUME \ud800"},
    "a NUL in its hours": {"availableTime": [{"daysOfWeek": ["mo\0n"]}]},
    "a list for a name": {"name": ["x"]},
    "an object for a modality": {"extension": [{"url": "modality", "valueCodeableConcept": {"code": {"a": [1]}}}]},
    "a deep extension": {"extension": [{"url": "modality", "extension": [[[[[]]]]]}]},
}


@pytest.mark.parametrize("name", BAD_SERVICES)
async def test_one_bad_service_leaves_the_others(name: str) -> None:
    async with FakeOmegaAI().serving() as server, aiohttp.ClientSession() as session:
        server.put_directly({**service("hs-0", "BLUME XR", "2", "XR"), **BAD_SERVICES[name]})
        kept = Kept()
        await import_of(client_of(server, session), kept).import_once()
    names = {one.name for one in kept.facilities["NORTH"]}
    assert {"BLUME CT", "BLUME MR"} <= names
    for one in kept.facilities["NORTH"]:
        one.name.encode()
        assert "\0" not in one.name + str(one.available_time)
        assert one.duration_minutes is None or one.duration_minutes < 2**31


async def test_a_name_with_a_backslash_is_a_name() -> None:
    async with FakeOmegaAI().serving() as server, aiohttp.ClientSession() as session:
        server.put_directly(service("hs-0", r"BLUME \u0000", "2", "XR"))
        kept = Kept()
        await import_of(client_of(server, session), kept).import_once()
    assert r"BLUME \u0000" in {one.name for one in kept.facilities["NORTH"]}


async def test_a_facility_that_cannot_be_read_leaves_the_others() -> None:
    async with FakeOmegaAI().serving() as server, aiohttp.ClientSession() as session:
        metrics = Metrics()
        server.answer_once(lambda request: request.query.get("organization") == "2", lambda _: web.Response(status=403))
        kept = Kept()
        one = import_of(client_of(server, session), kept, metrics)
        with pytest.raises(Exception, match="403"):
            await one.import_once()
        assert list(kept.facilities) == ["LAKE"]
        assert metrics.value("partner_access_refused", destination="omegaai-resources") == 1
        await one.import_once()
        assert sorted(kept.facilities) == ["LAKE", "NORTH"]
        assert metrics.value("partner_access_refused", destination="omegaai-resources") == 0


def answers(server: FakeOmegaAI, path: str, answer: Callable[[web.Request], web.Response]) -> None:
    """``answer`` to every request of ``path``, however often."""

    def again(request: web.Request) -> web.Response:
        server.answer_once(lambda one: one.path == path, again)
        return answer(request)

    server.answer_once(lambda one: one.path == path, again)


BAD_ANSWERS = {
    "it fails": lambda _: web.Response(status=500),
    "it is refused": lambda _: web.Response(status=403),
    "a web page": lambda _: web.Response(text="<html>", content_type="text/html"),
    "no JSON": lambda _: web.Response(body=b"{", content_type="application/json"),
    "too deep": lambda _: web.Response(body=b"[" * 5000 + b"]" * 5000, content_type="application/json"),
    "another type": lambda _: web.json_response({"resourceType": "Patient"}),
    "a NUL": lambda _: web.json_response({**an_appointment(0), "cancelationReason": {"text": "a\0b"}}),
    "a number of five thousand digits": lambda _: web.json_response({**an_appointment(0), "start": "9" * 5000}),
    "a version with a line end": lambda _: web.json_response({**an_appointment(0), "meta": {"versionId": "1\r\nX: y"}}),
}


@pytest.mark.parametrize("page_size", [2, 50])
@pytest.mark.parametrize("name", BAD_ANSWERS)
async def test_one_bad_task_leaves_the_others(name: str, page_size: int) -> None:
    committed: list[TaskItem] = []

    async def apply(items: Sequence[TaskItem]) -> list[None]:
        committed.extend(items)
        return [None for _ in items]

    async with FakeOmegaAI().serving() as server, aiohttp.ClientSession() as session:
        for number in range(4):  # more than a page of two, so that they would fill it
            server.put_directly(an_appointment(number))
            if number in (0, 1):
                answers(server, f"/fhir/Appointment/{number}", BAD_ANSWERS[name])
        queue = TaskQueue(client_of(server, session), apply, poll_seconds=0.05, page_size=page_size)
        async with running(queue) as probed:
            await until(lambda: {"2", "3"} <= {one.command.facts.fhir_id for one in committed if one.command})
            server.put_directly(an_appointment(9))
            await until(lambda: any(one.command and one.command.facts.fhir_id == "9" for one in committed))
    assert probed.dead_at is None


@pytest.mark.parametrize("name", ["no JSON", "too deep"])
async def test_a_task_whose_resource_never_makes_sense_is_parked_in_the_end(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omegaai.tasks.put_off.pause_seconds", lambda *_, **__: 0.01)
    committed: list[TaskItem] = []

    async def apply(items: Sequence[TaskItem]) -> list[None]:
        committed.extend(items)
        return [None for _ in items]

    async with FakeOmegaAI().serving() as server, aiohttp.ClientSession() as session:
        server.put_directly(an_appointment(0))
        answers(server, "/fhir/Appointment/0", BAD_ANSWERS[name])
        async with running(TaskQueue(client_of(server, session), apply, poll_seconds=0.01)):
            await until(lambda: not server.open_tasks())
    assert [one.parked.focus for one in committed if one.parked] == ["Appointment/0"]


async def test_a_task_that_cannot_be_completed_leaves_the_others() -> None:
    async with FakeOmegaAI().serving() as server, aiohttp.ClientSession() as session:
        for number in range(3):
            server.put_directly(an_appointment(number))
        first = server.open_tasks()[0]["id"]
        answers(server, f"/fhir/Task/{first}", lambda _: web.Response(status=422))
        queue = TaskQueue(client_of(server, session), take)
        await queue.read_once()
        assert [task["id"] for task in server.open_tasks()] == [first]
        server.put_directly(an_appointment(9))
        await queue.read_once()
        assert [task["id"] for task in server.open_tasks()] == [first]


@pytest.mark.parametrize("identifier", ["..", ".", "a/../../x", "a?b#c", "%2e%2e", "//elsewhere/x", "a b", "é"])
async def test_an_id_is_one_step_of_the_path_whatever_it_holds(identifier: str) -> None:
    async with FakeOmegaAI().serving() as server, aiohttp.ClientSession() as session:
        with pytest.raises(Exception, match=r"answered 404|is none"):
            await client_of(server, session).read("Appointment", identifier)
        asked = [path for _, path in server.requests if "oauth2" not in path]
    assert all(path.startswith("/fhir/Appointment/") and path.count("/") <= 3 + identifier.count("/") for path in asked)
