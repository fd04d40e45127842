"""Whatever partners send comes to a decision or to an error of ours; never to a bug, and never to the others' harm.

Runs for some seconds, or as long as ``MUTATION_SECONDS`` says. ``MUTATION_SEED`` repeats a run; a failure prints it.
"""

import asyncio
import json
import os
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
import structlog
from aiohttp import web
from mutations import samples_of_hl7, spoiled_hl7, spoiled_json, written
from sync_harness import Harness, listening
from sync_samples import SITE_FILE, directory, siu

from chassis.clock import utc_now
from chassis.errors import Permanent, Transient
from chassis.hl7 import InboundHl7
from chassis.messaging import Failed
from chassis.testing.depth import DEPTH
from hl7v2 import parse_ack
from omegaai.client import FhirClient
from omegaai.token import TokenSource
from scheduler_sync import bootstrap
from scheduler_sync.adapters.omegaai import writer
from scheduler_sync.adapters.omegaai.tasks import TaskQueue
from scheduler_sync.adapters.powerserver.writer import Hl7StatusWriter
from scheduler_sync.domain.appointment import FhirStatus, step_for_powerserver
from scheduler_sync.domain.patient import PatientIdentifier
from scheduler_sync.resources import ResourceImport, StoredResources
from scheduler_sync.site import Site
from scheduler_sync.snapshots import AppointmentSnapshot, PatientSnapshot
from scheduler_sync.store import columns

SECONDS = float(os.environ.get("MUTATION_SECONDS", DEPTH.mutation_seconds)) / 2
"""Of each reader."""
pytestmark = [pytest.mark.stack, pytest.mark.timeout(SECONDS + 180)]
SEED = int(os.environ.get("MUTATION_SEED", "0")) or random.SystemRandom().getrandbits(32)
AT_ONCE = 20
_IDENTIFIER = PatientIdentifier("NORTHSIDE", "4711")


@pytest.fixture(autouse=True)
def quiet() -> AsyncIterator[None]:
    with structlog.testing.capture_logs():
        yield


async def test_every_hl7_message_is_decided_or_refused_by_name(migrated_url: str):
    print(f"MUTATION_SEED={SEED}")
    source, samples = random.Random(SEED), samples_of_hl7()
    end = time.monotonic() + SECONDS
    heard = 0
    async with listening(migrated_url) as (core, _):
        while time.monotonic() < end or not heard:
            good = siu(placer=f"GOOD{heard}", control_id=f"GOOD{heard}")
            spoiled = [spoiled_hl7(source, samples) for _ in range(AT_ONCE)]
            try:
                async with asyncio.timeout(60):
                    answers = await asyncio.gather(*(core.listener.accept(raw) for raw in (good, *spoiled)))
            except Exception as error:
                raise AssertionError(f"MUTATION_SEED={SEED}: {spoiled!r}") from error
            assert parse_ack(answers[0]).code == "AA", answers[0]
            bugs = await core.store.pool.fetch("SELECT raw, reason FROM hl7_journal WHERE reason LIKE 'bug:%'")
            if bugs:
                await _show_bug(core, bugs[0]["raw"])
            heard += AT_ONCE
            if heard % (50 * AT_ONCE) == 0:
                await _check_what_follows(core)
        await _check_what_follows(core)
    print(f"{heard} HL7 messages")


async def _show_bug(core: bootstrap.Core, raw: bytes) -> None:
    """Raises the bug itself, with the message in the report."""
    (outcome,) = await core.listener.executor.run([InboundHl7.of(raw, utc_now())])
    assert isinstance(outcome, Failed)
    raise AssertionError(f"MUTATION_SEED={SEED}: {raw!r}") from outcome.error


