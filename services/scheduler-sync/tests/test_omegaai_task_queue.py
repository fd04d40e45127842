"""The Task queue over a real socket: completed only after the commit, read once however often, and never stuck."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import aiohttp
import pytest
from aiohttp import web
from fake_omegaai import FakeOmegaAI, until

from chassis.errors import NeedsSetup, Permanent, Transient
from omegaai.client import FhirClient
from omegaai.feed import ChangeFeed
from omegaai.token import TokenSource
from scheduler_sync.adapters.omegaai.tasks import TaskItem, TaskQueue
from scheduler_sync.settings import SyncOmegaAISettings

LINK = UUID(int=1)


def an_appointment(number: str = "12", **more) -> dict:
    return {
        "resourceType": "Appointment", "id": number, "status": "booked", "start": "2026-12-01T14:30:00-05:00",
        "end": "2026-12-01T15:00:00-05:00",
        "identifier": [{"system": "urn:ietf:rfc:3986", "value": f"urn:uuid:{LINK}"}], **more,
    }  # fmt: skip


class Reading:
    """A queue reader whose commits a test can look at and make fail."""

    def __init__(
        self, server: FakeOmegaAI, session: aiohttp.ClientSession, page_size: int = 50, most_at_once: int = 1_000
    ) -> None:
        self.server = server
        self.committed: list[TaskItem] = []
        self.fail: list[Exception] = []
        self.completed_before_commit = False
        self.tokens = TokenSource(
            session, f"{server.base_url}/auth/oauth2/v2.0/token",
            client_id="suite", client_secret="development-secret", scope="api",
        )  # fmt: skip
        client = FhirClient(session, server.base_url, self.tokens)
        self.queue = TaskQueue(client, self.apply, poll_seconds=60, page_size=page_size, most_at_once=most_at_once)

    async def apply(self, items: Sequence[TaskItem]) -> list[Exception | None]:
        open_ids = {task["id"] for task in self.server.open_tasks()}
        self.completed_before_commit |= any(item.task_id not in open_ids for item in items)
        errors: list[Exception | None] = []
        for item in items:
            error = self.fail.pop(0) if self.fail and item.parked is None else None
            errors.append(error)
            if error is None:
                self.committed.append(item)
        return errors


@asynccontextmanager
async def reading(page_size: int = 50, most_at_once: int = 1_000) -> AsyncIterator[Reading]:
    async with FakeOmegaAI().serving() as server, aiohttp.ClientSession() as session:
        yield Reading(server, session, page_size, most_at_once)


async def test_a_task_is_completed_after_its_focus_was_committed():
    async with reading() as it:
        it.server.put_directly(an_appointment())
        assert await it.queue.read_once() is False
        (item,) = it.committed
        assert item.command is not None
        assert (item.command.link_id, item.command.facts.version) == (LINK, "1")
        assert it.server.open_tasks() == []
        assert not it.completed_before_commit


async def test_several_tasks_of_one_focus_read_it_once():
    async with reading() as it:
        for _ in range(3):
            it.server.put_directly(an_appointment())
        await it.queue.read_once()
        assert len(it.committed) == 3
        assert it.server.requests.count(("GET", "/fhir/Appointment/12")) == 1


async def test_a_failed_commit_leaves_the_task_open():
    async with reading() as it:
        it.server.put_directly(an_appointment())
        it.fail = [Transient("the store does not answer")]
        with pytest.raises(Transient):
            await it.queue.read_once()
        assert len(it.server.open_tasks()) == 1
        await it.queue.read_once()
        assert len(it.committed) == 1
        assert it.server.open_tasks() == []


async def test_what_breaks_r4_is_parked_with_its_element_and_holds_nobody_up():
    async with reading() as it:
        it.server.put_directly(an_appointment("12", status="undecided"))
        it.server.put_directly(an_appointment("13"))
        await it.queue.read_once()
        parked, fine = it.committed
        assert parked.parked is not None
        assert (parked.parked.focus, parked.parked.expression) == ("Appointment/12", "Appointment.status")
        assert fine.command is not None
        assert it.server.open_tasks() == []


@pytest.mark.parametrize("error", [Permanent("no"), NeedsSetup("no", setting="x"), KeyError("Jane Roe")])
async def test_what_cannot_be_taken_over_is_parked_without_what_a_bug_says(error: Exception):
    async with reading() as it:
        it.server.put_directly(an_appointment())
        it.fail = [error]
        await it.queue.read_once()
        (item,) = it.committed
        assert item.parked is not None
        assert "Roe" not in item.parked.reason
        assert it.server.open_tasks() == []


async def test_a_focus_that_is_gone_and_one_that_is_not_ours_are_completed():
    async with reading() as it:
        it.server.put_directly(an_appointment())
        del it.server.resources["Appointment", "12"]
        it.server.put_directly({"resourceType": "Patient", "id": "7"})
        await it.queue.read_once()
        assert [(item.command, item.parked) for item in it.committed] == [(None, None), (None, None)]
        assert it.server.open_tasks() == []


async def test_a_reader_that_has_its_hands_full_says_that_there_may_be_more():
    async with reading(page_size=2, most_at_once=2) as it:
        for number in range(3):
            it.server.put_directly(an_appointment(str(number)))
        assert await it.queue.read_once() is True
        assert await it.queue.read_once() is False
        assert len(it.committed) == 3


async def test_the_feed_only_wakes_and_the_queue_does_the_work():
    async with reading() as it, aiohttp.ClientSession() as session:
        feed = ChangeFeed(session, it.server.base_url, it.tokens, hub="fhir", user="suite", wake=it.queue.wake)
        running = [asyncio.create_task(feed.run()), asyncio.create_task(it.queue.run())]
        await until(lambda: it.server.sockets and feed.is_connected)
        await until(lambda: it.server.requests.count(("GET", "/fhir/Task")) >= 2)
        it.server.put_directly(an_appointment())
        await it.server.announce()
        await until(lambda: it.committed)
        await until(lambda: not it.server.open_tasks())
        await feed.stop()
        await it.queue.stop()
        await asyncio.wait_for(asyncio.gather(*running), 60)


async def test_the_queue_goes_on_after_omegaai_was_away():
    async with reading() as it:
        it.server.answer_once(lambda request: "Task" in request.path, lambda _: web.Response(status=503))
        it.queue._poll_seconds = 0.01
        running = asyncio.create_task(it.queue.run())
        await until(lambda: ("GET", "/fhir/Task") in it.server.requests)
        it.server.put_directly(an_appointment())
        await until(lambda: it.committed)
        await it.queue.stop()
        await asyncio.wait_for(running, 60)


async def test_tasks_about_other_types_stay_unless_the_site_wants_them_completed():
    async with reading() as it:
        it.server.put_directly({"resourceType": "Patient", "id": "7"})
        it.server.open_tasks()[0]["focus"]["reference"] = "imagingstudy/7"
        await it.queue.read_once()
        assert len(it.server.open_tasks()) == 1
        wanting = TaskQueue(it.queue._client, it.apply, unread_types=["ImagingStudy"])
        await wanting.read_once()
        assert it.server.open_tasks() == []
        assert [item.command for item in it.committed] == [None]


@pytest.mark.parametrize("types", ["Appointment", "ImagingStudy, patient", "Imaging/Study"])
def test_a_type_that_a_service_handles_cannot_be_completed_unread(types: str):
    with pytest.raises(ValueError, match="no service handles"):
        SyncOmegaAISettings(complete_unread=types)
