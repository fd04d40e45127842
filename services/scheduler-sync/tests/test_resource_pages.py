"""The pages and the command of resources, and who may use them."""

import asyncio
import io
import json
import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import httpx
import pytest
from fake_omegaai import FakeOmegaAI, client_of, service
from pydantic import SecretStr
from sync_harness import SITE_FILE, Harness

from chassis.operate.cli import main
from chassis.settings import HttpSettings
from chassis.web.guard import Guard
from scheduler_sync.__main__ import DEFINITION
from scheduler_sync.resources import ResourceDirectory, ResourceImport, StoredResources
from scheduler_sync.resources.csv_files import read
from scheduler_sync.resources.decisions import Decisions
from scheduler_sync.resources.views import ResourceViews
from scheduler_sync.web.resource_pages import ResourcePages

pytestmark = pytest.mark.stack
Command = Callable[..., Awaitable[SimpleNamespace]]
CSV = """Facility,Resource,Modality,Start Time,End Time,Default duration,Overbooking
FAC01,BLUME CT,CT,08:00,23:00,30,yes
FAC01,BLUME US,US,08:00,23:00,30,no
"""


@asynccontextmanager
async def browser(harness: Harness, **http: object) -> AsyncIterator[httpx.AsyncClient]:
    app = Guard(ResourcePages(harness.store, harness.site).routes(), HttpSettings(**http))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        client.headers["Origin"] = "http://127.0.0.1"
        yield client


@pytest.fixture
async def filled(harness: Harness) -> AsyncIterator[Harness]:
    """BLUME CT differs in two fields, BLUME US is nearly the same as a service of OmegaAI."""
    async with FakeOmegaAI().serving() as omegaai, aiohttp.ClientSession() as session:
        omegaai.put_directly(service("hs-1", "BLUME CT", "2", "CT", 60))
        omegaai.put_directly(service("hs-4", "Blume US", "2", "US"))
        store = StoredResources(harness.store, harness.site)
        directory = ResourceDirectory(lambda: harness.site.file)
        client = client_of(omegaai.base_url, session)
        await ResourceImport(client, harness.site, store, directory, interval_seconds=3600).import_once()
        facilities = harness.site.file.facilities
        found = read(CSV.encode(), facilities=facilities, default_facility=None, at=await harness.store.now())
        await Decisions(harness.store, harness.site.file).take(found, actor="kim")
        yield harness


async def id_of(harness: Harness, name: str) -> str:
    (row,) = await ResourceViews(harness.store).pairs(name=name)
    return str(row.id)


async def test_the_list_and_a_resource_show_both_values_and_what_can_be_done(filled: Harness):
    async with browser(filled) as client:
        page = (await client.get("/resources")).text
        for words in ("BLUME CT", "duration: PowerServer 30 min, OmegaAI 60 min", "differs", "nearly the same"):
            assert words in page
        assert "BLUME US" not in (await client.get("/resources?state=drifted")).text
        page = (await client.get(f"/resources/{await id_of(filled, 'BLUME CT')}")).text
        for words in ("Write “30 min” to OmegaAI", "Write all to OmegaAI", "first heard of in PowerServer", "kim"):
            assert words in page
        assert (await client.get("/resources/00000000-0000-0000-0000-000000000000")).status_code == 404


async def test_an_operator_fixes_one_field_and_is_told_why_a_second_time_not(filled: Harness):
    pair_id = await id_of(filled, "BLUME CT")
    async with browser(filled) as client:
        answer = await client.post(f"/resources/{pair_id}/fix", data={"field": "duration"})
        assert answer.status_code == 303
        assert "fix under way" in (await client.get(f"/resources/{pair_id}")).text
        again = await client.post(f"/resources/{pair_id}/fix", data={})
        assert (again.status_code, "under way already" in again.text) == (409, True)
    (delivery,) = await filled.deliveries()
    assert [one["field"] for one in json.loads(delivery.payload)["fields"]] == ["duration"]


