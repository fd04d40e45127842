"""The process itself: settings, a kill at any moment, a clean end."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator

import httpx
import pytest

from local_stack.ports import free_port
from powerserver_sim.options import load


class Process:
    """`python -m powerserver_sim` over and over on the same store and ports."""

    def __init__(self, data_dir: str, peer_port: int) -> None:
        self.port = free_port()
        self._arguments = [
            f"--data-dir={data_dir}", f"--http-port={self.port}", f"--mllp-port={free_port()}",
            "--worklist-port=0",
            f"--peer-port={peer_port}", "--ack-timeout-seconds=1",
        ]  # fmt: skip
        self.running: asyncio.subprocess.Process | None = None
        self.api = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}", auth=("admin", "development"), trust_env=False
        )

    async def start(self) -> None:
        self.running = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "powerserver_sim", *self._arguments, stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(60):
            while not await self._serves():
                await asyncio.sleep(0.05)

    async def _serves(self) -> bool:
        try:
            return (await self.api.get("/healthz")).status_code == 200
        except httpx.TransportError:
            return False

    async def end(self, number: signal.Signals) -> tuple[int | None, bytes]:
        assert self.running is not None
        self.running.send_signal(number)
        output, _ = await self.running.communicate()
        return self.running.returncode, output


@pytest.fixture
async def process(tmp_path, partner) -> AsyncIterator[Process]:
    started = Process(str(tmp_path), partner.port)
    await started.start()
    yield started
    await started.api.aclose()
    if started.running is not None and started.running.returncode is None:
        await started.end(signal.SIGKILL)


async def test_what_was_answered_survives_a_kill_and_is_sent(process, partner) -> None:
    partner.script = [None] * 3
    placers = []
    for hour in (9, 10, 11):
        body = {
            "patient": {"id": "4711"}, "resource": "BLUME CT", "start": f"2026-12-01T{hour:02d}:00:00-05:00",
            "study_types": ["CT-HEAD"],
        }  # fmt: skip
        answer = await process.api.post("/api/appointments", json=body)
        assert answer.status_code == 201
        placers.append(answer.json()["placer_number"])
    await process.end(signal.SIGKILL)
    partner.script = []

    await process.start()
    for placer in placers:
        assert (await process.api.get(f"/api/appointments/{placer}")).json()["status"] == "SCHEDULED"
    async with asyncio.timeout(60):
        while len(set(partner.control_ids)) < 3:
            await asyncio.sleep(0.02)
    first = partner.control_ids.count("PS0000000001")
    assert first >= 2, "the message that had no answer was not sent again under its control id"
    code, output = await process.end(signal.SIGTERM)
    assert code == 0
    assert b"stopped" in output


def test_settings_come_from_options_over_the_environment(capsys) -> None:
    environment = {
        "POWERSERVER_SIM_HTTP_PORT": "9000",
        "POWERSERVER_SIM_PROFILE": "orm",
        "POWERSERVER_SIM_ADT_OUT": "on",
    }
    settings = load(["--http-port", "9001"], environment)
    assert (settings.http_port, settings.profile, settings.adt_out) == (9001, "orm", "on")
    for arguments, variables in ((["--profile", "fax"], {}), ([], {"POWERSERVER_SIM_MLLP_PORT": "many"})):
        with pytest.raises(SystemExit, match="2"):
            load(arguments, variables)
    assert "--mllp-port" in capsys.readouterr().err
