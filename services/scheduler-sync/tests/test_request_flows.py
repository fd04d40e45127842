"""What patients ask for in Blume, and both cancellations, over the real wires between both simulators."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from flow_processes import Flow, flow, next_week_at

from chassis.testing import eventually
from chassis.testing.depth import DEPTH

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]
ROE = {
    "id": "MRN90001", "family": "Roe", "given": "Jane", "birth_date": "1980-02-29", "sex": "F",
    "email": "jane.asks@example.org",
}  # fmt: skip
EMAIL = ROE["email"]
WAYS = [("siu", "strict", "siu"), ("both", "vendor", "orm")]
"""Of these the first is tried at each change; the set-up's test goes the other way."""
Start = Callable[..., AbstractAsyncContextManager[Flow]]


@pytest.fixture
def start(tmp_path: Path, migrated_url: str, kafka_bootstrap: str, topic_prefix: str) -> Start:
    return partial(flow, tmp_path, migrated_url, kafka_bootstrap, topic_prefix)


async def card(running: Flow, label: str, **wanted: Any) -> dict[str, Any]:
    """The patient's card with this label and these values."""

    async def shown() -> dict[str, Any] | None:
        for one in (await running.cards(EMAIL)).values():
            if one["label"] == label and all(one[name] == value for name, value in wanted.items()):
                return one
        return None

    return await eventually(shown, what=f"{label} in Blume")


async def in_powerserver(running: Flow, placer: str, status: str, *, asks: bool = False) -> dict[str, Any]:
    """The appointment in PowerServer, once it has this status and a request, or none."""

    async def shown() -> dict[str, Any] | None:
        found = await running.powerserver_api(f"appointments/{placer}", missing_ok=True)
        is_it = found is not None and found["status"] == status and (found["request"] is not None) == asks
        return found if is_it else None

    return await eventually(shown, what=f"{status} in PowerServer")


def same(one: str, other: str) -> bool:
    return datetime.fromisoformat(one) == datetime.fromisoformat(other)


async def booked_and_confirmed(running: Flow, hour: int) -> tuple[str, dict[str, Any]]:
    placer = await running.book(ROE, start=next_week_at(hour))
    pending = await card(running, "Pending", placer_number=placer)
    await running.press(EMAIL, pending, "confirm")
    await in_powerserver(running, placer, "CONFIRMED")
    return placer, await card(running, "Scheduled", placer_number=placer)


async def act(running: Flow, placer: str, action: str, **more: str) -> None:
    await running.powerserver_api(f"appointments/{placer}/status", {"action": action, **more})


async def answers(running: Flow, placer: str, answer: str, **more: str) -> None:
    await running.powerserver_api(f"appointments/{placer}/request", {"answer": answer, **more})


