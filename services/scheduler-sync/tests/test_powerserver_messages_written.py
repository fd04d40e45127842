"""HL7 out: PowerServer hears a status under the numbers that it gave, in the version and the profile of its site."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest
from sync_samples import site_file

import contracts
from hl7v2 import Message
from scheduler_sync.adapters.powerserver.writer import Hl7StatusWriter, control_id
from scheduler_sync.domain.appointment import AppointmentLink, State, Study, WorkflowStep
from scheduler_sync.domain.patient import Address, Patient, PatientIdentifier
from scheduler_sync.domain.slots import Slot
from scheduler_sync.mapping import Hl7Mapping
from scheduler_sync.site import SiteFile

START = datetime(2026, 12, 1, 19, 30, tzinfo=UTC)
LINK = AppointmentLink(
    id=UUID(int=1), site="northside", placer_number="P100045", patient_id=UUID(int=2), facility="FAC01",
    resource="BLUME CT", modality="CT", slot=Slot(START, START + timedelta(minutes=30), "America/Toronto"),
    studies=(Study("CT-HEAD", "CT Head"), Study("CT-CHEST", "CT Chest")), state=State.CONFIRMED,
    step=WorkflowStep.CONFIRMED, filler_id="A100045", accession_numbers=("ACC1", "ACC2"),
)  # fmt: skip
PATIENT = Patient(
    id=UUID(int=2), site="northside", identifiers=(PatientIdentifier("NORTHSIDE", "4711"),), family="Roe & Søn",
    given="Jane", middle=None, birth_date=None, sex="F", email=None, phone=None, language="en", address=None,
    organization="1", heard_at=START,
)  # fmt: skip


def written(step: WorkflowStep = WorkflowStep.CONFIRMED, site: SiteFile | None = None, link=LINK) -> Message:
    file = site or site_file()
    raw = Hl7StatusWriter(lambda: file).status_message(link, PATIENT, step, control_id="C1", made_at=START)
    return Message.parse(raw)


def with_profile(**hl7) -> SiteFile:
    file = site_file()
    return file.model_copy(update={"hl7": file.hl7.model_copy(update=hl7)})


def test_a_confirmation_is_s14_under_powerservers_own_numbers():
    message = written()
    assert (message.type, message.trigger, message.version) == ("SIU", "S14", "2.3.1")
    got = {path: message.get(path) for path in (
        "MSH-3", "MSH-4", "MSH-5", "MSH-6", "MSH-10", "MSH-18", "SCH-1.1", "SCH-1.2", "SCH-2.1", "SCH-11.4", "SCH-11.5",
        "SCH-25.1", "SCH-25.2", "SCH-25.3", "PID-3.1", "PID-3.4", "PID-5.1", "AIG-3.1", "AIL-3.4",
    )}  # fmt: skip
    assert got == {
        "MSH-3": "SUITE", "MSH-4": "NORTHSIDE", "MSH-5": "RAMSOFT", "MSH-6": "FAC01", "MSH-10": "C1",
        "MSH-18": "UNICODE UTF-8", "SCH-1.1": "P100045", "SCH-1.2": "RAMSOFT", "SCH-2.1": "A100045",
        "SCH-11.4": "20261201143000-0500", "SCH-11.5": "20261201150000-0500", "SCH-25.1": "50",
        "SCH-25.2": "CONFIRMED", "SCH-25.3": "99PS", "PID-3.1": "4711", "PID-3.4": "NORTHSIDE", "PID-5.1": "Roe & Søn",
        "AIG-3.1": "BLUME CT", "AIL-3.4": "FAC01",
    }  # fmt: skip
    assert [one.get("3.1") for one in message.segments("AIS")] == ["CT-HEAD", "CT-CHEST"]


@pytest.mark.parametrize(("step", "trigger"), [(WorkflowStep.CANCELLED, "S15"), (WorkflowStep.SCHEDULED, "S14")])
def test_the_event_follows_the_step(step, trigger):
    assert written(step).trigger == trigger


def test_a_cancellation_carries_its_reason():
    assert written(WorkflowStep.CANCELLED, link=replace(LINK, reason="ill")).get("SCH-6.2") == "ill"


def test_a_site_that_wants_orders_gets_one_with_a_group_for_each_study():
    message = written(site=with_profile(send="orm"))
    assert (message.type, message.trigger) == ("ORM", "O01")
    groups = message.segments("ORC")
    assert [(one.get("1"), one.get("2"), one.get("3"), one.get("16.1")) for one in groups] == [
        ("SC", "P100045", "ACC1", "50"), ("SC", "P100045", "ACC2", "50"),
    ]  # fmt: skip
    assert [one.get("19") for one in message.segments("OBR")] == ["BLUME CT", "BLUME CT"]
    assert message.get("ORC-7.4") == "20261201143000-0500"
    assert written(WorkflowStep.CANCELLED, with_profile(send="orm")).get("ORC-1") == "CA"


WANTED = Slot(START + timedelta(days=7), START + timedelta(days=7, minutes=45), "America/Toronto")
VERSIONS = ("2.3", "2.3.1", "2.4", "2.5", "2.5.1")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("send", ["siu", "orm"])
def test_a_request_for_an_appointment_is_a_booking_with_the_priority_of_requests(send: str, version: str):
    patient = replace(
        PATIENT, birth_date=date(1980, 2, 29), email="jane@example.org", phone="(416)555-0100",
        address=Address("12 Elm St", "Toronto", "ON", "M5V1A1", "CA"),
    )  # fmt: skip
    file = with_profile(send=send, version=version)
    link = replace(LINK, slot=None, requested_slot=WANTED, filler_id=None)
    message = Message.parse(
        Hl7StatusWriter(lambda: file).request_message(link, patient, control_id="C1", made_at=START)
    )
    start, status, control = ("SCH-11.4", "SCH-25.1", "MSH-9.2") if send == "siu" else ("ORC-7.4", "ORC-16.1", "ORC-1")
    assert (message.get(start), message.get(status)) == ("20261208143000-0500", "30")
    assert message.get(control) == ("S12" if send == "siu" else "NW")
    assert (message.get("PID-13.1"), message.get("PID-13.4"), message.get("PID-11.3")) == (
        "(416)555-0100", "jane@example.org", "Toronto",
    )  # fmt: skip
    assert marked(message) == wanted_marks(send, version)


def marked(message: Message) -> list[str]:
    """The default places that hold the priority of requests."""
    places = ("SCH-11.6", "ORC-7.6", "OBR-27.6", "TQ1-9")
    return [place for place in places if message.get(place) == "SCHEDULED STATUS"]


def wanted_marks(send: str, version: str) -> list[str]:
    if send == "orm":
        return ["ORC-7.6", "OBR-27.6"] if version < "2.5" else ["ORC-7.6", "OBR-27.6", "TQ1-9"]
    return ["SCH-11.6"] if version < "2.5" else ["TQ1-9"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("send", ["siu", "orm"])
def test_a_wish_for_another_time_names_the_wanted_slot_and_the_priority_of_requests(send: str, version: str):
    file = with_profile(send=send, version=version)
    link = replace(LINK, requested_slot=WANTED, studies=(replace(LINK.studies[0], start=START, minutes=30),))
    message = Message.parse(Hl7StatusWriter(lambda: file).move_message(link, PATIENT, control_id="C1", made_at=START))
    start, control = ("SCH-11.4", "MSH-9.2") if send == "siu" else ("ORC-7.4", "ORC-1")
    assert (message.get(start), message.get(control)) == ("20261208143000-0500", "S13" if send == "siu" else "XO")
    assert "20261201" not in message.to_bytes().decode().partition("\r")[2]  # the slot that is booked is not named
    assert marked(message) == wanted_marks(send, version)
    assert message.get("SCH-1.1" if send == "siu" else "ORC-2.1") == "P100045"


@pytest.mark.parametrize("send", ["siu", "orm"])
def test_no_status_and_no_cancellation_carries_the_priority_of_requests(send: str):
    file = with_profile(send=send)
    link = replace(LINK, reason="ill", requested_slot=WANTED)
    raw = Hl7StatusWriter(lambda: file).cancel_message(link, PATIENT, control_id="C1", made_at=START)
    message = Message.parse(raw)
    assert (marked(message), marked(written(site=file))) == ([], [])
    assert message.get("SCH-6.2" if send == "siu" else "NTE-3") == "ill"
    assert message.get("SCH-11.4" if send == "siu" else "ORC-7.4") == "20261201143000-0500"


@pytest.mark.parametrize(
    ("send", "name", "write", "shown"),
    [
        ("siu", "priority", ["NTE-3"], {"NTE-3": "SCHEDULED STATUS", "SCH-11.6": None}),
        ("siu", "resource", ["AIL-3", "ZRS-2.3"], {"AIL-3": "BLUME CT", "AIL-3.4": "FAC01", "ZRS-2.3": "BLUME CT"}),
        ("siu", "status", ["ZST-1"], {"ZST-1.1": "30", "ZST-1.2": "SCHEDULED", "SCH-25": None}),
        ("siu", "study", ["AIS-3", "ZSY-4"], {"ZSY-4": "CT-HEAD", "ZSY[2]-4": "CT-CHEST"}),
        ("orm", "resource", ["PV1-3.2"], {"PV1-3.2": "BLUME CT", "PV1-3.4": "FAC01", "OBR-19": None}),
        ("orm", "priority", ["ZPR-1"], {"ZPR-1": "SCHEDULED STATUS", "ZPR[2]-1": "SCHEDULED STATUS", "ORC-7.6": None}),
        ("orm", "email", ["PID-14.4"], {"PID-14.4": "jane@example.org", "PID-13.4": None}),
    ],
)
def test_a_value_is_written_where_the_mapping_says(send, name, write, shown):
    places = {send: {name: {"write": write}}}
    file = with_profile(send=send).model_copy(update={"mapping": Hl7Mapping.model_validate(places)})
    patient = replace(PATIENT, email="jane@example.org")
    raw = Hl7StatusWriter(lambda: file).request_message(LINK, patient, control_id="C1", made_at=START)
    message = Message.parse(raw)
    assert {path: message.get(path) for path in shown} == shown


def test_a_renamed_status_is_told_by_the_sites_name():
    file = site_file()
    renamed = file.model_copy(update={"status_names": {"BESTAETIGT": 50}})
    assert written(site=renamed).get("SCH-25.2") == "BESTAETIGT"


def test_control_ids_fit_the_version_and_differ():
    ids = {control_id(contracts.uuid7()) for _ in range(10_000)}
    assert len(ids) == 10_000
    assert {len(one) for one in ids} == {20}
    one = contracts.uuid7()
    assert control_id(one) == control_id(one)


def test_each_study_keeps_its_own_start_and_length_or_says_none():
    first = replace(LINK.studies[0], start=START, minutes=30)
    second = replace(LINK.studies[1], start=START + timedelta(minutes=30), minutes=45)
    for studies, shown in (
        ((first, second), [("20261201143000-0500", "30"), ("20261201150000-0500", "45")]),
        (LINK.studies, [(None, None), (None, None)]),
        (LINK.studies[:1], [("20261201143000-0500", "30")]),
    ):
        services = written(link=replace(LINK, studies=studies)).segments("AIS")
        assert [(one.get("4"), one.get("7")) for one in services] == shown
    orders = written(site=with_profile(send="orm"), link=replace(LINK, studies=(first, second))).segments("OBR")
    assert [(one.get("27.4"), one.get("27.3")) for one in orders] == [
        ("20261201143000-0500", "30"), ("20261201150000-0500", "45"),
    ]  # fmt: skip


def test_an_issuer_that_is_an_oid_is_written_as_one():
    patient = replace(PATIENT, identifiers=(PatientIdentifier("2.16.840.1.5", "4711"),))
    raw = Hl7StatusWriter(site_file).status_message(
        LINK, patient, WorkflowStep.CONFIRMED, control_id="C1", made_at=START
    )
    assert Message.parse(raw).raw("PID-3") == "4711^^^&2.16.840.1.5&ISO"


@pytest.mark.parametrize("version", ["2.3", "2.3.1", "2.4", "2.5", "2.5.1"])
def test_what_the_structure_requires_is_there_and_says_nothing_false(version):
    message = written(site=with_profile(version=version), link=replace(LINK, modality=None))
    required = ("SCH-6", "SCH-16", "SCH-20", "AIG-4", "AIL-4")
    assert {path: message.raw(path) for path in required} == {
        "SCH-6": "CONFIRMED^^99SUITE", "SCH-16": "RAMSOFT", "SCH-20": "SUITE", "AIG-4": "^not known",
        "AIL-4": "C^^HL70305",
    }  # fmt: skip
    named = version in ("2.4", "2.5", "2.5.1")
    assert message.raw("MSH-9") == ("SIU^S14^SIU_S12" if named else "SIU^S14")
    order = written(site=with_profile(version=version, send="orm"))
    assert order.raw("MSH-9") == ("ORM^O01^ORM_O01" if named else "ORM^O01")


def test_a_site_names_the_persons_of_an_appointment():
    message = written(site=with_profile(filler_contact="1001", entered_by="BLUME"))
    assert (message.get("SCH-16"), message.get("SCH-20")) == ("1001", "BLUME")


def test_an_order_without_studies_says_the_status_all_the_same():
    message = written(WorkflowStep.CANCELLED, with_profile(send="orm"), replace(LINK, studies=(), reason="ill"))
    assert [message.get(path) for path in ("ORC-1", "ORC-2", "ORC-16.1", "OBR-4.2", "OBR-19", "NTE-3")] == [
        "CA", "P100045", "80", "not known", "BLUME CT", "ill",
    ]  # fmt: skip
    assert message.get("ORC-7.4") == "20261201143000-0500"


def test_texts_are_cut_and_identifiers_are_not():
    long = replace(LINK, placer_number="P" * 300, reason="ill & " * 200, studies=(Study("C" * 60, "d" * 300),))
    message = written(WorkflowStep.CANCELLED, link=long)
    reason, study = message.raw("SCH-6") or "", message.raw("AIS-3") or ""
    assert len(reason) <= 200
    assert reason.startswith("CANCELLED^ill \\T\\ ill ")
    assert reason.endswith("...^99SUITE")
    assert study == f"{'C' * 60}^{'d' * 124}...^99STUDYTYPE"
    assert len(study) == 200
    assert message.get("SCH-1.1") == "P" * 300
    patient = replace(PATIENT, identifiers=(PatientIdentifier("NORTHSIDE", "4711" * 10),))
    raw = Hl7StatusWriter(site_file).status_message(
        LINK, patient, WorkflowStep.CONFIRMED, control_id="C1", made_at=START
    )
    assert Message.parse(raw).get("PID-3.1") == "4711" * 10
    assert Message.parse(raw).get("PID-2") is None
