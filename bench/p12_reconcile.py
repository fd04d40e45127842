"""P12: 100,000 appointments compared with a FHIR server and PowerServer's mirror, and 5,000 items of a worklist.

The partners and the reconciliation are programs of their own; its memory is that program's largest. Floor: the shortest
program that reads the same pages, stages them and joins; for the worklist, a loop over pynetdicom's answers.
"""

import asyncio
import json
import logging
import os
import resource
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

sys.path.insert(0, str(Path(__file__).parents[1]))

import aiohttp
import asyncpg
import orjson

from bench.harness import empty_database, main, progress, row

APPOINTMENTS, DAYS, PAGE = 100_000, 200, 500
A_DAY = APPOINTMENTS // DAYS
ITEMS, WORKLIST_DAYS = 5_000, 3
MISSING, UNKNOWN, MOVED, OTHER_STATUS, UNTOLD = 300, 200, 400, 250, 100
MOST_SECONDS, MOST_MIB, MOST_AGAIN_SECONDS, MOST_WORKLIST_SECONDS = 60.0, 200.0, 5.0, 20.0
STATIONS = ("BLUME_CT", "BLUME_MR", "BLUME_XR", "BLUME_US")
SITE_FILE = Path(__file__).parents[1] / "deploy" / "site" / "northside.yaml"
FIRST = datetime.now(UTC).date() + timedelta(days=1)
_LINKS = """
INSERT INTO appointment_links (id, site, placer_number, patient_id, facility, resource, slot_start, slot_end, slot_zone,
    studies, study_details, state, step, who_acts_next, accession_numbers, powerserver_step, omegaai_id,
    omegaai_version, omegaai_written_version, revision, updated_at)
SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'northside', 'P' || n,
    ('00000000-0000-7000-9000-' || lpad(to_hex(n % 1000), 12, '0'))::uuid, 'FAC01', 'BLUME CT',
    starts, starts + interval '15 minutes', 'America/Toronto', '[["CT-HEAD", "CT Head"]]', '[]',
    CASE WHEN n >= $3 - $4 THEN 'confirmed' ELSE 'staff-booked' END,
    CASE WHEN n >= $3 - $4 THEN 'confirmed' ELSE 'scheduled' END, 'patient', ARRAY['ACC' || n], 'scheduled', 'a' || n,
    '1', '1', 1, now() - interval '1 hour'
FROM (
    SELECT n, $1::date::timestamp AT TIME ZONE 'UTC' + (n / $2) * interval '1 day' + interval '13 hours'
        + (n % $2) * interval '1 minute' AS starts
    FROM generate_series(0, $3 - 1) AS n
) AS made
"""
_PATIENTS = """
INSERT INTO patients (id, site, family, given, sex, language, organization, heard_at, details_heard_at, revision,
    fhir_id)
SELECT ('00000000-0000-7000-9000-' || lpad(to_hex(n), 12, '0'))::uuid, 'northside', 'Roe', 'Jane', 'F', 'en', '1',
    now(), '{}', 1, 'p' || n FROM generate_series(0, 999) AS n
"""


# What OmegaAI shows.


def appointment(number: int) -> dict[str, Any]:
    """About 1 KiB, as the suite writes it."""
    starts = datetime(FIRST.year, FIRST.month, FIRST.day, 13, tzinfo=UTC) + timedelta(
        days=number // A_DAY, minutes=number % A_DAY + (15 if MISSING <= number < MISSING + MOVED else 0)
    )
    is_other = MISSING + MOVED <= number < MISSING + MOVED + OTHER_STATUS
    status = "booked" if is_other or number >= APPOINTMENTS - UNTOLD else "pending"
    return {
        "resourceType": "Appointment",
        "id": f"a{number}",
        "meta": {"versionId": "1", "lastUpdated": "2026-11-01T00:00:00.000Z"},
        "extension": [{"url": "http://www.ramsoft.com/fhir/StructureDefinition/note", "valueString": "x" * 280}],
        "identifier": [
            {"system": "urn:ietf:rfc:3986", "value": f"urn:uuid:00000000-0000-7000-8000-{number:012x}"},
            {"system": "urn:powerserver:placer", "value": f"P{number}"},
        ],
        "status": status,
        "start": starts.isoformat(),
        "end": (starts + timedelta(minutes=15)).isoformat(),
        "minutesDuration": 15,
        "serviceType": [{"coding": [{"code": "CT-HEAD", "display": "CT Head"}], "text": "CT Head"}],
        "participant": [
            {"actor": {"reference": f"Patient/p{number % 1000}"}, "required": "required", "status": "accepted"},
            {"actor": {"reference": "HealthcareService/hs-1", "display": "BLUME CT"}, "status": "accepted"},
        ],
    }  # fmt: skip


