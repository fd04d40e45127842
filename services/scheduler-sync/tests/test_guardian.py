"""The patient's guardian, from NK1 and GT1 to the event; language, zone and consent as far as they are known."""

from typing import Any

import pytest
from kinds_line import LATER, Line, changed, read
from sync_harness import Harness
from sync_samples import siu

from scheduler_sync.adapters.omegaai.writer import GUARDIAN
from scheduler_sync.domain.patient import UNSAID, Guardian
from scheduler_sync.snapshots import PatientSnapshot

MOTHER = "NK1|1|Roe^Mary^B|MTH^Mother^HL70063||(416)555-0102^PRN^PH^mary.roe@example.org"
UNCLE = "NK1|2|Roe^Sam|UNC^Uncle^HL70063||(416)555-0103"
LAWYER = "NK1|3|Law^Lee|GRD^Guardian^HL70063||(416)555-0104"
PAYER = "GT1|1||Roe^Mary|||(416)555-0102|||||MTH"
PAYS_ALONE = "GT1|1||Roe^Jane|||(416)555-0100|||||SEL"


def with_relatives(*segments: str, **more: str) -> bytes:
    return changed(siu(**more), r"PV1\|", "\r".join([*segments, "PV1|"]))


@pytest.mark.parametrize(
    ("segments", "found"),
    [
        ((), UNSAID),
        ((MOTHER,), Guardian("Roe", "Mary", "B", "MTH", "mary.roe@example.org", "(416)555-0102")),
        ((UNCLE, MOTHER, LAWYER), Guardian("Law", "Lee", None, "GRD", None, "(416)555-0104")),
        ((PAYER,), Guardian("Roe", "Mary", None, "MTH", None, "(416)555-0102")),
        ((UNCLE, PAYER), Guardian("Roe", "Mary", None, "MTH", None, "(416)555-0102")),
        ((UNCLE,), None),
        ((PAYS_ALONE,), UNSAID),
        (("NK1|1|Roe^Mary|^Mother",), Guardian("Roe", "Mary", None, "MTH")),
        (("NK1|1|^|MTH",), None),
        (("NK1|1",), None),
    ],
)
def test_who_answers_for_the_patient(segments: tuple[str, ...], found: object):
    assert read(with_relatives(*segments)).patient.guardian == found


def test_a_guardian_stays_until_the_list_says_otherwise():
    line = Line()
    line.say(with_relatives(MOTHER))
    line.say(siu("S14", made=LATER, control_id="B"))
    (patient,) = line.suite.memory.patients.values()
    assert patient.guardian is not None
    line.say(changed(siu("S14", made="20261125093200-0500", control_id="C"), r"PV1\|", f"{UNCLE}\rPV1|"))
    (patient,) = line.suite.memory.patients.values()
    assert (patient.guardian, patient.revision) == (None, 2)


@pytest.mark.stack
async def test_the_event_is_of_version_2_and_says_what_is_known(harness: Harness):
    assert await harness.hear(with_relatives(MOTHER)) == [None]
    event = await harness.event("patient.registered")
    assert event["version"] == 2
    assert event["data"]["guardian"] == {
        "name": {"family": "Roe", "given": "Mary", "middle": "B"}, "relationship": "MTH",
        "email": "mary.roe@example.org", "phone": "(416)555-0102",
    }  # fmt: skip
    unknown = {name: event["data"][name] for name in ("language", "time_zone", "sms_consent")}
    assert unknown == {"language": None, "time_zone": None, "sms_consent": None}
    assert event["data"]["organization"] == harness.site.file.organization.master
    french = changed(siu("S14", made=LATER, control_id="B"), r"ACC4711", "")
    french = changed(french, r"PV1\|", "PV1|").replace(b"jane.roe@example.org|||||", b"jane.roe@example.org||fr-CA|||")
    assert await harness.hear(french) == [None]
    updated = (await harness.event("patient.updated"))["data"]
    assert (updated["language"], updated["guardian"]["relationship"]) == ("fr-CA", "MTH")


def of_omegaai(line: Line) -> list[dict[str, Any]]:
    (found,) = line.omegaai.all("Patient")
    contacts: list[dict[str, Any]] = found.get("contact", [])
    return contacts


def test_the_guardian_is_a_contact_of_omegaais_patient_until_powerserver_takes_it_back():
    line = Line()
    line.say(with_relatives(MOTHER))
    (contact,) = of_omegaai(line)
    assert contact["relationship"] == [{"coding": [{"system": GUARDIAN, "code": "MTH"}], "text": "Guardian"}]
    assert contact["name"] == {"family": "Roe", "given": ["Mary", "B"]}
    assert {(one["system"], one["value"]) for one in contact["telecom"]} == {
        ("email", "mary.roe@example.org"), ("phone", "(416)555-0102"),
    }  # fmt: skip
    (found,) = line.omegaai.all("Patient")
    theirs = {"relationship": [{"text": "Emergency"}], "name": {"family": "Doe"}}
    line.omegaai._put("Patient", {**found, "contact": [theirs, contact]})
    line.say(with_relatives(LAWYER, made=LATER, control_id="B", trigger="S14"))
    assert [one["name"]["family"] for one in of_omegaai(line)] == ["Doe", "Law"]
    gone = with_relatives('NK1|1|""|""', made="20261125093200-0500", control_id="C", trigger="S14")
    line.say(gone)
    assert of_omegaai(line) == [theirs]


def test_a_patient_without_a_word_of_guardians_keeps_omegaais_contacts_and_is_written_once():
    line = Line()
    line.say(siu())
    assert of_omegaai(line) == []
    (found,) = line.omegaai.all("Patient")
    theirs = {"relationship": [{"text": "Emergency"}], "name": {"family": "Doe"}}
    line.omegaai._put("Patient", {**found, "contact": [theirs]})
    line.say(changed(siu("S14", made=LATER, control_id="B"), "jane.roe", "jane.doe"))
    assert of_omegaai(line) == [theirs]


def test_a_snapshot_of_former_code_is_read_and_one_without_a_guardian_is_as_before():
    line = Line()
    line.say(siu())
    (patient,) = line.suite.memory.patients.values()
    payload = PatientSnapshot.of(patient, {}).to_bytes()
    assert b"guardian" not in payload
    assert PatientSnapshot.from_bytes(payload).guardian is None
