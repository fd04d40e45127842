"""ADT: patients whom PowerServer registers and changes, with or without an appointment, up to OmegaAI's Patient."""

from itertools import permutations
from typing import Any

import pytest
from field_cases_line import line as real_line
from kinds_line import LATER, Line, read_any, with_hl7
from sync_samples import NOW, SITE_FILE, directory, siu

from chassis.errors import Malformed, NeedsSetup
from hl7v2 import Message, raw
from scheduler_sync.adapters.powerserver import reader
from scheduler_sync.commands import ChangePatientByStaff
from scheduler_sync.explain import explain
from scheduler_sync.site import load

PERSON = "PID|1|{0}|{0}||Roe^Jane^A||19800229|F|||12 Elm St^^Toronto^ON^M5V1A1^CA||(416)555-0100^PRN^PH^{1}"


def adt(
    trigger: str = "A28",
    *,
    made: str = "20261125093000-0500",
    control_id: str = "A",
    version: str = "2.3.1",
    number: str = "4711^^^NORTHSIDE",
    email: str = "jane.roe@example.org",
    facility: str = "FAC01",
    pid: str | None = None,
) -> bytes:
    lines = [
        f"MSH|^~\\&|RAMSOFT|{facility}|SUITE|NORTHSIDE|{made}||ADT^{trigger}|{control_id}|P|{version}",
        f"EVN|{trigger}|{made}",
        PERSON.format(number, email) if pid is None else pid,
        "PV1|1|O",
    ]
    return ("\r".join(lines) + "\r").encode()


def emails(line: Line) -> list[str]:
    return [one["value"] for one in line.person.get("telecom", []) if one["system"] == "email"]


@pytest.mark.parametrize("version", ["2.3", "2.3.1", "2.4", "2.5", "2.5.1"])
@pytest.mark.parametrize("trigger", ["A04", "A08", "A28", "A31"])
def test_a_patient_without_an_appointment_is_registered_at_both_ends(trigger: str, version: str) -> None:
    line = Line()
    assert line.say(adt(trigger, version=version)) is None
    assert emails(line) == ["jane.roe@example.org"]
    assert line.person["name"][0] == {"use": "official", "family": "Roe", "given": ["Jane", "A"]}
    assert [topic for topic, _, _ in line.suite.memory.events] == ["patient.registered"]
    assert line.suite.memory.links == {}


def test_the_event_may_stand_in_evn_alone() -> None:
    line = Line()
    assert line.say(adt().replace(b"ADT^A28", b"ADT")) is None
    assert emails(line) == ["jane.roe@example.org"]


def test_a_changed_address_updates_the_same_patient_and_a_repeat_does_nothing() -> None:
    line = Line()
    line.say(adt(), adt("A08", made=LATER, control_id="B", email="j@example.org"))
    assert line.say(adt("A31", made=LATER, control_id="C", email="j@example.org")) is None
    assert emails(line) == ["j@example.org"]
    assert [topic for topic, _, _ in line.suite.memory.events] == ["patient.registered", "patient.updated"]


def test_the_order_of_arrival_does_not_matter() -> None:
    """A registration, a booking and a change of the address: always the same patient, once in OmegaAI."""
    said = [
        adt("A04", email="a@example.org"),
        siu(made="20261125093010-0500", control_id="B"),
        adt("A08", made=LATER, control_id="C", email="c@example.org"),
    ]
    for order in permutations(said):
        line = Line()
        for one in order:
            assert line.say(one) is None
        assert emails(line) == ["c@example.org"]
        assert line.link.patient_id in line.suite.memory.patients


@pytest.mark.parametrize(("written", "left"), [("", ["jane.roe@example.org"]), (raw('""'), [])])
def test_an_empty_field_keeps_and_the_null_deletes(written: Any, left: list[str]) -> None:
    line = Line()
    line.say(adt())
    later = Message.parse(adt("A08", made=LATER, control_id="B"))
    later.set("PID-13", written)
    assert line.say(later.to_bytes()) is None
    assert emails(line) == left


@pytest.mark.parametrize(
    ("number", "in_place"),
    [
        ("4711^^^NORTHSIDE^MR", 3), ("4711^^^NORTHSIDE", 2), ("4711^^^NORTHSIDE", 4),
        ("9^^^BANK^SS~4711^^^NORTHSIDE^MR", 3), ("4711^^^NORTHSIDE&1.2.3&ISO", 3),
    ],
)  # fmt: skip
def test_a_number_is_read_by_the_rules_of_a_booking(number: str, in_place: int) -> None:
    fields = ["1", "", "", "", "Roe^Jane"]
    fields[in_place - 1] = number
    command = read_any(adt(pid="PID|" + "|".join(fields)))
    assert isinstance(command, ChangePatientByStaff)
    assert [(one.issuer, one.value) for one in command.patient.identifiers] == [("NORTHSIDE", "4711")]


