"""The reconciliation over the real wires: both simulators, the service, its command and its page."""

import json
import re
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from flow_processes import Flow, flow

from chassis.testing import eventually
from local_stack.ports import free_port

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]
FORM = {"client_id": "suite", "client_secret": "development-secret", "grant_type": "client_credentials", "scope": "api"}


def tomorrow_at(hour: int) -> str:
    day = datetime.now(ZoneInfo("America/Toronto")) + timedelta(days=1)
    return day.replace(hour=hour, minute=0, second=0, microsecond=0).isoformat()


def later(appointment: dict[str, Any], minutes: int) -> dict[str, str]:
    return {
        name: (datetime.fromisoformat(appointment[name]) + timedelta(minutes=minutes)).isoformat()
        for name in ("start", "end")
    }


def patient(number: int) -> dict[str, str]:
    return {
        "id": f"MRN7000{number}", "family": "Roe", "given": f"Jane{number}", "birth_date": "1980-02-29", "sex": "F",
        "email": f"jane{number}.drift@example.org",
    }  # fmt: skip


class Omegaai:
    """The FHIR interface, as some other client of OmegaAI's uses it."""

    def __init__(self, running: Flow) -> None:
        self._running = running

    async def appointments(self) -> dict[str, dict[str, Any]]:
        found = await self._ask("GET", "Appointment?_count=100")
        return {
            next(one["value"] for one in entry["resource"]["identifier"] if "placer" in one["system"]): entry[
                "resource"
            ]
            for entry in found.get("entry", [])
        }

    async def change(self, appointment: dict[str, Any], **values: object) -> None:
        version = appointment["meta"]["versionId"]
        body = {**appointment, **values}
        await self._ask("PUT", f"Appointment/{appointment['id']}", body, {"If-Match": f'W/"{version}"'})

    async def _ask(self, method: str, path: str, body: object = None, headers: dict | None = None) -> Any:
        base = f"http://127.0.0.1:{self._running.omegaai}"
        async with self._running.session.post(f"{base}/auth/oauth2/v2.0/token", data=FORM) as response:
            token = (await response.json())["access_token"]
        sent = {"Authorization": f"Bearer {token}", "Content-Type": "application/fhir+json", **(headers or {})}
        data = None if body is None else json.dumps(body)
        async with self._running.session.request(method, f"{base}/fhir/{path}", data=data, headers=sent) as response:
            assert response.status < 300, await response.text()
            return json.loads(await response.text())


async def test_drift_is_found_shown_and_corrected_at_both_ends(
    tmp_path: Path, migrated_url: str, kafka_bootstrap: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    worklist = free_port()
    for name, value in {
        "POWERSERVER_SIM_WORKLIST_PORT": worklist,
        "SCHEDULER_SYNC_WORKLIST__HOST": "127.0.0.1",
        "SCHEDULER_SYNC_WORKLIST__PORT": worklist,
        "SCHEDULER_SYNC_RECONCILIATION__INTERVAL_SECONDS": 3600,
        "SCHEDULER_SYNC_RECONCILIATION__ASK_FROM": 3,
    }.items():
        monkeypatch.setenv(name, str(value))
    async with flow(tmp_path, migrated_url, kafka_bootstrap, topic_prefix) as running:
        there = Omegaai(running)
        command = partial(running.command, "reconcile")
        placers = [await running.book(patient(number), start=tomorrow_at(9 + number)) for number in range(3)]

        async def all_there() -> bool:
            return set(placers) <= (await there.appointments()).keys()

        await eventually(all_there)
        code, said = await command("run", "--json")
        assert code == 0, said
        report = _last_json(said)
        assert (report["state"], report["counts"]["compared"], report["counts"]["differences"]) == ("done", 3, 0)
        assert report["counts"]["worklist"]["read"] == 3, "PowerServer's worklist was asked, and agrees"

        # Somebody moves one in OmegaAI; the Task about it is what the service hears. Its queue is emptied by hand.
        moved = (await there.appointments())[placers[0]]
        starts = datetime.fromisoformat(moved["start"])
        await running.stop("scheduler-sync")
        await there.change(moved, **later(moved, 60))
        await complete_all_tasks(running, there)
        await running.start("scheduler-sync")
        await eventually(lambda: running.answers(running.http, "/readyz"), timeout_seconds=90)
        code, said = await command("run", "--json")
        assert code == 0, said
        assert _last_json(said)["counts"]["healed"] == 1

        async def is_back() -> bool:
            return datetime.fromisoformat((await there.appointments())[placers[0]]["start"]) == starts

        await eventually(is_back)
        number = _last_json(said)["id"]
        page = await running.page(f"/reconciliation/{number}?side=omegaai&kind=differs")
        assert placers[0] in page
        assert page.count("<dt>starts</dt>") == 2, "both sides, beside each other"
        assert "Jane0" not in page
        code, said = await command("show", str(number))
        assert code == 0, said
        assert placers[0] in said

        # So many that the run asks; a person declines.
        everything = await there.appointments()
        await running.stop("scheduler-sync")
        for one in everything.values():
            await there.change(one, **later(one, 30))
        await complete_all_tasks(running, there)
        code, said = await command("run")  # no service runs: the command does it
        assert code == 3, said
        number = int(re.search(r"run (\d+): asks", said)[1])
        code, said = await command("decline", str(number))
        assert code == 0, said
        code, said = await command("approve", str(number))
        assert code == 2, said


async def complete_all_tasks(running: Flow, there: Omegaai) -> None:
    """Closes the queue's Tasks, as a person may by mistake."""
    found = await there._ask("GET", "Task?status=ready&_count=100")
    for entry in found.get("entry", []):
        task = entry["resource"]
        version = task["meta"]["versionId"]
        body = {**task, "status": "completed"}
        await there._ask("PUT", f"Task/{task['id']}", body, {"If-Match": f'W/"{version}"'})


def _last_json(said: str) -> dict[str, Any]:
    return json.loads([line for line in said.splitlines() if line.startswith("{")][-1])
