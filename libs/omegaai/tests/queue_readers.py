"""The simulator in a process of its own, and readers of its Task queue that keep their effects in a real store."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp

from chassis.observe import Metrics
from chassis.store import Store
from local_stack.ports import free_port
from omegaai.client import FhirClient, Found
from omegaai.tasks import StoredCursor, TaskItem, TaskReader, statements
from omegaai.token import TokenSource

CLAIMS: Mapping[str, str] = {"Patient": "patients", "ImagingStudy": "studies"}
EFFECTS = (
    "CREATE TABLE effects (task_id text PRIMARY KEY, reader text NOT NULL, focus text NOT NULL, seen int NOT NULL)"
)
_TAKE = """
INSERT INTO effects VALUES ($1, $2, $3, 1) ON CONFLICT (task_id) DO UPDATE SET seen = effects.seen + 1
"""


@dataclass
class StoreUrl:
    url: str
    pool_size: int = 4


@asynccontextmanager
async def opened_store(url: str) -> AsyncIterator[Store]:
    store = await Store.open(StoreUrl(url))
    await store.pool.execute(statements.CREATE)
    await store.pool.execute(EFFECTS)
    try:
        yield store
    finally:
        await store.close()


class NotingClient(FhirClient):
    """Notes its searches for Tasks."""

    def __init__(self, *arguments: Any, searches: list[str], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._searches = searches

    async def _request(self, method: str, resource_type: str, resource_id: str | None = None, **more: Any) -> Found:
        if (method, resource_type, resource_id) == ("GET", "Task", None):
            self._searches.append(str(more.get("address") or more.get("query")))
        return await super()._request(method, resource_type, resource_id, **more)


@dataclass
class OmegaAI:
    """The simulator, and what a test does to it."""

    base_url: str
    session: aiohttp.ClientSession
    searches: list[str] = field(default_factory=list)
    """What was asked by all searches for Tasks, each with its pages."""

    def client(self) -> FhirClient:
        tokens = TokenSource(
            self.session, f"{self.base_url}/auth/oauth2/v2.0/token",
            client_id="suite", client_secret="development-secret", scope="api/.default",
        )  # fmt: skip
        return NotingClient(self.session, self.base_url, tokens, timeout_seconds=60, searches=self.searches)

    async def make_tasks(self, kind: str, number: int = 1, **more: str) -> list[str]:
        """Tasks about resources of ``kind``, which the simulator does not keep."""
        body = {"type": kind, "number": number, **more}
        async with self.session.post(f"{self.base_url}/control/tasks", json=body) as answer:
            assert answer.status == 201, await answer.text()
            return await answer.json()

    async def new_patient(self, number: str) -> None:
        """A patient, and with it a Task."""
        body = {
            "resourceType": "Patient", "name": [{"family": "Roe", "given": ["Jane"]}], "gender": "female",
            "identifier": [{"system": "http://northside.example/patient-id", "value": number}],
            "managingOrganization": {"reference": "Organization/1"},
        }  # fmt: skip
        await self.client().create("Patient", body, if_none_exist=f"identifier={number}")

    async def task(self, task_id: str) -> dict:
        return (await self.client().read("Task", task_id)).resource

    async def open_tasks(self) -> list[dict]:
        query = {"status": "ready", "reasoncode": "mirthoutbound", "_count": "500"}
        return [found.resource async for found in self.client().search("Task", query)]


@asynccontextmanager
async def simulator(folder: Path) -> AsyncIterator[OmegaAI]:
    port = free_port()
    told = {"OMEGAAI_SIM_DATA_DIR": str(folder), "OMEGAAI_SIM_HTTP_PORT": str(port)}
    with (folder / "omegaai.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "omegaai_sim", env={**os.environ, **told}, stdout=log, stderr=log, cwd=folder
        )
    found = OmegaAI(f"http://127.0.0.1:{port}", None)  # type: ignore[arg-type]  # opened below
    try:
        async with AsyncExitStack() as stack:
            found.session = await stack.enter_async_context(aiohttp.ClientSession())
            async with asyncio.timeout(60):
                while not await _is_there(found):
                    await asyncio.sleep(0.05)
            yield found
    finally:
        process.terminate()
        await process.wait()


async def _is_there(omegaai: OmegaAI) -> bool:
    try:
        async with omegaai.session.get(f"{omegaai.base_url}/healthz") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


@dataclass
class Service:
    """One service that reads the queue: ``patients``, or ``studies``."""

    name: str
    store: Store
    omegaai: OmegaAI
    metrics: Metrics = field(default_factory=Metrics)

    def reader(self, **more) -> TaskReader[str]:
        reads = {"Patient": lambda found, _task_id: found.id} if self.name == "patients" else {"ImagingStudy": None}
        options = {"poll_seconds": 0.05, "look_seconds": 60.0, "unclaimed_after": timedelta(minutes=15), **more}
        return TaskReader(
            self.omegaai.client(), self.take, service=self.name, reads=reads, claims=CLAIMS,
            cursor=StoredCursor(self.store, self.name), metrics=self.metrics, **options,
        )  # fmt: skip

    async def take(self, items: Sequence[TaskItem[str]]) -> list[Exception | None]:
        assert all(item.parked is None for item in items)
        await self.store.pool.executemany(_TAKE, [(item.task_id, self.name, item.focus) for item in items])
        return [None for _ in items]

    async def taken(self) -> list[str]:
        rows = await self.store.pool.fetch("SELECT focus FROM effects WHERE reader = $1 ORDER BY focus", self.name)
        return [row["focus"] for row in rows]
