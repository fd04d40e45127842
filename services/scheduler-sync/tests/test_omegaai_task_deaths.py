"""R3: a hundred deaths between the commit of what a Task speaks of and its completion: each act has one effect."""

import asyncio
from datetime import timedelta

import aiohttp
import pytest
from fake_omegaai import FakeOmegaAI
from sync_harness import Harness
from sync_samples import siu

from chassis import failpoints
from chassis.testing import DEATHS_AT_EACH_POINT, Deaths, eventually
from scheduler_sync.adapters.omegaai.client import FhirClient
from scheduler_sync.adapters.omegaai.tasks import TaskQueue
from scheduler_sync.adapters.omegaai.token import TokenSource

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


async def test_deaths_between_the_commit_and_the_tasks_completion(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    point: failpoints.Name = "tasks.after-commit-before-complete"
    deaths = Deaths(point)
    monkeypatch.setattr(failpoints, "hit", deaths.hit)
    async with FakeOmegaAI().serving() as server, aiohttp.ClientSession() as session:
        tokens = TokenSource(
            session, f"{server.base_url}/auth/oauth2/v2.0/token",
            client_id="suite", client_secret="development-secret", scope="api",
        )  # fmt: skip
        client = FhirClient(session, server.base_url, tokens)
        acts: list[str] = []

        async def a_patient_confirms() -> None:
            """Staff booked, OmegaAI took it, and the patient presses the button."""
            acts.append(f"P{len(acts)}")
            assert await harness.hear(siu(placer=acts[-1], control_id=acts[-1])) == [None]
            link = await harness.row("SELECT * FROM appointment_links WHERE placer_number = $1", acts[-1])
            start = link["slot_start"]
            server.put_directly(
                {
                    "resourceType": "Appointment", "id": acts[-1], "status": "booked",
                    "start": start.isoformat(), "end": (start + timedelta(minutes=30)).isoformat(),
                    "identifier": [{"system": "urn:ietf:rfc:3986", "value": f"urn:uuid:{link['id']}"}],
                }
            )  # fmt: skip

        def queue() -> TaskQueue:
            return TaskQueue(client, harness.tasks.apply, poll_seconds=0.02)

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
    links = await harness.rows("SELECT placer_number, state, revision FROM appointment_links")
    assert {row["placer_number"]: (row["state"], row["revision"]) for row in links} == dict.fromkeys(acts, ("L2", 2))
    events = [topic for topic, _ in await harness.events()]
    assert events.count("appointment.confirmed") == len(acts)
    to_powerserver = [one for one in await harness.deliveries() if one.destination == "powerserver"]
    assert len({one.key for one in to_powerserver}) == len(to_powerserver) == len(acts)
