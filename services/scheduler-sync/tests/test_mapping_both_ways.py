# ruff: noqa: E501, PLR0917 - tables of messages, and properties of several drawn values
"""Places of values, both ways: the reader of a site with the same mapping reads what the writer wrote, as the same facts.

And values at unusual places, each in a message as a site of its own would send it.
"""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from kinds_line import changed
from sync_samples import NOW, directory, orm, site_file, siu

from chassis.errors import Malformed, NeedsSetup
from chassis.testing.depth import DEPTH
from hl7v2 import Message
from scheduler_sync.adapters.powerserver import reader
from scheduler_sync.adapters.powerserver.writer import Hl7StatusWriter
from scheduler_sync.commands import ChangeAppointmentByStaff
from scheduler_sync.domain.appointment import Action, AppointmentLink, Physician, State, Study, WorkflowStep
from scheduler_sync.domain.patient import UNSAID, Address, Patient, PatientIdentifier
from scheduler_sync.domain.slots import Slot
from scheduler_sync.mapping import VERSIONS, Hl7Mapping
from scheduler_sync.site import SiteFile

MAPPINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "the site's own segments": {
        "siu": {
            "status": "ZST-1", "priority": "ZPR-2", "resource": "ZRS-3", "modality": "ZRS-4.2", "start": "ZTM-1",
            "end": "ZTM-2", "study": "ZSY-1", "study_start": "ZSY-2", "study_minutes": "ZSY-3", "study_uid": "ZSY-4",
            "reason": "ZRE-1", "email": "ZEM-1", "facility": "ZFA-9.4",
        },
        "orm": {
            "status": "ZST-1", "priority": "ZPR-2", "resource": "ZRS-3", "modality": "ZRS-4.2", "study_start": "ZTM-1",
            "study_end": "ZTM-2", "study": "ZSY-1", "study_minutes": "ZSY-3", "study_uid": "ZSY-4", "reason": "ZRE-1",
            "email": "ZEM-1", "accession_number": "ZAC-1", "facility": "ZFA-9.4",
        },
    },
    "other fields of HL7": {
        "siu": {
            "resource": "AIL-3", "priority": "NTE-3", "email": "PID-14.4", "status": "SCH-24", "modality": "AIG-5",
            "study_uid": "AIS-10",
        },
        "orm": {
            "resource": "PV1-3.2", "priority": "OBR-5", "email": "PID-14.4", "status": "OBR-25", "modality": "OBR-18",
            "study_start": ["OBR-36"], "study_end": "OBR-8", "study_minutes": "OBR-20", "reason": "OBR-13",
            "study_uid": "OBR-21",
        },
    },
}  # fmt: skip
STEPS = [step for step in site_file().status_of_step if step not in {WorkflowStep.ORDERED, WorkflowStep.WAITLIST}]
OFF = {WorkflowStep.CANCELLED, WorkflowStep.NO_SHOW}
STARTS = [
    datetime(2026, 12, 1, 19, 30, tzinfo=UTC),
    datetime(2027, 3, 14, 6, 45, tzinfo=UTC),  # into the hour that Toronto skips
    datetime(2026, 11, 1, 5, 30, tzinfo=UTC),  # the first of two half past one
    datetime(2026, 11, 1, 6, 30, tzinfo=UTC),  # the second
    datetime(2028, 2, 29, 23, 50, tzinfo=UTC),
    datetime(2027, 1, 1, 4, 59, tzinfo=UTC),
]
WORDS = st.text(st.sampled_from("ab &|^~\\éß漢-'.1"), min_size=1, max_size=20).map(
    lambda one: " ".join(one.split()) or "x"
)


@cache
def site(mapping: str, send: str, version: str) -> SiteFile:
    file = site_file()
    hl7 = file.hl7.model_copy(update={"send": send, "version": version})
    return file.model_copy(update={"hl7": hl7, "mapping": Hl7Mapping.model_validate(MAPPINGS[mapping])})


