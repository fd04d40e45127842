"""OmegaAI need not search or sort by the last change, nor know the parameters: the whole queue is read instead."""

from collections.abc import Mapping, Sequence

import aiohttp
import pytest
from aiohttp import web
from fake_omegaai import FakeOmegaAI, client_of

from omegaai.tasks import TaskItem, TaskReader

CLAIMS = {"Patient": "patients", "Appointment": "appointments"}


class FiltersOnly(FakeOmegaAI):
    """Searches by the last change, and does not sort by it."""

    def _matches(self, resource: dict, query: Mapping[str, str]) -> bool:
        since = query.get("_lastUpdated", "ge")[2:]
        return super()._matches(resource, query) and resource["meta"].get("lastUpdated", "") >= since


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
@pytest.mark.parametrize("kind", [FakeOmegaAI, FiltersOnly])
async def test_the_readers_own_are_found_wherever_they_stand(times: list[str | None], kind: type[FakeOmegaAI]) -> None:
    taken: list[str] = []

    async def take(items: Sequence[TaskItem[str]]) -> list[None]:
        taken.extend(item.focus for item in items)
        return [None for _ in items]

    async with kind().serving() as server, aiohttp.ClientSession() as session:
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
        reader._look_at = 0.0  # a server that searches by the change without sorting by it may hide one until then
        while await reader.read_once():
            pass
        assert sorted(taken) == ["Patient/0", "Patient/1", "Patient/2"]
        server.put_directly({"resourceType": "Patient", "id": "3"})
        stamp(server, server.open_tasks()[-1]["id"], "2026-11-25T14:30:00Z")
        reader._look_at = 0.0
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


async def test_a_server_that_ignores_the_time_is_not_asked_for_each_page_again() -> None:
    async def take(items: Sequence[TaskItem[str]]) -> list[None]:
        return [None for _ in items]

    async with FakeOmegaAI().serving() as server, aiohttp.ClientSession() as session:
        for number in range(20):
            server.put_directly({"resourceType": "Appointment", "id": f"{number}"})
            stamp(server, server.open_tasks()[-1]["id"], f"2026-11-25T14:{10 + number}:00Z")
        reader = TaskReader(
            client_of(server.base_url, session), take, service="patients", reads={"Patient": None}, claims=CLAIMS,
            page_size=2,
        )  # fmt: skip
        await reader.read_once()
        pages = server.requests.count(("GET", "/fhir/Task"))
    assert 10 <= pages <= 14
