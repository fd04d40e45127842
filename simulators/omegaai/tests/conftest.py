"""A simulator that listens on a real port, and clients for its users: the suite, a patient, the staff."""

import asyncio
import itertools
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from playwright.async_api import Browser, async_playwright, expect

sys.path.insert(0, str(Path(__file__).parent))

from omegaai_sim.app import Simulator, running
from omegaai_sim.settings import Settings
from simulator_kit.serving import serving

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--remote-debugging-port=0",
]
STEP_MILLISECONDS = 60_000
FHIR = "application/fhir+json"
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Nothing here speaks TLS, and loading the machine's certificates takes a while each time."""
SYSTEM = "http://northside.example/patient-id"


def patient(email: str | None = "jane.roe@example.org", **changes: Any) -> dict[str, Any]:
    body: dict[str, Any] = {
        "resourceType": "Patient",
        "identifier": [{"type": {"coding": [{"code": "MR"}]}, "system": SYSTEM, "value": uuid4().hex[:8]}],
        "name": [{"family": "Roe", "given": ["Jane", "A"]}],
        "gender": "female",
        "birthDate": "1980-02-29",
        "managingOrganization": {"reference": "Organization/1"},
    }
    if email:
        body["telecom"] = [
            {"system": "phone", "value": "(416)555-0100"},
            {"system": "email", "value": email, "rank": 1},
        ]
    return body | changes


def appointment(patient_id: str, *, service: str = "11", placer: str = "P100045", **changes: Any) -> dict[str, Any]:
    body = {
        "resourceType": "Appointment",
        "identifier": [
            {"system": "urn:ietf:rfc:3986", "value": f"urn:uuid:{uuid4()}"},
            {"system": "urn:powerserver:placer", "value": placer},
        ],
        "status": "pending",
        "start": "2036-12-01T14:30:00-05:00",
        "end": "2036-12-01T15:00:00-05:00",
        "minutesDuration": 30,
        "serviceType": [{"coding": [{"system": "urn:ramsoft:studytype", "code": "CT-HEAD", "display": "CT Head"}]}],
        "participant": [
            {"actor": {"reference": f"Patient/{patient_id}"}, "status": "needs-action"},
            {"actor": {"reference": f"HealthcareService/{service}"}, "status": "accepted"},
        ],
    }
    return body | changes


async def eventually(condition: Callable[[], Awaitable[Any]], timeout_seconds: float = 60) -> Any:
    """The first true answer of ``condition``."""
    async with asyncio.timeout(timeout_seconds):
        while True:
            answer = await condition()
            if answer:
                return answer
            await asyncio.sleep(0.01)


@dataclass
class Portal:
    """A patient's browser at Blume, or a program that behaves like one."""

    http: httpx.AsyncClient
    csrf: str = ""

    async def log_in(self, email: str = "jane.roe@example.org", pin: str = "246810") -> httpx.Response:
        answer = await self.http.post("/blume/login", data={"email": email, "pin": pin})
        if answer.status_code == 303:
            self.csrf = (await self.http.get("/blume/api/session")).json()["csrf"]
        return answer

    async def cards(self) -> dict[str, dict[str, Any]]:
        answer = await self.http.get("/blume/api/appointments")
        return {card["placer_number"]: card for card in answer.json()["appointments"]}

    async def act(self, identifier: str, action: str, **fields: str) -> httpx.Response:
        return await self.http.post(f"/blume/appointments/{identifier}/{action}", data={"csrf": self.csrf, **fields})


