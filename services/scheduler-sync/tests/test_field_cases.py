"""Messages as senders in the field write them, over MLLP to what OmegaAI shows (``field_cases/README.md``)."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from field_cases_line import differences, line
from sync_harness import Harness
from sync_samples import PID, siu

from chassis.hl7 import replay_message
from chassis.messaging import PROCESSED
from hl7v2 import Message
from scheduler_sync.domain.appointment import Study
from scheduler_sync.store import columns

pytestmark = pytest.mark.stack

CASES = Path(__file__).parent / "field_cases"
EXPECTED: dict[str, dict[str, Any]] = {one["id"]: one for one in json.loads((CASES / "expected.json").read_text())}


def files(case: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted(CASES.glob(f"{case}-*.hl7"))]


@pytest.mark.parametrize("case", EXPECTED)
async def test_a_field_case_shows_what_is_right(migrated_url: str, case: str):
    async with line(migrated_url) as powerserver:
        acks = []
        for raw in files(case):
            acks.append(await powerserver.say(raw))
            await powerserver.deliver()
        assert differences(EXPECTED[case]["expect"], powerserver, acks) == []


async def test_confirming_moves_no_study(migrated_url: str):
    """Two studies one after another; what the patient's confirmation tells PowerServer keeps each where it was."""
    async with line(migrated_url) as powerserver:
        for raw in files("studies-going-back"):
            assert (await powerserver.say(raw)).code == "AA"
        await powerserver.deliver()
        await powerserver.patient_sets("P42420068", "booked")
        await powerserver.deliver()
        (told,) = powerserver.sent_to_powerserver.values()
        services = Message.parse(told).segments("AIS")
        shown = [(one.get("3.1"), one.get("4"), one.get("7"), one.get("8.1")) for one in services]
        assert shown == [
            ("CT-HEAD", "20270309143000-0500", "30", "min"),
            ("CT-CHEST", "20270309150000-0500", "30", "min"),
        ]


@pytest.mark.parametrize(
    ("wishes", "success", "refusal"),
    [
        ("|", "AA", "AR"), ("AL|NE", "CA", "CR"), ("al|", "CA", "CR"), ("NE|AL", "AA", "AR"), ("|AL", "AA", "AR"),
        ("ER|AL", "AA", "CR"), ("AL|ER", "CA", "CR"), ("AL|AL", "AR", "AR"), ("NE|NE", "AR", "AR"),
        ("ER|ER", "AR", "AR"), ("XX|AL", "AR", "AR"),
    ],
)  # fmt: skip
async def test_a_wish_for_an_acknowledgement_is_granted_or_refused(
    migrated_url: str, wishes: str, success: str, refusal: str
):
    async with line(migrated_url) as powerserver:
        for control_id, placer, code in (("A", "P1", success), ("B", "", refusal)):
            raw = siu(control_id=control_id, placer=placer).replace(b"|2.3.1||||||", f"|2.3.1|||{wishes}||".encode())
            ack = await powerserver.say(raw)
            assert (ack.code, ack.control_id) == (code, control_id)
        await powerserver.deliver()
        assert (powerserver.shown("P1").appointment is not None) == (success != "AR")


async def test_who_wants_to_hear_of_success_alone_hears_of_nothing_else(migrated_url: str):
    async with line(migrated_url) as powerserver:
        raw = siu(placer="", control_id="A").replace(b"|2.3.1||||||", b"|2.3.1|||SU|NE||")
        assert await powerserver.core.listener.accept(raw) is None
        rows = await powerserver.core.store.pool.fetch("SELECT state FROM hl7_journal")
        assert [row["state"] for row in rows] == ["rejected"]


async def test_a_batch_of_several_is_refused_under_its_own_number(migrated_url: str):
    two = siu(placer="P1", control_id="A") + siu(placer="P2", control_id="B")
    async with line(migrated_url) as powerserver:
        for head, number in (
            (b"BHS|^~\\&|RAMSOFT|FAC01|||||||B1\r", "B1"),
            (b"FHS|^~\\&|RAMSOFT|FAC01|||||||F1\rBHS|^~\\&|RAMSOFT|FAC01\r", "F1"),
            (b"BHS|^~\\&|RAMSOFT|FAC01\r", "A"),
        ):
            ack = await powerserver.say(head + two + b"BTS|2\r")
            assert (ack.code, ack.control_id, ack.errors[0].code) == ("AR", number, "200")
        assert powerserver.shown("P1").appointment is None
        assert (await powerserver.say(b"BHS|^~\\&|A|B|||||||B2\r" + siu(control_id="C") + b"BTS|1\r")).control_id == "C"


async def test_what_is_not_read_and_what_is_repaired_is_counted(migrated_url: str):
    raw = siu(pid=PID.replace("Roe^Jane", "O\x92Roe^Jane")).replace(
        b"RGS|1|A", b"AL1|1|DA|nuts\rZXX|1|a\rQQQ|1\rRGS|1|A"
    )
    async with line(migrated_url) as powerserver:
        assert (await powerserver.say(raw)).code == "AA"
        assert powerserver.ignored() == {
            ("PID", "18"): 1, ("PV1", "2"): 1, ("PV1", "19"): 1, ("AL1", "2"): 1, ("AL1", "3"): 1,
            ("Z", "other"): 2, ("other", "other"): 1,
        }  # fmt: skip
        assert powerserver.core.metrics.value("hl7_texts_repaired_total") == 1


async def test_a_word_that_waits_for_set_up_is_heard_when_it_is_set(migrated_url: str):
    async with line(migrated_url) as powerserver:
        assert (await powerserver.say(siu(status="^CONFIRMED FIRMLY^99PS"))).code == "AA"
        await powerserver.deliver()
        assert powerserver.shown("P100045")["status"] == "pending"
        pool = powerserver.core.store.pool
        row = await pool.fetchrow("SELECT id, state, setting FROM hl7_journal")
        assert (row["state"], row["setting"]) == ("needs_setup", "status_names.CONFIRMED FIRMLY")
        site = powerserver.core.site
        names = {**site.file.status_names, "CONFIRMED FIRMLY": 50}
        site.file = site.file.model_validate(site.file.model_dump() | {"status_names": names})
        assert (
            await replay_message(powerserver.core.store, powerserver.core.listener.executor, row["id"], actor="me")
            == PROCESSED
        )
        await powerserver.deliver()
        assert powerserver.shown("P100045")["status"] == "booked"
        assert await pool.fetchval("SELECT state FROM hl7_journal") == "replayed"


async def test_details_of_studies_are_kept_and_those_that_older_code_wrote_over_are_none(harness: Harness):
    await harness.hear(siu())
    (link,) = await harness.rows("SELECT * FROM appointment_links")
    (study,) = columns.link(link).studies
    assert (study.start, study.minutes) == (datetime(2026, 12, 1, 19, 30, tzinfo=UTC), 30)
    other = dict(link) | {"studies": '[["CT-CHEST", "CT Chest"], ["CT-HEAD", "CT Head"]]'}
    assert columns.link(other).studies == (Study("CT-CHEST", "CT Chest"), Study("CT-HEAD", "CT Head"))
