"""The referring physician: from PowerServer's message to OmegaAI's Practitioner, to the events, and back."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from fake_omegaai import FakeOmegaAI
from kinds_line import LATER, Line, changed
from sync_harness import Harness
from sync_samples import orm, siu
from test_omegaai_deliveries import NEXT_DAY, ZONE, Sending, appointment

from chassis.errors import Permanent
from hl7v2 import Message
from scheduler_sync.domain.appointment import Physician
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


async def test_a_practitioner_who_is_gone_since_is_looked_up_again(sending: Sending):
    await sending.patient()
    await sending.appointment(physician=MILLER)
    (gone,) = sending.server.all("Practitioner")
    del sending.server.resources["Practitioner", gone["id"]]

    def names_the_one_who_is_gone(request: web.Request) -> bool:
        return request.method == "PUT"

    sending.server.answer_once(
        names_the_one_who_is_gone, lambda _: web.json_response({"resourceType": "OperationOutcome"}, status=422)
    )
    await sending.appointment(physician=MILLER, **NEXT_DAY)
    (practitioner,) = sending.server.all("Practitioner")
    assert practitioner["id"] != gone["id"]
    assert referrer(sending)["reference"] == f"Practitioner/{practitioner['id']}"


async def test_an_appointment_that_is_refused_for_itself_is_not_tried_for_ever(sending: Sending):
    await sending.patient()
    await sending.appointment(physician=MILLER)
    puts = len([one for one in sending.server.requests if one[0] == "PUT"])
    sending.server.answer_once(
        lambda request: request.method == "PUT",
        lambda _: web.json_response({"resourceType": "OperationOutcome"}, status=422),
    )
    with pytest.raises(Permanent):
        await sending.appointment(physician=MILLER, **NEXT_DAY)
    assert len([one for one in sending.server.requests if one[0] == "PUT"]) == puts + 1


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


@pytest.mark.parametrize("message", [siu, orm])
def test_the_physician_of_a_message_goes_all_the_way_and_comes_back_in_what_powerserver_is_told(message):
    line = Line()
    assert line.say(message()) is None
    assert line.link.referring_physician == Physician("Miller", "Ann", number="1001")
    (practitioner,) = line.omegaai.all("Practitioner")
    assert practitioner["identifier"] == [{"system": MILLER["system"], "value": "1001"}]
    assert line.card["participant"][2]["actor"]["reference"] == f"Practitioner/{practitioner['id']}"
    line.omegaai.patient_sets(line.card, "booked")
    (task_id,) = [one for one in line.omegaai.tasks if line.omegaai.tasks[one] == line.card["id"]][-1:]
    assert line.suite.apply_tasks([line.suite.read_task(task_id)]) == [True]
    (told,) = [one for one in line.suite.heads() if one.delivery.destination == "powerserver"]
    said = Message.parse(told.delivery.payload)
    assert [said.get(f"PV1-8.{part}") for part in (1, 2, 3)] == ["1001", "Miller", "Ann"]


def test_an_npi_has_its_own_system_and_the_order_names_the_physician_where_the_visit_does_not():
    line = Line()
    line.say(changed(siu(), r"1001\^Miller\^Ann", "1234567893^Welby^Marcus^^^^^^NPI"))
    assert line.omegaai.all("Practitioner")[0]["identifier"] == [{"system": NPI, "value": "1234567893"}]
    other = Line()
    other.say(changed(changed(orm(), r"1001\^Miller\^Ann\|{10}", "|" * 10), r"CT-HEAD\^CT Head\^99STUDYTYPE\|{12}",
                      "CT-HEAD^CT Head^99STUDYTYPE" + "|" * 12 + "77^Kelly^Jo"))  # fmt: skip
    assert other.link.referring_physician == Physician("Kelly", "Jo", number="77")


def test_another_physician_is_told_to_omegaai_and_published_and_no_news_is_none():
    line = Line()
    line.say(siu())
    line.say(changed(siu("S14", made=LATER, control_id="B"), r"1001\^Miller\^Ann", "1002^Ross^Doug"))
    assert line.card["participant"][2]["actor"]["display"] == "Ross, Doug"
    events = len(line.suite.memory.events)
    line.say(siu("S14", made=LATER, control_id="C"))
    assert len(line.suite.memory.events) == events + 1
    line.say(changed(siu("S14", made=LATER, control_id="D"), r"1001\^Miller\^Ann", ""))
    assert len(line.suite.memory.events) == events + 1


@pytest.mark.stack
async def test_the_event_names_the_physician_the_organisation_and_each_studys_facts(harness: Harness):
    assert await harness.hear(orm()) == [None]
    data = (await harness.event("appointment.scheduled"))["data"]
    assert data["referring_physician"] == {
        "identifier": "1001", "issuer": None, "name": {"family": "Miller", "given": "Ann", "middle": None},
    }  # fmt: skip
    assert data["organization"] == harness.site.file.facilities["FAC01"].organization
    assert data["studies"] == [
        {
            "code": "CT-HEAD", "description": "CT Head", "start": "2026-12-01T14:30:00-05:00",
            "end": "2026-12-01T15:00:00-05:00", "modality": "CT", "procedure_codes": [],
            "accession_number": "ACC100045", "study_uid": "1.2.826.0.1.3680043.10.1.100045",
        }
    ]  # fmt: skip
    stored = await harness.row("SELECT referring_physician, study_facts FROM appointment_links")
    assert "Miller" in str(stored["referring_physician"])
    assert await harness.hear(orm("XO", control_id="B", made="20261125093100-0500")) == [None]
    assert len(await harness.events()) == 2, "the stored facts are as they were said"