def days_of_omegaai() -> dict[str, list[bytes]]:
    """The appointments of each day, written; the first are missing, and some are nobody's."""
    found: dict[str, list[bytes]] = {}
    for number in [*range(MISSING, APPOINTMENTS), *range(APPOINTMENTS, APPOINTMENTS + UNKNOWN)]:
        one = appointment(number if number < APPOINTMENTS else number - A_DAY)
        if number >= APPOINTMENTS:
            one |= {"id": f"u{number}", "identifier": []}
        found.setdefault(one["start"][:10], []).append(orjson.dumps({"resource": one}))
    return found


def bundle(found: list[bytes], page: int, address: str) -> bytes:
    shown = found[(page - 1) * PAGE : page * PAGE]
    links = b"[]"
    if page * PAGE < len(found):
        links = orjson.dumps([{"relation": "next", "url": f"{address}&page={page + 1}"}])
    return b"".join(
        [b'{"resourceType":"Bundle","type":"searchset","total":%d,"link":' % len(found), links, b',"entry":[',
         b",".join(shown), b"]}"]
    )  # fmt: skip


class FhirServer(asyncio.Protocol):
    """Answers one request after the other on a connection, from prepared bytes."""

    days: dict[str, list[bytes]] = {}  # noqa: RUF012 - one server a process

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        line = data.split(b"\r\n", 1)[0].split(b" ")[1].decode()
        address = urlsplit(line)
        asked = parse_qs(address.query)
        host = next(one for one in data.split(b"\r\n") if one.lower().startswith(b"host:")).split(b" ", 1)[1].decode()
        if address.path.endswith("/token"):
            body = b'{"token_type":"Bearer","access_token":"x","expires_in":3600}'
        elif address.path.endswith("/metadata"):
            known = {"type": "Appointment", "searchParam": [{"name": "_lastUpdated", "type": "date"}]}
            body = orjson.dumps(
                {"resourceType": "CapabilityStatement", "rest": [{"mode": "server", "resource": [known]}]}
            )
        elif "_lastUpdated" in asked:
            body = bundle([], 1, "")
        else:
            page = int(asked.get("page", ["1"])[0])
            base = f"http://{host}{address.path}?date={asked['date'][0]}&_count={PAGE}"
            body = bundle(self.days.get(asked["date"][0], []), page, base)
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/fhir+json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )  # type: ignore[attr-defined]


async def serve_fhir() -> None:
    FhirServer.days = days_of_omegaai()
    server = await asyncio.get_running_loop().create_server(FhirServer, "127.0.0.1", 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


def serve_worklist() -> None:
    from pydicom.dataset import Dataset
    from pynetdicom import AE, evt
    from pynetdicom.sop_class import ModalityWorklistInformationFind

    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    found: dict[tuple[str, str], list[Dataset]] = {}
    each = ITEMS // (WORKLIST_DAYS * len(STATIONS)) + 1
    number = 0
    for day in range(WORKLIST_DAYS):
        for station in STATIONS:
            written = f"{FIRST - timedelta(days=1) + timedelta(days=day):%Y%m%d}"
            for position in range(each if (day, station) != (0, STATIONS[0]) else ITEMS - each * 11):
                step, one = Dataset(), Dataset()
                step.ScheduledStationAETitle = station
                step.ScheduledProcedureStepStartDate = written
                step.ScheduledProcedureStepStartTime = f"{8 + position // 60:02}{position % 60:02}00"
                step.ScheduledProcedureStepID = str(number)
                one.SpecificCharacterSet = "ISO_IR 192"
                one.AccessionNumber = f"W{number}"
                one.PatientID = "4711"
                one.PatientName = "Roe^Jane"
                one.PlacerOrderNumberImagingServiceRequest = f"W{number}"
                one.ScheduledProcedureStepSequence = [step]
                found.setdefault((written, station), []).append(one)
                number += 1

    def find(event: Any) -> Iterator[tuple[int, Any]]:
        step = event.identifier.ScheduledProcedureStepSequence[0]
        for one in found.get((step.ScheduledProcedureStepStartDate, step.ScheduledStationAETitle), []):
            yield 0xFF00, one

    ae = AE(ae_title="POWERSERVER")
    ae.add_supported_context(ModalityWorklistInformationFind)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, find)])
    print(json.dumps({"port": server.socket.getsockname()[1]}), flush=True)
    while True:
        time.sleep(3600)