async def _check_what_follows(core: bootstrap.Core) -> None:
    """All that was committed can be told to both partners."""
    say = Hl7StatusWriter(lambda: core.site.file)
    fetch = core.store.pool.fetch
    for row in await fetch("SELECT * FROM deliveries WHERE destination = 'omegaai'"):
        if row["kind"] == "patient.upsert":
            body = writer.patient(PatientSnapshot.from_bytes(row["payload"]))
        else:
            snapshot = AppointmentSnapshot.from_bytes(row["payload"])
            body = writer.appointment(snapshot, "1", FhirStatus(snapshot.status))
        json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    patients = {row["id"]: columns.patient(row, (_IDENTIFIER,)) for row in await fetch("SELECT * FROM patients")}
    for row in await fetch("SELECT * FROM appointment_links"):
        link = columns.link(row)
        for step in core.site.file.status_of_step:
            told = step_for_powerserver(step)
            say.status_message(link, patients[link.patient_id], told, control_id="1", made_at=utc_now())
    await core.store.pool.execute(
        "TRUNCATE deliveries, outbox, link_history, conflicts, appointment_links, patients CASCADE"
    )


@dataclass
class Careless:
    """An OmegaAI that answers with whatever JSON it is given."""

    tasks: list[Any] = field(default_factory=list)
    appointments: dict[str, Any] = field(default_factory=dict)
    services: list[Any] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    completed: set[str] = field(default_factory=set)
    bundle: Any = None
    base_url: str = ""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Careless"]:
        app = web.Application()
        app.router.add_post("/auth/oauth2/v2.0/token", self._token)
        app.router.add_route("*", "/fhir/{type}", self._search)
        app.router.add_route("*", "/fhir/{type}/{id:.*}", self._one)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _token(self, _request: web.Request) -> web.Response:
        return web.json_response({"access_token": "any", "expires_in": 3600})

    async def _search(self, request: web.Request) -> web.Response:
        found = self.tasks if request.match_info["type"] == "Task" else self.services
        bundle = {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": one} for one in found]}
        return web.Response(body=written(self.bundle or bundle), content_type="application/fhir+json")

    async def _one(self, request: web.Request) -> web.Response:
        kind, name = request.match_info["type"], request.match_info["id"]
        if request.method == "PUT":
            self.completed.add(name)
            return web.Response(body=await request.read(), content_type="application/fhir+json")
        if kind == "Organization":
            return web.json_response({"resourceType": kind, "id": name, "name": "x"})
        if name not in self.appointments:
            return web.Response(status=404)
        body = written(self.appointments[name])
        return web.Response(body=body, content_type="application/fhir+json", headers=self.headers)


def _task(number: str) -> dict[str, Any]:
    return {
        "resourceType": "Task", "id": f"t{number}", "status": "ready", "intent": "order",
        "meta": {"versionId": "1"}, "authoredOn": "2026-11-25T14:30:00Z",
        "reasonCode": {"coding": [{"code": "mirthoutbound"}]}, "focus": {"reference": f"Appointment/{number}"},
    }  # fmt: skip


def _appointment(number: str, link: str, status: str) -> dict[str, Any]:
    return {
        "resourceType": "Appointment", "id": number, "meta": {"versionId": "3"}, "status": status,
        "start": "2026-12-01T14:30:00-05:00", "end": "2026-12-01T15:00:00-05:00", "minutesDuration": 30,
        "identifier": [
            {"system": "urn:ietf:rfc:3986", "value": f"urn:uuid:{link}"},
            {"system": "urn:powerserver:placer", "value": f"P{number}"},
        ],
        "requestedPeriod": [{"start": "2026-12-03T14:30:00-05:00", "end": "2026-12-03T15:00:00-05:00"}],
        "cancelationReason": {"text": "away", "coding": [{"code": "pat", "display": "Patient"}]},
        "participant": [
            {"actor": {"reference": "Patient/7"}, "status": "accepted"},
            {"actor": {"reference": "HealthcareService/hs-1"}, "status": "accepted"},
        ],
    }  # fmt: skip


def _service(number: int) -> dict[str, Any]:
    root = "http://www.ramsoft.com/fhir/StructureDefinition/"
    return {
        "resourceType": "HealthcareService", "id": f"s{number}", "active": True, "name": f"ROOM {number}",
        "providedBy": {"reference": "Organization/2"}, "meta": {"versionId": "1"},
        "extension": [
            {"url": f"{root}modality", "valueCode": "CT"}, {"url": f"{root}Duration", "valueInteger": 30},
            {"url": f"{root}overBooking", "valueBoolean": False},
        ],
        "availableTime": [{"daysOfWeek": ["mon"], "availableStartTime": "08:00:00", "availableEndTime": "23:00:00"}],
    }  # fmt: skip


async def test_every_fhir_resource_is_decided_or_parked_by_name(harness: Harness):
    print(f"MUTATION_SEED={SEED}")
    source = random.Random(SEED + 1)
    end = time.monotonic() + SECONDS
    rounds = 0
    async with Careless().serving() as omegaai, aiohttp.ClientSession() as session:
        tokens = TokenSource(
            session, f"{omegaai.base_url}/auth/oauth2/v2.0/token", client_id="a", client_secret="b", scope="c"
        )
        client = FhirClient(session, omegaai.base_url, tokens)
        resources = StoredResources(harness.store, Site(SITE_FILE))
        importing = ResourceImport(client, Site(SITE_FILE), resources, directory(), interval_seconds=1)
        while time.monotonic() < end or not rounds:
            rounds += 1
            await _one_page(harness, omegaai, client, source, rounds)
            if rounds % 5 == 0:
                await _one_import(harness, omegaai, importing, source, rounds)
    print(f"{rounds} pages")


async def _one_page(
    harness: Harness, omegaai: Careless, client: FhirClient, source: random.Random, rounds: int
) -> None:
    names = [f"{rounds}x{number}" for number in range(6)]
    assert await harness.hear(*(siu(placer=f"P{name}", control_id=name) for name in names)) == [None] * 6
    links = {
        row["placer_number"][1:]: str(row["id"])
        for row in await harness.rows("SELECT placer_number, id FROM appointment_links")
    }
    good, *others = names
    omegaai.tasks = [_task(name) if source.random() < 0.6 else spoiled_json(source, _task(name)) for name in others]
    omegaai.tasks.append(_task(good))
    states = ("booked", "cancelled", "proposed", "pending", "noshow")
    cards = {name: _appointment(name, links[name], source.choice(states)) for name in names}
    omegaai.appointments = {name: spoiled_json(source, cards[name]) for name in others} | {good: cards[good]}
    versions = ("", "", 'W/"2"', "7" * 5000, 'W/"\u00e9"', '"a b"')
    omegaai.headers = {"ETag": found} if (found := source.choice(versions)) and source.random() < 0.2 else {}
    omegaai.bundle = None
    whole = {"resourceType": "Bundle", "entry": [{"resource": one} for one in omegaai.tasks]}
    is_whole = source.random() < 0.9
    if not is_whole:
        omegaai.bundle = spoiled_json(source, whole)
    queue = TaskQueue(client, harness.tasks.apply, poll_seconds=60)
    told = f"MUTATION_SEED={SEED} {omegaai.tasks if is_whole else omegaai.bundle!r} {omegaai.appointments!r}"
    try:
        await queue.read_once()
    except (Transient, Permanent):
        pass
    except Exception as error:
        raise AssertionError(told) from error
    bugs = await harness.rows("SELECT focus, reason FROM parked_tasks WHERE reason LIKE 'bug:%'")
    assert not bugs, f"{bugs} {told}"
    if is_whole and not omegaai.headers:
        assert f"t{good}" in omegaai.completed, told
    for row in await harness.rows("SELECT payload FROM deliveries WHERE destination = 'powerserver'"):
        assert row["payload"].startswith(b"MSH|")
    tables = "deliveries, outbox, link_history, conflicts, parked_tasks, appointment_links, patients"
    await harness.store.pool.execute(f"TRUNCATE {tables} CASCADE")


async def _one_import(
    harness: Harness, omegaai: Careless, importing: ResourceImport, source: random.Random, rounds: int
) -> None:
    good, *others = (_service(rounds * 10 + number) for number in range(6))
    omegaai.bundle = None
    omegaai.services = [spoiled_json(source, one) for one in others] + [good]
    told = f"MUTATION_SEED={SEED} {omegaai.services!r}"
    with structlog.testing.capture_logs() as logs:
        try:
            await importing.import_once()
        except (Transient, Permanent) as error:
            raise AssertionError(told) from error
        except Exception as error:
            raise AssertionError(told) from error
    bugs = [one for one in logs if "bug:" in str(one.get("reason"))]
    assert not bugs, f"{bugs} {told}"
    assert await harness.rows("SELECT 1 FROM resources WHERE name = $1", good["name"]), told