@st.composite
def links(draw: st.DrawFn) -> AppointmentLink:
    start, minutes = draw(st.sampled_from(STARTS)), draw(st.integers(5, 200))
    zone = draw(st.sampled_from(["FAC01", "FAC02"]))
    studies = []
    for number in range(draw(st.integers(1, 3))):
        begin = start + timedelta(minutes=number)
        has_time = draw(st.booleans())
        uid = draw(st.sampled_from([None, f"1.2.840.{number}"]))
        studies.append(
            Study(
                f"S{number}", draw(WORDS), begin if has_time else None, minutes - number if has_time else None,
                f"ACC{number}", study_uid=uid,
            )
        )  # fmt: skip
    if len(studies) == 1:
        studies = [replace(studies[0], start=start, minutes=minutes)]
    return AppointmentLink(
        id=UUID(int=1), site="northside", placer_number="P100045", patient_id=UUID(int=2), facility=zone,
        resource="BLUME CT" if zone == "FAC01" else "LAKE CT", modality=draw(st.sampled_from(["CT", "XA"])),
        slot=Slot(start, start + timedelta(minutes=minutes), "America/Toronto" if zone == "FAC01" else "America/Vancouver"),
        studies=tuple(studies), state=State.CONFIRMED, step=WorkflowStep.CONFIRMED, filler_id="A1",
        accession_numbers=tuple(one.order_number or "" for one in studies), reason=draw(WORDS),
    )  # fmt: skip


@st.composite
def patients(draw: st.DrawFn) -> Patient:
    return Patient(
        id=UUID(int=2), site="northside", identifiers=(PatientIdentifier("NORTHSIDE", "4711"),), family=draw(WORDS),
        given=draw(WORDS), middle=None, birth_date=date(1980, 2, 29), sex=draw(st.sampled_from(["F", "M", "O", "U"])),
        email=draw(st.sampled_from([None, "jane.roe+x@example.org"])), phone=draw(st.sampled_from([None, "416 555 0100"])),
        language="fr", address=draw(st.sampled_from([None, Address("12 Elm St", "Toronto", "ON", "M5V1A1", "CA")])),
        organization="1", heard_at=NOW,
    )  # fmt: skip


def read_back(raw: bytes, file: SiteFile) -> ChangeAppointmentByStaff:
    return reader.read(Message.parse(raw), file, directory(file), received_at=NOW)


def check_appointment(
    command: ChangeAppointmentByStaff, link: AppointmentLink, slot: Slot | None, *, is_off: bool = False
) -> None:
    facts = command.appointment
    assert command.placer_number == link.placer_number
    assert (facts.facility, facts.slot) == (link.facility, slot)
    if not is_off:
        assert (facts.resource, facts.modality) == (link.resource, link.modality)


def check_patient(command: ChangeAppointmentByStaff, patient: Patient, *, is_whole: bool) -> None:
    person = command.patient
    assert (person.identifiers, person.family, person.given, person.birth_date, person.sex) == (
        patient.identifiers, patient.family, patient.given, patient.birth_date, patient.sex,
    )  # fmt: skip
    told = [person.email, person.phone, person.address]
    kept = [one if one is not None and is_whole else UNSAID for one in (patient.email, patient.phone, patient.address)]
    assert told == kept


