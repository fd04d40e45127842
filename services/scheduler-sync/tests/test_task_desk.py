"""OmegaAI's Tasks on pages: parked ones are read again by an operator, unclaimed ones are listed; and the numbers."""

from datetime import timedelta
from html import unescape
from uuid import uuid4

import aiohttp
import httpx
import pytest
from fake_omegaai import FakeOmegaAI, client_of
from pydantic import SecretStr
from sync_harness import SITE_FILE, Harness
from sync_samples import siu
from test_patients_requests import asked, participants, patient, reading

from chassis.clock import utc_now
from chassis.errors import Transient
from chassis.settings import HttpSettings
from chassis.web.guard import Guard
from omegaai.tasks import UnclaimedTask, unclaimed_tasks
from scheduler_sync import bootstrap, replay
from scheduler_sync.adapters.omegaai.tasks import TaskQueue
from scheduler_sync.settings import SchedulerSyncSettings
from scheduler_sync.store.views import Views
from scheduler_sync.web.desk import NumbersDesk
from scheduler_sync.web.tasks import TaskPages

pytestmark = pytest.mark.stack
OLGA, VERA = ("olga", "olga's words"), ("vera", "vera's words")
HTTP = HttpSettings(people=SecretStr("olga:operator:olga's words\nvera:viewer:vera's words"))
FROM_HERE = {"Sec-Fetch-Site": "same-origin"}


def browser_of(pages: TaskPages) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(Guard(pages.routes(), HTTP)), base_url="http://127.0.0.1")


async def no_tasks(_most: int) -> list[UnclaimedTask]:
    return []


async def test_a_parked_task_is_read_again_from_its_page(harness: Harness) -> None:
    async with reading(harness) as (server, queue):
        server.makes_tasks = False
        server.put_directly(patient("p2", "4799"))
        server.makes_tasks = True
        server.put_directly(asked(participant=participants(Patient="p2", HealthcareService="hs-1")))
        await queue.read_once()

        async def again(task_id: str, actor: str) -> object:
            return await replay.replay_tasks(harness.store, queue, harness.tasks, [task_id], actor=actor)

        pages = TaskPages(harness.store, Views(harness.store), read_again=again, unclaimed=no_tasks)
        async with browser_of(pages) as browser:
            (row,) = await Views(harness.store).parked_tasks()
            path = f"/parked-tasks/{row.task_id}/replay"
            assert row.reason in unescape((await browser.get("/parked-tasks", auth=VERA)).text)
            assert path not in (await browser.get("/parked-tasks", auth=VERA)).text
            assert (await browser.post(path, auth=VERA, headers=FROM_HERE)).status_code == 403

            async def read_again() -> str:
                answer = await browser.post(path, auth=OLGA, headers=FROM_HERE)
                return (await browser.get(answer.headers["location"], auth=OLGA)).text

            text = await read_again()
            assert f"Task {row.task_id}: failed" in text
            assert path in text
            known = siu(control_id="n", placer="P9", pid="PID|1||4799^^^NORTHSIDE||Roe^Jo")
            assert await harness.hear(known) == [None]
            text = await read_again()
            assert f"Task {row.task_id} is processed." in text
            assert "No Task is parked." in text
            other = await browser.get("/parked-tasks?on=of-nobody", auth=OLGA)
            assert "is processed" not in other.text  # an address reports no act that never happened
    audit = await harness.rows("SELECT actor, action, subject FROM operator_audit")
    assert [tuple(one) for one in audit] == [("olga", "task.replay", row.task_id)] * 2


async def test_unclaimed_tasks_are_listed_as_omegaai_has_them(harness: Harness) -> None:
    async with FakeOmegaAI().serving() as server, aiohttp.ClientSession() as session:
        task = {"resourceType": "Task", "id": "t-1", "status": "ready", "intent": "order"}
        server.put_directly({**task, "focus": {"reference": "Observation/o-1"}})
        client = client_of(server.base_url, session)
        is_away = False

        async def unclaimed(most: int) -> list[UnclaimedTask]:
            if is_away:
                raise Transient("OmegaAI does not answer")
            return await unclaimed_tasks(client, now=utc_now(), after=timedelta(), most=most)

        pages = TaskPages(harness.store, Views(harness.store), read_again=None, unclaimed=unclaimed)
        async with browser_of(pages) as browser:
            page = (await browser.get("/unclaimed-tasks", auth=VERA)).text
            assert "Observation/o-1" in page
            is_away = True
            page = (await browser.get("/unclaimed-tasks", auth=VERA)).text
            assert "OmegaAI does not answer" in page
            assert "No Task is unclaimed" not in page
        queue = TaskQueue(client, harness.tasks.apply, unclaimed_after=timedelta())
        assert queue.unclaimed == 0
        await queue.read_once()
        assert queue.unclaimed == 1


async def test_the_start_page_counts_what_waits_and_leads_to_it(migrated_url: str, harness: Harness) -> None:
    settings = SchedulerSyncSettings(site_file=SITE_FILE, store={"url": migrated_url}, _env_file=None)
    service = await bootstrap.build(settings)
    desk = NumbersDesk(harness.store, lambda: 7)
    try:
        before = await desk.look()
        assert [tile.waiting for tile in before.tiles] == [0, 7, 0, 0, 0, 0, 0]
        routes = {route.path for route in service.app().routes}
        assert {tile.link.partition("?")[0] for tile in before.tiles} <= routes
    finally:
        for close in service.closers:
            await close()
    await harness.hear(siu())
    pool = harness.store.pool
    await pool.execute(
        "INSERT INTO parked_tasks (task_id, focus, reason, parked_at, replayed_at)"
        " VALUES ('t1', 'x', 'r', now(), NULL), ('t2', 'x', 'r', now(), now())"
    )
    for state, settled in (("done", ["listed"] * 5), ("asks", ["listed", "listed", "healed", "moving"])):
        run = await pool.fetchval(
            "INSERT INTO reconcile_runs (state, wanted_by, wanted_at, dry_run) VALUES ($1, 'o', now(), false)"
            " RETURNING id", state
        )  # fmt: skip
        for one in settled:
            await pool.execute(
                "INSERT INTO reconcile_differences (run_id, side, kind, fields, ours, theirs, settled, noted_at, since)"
                " VALUES ($1, 'omegaai', 'differs', '{}', '{}', '{}', $2, now(), now())", run, one
            )  # fmt: skip
    for number in range(3):
        await pool.execute(
            "INSERT INTO resource_pairs (id, facility, name, state, drift, near, revision, changed_at)"
            " VALUES ($1, 'FAC01', $2, 'drifted', '[]', '[]', 1, now())", uuid4(), f"r{number}"
        )  # fmt: skip
    await pool.execute(
        "INSERT INTO patient_reviews (first_id, second_id, reasons, state, found_at)"
        " SELECT gen_random_uuid(), gen_random_uuid(), '{}', CASE WHEN n < 5 THEN 'open' ELSE 'merged' END, now()"
        " FROM generate_series(1, 9) n"
    )
    await pool.execute(
        "INSERT INTO conflicts (link_id, at, source, cause_id, why)"
        " SELECT id, now() - n * interval '20 hours', 'omegaai', gen_random_uuid(), 'w'"
        " FROM appointment_links, generate_series(0, 3) n"
    )
    assert [tile.waiting for tile in (await desk.look()).tiles] == [1, 7, 1, 2, 4, 3, 2]