async def test_an_operator_joins_two_names_and_takes_it_back(filled: Harness):
    async with browser(filled) as client:
        alone = await id_of(filled, "BLUME US")
        page = (await client.get(f"/resources/{alone}")).text
        assert "“BLUME US” means OmegaAI&#39;s “Blume US”" in page or "means OmegaAI's “Blume US”" in page
        assert (await client.post(f"/resources/{alone}/alias", data={"service": "Blume US"})).status_code == 303
        (joined,) = await ResourceViews(filled.store).pairs(name="Blume US")
        assert joined.state == "linked"
        address = f"/resources/{joined.id}/alias/remove"
        assert (await client.post(address, data={"name": "BLUME US"})).status_code == 303
        assert (await client.post(address, data={"name": "BLUME US"})).status_code == 409
        assert (await client.post(f"/resources/{joined.id}/alias", content=b"x" * 5000)).status_code == 413


async def test_a_viewer_looks_and_decides_nothing(filled: Harness):
    pair_id = await id_of(filled, "BLUME CT")
    async with browser(filled, people=SecretStr("vera:viewer:a-long-secret")) as client:
        assert (await client.get("/resources")).status_code == 401
        client.headers["Authorization"] = f"Basic {b64encode(b'vera:a-long-secret').decode()}"
        page = await client.get(f"/resources/{pair_id}")
        assert (page.status_code, "Write" in page.text) == (200, False)
        for path in ("fix", "alias", "alias/remove"):
            assert (await client.post(f"/resources/{pair_id}/{path}")).status_code == 403
    assert await filled.deliveries() == []


def command_line(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> Command:
    """``python -m scheduler_sync resources …`` in this process, with a loop of its own in a thread."""
    monkeypatch.setenv("SCHEDULER_SYNC_STORE__URL", harness.store.url)
    monkeypatch.setenv("SCHEDULER_SYNC_SITE_FILE", str(SITE_FILE))

    async def command(*arguments: str, given: str = "") -> SimpleNamespace:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given.encode())))
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = await asyncio.to_thread(main, DEFINITION, ["resources", *arguments])
        return SimpleNamespace(code=code, out=out.getvalue(), err=err.getvalue())

    return command


async def test_the_command_runs_in_a_process_of_its_own(filled: Harness):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "scheduler_sync", "resources", "import", "-",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parent,
        env={"SCHEDULER_SYNC_STORE__URL": filled.store.url, "SCHEDULER_SYNC_SITE_FILE": str(SITE_FILE)},
    )  # fmt: skip
    out, _ = await process.communicate(b"Facility,Resource,Start,End\nFAC01,NEW CT,08:00,23:00\n")
    assert process.returncode == 0
    assert b"1 rows taken (1 changed something), 0 left out" in out


async def test_the_command_does_the_same_and_says_it_by_its_exit_code(filled: Harness, monkeypatch: pytest.MonkeyPatch):
    command = command_line(filled, monkeypatch)
    listed = await command("list", "--state", "drifted")
    assert (listed.code, "'BLUME CT'" in listed.out, "BLUME US" in listed.out) == (0, True, False)
    differing = await command("drift", "--json")
    assert differing.code == 1
    assert {one["field"] for one in json.loads(differing.out)["drift"]} == {"duration", "overbooking"}
    matched = await command("match")
    assert matched.code == 1
    assert "proposed: resources alias 'BLUME US' --facility FAC01 --means 'Blume US'" in matched.out
    joined = await command("alias", "BLUME US", "--facility", "FAC01", "--means", "Blume US", "--actor", "lee")
    assert joined.code == 0
    refused = await command("alias", "BLUME US", "--facility", "FAC01", "--means", "NO SUCH")
    assert (refused.code, "no service of this name" in refused.err) == (1, True)
    shown = await command("show", "BLUME CT")
    assert "differs: duration: PowerServer 30 min, OmegaAI 60 min" in shown.out
    queued = await command("apply", "BLUME CT", "--wait", "0")
    assert (queued.code, "queued" in queued.out) == (1, True)
    told = await command("history", "BLUME US")
    assert "alias.added by lee" in told.out
    bad = "Facility,Resource,Start,End\nFAC01,NEW CT,08:00,23:00\nFAC99,OTHER,08:00,23:00\nFAC01,X,no,23:00\n"
    imported = await command("import", "-", given=bad)
    assert imported.code == 1
    assert "1 rows taken (1 changed something), 2 left out" in imported.out
    assert "standard input: line 4, Start: is no time of day" in imported.err
    assert (await command("import", "/no/such.csv")).code == 1
