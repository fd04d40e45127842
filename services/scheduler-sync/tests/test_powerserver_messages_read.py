"""HL7 in: the wires' examples become commands; what is wrong is told apart and named, without a patient's data."""

from dataclasses import replace
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from sync_samples import NOW, PID, directory, orm, site_file, siu

from chassis.errors import Malformed, NeedsSetup, Transient
from hl7v2 import Message
from scheduler_sync.adapters.powerserver import reader, schedule
from scheduler_sync.commands import ChangeAppointmentByStaff
from scheduler_sync.domain.appointment import Action, Study, StudyChange, WorkflowStep
from scheduler_sync.domain.patient import UNSAID, Address, PatientIdentifier
from scheduler_sync.domain.slots import Slot
from scheduler_sync.resources import ResourceDirectory

TORONTO = ZoneInfo("America/Toronto")


def read(raw: bytes) -> ChangeAppointmentByStaff:
    command = reader.read(Message.parse(raw), site_file(), directory(), received_at=NOW)
    assert isinstance(command, ChangeAppointmentByStaff)
    return command


def test_a_booking_by_siu_is_read_whole():
    command = read(siu())
    assert command.name == "SIU^S12"
    assert command.placer_number == "P100045"
    assert command.said_at == datetime(2026, 11, 25, 14, 30, tzinfo=UTC)
    facts = command.appointment
    assert facts.step is WorkflowStep.SCHEDULED
    assert facts.slot == Slot(
        datetime(2026, 12, 1, 14, 30, tzinfo=TORONTO), datetime(2026, 12, 1, 15, 0, tzinfo=TORONTO), "America/Toronto"
    )
    assert (facts.facility, facts.resource, facts.modality) == ("FAC01", "BLUME CT", "CT")
    start = datetime(2026, 12, 1, 19, 30, tzinfo=UTC)
    assert facts.studies == (Study("CT-HEAD", "CT Head", start, 30),)
    assert facts.filler_id == "A100045"
    person = command.patient
    assert person.identifiers == (PatientIdentifier("NORTHSIDE", "4711"),)
    assert (person.family, person.given, person.middle, person.sex) == ("Roe", "Jane", "A", "F")
    assert person.birth_date == date(1980, 2, 29)
    assert (person.phone, person.email) == ("(416)555-0100", "jane.roe@example.org")
    assert person.address == Address("12 Elm St", "Toronto", "ON", "M5V1A1", "CA")


def test_the_same_booking_by_orm_is_the_same_but_for_what_only_orders_carry():
    by_siu, by_orm = read(siu()), read(orm())
    assert by_orm.placer_number == by_siu.placer_number
    assert by_orm.patient == by_siu.patient
    assert by_orm.appointment.slot == by_siu.appointment.slot
    (study,) = by_siu.appointment.studies
    (change,) = by_orm.appointment.study_changes
    uid = "1.2.826.0.1.3680043.10.1.100045"
    assert change == StudyChange(Action.SET, replace(study, order_number="ACC100045", study_uid=uid))
    assert by_orm.appointment.resource == by_siu.appointment.resource
    assert by_orm.appointment.step is WorkflowStep.SCHEDULED
    assert by_orm.appointment.accession_numbers == ("ACC100045",)


def test_an_order_without_a_time_has_no_slot():
    command = read(orm(start="", end="", status="20^ORDERED^99PS", resource=""))
    assert command.appointment.slot is None
    assert command.appointment.step is WorkflowStep.ORDERED


@pytest.mark.parametrize(
    ("trigger", "status", "step"),
    [
        ("S12", "", WorkflowStep.SCHEDULED),
        ("S13", "", None),
        ("S14", "50^CONFIRMED^99PS", WorkflowStep.CONFIRMED),
        ("S14", "^Confirmed^99PS", WorkflowStep.CONFIRMED),
        ("S14", "50", WorkflowStep.CONFIRMED),
        ("S15", "30^SCHEDULED^99PS", WorkflowStep.CANCELLED),
        ("S26", "", WorkflowStep.NO_SHOW),
    ],
)
def test_the_status_comes_from_its_order_value_then_its_name_then_the_event(trigger, status, step):
    assert read(siu(trigger, status=status)).appointment.step is step


@pytest.mark.parametrize(
    ("raw", "location", "code"),
    [
        (siu(placer=""), "SCH-1", "101"),
        (siu(pid="PID|1|||"), "PID-3.1", "101"),
        (siu(start="").replace(b"AIS|1|A|CT-HEAD^CT Head^99STUDYTYPE||", b"AIS|1|A|X||"), "SCH-11.4", "101"),
        (siu(start="yesterday"), "SCH-11.4", "102"),
        (siu(end="20261201143000-0500"), "SCH-11.5", "102"),
        (siu().replace(b"SIU^S12", b"ORU^R01"), "MSH-9.1", "200"),
        (siu("S17"), "MSH-9.2", "201"),
        (orm("ZZ"), "ORC-1", "103"),
        (orm(placer=""), "ORC-2", "101"),
    ],
)
def test_what_breaks_the_standard_is_malformed_and_says_where(raw, location, code):
    with pytest.raises(Malformed) as caught:
        read(raw)
    assert (caught.value.location, caught.value.code) == (location, code)


