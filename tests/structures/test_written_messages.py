"""Messages of the suite follow HL7's structures: every status, dialect and version, odd values, acknowledgements."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import product
from pathlib import Path
from uuid import UUID

import pytest
from structures import VERSIONS, Checker

from hl7v2 import AckError, Message, build_ack
from scheduler_sync.adapters.powerserver.writer import Hl7StatusWriter, control_id
from scheduler_sync.domain.appointment import AppointmentLink, State, Study, WorkflowStep
from scheduler_sync.domain.patient import Address, Patient, PatientIdentifier
from scheduler_sync.domain.slots import Slot
from scheduler_sync.site import SiteFile, load

SITE = load(Path(__file__).resolve().parents[2] / "deploy" / "site" / "northside.yaml")
START = datetime(2026, 12, 1, 19, 30, tzinfo=UTC)
SLOT = Slot(START, START + timedelta(minutes=30), "America/Toronto")
HEAD, CHEST = Study("CT-HEAD", "CT Head"), Study("CT-CHEST", "CT Chest")
LINK = AppointmentLink(
    id=UUID(int=1), site="northside", placer_number="P100045", patient_id=UUID(int=2), facility="FAC01",
    resource="BLUME CT", modality="CT", slot=SLOT, studies=(HEAD,), state=State.CONFIRMED,
    step=WorkflowStep.CONFIRMED, filler_id="A100045", accession_numbers=("ACC1",),
)  # fmt: skip
PATIENT = Patient(
    id=UUID(int=2), site="northside", identifiers=(PatientIdentifier("NORTHSIDE", "4711"),), family="Roe & Søn",
    given="Jane", middle=None, birth_date=date(1980, 2, 29), sex="F", email=None, phone=None, language="en",
    address=None, organization="1", heard_at=START,
)  # fmt: skip
ADDRESS = Address("12 Elm St", "Toronto", "ON", "M5V1A1", "CA")
LONG = "because of a & b | c ^ d ~ e \\ f; é – " * 20
LINKS = {
    "one study": LINK,
    "two studies": replace(LINK, studies=(HEAD, CHEST), accession_numbers=("ACC1", "ACC2")),
    "studies with times of their own": replace(
        LINK,
        studies=(
            replace(HEAD, start=START, minutes=30, order_number="ACC1"),
            replace(CHEST, start=START + timedelta(minutes=30), minutes=45),
        ),
    ),
    "no study": replace(LINK, studies=(), accession_numbers=()),
    "a study without a code": replace(LINK, studies=(Study("", "CT Head"), Study("", ""))),
    "a reason": replace(LINK, reason="ill"),
    "a long reason": replace(LINK, reason=LONG),
    "a reason of lines": replace(LINK, reason="ill\r\nsince Monday\nMSH|x"),
    "a long description": replace(LINK, studies=(Study("CT-HEAD", LONG), Study("C" * 60, LONG))),
    "a long resource": replace(LINK, resource="BLUME & CT " * 5),
    "a resource that is too long": replace(LINK, resource="BLUME CT " * 15),
    "long numbers": replace(
        LINK, placer_number="P" * 100, filler_id="A" * 100, studies=(replace(HEAD, order_number="N" * 50),)
    ),
    "nothing but numbers": replace(
        LINK, slot=None, studies=(), filler_id=None, accession_numbers=(), modality=None, resource=""
    ),
    "no time": replace(LINK, slot=None, studies=(HEAD, CHEST)),
    "no modality": replace(LINK, modality=None),
    "a long modality": replace(LINK, modality=LONG),
}
PATIENTS = {
    "a patient": PATIENT,
    "no name": replace(PATIENT, family="", given="", birth_date=None, sex="U"),
    "a family name alone": replace(PATIENT, given=""),
    "a long name": replace(PATIENT, family="Roe-" * 20, given="Jane " * 10, middle="A"),
    "a long number": replace(PATIENT, identifiers=(PatientIdentifier("NORTHSIDE", "4711" * 10),)),
    "an OID": replace(PATIENT, identifiers=(PatientIdentifier("2.16.840.1.5", "4711"),)),
}
OLD, ALL = ("2.3", "2.3.1"), VERSIONS
WHOLE = {
    # An identifier is never cut: half a number is another number, half a name another patient.
    "PID-3": OLD, "PID-5": OLD, "SCH-1": ALL, "SCH-2": ALL, "ORC-2": ALL, "ORC-3": ALL, "OBR-2": ALL, "OBR-3": ALL,
    "OBR-19": ALL, "AIG-3": ALL, "AIG-4": ("2.3",), "MSH-18": (*OLD, "2.4"), "PID-13": OLD,
}  # fmt: skip
"""Fields that are longer on purpose when their value is, with the versions that limit their length."""
ODDITIES = {
    # HAPI's structure of 2.3.1 flattens the choice of orders: there RXR belongs to the pharmacy's order.
    ("2.3.1", "RXR is required"),
    # ORC-7 points to TQ1 from 2.5 on, and ORM_O01 was left without it; senders of orders write it all the same.
    ("2.5", "message Found unknown segment: TQ1"),
    ("2.5.1", "message Found unknown segment: TQ1"),
}


def site(version: str, dialect: str) -> SiteFile:
    return SITE.model_copy(update={"hl7": SITE.hl7.model_copy(update={"version": version, "send": dialect})})


def statuses(version: str, dialect: str) -> Iterator[tuple[str, bytes]]:
    """Each status that the site names, for each appointment and patient."""
    file = site(version, dialect)
    writer = Hl7StatusWriter(lambda: file)
    for step, (what, link), (who, patient) in product(file.status_of_step, LINKS.items(), PATIENTS.items()):
        if who != "a patient" and what != "one study":
            continue
        raw = writer.status_message(link, patient, step, control_id=control_id(UUID(int=2**100)), made_at=START)
        yield f"{version} {dialect} {step} with {what}, {who}", raw


def requests(version: str, dialect: str) -> Iterator[tuple[str, bytes]]:
    """What patients ask for, for each appointment and patient."""
    file = site(version, dialect)
    writer = Hl7StatusWriter(lambda: file)
    wanted = Slot(START + timedelta(days=7), START + timedelta(days=7, minutes=45), "America/Toronto")
    acts = {"request": writer.request_message, "move": writer.move_message, "cancel": writer.cancel_message}
    for (act, write), (what, link), (who, patient) in product(acts.items(), LINKS.items(), PATIENTS.items()):
        if who != "a patient" and what != "one study":
            continue
        known = replace(patient, email="jane.roe@example.org", phone="(416)555-0100", address=ADDRESS)
        asked = replace(link, requested_slot=wanted)
        yield f"{version} {dialect} {act} with {what}, {who}", write(asked, known, control_id="C1", made_at=START)


TEXTS = (None, "short", "x" * 80, "x" * 81, LONG, "|" * 30, "é" * 90)
ERRORS: dict[str, tuple[AckError, ...]] = {
    "none": (),
    "one": (AckError("101", "PID-3", "the field is missing"),),
    "of a component": (AckError("103", "PID[2]-3[4].4.1", "no such issuer", "W"),),
    "without a place": (AckError("207", "", "the store is not there"),),
    "of a segment": (AckError("100", "MSH", ""),),
    "long": (AckError("103", "SCH-11.4", LONG), AckError("207", "", LONG)),
    "very long": (AckError("207", "AIG[12345]-3[123].1", LONG * 20),),
    "several": (AckError("101", "PID-3", "a"), AckError("101", "PID-3", "b"), AckError("102", "PID-7", "é" * 300)),
}


def acknowledgements(version: str) -> Iterator[tuple[str, bytes]]:
    for kind, charset in (("SIU^S12", "||||||UNICODE UTF-8"), ("ORM^O01", ""), ("SIU^S12^SIU_S12", "||||||8859/1")):
        header = f"MSH|^~\\&|RAMSOFT|FAC01|SUITE|NORTHSIDE|20261125093000-0500||{kind}|PS0000000123|P|{version}"
        request = Message.parse(f"{header}{charset}\r".encode())
        yield f"AA to {kind} {version}", build_ack(request, "AA", control_id="A1").to_bytes()
        for code, text, (name, errors) in product(("AE", "AR", "CE", "CR"), TEXTS, ERRORS.items()):
            ack = build_ack(request, code, control_id="A1", text=text, errors=errors)  # type: ignore[arg-type]
            yield f"{code} to {kind} {version}, text of {len(text or '')}, errors {name}", ack.to_bytes()


def broken(checker: Checker, named: Sequence[tuple[str, bytes]], version: str) -> str:
    """A line for each field and rule, with the number of messages that break it and the first of them."""
    assert len(named) > 50
    seen: dict[tuple[str, str], list[str]] = {}
    for finding in checker.findings([raw for _, raw in named]):
        if version in WHOLE.get(finding.where, ()) and finding.rule.startswith("is longer than"):
            continue
        if (version, f"{finding.where.rpartition('.')[2]} {finding.rule}") in ODDITIES:
            continue
        seen.setdefault((finding.where, finding.rule), []).append(named[finding.message][0])
    return "\n".join(f"{where} {rule}: {len(names)}, first {names[0]}" for (where, rule), names in seen.items())


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_written_holds_to_the_structures(checker: Checker, version: str):
    named = [*statuses(version, "siu"), *statuses(version, "orm"), *acknowledgements(version)]
    named += [*requests(version, "siu"), *requests(version, "orm")]
    found = broken(checker, named, version)
    assert not found, found


SOUND = (
    "MSH|^~\\&|SUITE|NORTHSIDE|RAMSOFT|FAC01|20261125093000-0500||SIU^S14|C1|P|2.3.1\r"
    "SCH|P1|A1||||CONFIRMED|||||^^30|||||RAMSOFT||||SUITE\rPID|1||4711||Roe^Jane\r"
    "RGS|1|A\rAIS|1|A|CT-HEAD\rAIG|1|A|BLUME CT|CT\rAIL|1|A|^^^FAC01|C\r"
)


@pytest.mark.parametrize(
    ("before", "after", "where", "rule"),
    [
        ("CONFIRMED", "", "SCH-6", "is required"),
        ("RGS|1|A\r", "", "message", "unknown segment: AIS"),
        ("RGS|1|A\r", "RGS|1|A\rNTE|1||x\r", "message", "unknown segment: NTE"),
        ("SCH|P1", f"SCH|{'P' * 90}", "SCH-1", "is longer than 75"),
        ("A1||||", "A1|||a~b|", "SCH-5", "repeats more than 1 times"),
        ("^^^FAC01|C", "^^^FAC01|C^a^b^c^d^e^f", "AIL-4", "has more components than its type CE"),
        ("|C\r", f"|C{'|' * 60}x\r", "AIL-64", "is not of this segment"),
        ("20261125093000-0500", "yesterday", "MSH-6(0)", "requires to be empty or a HL7 datetime"),
        ("AIL|1|", "AIL|one|", "AIL-1(0)", "non-negative integer"),
        ("C1|P|2.3.1", "C1|P|2.5.1", "MSH-9.3", "is required"),
    ],
)
def test_the_checker_finds_what_is_broken(checker: Checker, before: str, after: str, where: str, rule: str):
    assert before in SOUND
    found = checker.findings([SOUND.encode(), SOUND.replace(before, after).encode()])
    assert {one.message for one in found} == {1}
    assert any(one.where == where and rule in one.rule for one in found), found
