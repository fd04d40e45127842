"""Messages as senders in the field write them, over MLLP to what OmegaAI shows (``field_cases/README.md``)."""

import json
from pathlib import Path
from typing import Any

import pytest
from field_cases_line import differences, line

from hl7v2 import Message

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