@pytest.mark.parametrize(
    "name", ["Kanariová", "Wilhelmina Roe", "ROE, WILHELMINA", "Wilhelmina", "ROE-WILHELMINA", "MRN777123"]
)
@pytest.mark.parametrize(
    "place", ["the issuer", "the facility", "the resource", "the status's name", "the status's number and name"]
)
def test_a_name_where_a_code_should_stand_is_masked_in_the_reason(place, name):
    raw = {
        "the issuer": lambda: siu(pid=PID.replace("NORTHSIDE", name)),
        "the facility": lambda: siu(facility=name),
        "the resource": lambda: siu(resource=name),
        "the status's name": lambda: siu(status=f"^{name}^99PS"),
        "the status's number and name": lambda: siu(status=f"{name}^{name}^99PS"),
    }[place]()
    try:
        refused = read(raw).waits_for
    except NeedsSetup as error:
        refused = error
    assert refused is not None
    said = f"{refused.reason} {refused.setting}".casefold()
    assert [word for word in name.casefold().replace(",", " ").replace("-", " ").split() if word in said] == []
    assert "[masked]" in said


@pytest.mark.parametrize(
    ("raw", "setting"),
    [
        (siu(facility="FAC09"), "facilities.FAC09"),
        (siu(resource="GHOST CT"), "resource_aliases.FAC01"),
        (siu(resource="Blume CT"), "resource_aliases.FAC01"),
        (siu(pid=PID.replace("NORTHSIDE", "ELSEWHERE")), "issuers.ELSEWHERE"),
    ],
)
def test_what_the_site_does_not_know_names_the_setting(raw, setting):
    with pytest.raises(NeedsSetup) as caught:
        read(raw)
    assert setting in caught.value.setting
    for secret in ("4711", "Roe", "Jane", "example.org"):
        assert secret not in caught.value.reason + caught.value.setting


@pytest.mark.parametrize("trigger", ["S12", "S13", "S14", "S15", "S26"])
@pytest.mark.parametrize(("status", "setting"), [("42^X", "statuses.42"), ("^MAYBE^99PS", "status_names.MAYBE")])
def test_an_unknown_word_waits_for_set_up_and_does_not_hold_up_what_the_event_says(trigger, status, setting):
    command = read(siu(trigger, status=status))
    assert command.waits_for is not None
    assert command.waits_for.setting == setting
    assert command.appointment.step is schedule.EVENTS[trigger]
    assert command.appointment.slot is not None


def test_before_the_first_import_a_resource_is_a_matter_of_waiting():
    empty = ResourceDirectory(site_file)
    with pytest.raises(Transient):
        reader.read(Message.parse(siu()), site_file(), empty, received_at=NOW)


def test_a_cancellation_needs_neither_a_time_nor_a_known_resource():
    command = read(
        siu("S15", start="", end="", resource="GHOST CT").replace(
            b"SCH|P100045^RAMSOFT|A100045^RAMSOFT||||", b"SCH|P100045^RAMSOFT|A100045^RAMSOFT||||^called in"
        )
    )
    assert command.appointment.slot is None
    assert command.appointment.reason == "called in"


def test_an_empty_field_says_nothing_and_a_null_deletes():
    pid = PID.replace("(416)555-0100^PRN^PH^jane.roe@example.org", '""').replace("12 Elm St^^Toronto^ON^M5V1A1^CA", "")
    person = read(siu(pid=pid)).patient
    assert person.email is None
    assert person.phone is None
    assert person.address is UNSAID


def test_times_without_an_offset_are_the_facilitys():
    command = read(siu(start="20261201143000", end="20261201150000"))
    assert command.appointment.slot is not None
    assert command.appointment.slot.start == datetime(2026, 12, 1, 19, 30, tzinfo=UTC)


def test_a_missing_end_comes_from_the_duration_by_the_clock_of_utc():
    # 1 November 2026: the hour from 01:00 to 02:00 comes twice in Toronto.
    command = read(siu(start="20261101014500-0400", end=""))
    slot = command.appointment.slot
    assert slot is not None
    assert slot.minutes == 30
    assert slot.end.astimezone(UTC) == datetime(2026, 11, 1, 6, 15, tzinfo=UTC)


def test_segments_and_fields_that_nobody_asked_for_are_no_matter():
    raw = siu().replace(b"RGS|1|A", b"NTE|1||note\rZXX|1|whatever\rRGS|1|A")
    assert read(raw).placer_number == "P100045"


def test_our_own_code_that_comes_back_is_no_reason():
    field = b"SCH|P100045^RAMSOFT|A100045^RAMSOFT||||"
    for sent, reason in ((b"CANCELLED^^99SUITE", None), (b"CANCELLED^ill^99SUITE", "ill"), (b"MOVED^^99PS", "MOVED")):
        raw = siu("S15", status="80^CANCELLED^99PS").replace(field, field + sent)
        assert sent in raw
        assert read(raw).appointment.reason == reason