# Ours.


async def reconcile(url: str, port: int) -> dict[str, Any]:
    """Two runs: their seconds and counts, and this program's largest memory."""
    from chassis.settings import StoreSettings
    from omegaai.connection import connect
    from omegaai.settings import OmegaAISettings
    from scheduler_sync import bootstrap
    from scheduler_sync.domain.resource import Resource
    from scheduler_sync.settings import SchedulerSyncSettings
    from scheduler_sync.store.reconciliation import Reports, Runs

    settings = SchedulerSyncSettings(
        site_file=SITE_FILE, store=StoreSettings(url=url, pool_size=4), _env_file=None,
        omegaai={"base_url": f"http://127.0.0.1:{port}"},
        reconciliation={"near_days": DAYS + 1, "ahead_days": DAYS + 1, "night_begins": 0, "night_ends": 0},
    )  # fmt: skip
    core = await bootstrap.open_core(settings)
    core.directory.fill([Resource(uuid4(), "FAC01", "BLUME CT", "CT", "hs-1", 15)])
    connection = connect(OmegaAISettings(base_url=f"http://127.0.0.1:{port}"))
    runs = Runs(core.store, uuid4())

    async def still_ours() -> None:
        pass

    one = bootstrap.reconciler(settings, core, connection.client, runs, still_ours=still_ours)
    found = []
    for _ in range(2):
        number = await runs.wish("bench", dry_run=True)
        began = time.perf_counter()
        run = await runs.take()
        assert run is not None
        await one.run(run)
        seconds = time.perf_counter() - began
        report = await Reports(core.store).run(number)
        assert report is not None
        counted = await core.store.pool.fetch(
            "SELECT side, kind, count(*) AS number FROM reconcile_differences WHERE run_id = $1 GROUP BY side, kind",
            number,
        )
        found.append(
            {"seconds": seconds, "state": report.state, "reason": report.reason, "counts": report.counts,
             "found": {f"{row['side']} {row['kind']}": row["number"] for row in counted}}
        )  # fmt: skip
    await connection.close()
    await core.runtime.close()
    mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"runs": found, "mib": mib}


# The floor.


async def shortest(url: str, port: int) -> float:
    """Reads all pages, takes seven fields, stages them, and joins."""
    began = time.perf_counter()
    connection = await asyncpg.connect(url)
    await connection.execute(
        "CREATE UNLOGGED TABLE floor_seen (key text, link uuid, status text, starts timestamptz, ends timestamptz, "
        "service text, patient text)"
    )
    async with aiohttp.ClientSession() as session:
        for day in range(-1, DAYS + 1):
            address = f"http://127.0.0.1:{port}/fhir/Appointment?date={FIRST + timedelta(days=day)}&_count={PAGE}"
            while address:
                async with session.get(address) as answer:
                    page = orjson.loads(await answer.read())
                await connection.copy_records_to_table(
                    "floor_seen", records=[fields(one) for one in page.get("entry", [])]
                )
                address = next((one["url"] for one in page["link"] if one["relation"] == "next"), "")
    await connection.execute("ANALYZE floor_seen")
    differing = await connection.fetchval(
        "SELECT count(*) FROM appointment_links l FULL JOIN floor_seen s ON s.link = l.id WHERE l.id IS NULL "
        "OR s.key IS NULL OR (CASE l.step WHEN 'scheduled' THEN 'pending' ELSE 'booked' END, l.slot_start, l.slot_end) "
        "IS DISTINCT FROM (s.status, s.starts, s.ends)"
    )
    await connection.fetchval("SELECT count(*) FROM appointment_links WHERE step IS DISTINCT FROM powerserver_step")
    await connection.execute("DROP TABLE floor_seen")
    await connection.close()
    assert differing == MISSING + UNKNOWN + MOVED + OTHER_STATUS, differing
    return time.perf_counter() - began


def fields(entry: dict[str, Any]) -> tuple[Any, ...]:
    one = entry["resource"]
    link = next((UUID(name["value"].removeprefix("urn:uuid:")) for name in one["identifier"][:1]), None)
    return (
        one["id"], link, one["status"], datetime.fromisoformat(one["start"]), datetime.fromisoformat(one["end"]),
        one["participant"][1]["actor"]["reference"], one["participant"][0]["actor"]["reference"],
    )  # fmt: skip


