"""R8 with what else staff change: studies, referring physician, and the waiting list."""

from datetime import datetime, timedelta
from typing import Any

import both_ends_checks
import both_ends_machine
import both_ends_partners
import pytest
from both_ends_machine import BothEnds
from both_ends_partners import CLOSED, Booking, PowerServer
from both_ends_requests import acts, any_one
from hypothesis import Phase
from hypothesis.stateful import precondition
from test_both_ends import run_stories

from chassis.testing.depth import DEPTH
from scheduler_sync.adapters.omegaai import writer
from scheduler_sync.domain.appointment import link, studies

WAITLIST = 40
PHYSICIANS = {b"1001^Miller^Ann": "Miller, Ann", b"1002^Ross^Doug": "Ross, Doug"}
CODES = ["CT-HEAD", "CT-CHEST", "CT-NECK"]
STEPS = DEPTH.model_steps // 8


class Ward(PowerServer):
    """PowerServer with several studies on one appointment, each with a time of its own.

    It sends SIU: an ORM that cancels an order which the suite has not heard of waits for a person, by rule.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named | {"profile": "siu"})
        self.physician: dict[str, bytes] = {}
        self.studies: dict[str, int] = {}

    def change(self, booking: Booking) -> None:
        self._announce(booking, "S14", "SC")

    def times(self, booking: Booking) -> list[tuple[str, datetime, int]]:
        """Code, start and minutes of each study; together they last half an hour."""
        number = self.studies.get(booking.placer, 1)
        length = 30 // number
        return [(CODES[one], booking.start + timedelta(minutes=one * length), length) for one in range(number)]

    def _say(self, raw: bytes, kind: str, booking: Booking, made: str) -> None:
        raw = raw.replace(b"1001^Miller^Ann", self.physician.get(booking.placer, b"1001^Miller^Ann"))
        lines = raw.decode().split("\r")
        super()._say("\r".join(self._services(lines, booking)).encode(), kind, booking, made)

    def _services(self, lines: list[str], booking: Booking) -> list[str]:
        place = next(number for number, one in enumerate(lines) if one.startswith("AIS"))
        services = [
            f"AIS|{number}|A|{code}^{code}^99STUDYTYPE|{start:%Y%m%d%H%M%S+0000}|||{minutes}|min"
            for number, (code, start, minutes) in enumerate(self.times(booking), 1)
        ]
        return [*lines[:place], *services, *lines[place + 1 :]]


class Staff(BothEnds):
    """The stories of both ends, in which staff change more than time and status."""

    powerserver: Ward

    @acts(which=any_one)
    @precondition(lambda self: self.with_a_time())
    def staff_add_a_study(self, which: int) -> None:
        booking = self.pick(self.with_a_time(), which)
        self.clock.pass_by(1)
        self.powerserver.studies[booking.placer] = min(self.powerserver.studies.get(booking.placer, 1) + 1, len(CODES))
        self.tell(f"{booking.placer} has {self.powerserver.studies[booking.placer]} studies")
        self.powerserver.change(booking)

    @acts(which=any_one, who=any_one)
    @precondition(lambda self: self.open_bookings())
    def staff_change_the_physician(self, which: int, who: int) -> None:
        booking = self.pick(self.open_bookings(), which)
        self.clock.pass_by(1)
        self.powerserver.physician[booking.placer] = self.pick(list(PHYSICIANS), who)
        self.tell(f"{booking.placer} is referred by {self.powerserver.physician[booking.placer].decode()}")
        self.powerserver.change(booking)

    @acts(which=any_one)
    @precondition(lambda self: self.with_a_time())
    def staff_put_on_the_list(self, which: int) -> None:
        booking = self.pick(self.with_a_time(), which)
        self.clock.pass_by(1)
        self.tell(f"staff put {booking.placer} on the waiting list")
        self.powerserver.set_status(booking, WAITLIST)

    def deletable(self) -> list[dict[str, Any]]:
        """Deletions in OmegaAI are the requests' part (``both_ends_requests``)."""
        return []

    def check_booking(self, booking: Booking, found: Any, body: dict[str, Any] | None) -> None:
        super().check_booking(booking, found, body)
        if body is None or booking.status in CLOSED or booking.has_no_time or found.state == "move-requested":
            return
        placer, ward = booking.placer, self.powerserver
        actors = [one["actor"] for one in body["participant"]]
        physician = PHYSICIANS[ward.physician.get(placer, b"1001^Miller^Ann")]
        self.check(actors[2]["display"] == physician, f"{placer} is referred by {physician}, in OmegaAI by {actors[2]}")
        told = [self.told_of(kind) for kind in body["serviceType"]]
        wanted = ward.times(booking)
        self.check([one[0] for one in told] == [one[0] for one in wanted], f"{placer}: {wanted}, OmegaAI has {told}")
        if len(wanted) > 1:
            self.check(told == wanted, f"{placer}: {wanted}, OmegaAI has {told}")

    def told_of(self, kind: dict[str, Any]) -> tuple[str, datetime | None, int | None]:
        (coding,) = kind["coding"]
        found = {one["url"].removeprefix(f"{writer.RAMSOFT}/"): one for one in coding.get("extension", [])}
        start = found.get("studyDateTime", {}).get("valueDateTime")
        at = None if start is None else datetime.fromisoformat(start)
        return coding["code"], at, found.get("Duration", {}).get("valueInteger")


@pytest.fixture(autouse=True)
def a_ward_that_knows_the_waiting_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(both_ends_machine, "PowerServer", Ward)
    monkeypatch.setitem(both_ends_partners.NAMES, WAITLIST, "WAITLIST")
    monkeypatch.setitem(both_ends_machine.BUTTONS, "waitlist", ["booked", "booked", "proposed", "cancelled"])
    monkeypatch.setitem(both_ends_checks.STEPS_OF_STATE, "staff-booked", {"scheduled", "waitlist"})
    monkeypatch.setitem(both_ends_checks.STEP_OF_STATUS, WAITLIST, "waitlist")
    monkeypatch.setitem(both_ends_checks.FHIR_OF_STATUS, WAITLIST, {"waitlist", "proposed"})


def stories(steps: int, first_seed: int = 1) -> None:
    Staff.steps, number = 0, first_seed
    while Staff.steps < steps:
        run_stories(Staff, stories=10, first_seed=number, phases=(Phase.generate,))
        number += 1


@pytest.mark.timeout(600)
def test_both_ends_are_equal_at_rest_whatever_staff_change() -> None:
    stories(STEPS)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("fact", ["referring_physician", "studies"])
def test_a_fact_whose_change_is_not_told_is_seen(fact: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "_SHOWN", link._SHOWN - {fact})
    with pytest.raises(AssertionError, match="OmegaAI"):
        stories(20_000)


@pytest.mark.timeout(600)
def test_a_studys_own_time_that_is_lost_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = studies._merged
    monkeypatch.setattr(studies, "_merged", lambda known, said: kept(known, said) if said.start is None else known)
    with pytest.raises(AssertionError, match="OmegaAI"):
        stories(20_000)
