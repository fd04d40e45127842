"""What we write holds to HL7's structures: every status, dialect and version, odd values, and every acknowledgement."""

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
from scheduler_sync.domain.appointment import AppointmentLink, Slot, Study
from scheduler_sync.domain.link import State
from scheduler_sync.domain.patient import Patient, PatientIdentifier
from scheduler_sync.domain.statuses import WorkflowStep
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
    "an OID": replace(PATIENT, identifiers=(PatientIdentifier("2.16.840.1.5", "4711"),)),
}
WHOLE = {
    ("MSH-18", "2.3"): "the name of the character set is longer than the field",
    ("MSH-18", "2.3.1"): "the name of the character set is longer than the field",
    ("MSH-18", "2.4"): "the name of the character set is longer than the field",
}
"""Lengths that are broken on purpose. What identifies is never cut, and no other than these is needed here."""


def site(version: str, dialect: str) -> SiteFile:
    return SITE.model_copy(update={"hl7": SITE.hl7.model_copy(update={"version": version, "send": dialect})})


def statuses(version: str, dialect: str) -> Iterator[tuple[str, bytes]]:
    """Each status that the site has a word for, of each appointment and patient."""
    file = site(version, dialect)
    writer = Hl7StatusWriter(lambda: file)
    for step, (what, link), (who, patient) in product(file.status_of_step, LINKS.items(), PATIENTS.items()):
        if who != "a patient" and what != "one study":
            continue
        raw = writer.status_message(link, patient, step, control_id=control_id(UUID(int=2**100)), made_at=START)
        yield f"{version} {dialect} {step} with {what}, {who}", raw


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


def broken(checker: Checker, named: Sequence[tuple[str, bytes]], version: str) -> list[str]:
    """One line for each field and rule, with the first message that breaks it and how many do."""
    assert len(named) > 50
    seen: dict[tuple[str, str], list[str]] = {}
    for finding in checker.findings([raw for _, raw in named]):
        if (finding.where, version) in WHOLE and finding.rule.startswith("is longer than"):
            continue
        seen.setdefault((finding.where, finding.rule), []).append(named[finding.message][0])
    return [f"{where} {rule}: {len(names)} messages, first {names[0]}" for (where, rule), names in seen.items()]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("dialect", ["siu", "orm"])
def test_statuses_hold_to_the_structures(checker: Checker, version: str, dialect: str):
    assert broken(checker, list(statuses(version, dialect)), version) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_acknowledgements_hold_to_the_structures(checker: Checker, version: str):
    assert broken(checker, list(acknowledgements(version)), version) == []
