"""The rule ``auto_confirm``: a booking is confirmed without staff when all its conditions hold; else it waits."""

from pathlib import Path

import pytest
from scheduling_stand import RULES, at, standing

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


@pytest.mark.parametrize(
    ("conditions", "is_known", "is_confirmed"),
    [
        ("known-patient, slot-free", True, True),
        ("known-patient, slot-free", False, False),
        ("slot-free", False, True),
        ("", True, False),
        ("known-patient, form-complete, slot-free", True, False),  # the suite knows of no complete form yet
    ],
)
async def test_a_booking_is_confirmed_when_all_conditions_hold(
    migrated_url: str,
    tmp_path: Path,
    conditions: str,
    is_known: bool,  # noqa: FBT001
    is_confirmed: bool,  # noqa: FBT001
):
    rules = f"{RULES}    auto_confirm: [{conditions}]\n"
    async with standing(migrated_url, tmp_path, rules=rules) as stand:
        if is_known:
            await stand.sync.store.pool.execute("UPDATE patients SET fhir_id = '7'")
        status, booked = await stand.book(at(9))
        assert (status, booked["status"]) == (200, "booked" if is_confirmed else "proposed")
        link = await stand.sync.row("SELECT state, step FROM appointment_links")
        assert (link["step"] == "confirmed") is is_confirmed, dict(link)
        topics = [topic for topic, _ in await stand.sync.events()]
        assert topics == ["appointment.requested"] + ["appointment.confirmed"] * is_confirmed
        actions = await stand.sync.rows("SELECT action FROM operator_audit WHERE action = 'scheduling.confirm-by-rule'")
        assert len(actions) == is_confirmed
        status, again = await stand.book(at(9), patient=1)
        assert (status, again["issue"][0]["code"]) == (409, "conflict")