def loop_over_worklist(port: int) -> float:
    from pydicom.dataset import Dataset
    from pynetdicom import AE
    from pynetdicom.sop_class import ModalityWorklistInformationFind

    began = time.perf_counter()
    ae = AE(ae_title="FLOOR")
    ae.add_requested_context(ModalityWorklistInformationFind)
    association = ae.associate("127.0.0.1", port, ae_title="POWERSERVER")
    number = 0
    for day in range(WORKLIST_DAYS):
        for station in STATIONS:
            asked, step = Dataset(), Dataset()
            step.ScheduledStationAETitle = station
            step.ScheduledProcedureStepStartDate = f"{FIRST - timedelta(days=1) + timedelta(days=day):%Y%m%d}"
            asked.AccessionNumber = ""
            asked.ScheduledProcedureStepSequence = [step]
            answers = association.send_c_find(asked, ModalityWorklistInformationFind)
            number += sum(item is not None and bool(item.AccessionNumber) for _, item in answers)
    association.release()
    assert number == ITEMS, number
    return time.perf_counter() - began


async def read_worklist(port: int) -> float:
    """Ours: the process that asks, and the rows that are staged."""
    from scheduler_sync.adapters.worklist.worklist import Worklist
    from scheduler_sync.domain.reconciliation import Days
    from scheduler_sync.settings import WorklistSettings
    from scheduler_sync.site import load

    began = time.perf_counter()
    worklist = Worklist(WorklistSettings(host="127.0.0.1", port=port), load(SITE_FILE))
    first: date = FIRST - timedelta(days=1)
    days = Days(first, first + timedelta(days=WORKLIST_DAYS))
    number = sum([len(one.found) async for one in worklist.days(days)])
    assert number == ITEMS, number
    return time.perf_counter() - began


@asynccontextmanager
async def program(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, *arguments, stdout=asyncio.subprocess.PIPE, env={**os.environ}
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def said(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        raise RuntimeError("a program of this row ended without a word")
    found: dict[str, Any] = json.loads(line)
    return found


async def rows() -> list[dict[str, Any]]:
    from chassis.store import migrations
    from scheduler_sync.bootstrap import MIGRATIONS

    async with empty_database() as url, program("serve-fhir") as fhir, program("serve-worklist") as scp:
        await migrations.run(MIGRATIONS, url)
        connection = await asyncpg.connect(url)
        await connection.execute(_PATIENTS)
        await connection.execute(_LINKS, FIRST, A_DAY, APPOINTMENTS, UNTOLD, timeout=300)
        await connection.execute("VACUUM ANALYZE", timeout=300)
        await connection.close()
        port, worklist_port = (await said(fhir))["port"], (await said(scp))["port"]
        progress(f"{APPOINTMENTS:,} links, {APPOINTMENTS - MISSING + UNKNOWN:,} Appointments")
        async with program("reconcile", url, str(port)) as ours:
            report = await said(ours)
        first, second = report["runs"]
        wanted = {
            "omegaai missing": MISSING, "omegaai unknown": UNKNOWN, "omegaai differs": MOVED + OTHER_STATUS,
            "powerserver differs": UNTOLD,
        }  # fmt: skip
        if first["found"] != wanted or second["found"] != wanted:
            raise RuntimeError(f"planted {wanted}, found {first['found']} and {second['found']}: {first}")
        progress(f"whole {first['seconds']:.1f} s, again {second['seconds']:.1f} s, {report['mib']:.0f} MiB")
        floor = await shortest(url, port)
        progress(f"floor {floor:.1f} s")
        worklist = await read_worklist(worklist_port)
        loop = await asyncio.to_thread(loop_over_worklist, worklist_port)
    seconds, again, mib = first["seconds"], second["seconds"], report["mib"]
    what = f"{APPOINTMENTS:,} appointments compared"
    return [
        row("P12", f"{what}, s", (seconds, floor, seconds / floor), f"≤ {MOST_SECONDS:g}", met=seconds <= MOST_SECONDS),
        row("P12", f"{what}, MiB", (mib, None, None), f"≤ {MOST_MIB:g}", met=mib <= MOST_MIB),
        row("P12", "the same again by what changed, s", (again, None, None), f"≤ {MOST_AGAIN_SECONDS:g}",
            met=again <= MOST_AGAIN_SECONDS),
        row("P12", f"{ITEMS:,} worklist items read, s", (worklist, loop, worklist / loop),
            f"≤ {MOST_WORKLIST_SECONDS:g}", met=worklist <= MOST_WORKLIST_SECONDS),
    ]  # fmt: skip


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve-fhir"]:
            asyncio.run(serve_fhir())
        case ["serve-worklist"]:
            serve_worklist()
        case ["reconcile", url, port]:
            print(json.dumps(asyncio.run(reconcile(url, int(port)))), flush=True)
        case _:
            main(rows)
