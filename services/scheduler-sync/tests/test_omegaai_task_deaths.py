"""R3: a hundred deaths between the commit of what a Task speaks of and its completion: each act has one effect."""

import asyncio

import aiohttp
import pytest
from fake_omegaai import FakeOmegaAI
from sync_harness import Harness, each_confirmed_once, patient_confirms, task_queue

from chassis import failpoints
from chassis.testing import DEATHS_AT_EACH_POINT, Deaths, eventually
from scheduler_sync.adapters.omegaai.tasks import TaskQueue

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


async def test_deaths_between_the_commit_and_the_tasks_completion(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = "tasks.after-commit-before-complete"
    deaths = Deaths(point)
    monkeypatch.setattr(failpoints, "hit", deaths.hit)
    async with FakeOmegaAI().serving() as server, aiohttp.ClientSession() as session:
        acts: list[str] = []

        async def a_patient_confirms() -> None:
            acts.append(f"P{len(acts)}")
            await patient_confirms(harness, server, acts[-1])

        def queue() -> TaskQueue:
            return task_queue(harness, session, server.base_url, poll_seconds=0.02)

        async def no_task_is_open() -> bool:
            return not server.open_tasks()

        await deaths.lives(queue, a_patient_confirms)
        assert deaths.at[point] == DEATHS_AT_EACH_POINT
        last = queue()
        running = asyncio.create_task(last.run())
        await eventually(no_task_is_open, what="every Task completed")
        await last.stop()
        await asyncio.wait_for(running, 60)
    assert len(acts) >= DEATHS_AT_EACH_POINT
    await each_confirmed_once(harness, acts)
