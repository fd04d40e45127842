"""The process itself: settings, what survives a kill, and a quick end with streams open."""

import asyncio
import contextlib
import json
import signal
import sys
import time

import httpx
import pytest
from websockets.asyncio.client import connect

from local_stack.ports import free_port
from omegaai_sim.settings import load


class Process:
    """`python -m omegaai_sim` over and over on the same store and port."""

    def __init__(self, data_dir: str) -> None:
        self.port = free_port()
        self._arguments = [f"--data-dir={data_dir}", f"--http-port={self.port}"]
        self.running: asyncio.subprocess.Process | None = None
        self.api = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", trust_env=False)

    async def start(self) -> None:
        self.running = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "omegaai_sim", *self._arguments,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(60):
            while not await self._serves():
                await asyncio.sleep(0.05)
        form = {"grant_type": "client_credentials", "client_id": "suite", "client_secret": "development-secret"}
        token = (await self.api.post("/auth/oauth2/v2.0/token", data=form)).json()["access_token"]
        self.api.headers["Authorization"] = f"Bearer {token}"

    async def _serves(self) -> bool:
        try:
            return (await self.api.get("/healthz")).status_code == 200
        except httpx.TransportError:
            return False

    async def end(self, number: signal.Signals) -> tuple[int | None, bytes, bytes]:
        assert self.running is not None
        self.running.send_signal(number)
        output, problems = await self.running.communicate()
        return self.running.returncode, output, problems


@pytest.fixture
async def process(tmp_path):
    started = Process(str(tmp_path))
    await started.start()
    yield started
    if started.running is not None and started.running.returncode is None:
        await started.end(signal.SIGKILL)
    await started.api.aclose()


async def _create(api, body):
    return await api.post(
        f"/fhir/{body['resourceType']}", content=json.dumps(body), headers={"Content-Type": "application/fhir+json"}
    )


PATIENT = {
    "resourceType": "Patient",
    "identifier": [{"system": "urn:example", "value": "1"}],
    "telecom": [{"system": "email", "value": "jane.roe@example.org"}],
}


async def test_sigterm_ends_it_within_two_seconds_with_streams_open(process):
    await _create(process.api, PATIENT)
    base = str(process.api.base_url)
    async with contextlib.AsyncExitStack() as stack:
        patient = await stack.enter_async_context(httpx.AsyncClient(base_url=base, trust_env=False))
        await patient.post("/blume/login", data={"email": "jane.roe@example.org", "pin": "246810"})
        events = await stack.enter_async_context(patient.stream("GET", "/blume/events"))
        await anext(events.aiter_lines())
        info = (await process.api.get("/auth/Token/SignalRConnectionInfo")).json()
        socket = await connect(f"{info['url']}?access_token={info['accessToken']}")
        stack.push_async_callback(socket.close)
        await socket.send('{"protocol":"json","version":1}\x1e')
        assert await socket.recv() == "{}\x1e"
        began = time.monotonic()
        code, output, problems = await process.end(signal.SIGTERM)
        assert time.monotonic() - began < 27, "two seconds, and what a busy machine adds"
    assert (code, problems) == (0, b"")
    assert output.decode().strip().splitlines()[-1] == "OmegaAI simulator stopped"


async def test_what_was_answered_survives_a_kill_and_nothing_twice(process):
    answers = []

    async def write(number: int) -> None:
        body = {**PATIENT, "identifier": [{"system": "urn:example", "value": str(number)}]}
        with contextlib.suppress(httpx.TransportError):
            answer = await _create(process.api, body)
            answers.append(answer.json()["id"])

    writing = [asyncio.create_task(write(number)) for number in range(200)]
    async with asyncio.timeout(60):
        while len(answers) < 20:
            await asyncio.sleep(0.001)
    await process.end(signal.SIGKILL)
    await asyncio.gather(*writing)
    await process.start()
    rows = (await process.api.get("/ledger", params={"limit": 10_000})).json()["rows"]
    created = [row["subject"] for row in rows if row["kind"] == "Patient.created"]
    assert set(answers) <= set(created)
    assert len(created) == len(set(created))
    total = (await process.api.get("/fhir/Patient", params={"_count": 1})).json()["total"]
    tasks = (await process.api.get("/fhir/Task", params={"_count": 1})).json()["total"]
    assert total == tasks == len(created)
    assert [row["seq"] for row in rows] == sorted(row["seq"] for row in rows)


def test_settings_come_from_the_environment_and_the_command_line(tmp_path):
    environment = {"OMEGAAI_SIM_HTTP_PORT": "9000", "OMEGAAI_SIM_DIALECT": "vendor"}
    settings = load(["--data-dir", str(tmp_path), "--http-port", "9001"], environment)
    assert (settings.http_port, settings.dialect, settings.data_dir) == (9001, "vendor", tmp_path)
    assert load([], {}).http_port == 8202
    with pytest.raises(SystemExit):
        load(["--dialect", "klingon"], {})


async def test_an_answer_without_end_lasts_until_the_client_goes(process):
    await process.api.post("/control/misbehave", json={"target": "fhir", "mode": "endless"})
    async with process.api.stream("GET", "/fhir/Patient") as answer:
        received = 0
        async for piece in answer.aiter_bytes():
            received += len(piece)
            if received > 2**24:
                break
    assert (await process.api.get("/fhir/Patient")).status_code == 200