@pytest.mark.parametrize(("profile", "dialect", "send"), WAYS if DEPTH.name == "full" else WAYS[:1])
async def test_a_patient_books_asks_for_another_time_and_cancels(
    start: Start, profile: str, dialect: str, send: str
) -> None:
    async with start(profile=profile, dialect=dialect, send=send) as running:
        placer, shown = await booked_and_confirmed(running, 9)
        # Another time: the present one stays until staff accept.
        wanted = next_week_at(15)
        await running.press(EMAIL, shown, "reschedule", wanted=wanted)
        proposed = await in_powerserver(running, placer, "SCHEDULED", asks=True)
        assert same(proposed["request"]["start"], wanted)
        assert same(proposed["start"], shown["start"])
        asked = await card(running, "Requested", placer_number=placer)
        assert same(asked["wanted"], wanted)
        await answers(running, placer, "accept")
        moved = await card(running, "Scheduled", placer_number=placer, wanted=None)
        assert same(moved["start"], wanted)
        # Declined: the present time stands.
        await running.press(EMAIL, moved, "reschedule", wanted=next_week_at(17))
        await in_powerserver(running, placer, "SCHEDULED", asks=True)
        await answers(running, placer, "decline")
        stands = await card(running, "Scheduled", placer_number=placer, wanted=None)
        assert same(stands["start"], wanted)
        # A booking of the patient's own, confirmed by staff.
        await running.press_book(EMAIL, service="11", study="CT-CHEST", start=next_week_at(11))
        requested = await card(running, "Requested", study="CT Chest")
        own = (await eventually(partial(numbered, running, requested["id"])))["placer_number"]
        found = await in_powerserver(running, own, "SCHEDULED", asks=True)
        assert (found["priority"], found["patient"]["id"], found["studies"][0]["study_type"]) == (
            90,
            "MRN90001",
            "CT-CHEST",
        )
        await act(running, own, "confirmed")
        confirmed = await card(running, "Scheduled", placer_number=own)
        # Cancelled from each side, with the reason.
        await running.press(EMAIL, confirmed, "cancel", reason="got well")
        await in_powerserver(running, own, "CANCELLED")
        effects = await running.ledger(running.powerserver, "appointment.status")
        assert [row["detail"].get("reason") for row in effects if row["subject"] == own][-1] == "got well"
        await act(running, placer, "no-show", reason="nobody came")
        missed = await card(running, "Cancelled", placer_number=placer)
        assert (missed["status"], missed["reason"]) == ("noshow", "nobody came")
        # Each was booked once at both ends.
        booked = [row["subject"] for row in await running.ledger(running.powerserver, "appointment.booked")]
        assert sorted(booked) == sorted([placer, own])
        created = await running.ledger(running.omegaai, "Appointment.created")
        assert len(created) == 2


async def numbered(running: Flow, identifier: str) -> dict[str, Any] | None:
    """The card, once the suite's number is in it."""
    found = [one for one in (await running.cards(EMAIL)).values() if one["id"] == identifier and one["placer_number"]]
    return found[0] if found else None


async def test_what_powerserver_does_not_know_waits_and_goes_after_the_set_up(start: Start) -> None:
    async with start(profile="both", dialect="vendor", send="orm") as running:
        mapping = running.site_file.parent / "northside.hl7.yaml"
        before = running.log().count("site-file.read")
        mapping.write_text(mapping.read_text().replace("SCHEDULED STATUS", "FROM BLUME"))

        async def is_read() -> bool:
            await running.page("/links")
            return running.log().count("site-file.read") > before

        await eventually(is_read, what="the new mapping")
        await booked_and_confirmed(running, 9)
        await running.press_book(EMAIL, service="11", study="CT-CHEST", start=next_week_at(11))

        async def needs_setup() -> bool:
            return "Priority" in await running.page("/needs-setup")

        await eventually(needs_setup, what="the request among what needs set-up")
        _, output = await running.command("deliveries", "list", "--state", "dead")
        assert "request.new" in output
        assert "Priority" in output
        requested = await card(running, "Requested", study="CT Chest")
        await running.powerserver_settings("priorities", value="95", name="FROM BLUME")
        code, output = await running.command("deliveries", "retry", "--all", "--destination", "powerserver", "--yes")
        assert code == 0, output
        own = (await eventually(partial(numbered, running, requested["id"])))["placer_number"]
        await in_powerserver(running, own, "SCHEDULED", asks=True)
        await answers(running, own, "decline", reason="please call us")
        assert (await card(running, "Cancelled", placer_number=own))["reason"] == "please call us"


async def test_a_deletion_in_omegaai_gives_the_order_its_time_back(start: Start) -> None:
    async with start(profile="both") as running:
        placer, _ = await booked_and_confirmed(running, 9)
        await running.delete_in_omegaai(placer)
        found = await in_powerserver(running, placer, "ORDERED")
        assert found["start"] is None
        await running.powerserver_api(
            f"appointments/{placer}/time", {"start": next_week_at(13), "resource": "BLUME CT"}
        )
        again = await card(running, "Pending", placer_number=placer)
        assert same(again["start"], next_week_at(13))