def test_an_unknown_issuer_waits_with_the_issuer_as_it_stood() -> None:
    with pytest.raises(NeedsSetup, match="'ELSEWHERE'") as caught:
        read_any(adt(number="4711^^^ELSEWHERE"))
    assert caught.value.setting == "issuers.ELSEWHERE"


@pytest.mark.parametrize(
    ("raw_message", "location", "code"),
    [
        (adt("A01"), "MSH-9.2", "201"),
        (adt(pid="PID|1"), "PID-3.1", "101"),
        (adt(pid="ZZZ|1"), "PID-3.1", "101"),
        (adt(number="9" * 428 + "^^^NORTHSIDE"), "PID-3", "104"),
        (adt(pid="PID|1||4711^^^NORTHSIDE||" + "x" * 1001), "PID-5", "104"),
        (adt(made="yesterday"), "MSH-7", "102"),
        (adt(made="00010101"), "MSH-7", "102"),
    ],
)
def test_a_message_that_breaks_the_standard_is_refused_with_its_place(
    raw_message: bytes, location: str, code: str
) -> None:
    with pytest.raises(Malformed) as caught:
        read_any(raw_message)
    assert (caught.value.location, caught.value.code) == (location, code)


def test_two_patients_in_one_message_wait() -> None:
    with pytest.raises(NeedsSetup, match=r"PID\[2\]"):
        read_any(adt() + b"PID|2||4712^^^NORTHSIDE||Doe^Joan\r")


def test_numbers_of_two_patients_in_one_message_wait_for_a_person() -> None:
    line = Line()
    line.say(adt(), adt(number="4712^^^NORTHSIDE", control_id="B"))
    error = line.say(adt(number="4711^^^NORTHSIDE~4712^^^NORTHSIDE", made=LATER, control_id="C"))
    assert isinstance(error, NeedsSetup)


def test_a_facility_that_the_site_does_not_know_matters_for_the_time_alone() -> None:
    assert read_any(adt(facility="ELSEWHERE")).said_at.isoformat() == "2026-11-25T14:30:00+00:00"
    assert read_any(adt(made="20261125093000")).said_at.isoformat() == "2026-11-25T14:30:00+00:00"
    with_zones = load(SITE_FILE)
    zones = {one.time_zone for one in with_zones.facilities.values()}
    without_offset = Message.parse(adt(facility="ELSEWHERE", made="20261125093000"))
    if len(zones) > 1:
        with pytest.raises(NeedsSetup, match="MSH-7"):
            reader.read(without_offset, with_zones, directory(), received_at=NOW)
    else:
        assert reader.read(without_offset, with_zones, directory(), received_at=NOW).said_at.hour == 14


def test_a_training_message_is_refused() -> None:
    with pytest.raises(Malformed) as caught:
        read_any(adt().replace(b"|P|2.3.1", b"|T|2.3.1"), with_hl7(processing_ids=["P"]))
    assert caught.value.location == "MSH-11"


def test_explain_shows_the_patient() -> None:
    found = explain(adt(), load(SITE_FILE), directory(), received_at=NOW)
    assert (found.message, found.meaning, found.code) == ("ADT^A28", "a person who is added", "AA")
    assert found.effect["patient's numbers"] == ["4711 of NORTHSIDE"]
    assert "placer number" not in found.effect


@pytest.mark.stack
async def test_over_mllp_a_registered_patient_reaches_omegaai_once(migrated_url: str) -> None:
    async with real_line(migrated_url) as powerserver:
        for one in (adt("A04"), adt("A04"), adt("A08", made=LATER, control_id="B", email="b@example.org")):
            assert (await powerserver.say(one)).code == "AA"
            await powerserver.deliver()
        assert (await powerserver.say(siu(made="20261125093200-0500", control_id="C"))).code == "AA"
        await powerserver.deliver()
        (person,) = powerserver.omegaai.all("Patient")
        assert [one["value"] for one in person["telecom"]] == ["jane.roe@example.org", "(416)555-0100"]
        assert powerserver.shown("P100045").patient == person
