"""A simulator under test, its partner as a scripted MLLP server, and HTTP clients for its users."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import pytest

from hl7v2 import Ack, Message, build_ack
from hl7v2.mllp import Client, Peer, start_server
from powerserver_sim.app import Simulator, running
from powerserver_sim.options import Settings

sys.path.insert(0, str(Path(__file__).parent))


async def eventually(condition: Callable[[], bool], timeout_seconds: float = 60) -> None:
    async with asyncio.timeout(timeout_seconds):
        while not condition():
            await asyncio.sleep(0.01)


@dataclass
class Partner:
    """Takes HL7 like the suite does. Answers AA unless `script` holds other answers: a code, or None for silence;
    `script_of` holds those for one control id.
    """

    received: list[Message] = field(default_factory=list)
    script: list[str | None] = field(default_factory=list)
    script_of: dict[str, list[str]] = field(default_factory=dict)
    port: int = 0

    async def handle(self, frame: bytes, _peer: Peer) -> bytes | None:
        message = Message.parse(frame)
        self.received.append(message)
        script = self.script_of.get(message.control_id) or self.script
        code = script.pop(0) if script else "AA"
        if code is None:
            return None
        text = None if code == "AA" else "unknown resource"
        return build_ack(message, code, control_id=f"ACK{len(self.received)}", text=text).to_bytes()

    @property
    def control_ids(self) -> list[str]:
        return [message.control_id for message in self.received]

    async def has(self, count: int) -> None:
        await eventually(lambda: len(self.received) >= count)


@pytest.fixture
async def partner() -> AsyncIterator[Partner]:
    scripted = Partner()
    server = await start_server(scripted.handle, "127.0.0.1", 0)
    scripted.port = server.port
    yield scripted
    await server.close(drain_seconds=1)


@pytest.fixture
def settings(tmp_path: Path, partner: Partner) -> Settings:
    return Settings(
        data_dir=tmp_path,
        mllp_port=0,
        worklist_port=0,
        peer_port=partner.port,
        ack_timeout_seconds=4,  # tests act while a message waits for its answer
        retry_initial_seconds=0.02,
        retry_max_seconds=0.05,
    )


@dataclass
class Bench:
    """A running simulator with what tests do to it."""

    simulator: Simulator
    api: httpx.AsyncClient
    partner: Partner

    async def book(
        self, *, resource: str = "BLUME CT", start: str = "2026-12-01T14:30:00-05:00", **more: object
    ) -> str:
        answer = await self.try_to_book(resource=resource, start=start, **more)
        assert answer.status_code == 201, answer.text
        placer: str = answer.json()["placer_number"]
        return placer

    async def try_to_book(self, **more: object) -> httpx.Response:
        body = {"patient": {"id": "4711"}, "study_types": ["CT-HEAD"], "referring": "1001", **more}
        return await self.api.post("/api/appointments", json=body)

    async def status(self, placer: str) -> int:
        answer = await self.api.get(f"/api/appointments/{placer}")
        value: int = answer.json()["status_value"]
        return value

    async def act(self, placer: str, action: str) -> httpx.Response:
        return await self.api.post(f"/api/appointments/{placer}/status", json={"action": action})

    async def ledger(self, kind: str = "") -> list[dict[str, object]]:
        answer = await self.api.get("/ledger", params={"kind": kind} if kind else {})
        rows: list[dict[str, object]] = answer.json()["rows"]
        return rows

    async def hl7(self, data: bytes, control_id: str) -> Ack:
        async with Client("127.0.0.1", self.simulator.mllp_port, ack_timeout_seconds=60) as client:
            return await client.send(data, control_id=control_id)

    def browser(self) -> httpx.AsyncClient:
        return browser_of(self.simulator)


def browser_of(simulator: Simulator) -> httpx.AsyncClient:
    """A client that keeps cookies and is not logged in."""
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app=simulator.app), base_url="http://powerserver", trust_env=False
    )


async def opened(settings: Settings, partner: Partner, name: str) -> AsyncIterator[Bench]:
    async with running(settings) as simulator:
        transport = httpx.ASGITransport(app=simulator.app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://powerserver", auth=(name, "development"), trust_env=False
        ) as api:
            yield Bench(simulator, api, partner)


@pytest.fixture
async def bench(settings: Settings, partner: Partner) -> AsyncIterator[Bench]:
    async for opening in opened(settings, partner, "admin"):
        yield opening


@pytest.fixture
async def both_bench(settings: Settings, partner: Partner) -> AsyncIterator[Bench]:
    """Profile both: SIU and ORM for everything, and ADT for patients."""
    async for opening in opened(replace(settings, profile="both", adt_out="on"), partner, "admin"):
        yield opening
