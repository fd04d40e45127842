"""The patient's guardian, from NK1 and GT1 to the event; language, zone and consent as far as they are known."""

import pytest
from kinds_line import LATER, Line, changed, read
from sync_harness import Harness
from sync_samples import siu

from scheduler_sync.domain.patient import UNSAID, Guardian

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
