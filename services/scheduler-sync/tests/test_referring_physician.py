"""The referring physician: from PowerServer's message to OmegaAI's Practitioner, to the events, and back."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from fake_omegaai import FakeOmegaAI
from test_omegaai_deliveries import NEXT_DAY, ZONE, Sending, appointment

from scheduler_sync.snapshots import NPI, AppointmentSnapshot

MILLER = {
    "family": "Miller", "given": "Ann", "middle": None, "number": "1001",
    "system": "urn:powerserver:physician:northside",
}  # fmt: skip


@pytest.fixture
async def sending() -> AsyncIterator[Sending]:
    async with FakeOmegaAI().serving() as server, aiohttp.ClientSession() as session:
        yield Sending(server, session)


def referrer(sending: Sending) -> dict[str, Any]:
    (stored,) = sending.server.all("Appointment")
    (found,) = [one for one in stored["participant"] if one.get("type")]
    assert found["type"][0]["coding"][0]["code"] == "REF"
    return found["actor"]


async def test_a_physician_becomes_one_practitioner_who_takes_part_in_every_appointment(sending: Sending):
    await sending.patient()
    await sending.appointment(physician=MILLER)
    await sending.appointment(physician=MILLER, **NEXT_DAY)
    (practitioner,) = sending.server.all("Practitioner")
    assert practitioner["identifier"] == [{"system": MILLER["system"], "value": "1001"}]
    assert practitioner["name"] == [{"family": "Miller", "given": ["Ann"]}]
    assert referrer(sending) == {"reference": f"Practitioner/{practitioner['id']}", "display": "Miller, Ann"}
    assert [path for _, path in sending.server.requests].count("/fhir/Practitioner") == 1, "the id is remembered"


async def test_a_practitioner_whom_omegaai_has_is_found_and_keeps_the_name_there(sending: Sending):
    sending.server.put_directly(
        {
            "resourceType": "Practitioner", "id": "77", "name": [{"family": "Miller-Roe"}],
            "identifier": [{"system": MILLER["system"], "value": "1001"}],
        }
    )  # fmt: skip
    await sending.patient()
    await sending.appointment(physician=MILLER)
    assert [one["id"] for one in sending.server.all("Practitioner")] == ["77"]
    assert sending.server.resources["Practitioner", "77"]["name"] == [{"family": "Miller-Roe"}]
    assert referrer(sending)["reference"] == "Practitioner/77"


async def test_another_physician_takes_the_place_and_none_leaves_it_empty(sending: Sending):
    await sending.patient()
    await sending.appointment(physician=MILLER)
    await sending.appointment(
        physician={**MILLER, "number": "1002", "given": "Bob"}, base_version="1", written_version="1"
    )
    assert referrer(sending)["display"] == "Miller, Bob"
    await sending.appointment(base_version="2", written_version="2")
    (stored,) = sending.server.all("Appointment")
    assert [one for one in stored["participant"] if one.get("type")] == []


async def test_a_physician_without_a_number_is_named_and_not_created(sending: Sending):
    await sending.patient()
    await sending.appointment(physician={**MILLER, "number": None})
    assert sending.server.all("Practitioner") == []
    assert referrer(sending) == {"display": "Miller, Ann"}


@pytest.mark.parametrize("status", [400, 403, 404, 422])
async def test_where_nobody_may_create_a_practitioner_the_appointment_still_comes_and_names_them(
    sending: Sending, status: int
):
    def is_about_practitioners(request: web.Request) -> bool:
        return request.path == "/fhir/Practitioner"

    await sending.patient()
    for _ in range(2):
        sending.server.answer_once(
            is_about_practitioners, lambda _: web.json_response({"resourceType": "OperationOutcome"}, status=status)
        )
    await sending.appointment(physician=MILLER)
    assert referrer(sending) == {"display": "Miller, Ann"}
    sending.server.instead.clear()
    await sending.appointment(physician=MILLER, **NEXT_DAY)
    assert referrer(sending)["reference"].startswith("Practitioner/"), "once the right is there, it is used"


async def test_each_of_several_studies_has_its_own_start_and_length_in_omegaai(sending: Sending):
    at = datetime(2026, 12, 1, 14, 30, tzinfo=ZONE)
    await sending.patient()
    await sending.appointment(
        studies=(("CT-HEAD", "CT Head"), ("CT-CHEST", "CT Chest")),
        study_times=((at, 20), (at.replace(minute=50), 10)),
    )
    (stored,) = sending.server.all("Appointment")
    told = []
    for kind in stored["serviceType"]:
        (coding,) = kind["coding"]
        found = {one["url"].rpartition("/")[2]: one for one in coding["extension"]}
        minutes = found["Duration"]["valueInteger"]
        told.append((coding["code"], found["studyDateTime"]["valueDateTime"], minutes))
    assert told == [("CT-HEAD", "2026-12-01T14:30:00-05:00", 20), ("CT-CHEST", "2026-12-01T14:50:00-05:00", 10)]


def test_a_delivery_of_former_code_is_read_and_one_without_a_physician_is_as_former_code_reads_it():
    payload = appointment().to_bytes()
    assert b"physician" not in payload
    assert b"study_times" not in payload
    assert AppointmentSnapshot.from_bytes(payload) == appointment()
    full = appointment(physician=MILLER, study_times=((datetime(2026, 12, 1, 14, 30, tzinfo=ZONE), 20),))
    assert AppointmentSnapshot.from_bytes(full.to_bytes()).study_times[0][1] == 20
    assert NPI.endswith("us-npi")
