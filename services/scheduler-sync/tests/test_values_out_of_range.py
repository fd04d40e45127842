"""What no field may hold is refused by its name and reason, and holds nothing else up."""

import asyncio
import json
import math
from datetime import UTC, date, datetime
from typing import Any

import aiohttp
import pytest
from fake_omegaai import FakeOmegaAI
from sync_harness import RECEIVED_AT, Harness, task_queue
from sync_samples import PID, SITE_FILE, directory, orm, site_file, siu

from chassis.errors import Malformed, Permanent, UnusableAnswer
from chassis.http import Answer, parse_json
from hl7v2 import Hl7Error, Message
from omegaai import answers, elements
from omegaai.client import FhirClient, Found
from omegaai.token import TokenSource
from scheduler_sync.adapters.omegaai import reader as fhir
from scheduler_sync.adapters.powerserver import reader
from scheduler_sync.commands import ChangeAppointmentByStaff
from scheduler_sync.domain.appointment import versions
from scheduler_sync.domain.patient import UNSAID
from scheduler_sync.resources import ResourceImport, StoredResources
from scheduler_sync.site import Site

FAR = (
    "00010101", "00010101000000", "00010101000000+0000", "00010101000000+1400", "19491231235959-0500", "22000101000000",
    "99991231", "99991231180000-0500", "99991231235959", "99991231235959-1200", "99991231240000",
)  # fmt: skip


def read(raw: bytes) -> ChangeAppointmentByStaff:
    site = site_file()
    command = reader.read(Message.parse(raw), site, directory(site), received_at=RECEIVED_AT)
    assert isinstance(command, ChangeAppointmentByStaff)
    return command


@pytest.mark.parametrize("make", [siu, orm])
@pytest.mark.parametrize("far", FAR)
def test_a_start_or_time_of_making_out_of_range_is_refused_by_its_place(make, far):
    start = "SCH-11.4" if make is siu else "ORC-7.4"
    for raw, where in ((make(start=far), start), (make(made=far), "MSH-7")):
        with pytest.raises(Malformed) as refused:
            read(raw)
        assert (refused.value.location, refused.value.code) == (where, "102")


@pytest.mark.parametrize("far", FAR)
def test_the_end_of_an_appointment_does_not_wait_for_a_time_out_of_range(far):
    assert read(siu("S15", start=far)).appointment.slot is None