@dataclass
class Bench:
    """A running simulator with what tests do to it."""

    simulator: Simulator
    base: str
    stack: AsyncExitStack
    api: httpx.AsyncClient
    patient: Callable[..., dict[str, Any]] = patient
    appointment: Callable[..., dict[str, Any]] = appointment
    placers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(100045))

    async def authorize(self) -> None:
        self.api.headers["Authorization"] = f"Bearer {(await self.token()).json()['access_token']}"

    async def token(self, **changes: str) -> httpx.Response:
        form = {"grant_type": "client_credentials", "client_id": "suite", "client_secret": "development-secret"}
        return await self.api.post("/auth/oauth2/v2.0/token", data={**form, "scope": "fhir", **changes})

    async def create(
        self, body: Mapping[str, Any], if_none_exist: str | None = None, status: int = 201
    ) -> httpx.Response:
        headers = {"Content-Type": FHIR} | ({"If-None-Exist": if_none_exist} if if_none_exist is not None else {})
        answer = await self.api.post(f"/fhir/{body['resourceType']}", json=body, headers=headers)
        assert answer.status_code == status, answer.text
        return answer

    async def update(self, body: Mapping[str, Any], version: int | None, status: int = 200) -> httpx.Response:
        headers = {"Content-Type": FHIR} | ({} if version is None else {"If-Match": f'W/"{version}"'})
        answer = await self.api.put(f"/fhir/{body['resourceType']}/{body['id']}", json=body, headers=headers)
        assert answer.status_code == status, answer.text
        return answer

    async def get(self, path: str, expect: int = 200, **query: Any) -> Any:
        answer = await self.api.get(f"/fhir/{path}", params=query)
        assert answer.status_code == expect, answer.text
        return answer.json()

    async def book(self, email: str | None = "jane.roe@example.org", **changes: Any) -> dict[str, Any]:
        """A new patient with an appointment, as it is stored."""
        person = (await self.create(patient(email))).json()
        placer = f"P{next(self.placers)}"
        stored: dict[str, Any] = (await self.create(appointment(person["id"], placer=placer, **changes))).json()
        return stored

    async def ledger(self, kind: str = "", after: int = 0) -> list[dict[str, Any]]:
        rows = (await self.api.get("/ledger", params={"after": after, "limit": 10_000})).json()["rows"]
        return [row for row in rows if not kind or row["kind"] == kind]

    async def misbehave(self, **order: Any) -> None:
        answer = await self.api.post("/control/misbehave", json=order)
        assert answer.status_code == 201, answer.text

    async def browser(self) -> httpx.AsyncClient:
        """A client that keeps cookies and is not logged in."""
        return await self.stack.enter_async_context(
            httpx.AsyncClient(base_url=self.base, trust_env=False, verify=NO_TLS)
        )

    async def portal(self, email: str | None = None) -> Portal:
        opened = Portal(await self.browser())
        if email:
            assert (await opened.log_in(email)).status_code == 303
        return opened


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, http_host="127.0.0.1", http_port=0, dialect="strict", token_seconds=3600)


@pytest.fixture
async def omegaai(settings: Settings) -> AsyncIterator[Bench]:
    async with running(settings) as simulator, AsyncExitStack() as stack:
        port = await stack.enter_async_context(
            serving(
                simulator.app, "127.0.0.1", 0, close_streams=simulator.close_streams, grace_seconds=1, websockets=True
            )
        )
        base = f"http://127.0.0.1:{port}"
        api = await stack.enter_async_context(
            httpx.AsyncClient(base_url=base, trust_env=False, timeout=60, verify=NO_TLS)
        )
        bench = Bench(simulator, base, stack, api)
        await bench.authorize()
        yield bench


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One browser for all tests here; each test has its own profile in it. Gives the address of its DevTools."""
    if not Path(CHROMIUM).exists():
        pytest.skip(f"needs a Chromium at {CHROMIUM}")
    command = [CHROMIUM, *ARGUMENTS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as browser:
        assert browser.stderr is not None
        yield next(line.split()[-1] for line in browser.stderr if line.startswith("DevTools listening on"))
        browser.terminate()


@pytest.fixture
async def browser(chromium: str) -> AsyncIterator[Browser]:
    expect.set_options(timeout=STEP_MILLISECONDS)
    async with async_playwright() as playwright:
        yield await playwright.chromium.connect_over_cdp(chromium)
