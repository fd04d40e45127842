"""OmegaAI need not sort by the last change, nor know the parameter: the whole queue is read instead."""

from collections.abc import Sequence

import aiohttp
import pytest
from aiohttp import web
from fake_omegaai import FakeOmegaAI, client_of

from omegaai.tasks import TaskItem, TaskReader

CLAIMS = {"Patient": "patients", "Appointment": "appointments"}


def stamp(server: FakeOmegaAI, task_id: str, at: str | None) -> None:
    meta = server.resources["Task", task_id]["meta"]
    meta.pop("lastUpdated", None)
    if at is not None:
        meta["lastUpdated"] = at


@pytest.mark.parametrize(
    "times",
    [
        [None] * 6,
        ["2026-11-25T14:30:09Z", "2026-11-25T14:30:01Z"] * 3,
        ["yesterday"] * 6,
        ["2026-11-25T14:30:01Z", None, "yesterday"] * 2,
    ],
    ids=["without", "unsorted", "unreadable", "some"],
)
async def test_the_readers_own_are_found_wherever_they_stand(times: list[str | None]) -> None:
    taken: list[str] = []

    async def take(items: Sequence[TaskItem[str]]) -> list[None]:
        taken.extend(item.focus for item in items)
        return [None for _ in items]

    async with FakeOmegaAI().serving() as server, aiohttp.ClientSession() as session:
        server.page_size = 2
        for number in range(3):
            server.put_directly({"resourceType": "Appointment", "id": f"{number}"})
            server.put_directly({"resourceType": "Patient", "id": f"{number}"})
        for task, at in zip(server.open_tasks(), times, strict=True):
            stamp(server, task["id"], at)
        reader = TaskReader(
            client_of(server.base_url, session), take, service="patients", reads={"Patient": None}, claims=CLAIMS,
            page_size=2, most_at_once=2,
        )  # fmt: skip
        while await reader.read_once():
            pass
        assert sorted(taken) == ["Patient/0", "Patient/1", "Patient/2"]
        server.put_directly({"resourceType": "Patient", "id": "3"})
        stamp(server, server.open_tasks()[-1]["id"], "2026-11-25T14:30:00Z")
        await reader.read_once()
        assert max(taken) == "Patient/3"
        assert {task["focus"]["reference"] for task in server.open_tasks()} == {f"Appointment/{n}" for n in range(3)}


async def test_a_server_that_refuses_the_order_is_asked_without_it() -> None:
    taken: list[str] = []

    async def take(items: Sequence[TaskItem[str]]) -> list[None]:
        taken.extend(item.focus for item in items)
        return [None for _ in items]

    async with FakeOmegaAI().serving() as server, aiohttp.ClientSession() as session:

        def refuse(request: web.Request) -> web.Response:
            server.answer_once(lambda one: "_sort" in one.query, refuse)
            return web.json_response({"resourceType": "OperationOutcome"}, status=400)

        server.answer_once(lambda one: "_sort" in one.query, refuse)
        server.put_directly({"resourceType": "Patient", "id": "1"})
        reader = TaskReader(
            client_of(server.base_url, session), take, service="patients", reads={"Patient": None}, claims=CLAIMS
        )
        await reader.read_once()
    assert taken == ["Patient/1"]
