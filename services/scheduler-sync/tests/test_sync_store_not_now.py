"""What Postgres does not take now parks no Task, and the resources are read all the same once it does."""

import asyncio
from datetime import UTC, datetime

import aiohttp
import pytest
from fake_omegaai import FakeOmegaAI
from sync_harness import Harness, each_confirmed_once, patient_confirms, task_queue

from chassis.errors import StoreUnavailable
from chassis.testing import eventually
from chassis.testing.refusals import COLLISIONS, NOT_NOW, refused, refusing
from omegaai.client import FhirClient
from omegaai.token import TokenSource
from scheduler_sync.adapters.omegaai.tasks import TaskItem
from scheduler_sync.resources import ResourceDirectory, ResourceImport, StoredResources

pytestmark = pytest.mark.stack


@pytest.mark.parametrize("table", ["inbox", "appointment_links"])
async def test_a_task_that_the_store_does_not_take_now_is_neither_parked_nor_completed(
    harness: Harness, table: str
) -> None:
    placers: list[str] = []
    async with FakeOmegaAI().serving() as server, aiohttp.ClientSession() as session:
        queue = task_queue(harness, session, server.base_url)
        for state in (*NOT_NOW, *COLLISIONS):
            placers.append(f"P{len(placers)}")
            await patient_confirms(harness, server, placers[-1])
            async with refusing(harness.store, table, state):
                with pytest.raises(StoreUnavailable):
                    await queue.read_once()
                assert await refused(harness.store) > 0
            assert server.open_tasks(), state
            await queue.read_once()
            assert not server.open_tasks(), state
    assert await harness.rows("SELECT * FROM parked_tasks") == []
    await each_confirmed_once(harness, placers)


async def test_a_task_that_cannot_be_read_is_parked_once_the_store_takes_it(harness: Harness) -> None:
    item = TaskItem("task-1", datetime.now(UTC))
    async with refusing(harness.store, "feed_cursor", "55P03"):
        with pytest.raises(StoreUnavailable):
            await harness.tasks.apply([item])
    assert await harness.tasks.apply([item]) == [None]


async def test_resources_are_read_once_the_store_takes_them(harness: Harness) -> None:
    directory = ResourceDirectory(lambda: harness.site.file)
    stored = StoredResources(harness.store, harness.site)

    async def is_filled() -> bool:
        return len(directory) > 0

    async def was_refused() -> bool:
        return await refused(harness.store) > 1

    async with FakeOmegaAI().serving() as server, aiohttp.ClientSession() as session:
        tokens = TokenSource(
            session, f"{server.base_url}/auth/oauth2/v2.0/token",
            client_id="suite", client_secret="development-secret", scope="api",
        )  # fmt: skip
        client = FhirClient(session, server.base_url, tokens)
        reading = ResourceImport(client, harness.site, stored, directory, interval_seconds=60)
        async with refusing(harness.store, "resources", "57014"):
            running = asyncio.create_task(reading.run())
            await eventually(was_refused, what="two tries")
            assert len(directory) == 0
        await eventually(is_filled, what="the resources")
        await reading.stop()
        await running
