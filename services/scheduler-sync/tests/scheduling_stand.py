"""The scheduling API on a real Postgres: a site whose patients may book, its patients, and a client with a token."""

import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import httpx
from sync_harness import Harness, StoreUrl
from sync_samples import NOTHING_FOR_PATIENTS, SITE_FILE, directory, siu

from chassis.clock import utc_now
from chassis.observe import Metrics
from chassis.settings import HttpSettings
from chassis.store import Store
from chassis.web.guard import Guard
from scheduler_sync import metrics as meters
from scheduler_sync.domain.slots import Opening
from scheduler_sync.domain.slots.hours import instant
from scheduler_sync.handlers.displacements import tell_displaced
from scheduler_sync.rooms import Rooms
from scheduler_sync.scheduling.api import SchedulingApi
from scheduler_sync.scheduling.desk import Desk
from scheduler_sync.site import Site
from scheduler_sync.store.work import OpenWork

TORONTO = ZoneInfo("America/Toronto")
TOKEN = "a-token-of-the-blume-page"
HOURS = tuple(Opening(day, 8 * 60, 20 * 60) for day in range(7))
RULES = """
self_scheduling_capacity: 3
self_scheduling:
  FAC01:
    public_booking: true
    reschedule: true
    cancel: true
    modalities: [CT, MR]
    notice_minutes: 60
    horizon_days: 60
    hold_minutes: 10
    closed: [2026-12-25]
    radius_km: 50
    latitude: 43.65
    longitude: -79.38
"""
DAY = (utc_now() + timedelta(days=14)).astimezone(TORONTO).date()


def at(hour: int, minute: int = 0, day: date = DAY) -> datetime:
    """The instant of a wall clock's time in Toronto."""
    return instant(day, 60 * hour + minute, TORONTO)


@dataclass
class Stand:
    sync: Harness
    desk: Desk
    client: httpx.AsyncClient
    rooms: Rooms

    async def call(self, operation: str, *, key: str | None = None, **values: Any) -> tuple[int, dict[str, Any]]:
        """A call with FHIR's Parameters: status and answer."""
        parameter = [{"name": name.replace("__", "-"), **value} for name, value in values.items()]
        answer = await self.client.post(
            f"/fhir/Appointment/{operation}",
            json={"resourceType": "Parameters", "parameter": parameter},
            headers={"idempotency-key": key} if key else {},
        )
        return answer.status_code, answer.json()

    async def book(self, start: datetime, *, patient: int = 0, key: str | None = None, **more: Any) -> Any:
        return await self.call("$book", key=key, appt__resource=wanted(start, **more), patient=named(patient))


def wanted(start: datetime, *, service: str = "hs-1", minutes: int = 30, **more: Any) -> dict[str, Any]:
    return {
        "resource": {
            "resourceType": "Appointment", "status": "proposed", "start": start.isoformat(), "minutesDuration": minutes,
            "serviceType": [{"coding": [{"code": "CT-HEAD", "display": "CT Head"}]}],
            "participant": [{"actor": {"reference": f"HealthcareService/{service}"}}], **more,
        }
    }  # fmt: skip


def named(number: int) -> dict[str, Any]:
    return {"valueReference": {"reference": f"Patient/{UUID(int=1000 + number)}"}}


def instant_of(value: datetime) -> dict[str, Any]:
    return {"valueDateTime": value.isoformat()}


def reference(kind: str, identifier: str) -> dict[str, Any]:
    return {"valueReference": {"reference": f"{kind}/{identifier}"}}


def booked_by_staff(number: int, start: datetime, *, trigger: str = "S12", minutes: int = 30, **more: str) -> bytes:
    """PowerServer's message about a patient of its own."""
    local = start.astimezone(TORONTO)
    pid = f"PID|1|{90_000 + number}^^^NORTHSIDE|{90_000 + number}^^^NORTHSIDE||Roe^Jane||19800229|F"
    times = {
        "start": local.strftime("%Y%m%d%H%M%S%z"),
        "end": (start + timedelta(minutes=minutes)).astimezone(TORONTO).strftime("%Y%m%d%H%M%S%z"),
    }
    control_id = f"F{number}{trigger}"
    return siu(trigger, **{"control_id": control_id, "placer": f"P{number}", "pid": pid, **times, **more})


@asynccontextmanager
async def standing(
    url: str, folder: Path, *, rules: str = RULES, patients: int = 5, pool_size: int = 8
) -> AsyncIterator[Stand]:
    shutil.copytree(SITE_FILE.parent, folder / "site")
    file = folder / "site" / SITE_FILE.name
    file.write_text(NOTHING_FOR_PATIENTS + rules, "utf-8")
    sync = Harness(await Store.open(StoreUrl(url, pool_size)), Site(file), directory())
    known = [replace(one, hours=HOURS, self_scheduling=True) for one in directory().all_of("FAC01")]
    known += [replace(one, hours=HOURS, self_scheduling=True) for one in directory().all_of("FAC02")]
    sync.resources.fill(known)
    rooms = Rooms(lambda: sync.site.file, sync.resources, utc_now)
    sync.open_work = OpenWork(sync.site, rooms, partial(tell_displaced, effects=sync.effects))
    for one in known:
        await sync.store.pool.execute(
            "INSERT INTO resources (id, facility, organization, name, modality, healthcare_service_id, hours, "
            "overbooking, self_scheduling, active, aliases, seen_at) "
            "VALUES ($1, $2, '2', $3, $4, $5, '[]', true, true, true, '{}', now())",
            one.id, one.facility, one.name, one.modality, one.healthcare_service_id,
        )  # fmt: skip
    await sync.store.pool.execute(
        "INSERT INTO patients (id, site, family, given, sex, language, organization, heard_at, details_heard_at, "
        "revision) SELECT lpad(to_hex(1000 + n), 32, '0')::uuid, 'northside', 'Roe', 'Jane', 'F', 'en', '1', now(), "
        "'{}', 1 FROM generate_series(0, $1::int - 1) n",
        patients,
    )
    await sync.store.pool.execute(
        "INSERT INTO patient_identifiers SELECT 'northside', 'NORTHSIDE', 'N' || n, "
        "lpad(to_hex(1000 + n), 32, '0')::uuid, 0 FROM generate_series(0, $1::int - 1) n",
        patients,
    )
    desk = Desk(sync.store, sync.open_work, rooms, sync.effects)
    metrics = Metrics(meters)
    settings = HttpSettings(service_tokens=f"blume:{TOKEN}")
    guard = Guard(SchedulingApi(desk, lambda: sync.site.file, metrics).routes(), settings, service="scheduler-sync")
    transport = httpx.ASGITransport(app=guard, raise_app_exceptions=False)
    headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/fhir+json"}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as client:
        yield Stand(sync, desk, client, rooms)
    await sync.store.close()


def reasons(answer: Mapping[str, Any]) -> list[str]:
    return [one["details"]["text"] for one in answer["issue"] if one["severity"] != "information"]


def offers(answer: Mapping[str, Any]) -> list[datetime]:
    return [datetime.fromisoformat(one["start"]).astimezone(UTC) for one in answer.get("contained", [])]