@pytest.mark.parametrize(
    ("edge", "at"),
    [
        ("19500101000000Z", datetime(1950, 1, 1, tzinfo=UTC)),
        ("21991231235959Z", datetime(2199, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_the_first_and_the_last_second_are_of_the_range(edge, at):
    assert read(siu(made=edge)).said_at == at


@pytest.mark.parametrize("far", ["00010101", "18491231", "22000101", "99991231", "1" * 5000])
def test_a_birth_date_out_of_range_is_passed_over(far):
    passed_over, site = reader.PassedOver(), site_file()
    message = Message.parse(siu(pid=PID.replace("19800229", far[:1000])))
    command = reader.read(message, site, directory(site), received_at=RECEIVED_AT, passed_over=passed_over)
    assert command.patient.birth_date is UNSAID
    assert ("PID", "7") in passed_over.keys


def test_old_people_have_a_birth_date():
    assert read(siu(pid=PID.replace("19800229", "18500101"))).patient.birth_date == date(1850, 1, 1)


@pytest.mark.parametrize(
    ("before", "after", "where"),
    [
        ("30^SCHEDULED^99PS", "7" * 5000, "SCH-25"),
        ("||30|min^", "||" + "7" * 5000 + "|min^", "SCH-9"),
        ("|^^30^2026", "|^^M" + "7" * 900 + "^2026", "SCH-11.3"),
        ("||30|min^", "||2147483648|min^", "SCH-9"),
    ],
)
def test_numbers_beyond_all_bounds_are_refused_by_their_place(before, after, where):
    raw = siu(end="").decode().replace(before, after, 1)
    assert after in raw
    with pytest.raises(Malformed) as refused:
        read(raw.encode())
    assert refused.value.location == where


def test_a_status_of_many_digits_waits_for_set_up():
    command = read(siu(status="7" * 900))
    assert command.waits_for is not None
    assert command.waits_for.reason.startswith("SCH-25: status")


@pytest.mark.parametrize("escape", ["#", "$", "@", "*", "'", "`"])
def test_another_escape_character_is_read_as_the_message_declares_it(escape):
    pid = PID.replace("Roe^Jane", f"O{escape}T{escape}Hara^Jane\\")
    raw = siu(pid=pid).replace(b"^~\\&", b"^~" + escape.encode() + b"&")
    found = read(raw).patient
    assert (found.family, found.given) == ("O&Hara", "Jane\\")


@pytest.mark.parametrize("declared", [b"^", b"^~", b"^~\\", b"^~\\&#", b"^^^^", b"~^&\\"])
@pytest.mark.stack
async def test_odd_delimiters_come_to_a_decision_or_a_refusal(harness: Harness, declared):
    try:
        (error,) = await harness.hear(siu().replace(b"^~\\&", declared))
    except Hl7Error:
        return
    assert error is None or isinstance(error, Permanent)


def an_appointment(**more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Appointment", "id": "7", "status": "booked", "start": "2026-12-01T14:30:00-05:00",
        "end": "2026-12-01T15:00:00-05:00", "identifier": [{"system": "urn:powerserver:placer", "value": "P1"}], **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("more", "where"),
    [
        ({"start": "0001-01-01T00:00:00Z"}, "Appointment.start"),
        ({"start": "9999-12-31T23:59:59Z"}, "Appointment.start"),
        ({"end": "2026-12-01T15:00:00+24:00"}, "Appointment.end"),
        ({"end": "\ud800"}, "Appointment.end"),
        ({"requestedPeriod": {"end": "9999-12-31T23:59:59-12:00"}}, "Appointment.requestedPeriod[0].end"),
        ({"identifier": [{"value": "\ud800"}]}, "Appointment"),
        ({"cancelationReason": {"text": "a\x00b"}}, "Appointment"),
        ({"participant": [{"actor": {"reference": "Patient/\udfff"}}]}, "Appointment"),
        ({"participant": [{"period": math.nan}]}, "Appointment"),
        ({"id": "7" * 5000}, "Appointment.id"),
        ({"status": "\ud800"}, "Appointment.status"),
    ],
)
def test_an_appointment_out_of_range_is_refused_by_its_path(more, where):
    with pytest.raises(Malformed) as refused:
        fhir.appointment(Found(an_appointment(**more), "1"), "task")
    assert refused.value.location == where


def test_an_element_that_is_not_read_may_hold_any_number():
    found = fhir.appointment(Found(an_appointment(minutesDuration=2**31), "1"), "task")
    assert found.facts.start == datetime.fromisoformat("2026-12-01T14:30:00-05:00")


def test_a_long_reason_of_a_patient_is_cut():
    found = fhir.appointment(Found(an_appointment(cancelationReason={"text": "x" * 2**20}), "1"), "task")
    assert found.facts.reason is not None
    assert len(found.facts.reason) == 1000


def test_a_version_of_many_digits_is_refused_and_counts_for_nothing():
    with pytest.raises(Malformed, match=r"Appointment\.meta\.versionId"):
        fhir.appointment(Found(an_appointment(), "7" * 5000), "task")
    assert not versions.is_older("1", "7" * 5000)
    assert versions.is_older("9" * 63, "9" * 64)


def a_service(**more: Any) -> dict[str, Any]:
    return {
        "resourceType": "HealthcareService", "id": "s1", "active": True, "name": "ROOM 1",
        "providedBy": {"reference": "Organization/2"}, "availableTime": [], **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("more", "where"),
    [
        ({"extension": [{"url": "Duration", "valueInteger": 2**31}]}, "HealthcareService.extension[Duration]"),
        ({"extension": [{"url": "Duration", "valueInteger": math.inf}]}, "HealthcareService.extension[Duration]"),
        ({"extension": [{"url": "Duration", "valueString": "7" * 5000}]}, "HealthcareService.extension[Duration]"),
        ({"name": "\ud800"}, "HealthcareService"),
        ({"name": "x" * 3000}, "HealthcareService.name"),
        ({"availableTime": [{"allDay": math.nan}]}, "HealthcareService"),
        ({"extension": answers.TooDeep()}, "HealthcareService.extension"),
    ],
)
def test_a_service_out_of_range_is_refused_by_its_path(more, where):
    with pytest.raises(Malformed) as refused:
        fhir.healthcare_service(Found(a_service(**more), "1"))
    assert refused.value.location == where


def test_a_number_of_too_many_digits_is_infinite_and_the_others_are_read():
    found = parse_json(b'{"a": 7, "b": -' + b"9" * 5000 + b', "c": ' + b"9" * 5000 + b"}")
    assert found == {"a": 7, "b": -math.inf, "c": math.inf}


@pytest.mark.parametrize(
    "value",
    [
        "nan",
        "inf",
        "-1",
        "1e309",
        "9" * 5000,
        "\u0663",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Fri, 31 Dec 99999 23:59:59",
        "x",
        "",
    ],
)
def test_a_pause_that_a_server_asks_for_has_an_end(value):
    for headers in ({"Retry-After": value}, {"Retry-After": value, "Date": "Fri, 31 Dec 9999 23:59:59 -2359"}):
        found = Answer(503, headers, b"").retry_after_seconds
        assert found is None or 0 <= found <= 600


def _nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


def _page(**more: Any) -> dict[str, Any]:
    return {"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Task", "id": "good"}}], **more}


@pytest.mark.parametrize("levels", [60, 70, 300, 5000])
@pytest.mark.parametrize(
    "spoiled",
    [
        lambda deep: _page(meta=deep),
        lambda deep: _page(link=deep),
        lambda deep: _page(entry=[*_page()["entry"], deep]),
        lambda deep: _page(entry=[deep, *_page()["entry"]]),
        lambda deep: _page(entry=[{"resource": deep}, *_page()["entry"]]),
        lambda deep: _page(entry=[{"resource": [{"x": deep}]}, *_page()["entry"]]),
        lambda deep: _page(entry=[{"resource": {"x": deep}, "search": deep}, *_page()["entry"]]),
        lambda deep: _page(entry=[{"search": deep, **_page()["entry"][0]}]),
    ],
)
async def test_what_is_deep_anywhere_in_a_page_hides_no_other_resource(spoiled, levels: int) -> None:
    """Written by hand: Python's own writer cannot go so deep."""
    deep = "[" * levels + "]" * levels
    body = json.dumps(spoiled("@deep@")).replace('"@deep@"', deep).encode()
    page = await answers.resource_of(Answer(200, {}, body), "x", of_type="Bundle", names_one=False, is_read=True)
    assert {"resourceType": "Task", "id": "good"} in [one.get("resource") for one in answers.dicts(page["entry"])]


@pytest.mark.stack
@pytest.mark.parametrize(
    "more",
    [
        {"extension": [{"url": "Duration", "valueInteger": 2**64}]},
        {"name": "\ud800"}, {"name": "ROOM \x00"}, {"availableTime": [{"n": math.inf}]},
        {"extension": [_nested(300)]}, {"id": "\ud800"}, {"name": "x" * 100_000}, {"active": math.nan},
    ],
)  # fmt: skip
async def test_one_bad_service_hides_no_other(harness: Harness, more):
    async with FakeOmegaAI().serving() as server, aiohttp.ClientSession() as session:
        server.resources["HealthcareService", "bad"] = a_service(**more)
        tokens = TokenSource(
            session, f"{server.base_url}/auth/oauth2/v2.0/token",
            client_id="suite", client_secret="development-secret", scope="api",
        )  # fmt: skip
        site = Site(SITE_FILE)
        store = StoredResources(harness.store, site)
        client = FhirClient(session, server.base_url, tokens)
        await ResourceImport(client, site, store, directory(), interval_seconds=1).import_once()
    names = {row["name"] for row in await harness.rows("SELECT name FROM resources WHERE active")}
    assert names >= {"BLUME CT", "BLUME MR", "LAKE CT"}


@pytest.mark.stack
@pytest.mark.parametrize(
    "more",
    [
        {"id": "bad\ud800"}, {"focus": {"reference": "Appointment/\ud800"}}, {"authoredOn": "\ud800\x00"},
        {"reasonCode": _nested(300)}, {"meta": {"versionId": "7" * 5000}}, {"focus": _nested(300)},
    ],
)  # fmt: skip
async def test_one_bad_task_stops_no_other(harness: Harness, more):
    async with FakeOmegaAI().serving() as server, aiohttp.ClientSession() as session:
        server.makes_tasks = False
        server.put_directly(an_appointment())
        for name in ("bad", "good"):
            server.put_directly(
                {"resourceType": "Task", "id": name, "status": "ready", "intent": "order",
                 "reasonCode": {"coding": [{"code": "mirthoutbound"}]}, "focus": {"reference": "Appointment/7"},
                 "meta": {"versionId": "1"}}
            )  # fmt: skip
        server.resources["Task", "bad"].update(json.loads(json.dumps(more)))
        await task_queue(harness, session, server.base_url).read_once()
        assert server.resources["Task", "good"]["status"] == "completed"
    parked = await harness.rows("SELECT * FROM parked_tasks")
    assert not [row for row in parked if row["reason"].startswith("bug")]


def test_what_is_shown_of_a_name_can_be_kept():
    assert elements.shown("a\ud800\x00" + "x" * 999) == "a??" + "x" * 252


def test_a_deep_answer_that_is_no_page_is_refused():
    answer = Answer(200, {}, json.dumps(_nested(300)).encode())
    with pytest.raises(UnusableAnswer):
        asyncio.run(answers._body(answer, "GET Appointment"))