@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize("send", ["siu", "orm"])
@settings(
    max_examples=DEPTH.examples(15),
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(link=links(), patient=patients(), version=st.sampled_from(VERSIONS), step=st.sampled_from(STEPS))
def test_a_status_is_read_back_as_it_was_written(mapping, send, link, patient, version, step):
    file = site(mapping, send, version)
    writer = Hl7StatusWriter(lambda: file)
    command = read_back(writer.status_message(link, patient, step, control_id="C1", made_at=NOW), file)
    facts = command.appointment
    is_told_by_control = send == "orm" and step is WorkflowStep.CANCELLED  # CA of each order says it
    assert (facts.step, facts.priority) == (None if is_told_by_control else step, None)
    if facts.slot is not None or step not in OFF:
        check_appointment(command, link, expected_slot(link, send, step), is_off=step in OFF)
    check_patient(command, patient, is_whole=False)
    if step is WorkflowStep.CANCELLED:
        assert facts.reason == link.reason
    if send == "siu" and step not in OFF:
        assert facts.studies == tuple(replace(one, order_number=None) for one in told_studies(link))
    if send == "orm":
        assert tuple(one.study for one in facts.study_changes) == tuple(
            replace(one, is_done=step is WorkflowStep.COMPLETED) for one in told_orders(link)
        )
        assert {one.action for one in facts.study_changes} == {Action.CANCEL if step in OFF else Action.CHANGE}


def told_studies(link: AppointmentLink) -> tuple[Study, ...]:
    return link.studies


def told_orders(link: AppointmentLink) -> tuple[Study, ...]:
    """Orders without any time get the appointment's, so that it has one."""
    first = link.studies[0]
    if first.start is None and link.slot is not None:
        first = replace(first, start=link.slot.start, minutes=link.slot.minutes)
    return first, *link.studies[1:]


def expected_slot(link: AppointmentLink, send: str, step: WorkflowStep) -> Slot | None:
    """An ORM has the times of its orders alone; an SIU the appointment's, and those of its studies where several have."""
    slot = link.slot
    assert slot is not None
    studies = told_orders(link) if send == "orm" else link.studies
    timed = [(one.start, one.end) for one in studies if one.start is not None and one.end is not None]
    if send == "siu" and len(timed) < 2:
        return slot
    start = min(start for start, _ in timed)
    end = max(end for _, end in timed)
    return Slot(
        min(start, slot.start) if send == "siu" else start, max(end, slot.end) if send == "siu" else end, slot.zone
    )


@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize("send", ["siu", "orm"])
@settings(
    max_examples=DEPTH.examples(15),
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(link=links(), patient=patients(), version=st.sampled_from(VERSIONS), is_new=st.booleans())
def test_a_request_is_read_back_with_the_wanted_slot_and_the_priority_of_requests(
    mapping, send, link, patient, version, is_new
):
    file = site(mapping, send, version)
    writer = Hl7StatusWriter(lambda: file)
    assert link.slot is not None
    week = timedelta(days=7)
    wanted = Slot(link.slot.start + week, link.slot.end + week, link.slot.zone)
    asked = replace(link, requested_slot=wanted, slot=None if is_new else link.slot)
    write = writer.request_message if is_new else writer.move_message
    command = read_back(write(asked, patient, control_id="C1", made_at=NOW), file)
    assert (command.appointment.step, command.appointment.priority) == (WorkflowStep.SCHEDULED, "SCHEDULED STATUS")
    check_appointment(command, link, wanted)
    check_patient(command, patient, is_whole=is_new)
    assert command.appointment.is_booking is is_new


# ---- values at unusual places, as a site's PowerServer sends them


def read_by(raw: bytes, mapping: dict[str, Any], **hl7: Any) -> ChangeAppointmentByStaff:
    file = site_file()
    file = file.model_copy(
        update={"mapping": Hl7Mapping.model_validate(mapping), "hl7": file.hl7.model_copy(update=hl7)}
    )
    return reader.read(Message.parse(raw), file, directory(file), received_at=NOW)


def with_line(raw: bytes, line: str) -> bytes:
    return raw + line.encode() + b"\r"


@pytest.mark.parametrize(
    ("raw", "mapping", "resource"),
    [
        (siu(resource="X").replace(b"RADIOLOGY^CT1^^FAC01\r", b"BLUME MR^CT1^^FAC01\r"), {"siu": {"resource": "AIL-3"}},
         "BLUME MR"),
        (siu(resource="BLUME CT"), {"siu": {"resource": ["AIL-3.3", "AIG-3"]}}, "BLUME CT"),
        (siu(resource=""), {"siu": {"resource": ["AIG-3", "AIS-10"]}}, None),
        (siu(resource="").replace(b"|30|min\rAIG", b"|30|min|BLUME MR\rAIG"), {"siu": {"resource": ["AIG-3", "AIS-9"]}},
         "BLUME MR"),
        (with_line(siu(resource="X"), "ZRS|1|^BLUME MR"), {"siu": {"resource": "ZRS-2.2"}}, "BLUME MR"),
        (orm(resource="").replace(b"RADIOLOGY^CT1^^FAC01|||30", b"BLUME MR^CT1^^FAC01|||30"), {"orm": {"resource": "ORC-13"}},
         "BLUME MR"),
        (orm(resource="").replace(b"PV1|1|O|RADIOLOGY^CT1", b"PV1|1|O|RADIOLOGY^BLUME MR"),
         {"orm": {"resource": ["OBR-19", "PV1-3.2"]}}, "BLUME MR"),
        (with_line(orm(resource="X"), "ZRS|BLUME MR"), {"orm": {"resource": "ZRS-1"}}, "BLUME MR"),
    ],
)  # fmt: skip
def test_a_resource_at_another_place(raw, mapping, resource):
    assert read_by(raw, mapping).appointment.resource == resource


@pytest.mark.parametrize(
    ("raw", "mapping", "step"),
    [
        (siu("S14", status="").replace(b"RGS|", b"NTE|1||Confirmed\rRGS|"), {"siu": {"status": "NTE-3"}}, "confirmed"),
        (siu("S14", status="").replace(b"SCH|P100045^RAMSOFT|A100045^RAMSOFT|||||", b"SCH|P100045^RAMSOFT|A100045^RAMSOFT||||50|"),
         {"siu": {"status": "SCH-6", "reason": []}}, "confirmed"),
        (siu("S14", status="CM"), {"siu": {"status": [], "order_status": ["SCH-25"]}}, "completed"),
        (orm("SC", status="").replace(b"|CT|||^^30", b"|CT|50^CONFIRMED^99PS||^^30"), {"orm": {"status": ["ORC-16", "OBR-25"]}},
         "confirmed"),
        (orm("SC", status="").replace(b"|CT|||^^30", b"|CT|F||^^30"), {"orm": {"order_status": "OBR-25"}}, "completed"),
        (orm("SC", status="30").replace(b"|CT|||^^30", b"|CT|50||^^30"), {"orm": {"status": ["OBR-25", "ORC-16"]}}, "confirmed"),
        (with_line(orm("SC", status=""), "ZST|9|70"), {"orm": {"status": "ZST-2.1"}}, "arrived"),
    ],
)  # fmt: skip
def test_a_status_at_another_place(raw, mapping, step):
    words = {"CM": WorkflowStep.COMPLETED, "F": WorkflowStep.COMPLETED}
    assert read_by(raw, mapping, order_statuses=words).appointment.step == step


@pytest.mark.parametrize(
    ("raw", "mapping", "priority"),
    [
        (siu(), {}, None),
        (siu().replace(b"|^^30^20261201143000-0500^20261201150000-0500|", b"|^^30^20261201143000-0500^20261201150000-0500^STAT|"),
         {}, "STAT"),
        (siu().replace(b"PID|1", b"TQ1|1||||||||SCHEDULED STATUS\rPID|1"), {}, "SCHEDULED STATUS"),
        (siu().replace(b"RGS|", b"NTE|1||URGENT\rRGS|"), {"siu": {"priority": ["NTE-3", "SCH-11.6"]}}, "URGENT"),
        (orm(), {}, "ROUTINE"),
        (orm().replace(b"^ROUTINE||2026", b"||2026"), {}, "ROUTINE"),  # OBR-27.6 alone
        (orm().replace(b"^ROUTINE", b"").replace(b"OBR|1", b"TQ1|1||||||||STAT\rOBR|1"), {}, "STAT"),
        (orm().replace(b"OBR|1|P100045^RAMSOFT|ACC100045^RAMSOFT|CT-HEAD^CT Head^99STUDYTYPE|",
                       b"OBR|1|P100045^RAMSOFT|ACC100045^RAMSOFT|CT-HEAD^CT Head^99STUDYTYPE|STAT"),
         {"orm": {"priority": ["OBR-5"]}}, "STAT"),
    ],
)  # fmt: skip
def test_a_priority_at_its_places(raw, mapping, priority):
    assert read_by(raw, mapping).appointment.priority == priority


@pytest.mark.parametrize(
    ("contact", "places", "email"),
    [
        ("(416)555-0100^PRN^PH^a@b.org", ["PID-13"], "a@b.org"),
        ("(416)555-0100^PRN^PH^a@b.org", ["PID-13.4"], "a@b.org"),
        ("(416)555-0100^PRN^PH~^NET^Internet^a@b.org", ["PID-13.4"], "a@b.org"),
        ("(416)555-0100^PRN^PH^a@b.org|c@d.org", ["PID-14", "PID-13"], "c@d.org"),
        ("(416)555-0100^PRN^PH^a@b.org|^WPN^PH", ["PID-14.4", "PID-13"], "a@b.org"),
        ("(416)555-0100^PRN^PH^a@b.org", ["PID-14.4"], UNSAID),
        ('(416)555-0100^PRN^PH^a@b.org|^WPN^PH^""', ["PID-14.4", "PID-13"], None),
        ("(416)555-0100^PRN^PH^nobody", ["PID-13.4"], UNSAID),
    ],
)
def test_an_e_mail_address_at_its_places(contact, places, email):
    raw = siu(pid=f"PID|1||4711^^^NORTHSIDE||Roe^Jane||||||||{contact}")
    person = read_by(raw, {"siu": {"email": places}}).patient
    assert (person.email, person.phone) == (email, "(416)555-0100")


START = datetime(2026, 12, 1, 19, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("places", "obr_36", "minutes"),
    [
        ({"study_start": ["ORC-7.4", "OBR-36"], "study_minutes": ["OBR-20"]}, "20261201143000-0500", 45),
        ({"study_start": "OBR-36", "study_end": "OBR-8", "study_minutes": []}, "202612011430-0500", 60),
        ({"study_start": "OBR-36", "study_end": [], "study_minutes": ["ORC-7.3"]}, "20261201143000", 20),
    ],
)
def test_a_study_s_time_at_another_place(places, obr_36, minutes):
    raw = changed(orm(start="", end=""), r"ORC\|NW.*\rOBR\|1.*\r", (
        "ORC|NW|P100045^RAMSOFT|ACC100045||||^^M20||||||RADIOLOGY^CT1^^FAC01|||30\r"
        f"OBR|1|P100045|ACC100045|CT-HEAD^CT Head|||20261201143000-0500|20261201153000-0500|||||||||||BLUME CT|45|||||"
        f"|||||||||||{obr_36}\r"
    ))  # fmt: skip
    slot = read_by(raw, {"orm": places}).appointment.slot
    assert slot == Slot(START, START + timedelta(minutes=minutes), "America/Toronto")


def test_an_appointment_s_time_in_a_segment_of_the_site_s_own():
    raw = with_line(siu(start="", end=""), "ZTM|20261201143000-0500|45 min")
    facts = read_by(raw, {"siu": {"start": ["SCH-11.4", "ZTM-1"], "minutes": {"read": ["ZTM-2"]}}}).appointment
    assert facts.slot == Slot(START, START + timedelta(minutes=45), "America/Toronto")
    with pytest.raises(Malformed, match=r"ZTM-1 is missing"):
        read_by(siu(start="", end=""), {"siu": {"start": "ZTM-1"}})


def test_studies_in_segments_of_the_site_s_own_go_by_their_number():
    second = "AIS|2|A|X|20261201150000-0500|||30|min\r"
    raw = changed(siu(), r"AIG\|", second + "AIG|") + b"ZSY|CT-A^A|1.2.1\rZSY|CT-B^B|1.2.2\r"
    facts = read_by(raw, {"siu": {"study": ["ZSY-1", "AIS-3"], "study_uid": "ZSY-2"}}).appointment
    assert [(one.code, one.description, one.study_uid) for one in facts.studies] == [
        ("CT-A", "A", "1.2.1"), ("CT-B", "B", "1.2.2"),
    ]  # fmt: skip


def test_a_facility_at_another_place_and_one_that_is_not_known():
    raw = with_line(siu(), "ZFA|FAC02")
    raw = raw.replace(b"BLUME CT^BLUME CT", b"LAKE CT^LAKE CT")
    assert read_by(raw, {"siu": {"facility": ["ZFA-1", "MSH-4"]}}).appointment.facility == "FAC02"
    with pytest.raises(NeedsSetup, match="ZFA-1: facility 'FAC77'"):
        read_by(with_line(siu(), "ZFA|FAC77"), {"siu": {"facility": ["ZFA-1", "MSH-4"]}})
    with pytest.raises(Malformed, match="ZFA-1: no facility is given"):
        read_by(siu(), {"siu": {"facility": "ZFA-1"}})


@pytest.mark.parametrize(
    ("raw", "mapping", "physician"),
    [
        (siu(), {}, Physician("Miller", "Ann", number="1001")),
        (orm(), {}, Physician("Miller", "Ann", number="1001")),
        (siu().replace(b"1001^Miller^Ann", b""), {}, None),
        (orm().replace(b"|||||1001^Miller^Ann|||||||||||V", b"||||||||||||||||V").replace(
            b"OBR|1|P100045^RAMSOFT|ACC100045^RAMSOFT|CT-HEAD^CT Head^99STUDYTYPE|||||||||||||||BLUME CT",
            b"OBR|1|P100045^RAMSOFT|ACC100045^RAMSOFT|CT-HEAD^CT Head^99STUDYTYPE||||||||||||77^Doe^Joe^^^^^^NPI|||BLUME CT"),
         {}, Physician("Doe", "Joe", number="77", issuer="NPI")),
        (with_line(siu(), "ZPH|^^^Dr. House"), {"siu": {"referring_physician": "ZPH-1.4"}}, Physician("Dr. House", "")),
    ],
)  # fmt: skip
def test_the_referring_physician_at_its_places(raw, mapping, physician):
    assert read_by(raw, mapping).appointment.referring_physician == physician


@pytest.mark.parametrize(
    ("raw", "mapping", "reason"),
    [
        (siu("S15").replace(b"RGS|", b"NTE|1||is ill\rNTE|2||since Monday\rRGS|"), {"siu": {"reason": ["SCH-6", "NTE-3"]}},
         "is ill since Monday"),
        (siu("S15").replace(b"RAMSOFT|||||CT-HEAD^CT Head", b"RAMSOFT|||||NOSHOW^did not come"), {"siu": {"reason": "SCH-7", "study": "AIS-3"}},
         "did not come"),
        (siu("S15").replace(b"RAMSOFT|||||", b"RAMSOFT||||CANCELLED^^99SUITE|"), {}, None),
        (orm("CA").replace(b"|CT-HEAD^CT Head^99STUDYTYPE|||||||||", b"|CT-HEAD^CT Head^99STUDYTYPE|||||||||ill"),
         {"orm": {"reason": ["NTE-3", "OBR-13"]}}, "ill"),
        (orm("CA").replace(b"|30^SCHEDULED", b"^weather|30^SCHEDULED"), {"orm": {"reason": "ORC-15.2"}}, "weather"),
    ],
)  # fmt: skip
def test_a_reason_at_another_place(raw, mapping, reason):
    assert read_by(raw, mapping).appointment.reason == reason


def test_a_field_that_the_mapping_moves_away_from_is_counted_as_unread_and_the_new_one_is_not():
    raw = with_line(siu(), "ZRS|BLUME MR|x")
    passed_over = reader.PassedOver()
    file = site_file().model_copy(update={"mapping": Hl7Mapping.model_validate({"siu": {"resource": "ZRS-1"}})})
    reader.read(Message.parse(raw), file, directory(file), received_at=NOW, passed_over=passed_over)
    assert ("AIG", "3") in passed_over.keys
    assert passed_over.keys.count(("Z", "other")) == 1
