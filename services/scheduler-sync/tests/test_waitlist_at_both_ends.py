"""What staff put on the waiting list is on it in OmegaAI too: FHIR's ``waitlist``, which Blume calls Pending."""

from typing import Any

import both_ends_checks
import both_ends_machine
import both_ends_partners
import pytest
from both_ends_machine import BothEnds, acts, any_one
from both_ends_partners import CONFIRMED, SCHEDULED
from hypothesis import Phase
from hypothesis.stateful import precondition
from sync_harness import Harness
from sync_samples import siu
from test_both_ends import run_stories
from test_deliveries_out_of_date import Ends

from scheduler_sync.domain.appointment import FhirStatus, WhoActs, status_to_write
from scheduler_sync.snapshots import AppointmentSnapshot

WAITLIST = 40
ON_THE_LIST = f"{WAITLIST}^WAITLIST^99PS"


@pytest.fixture(autouse=True)
def partners_know_the_waiting_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """A status of the site's own in PowerServer, and Blume's buttons on a Pending card."""
    monkeypatch.setitem(both_ends_partners.NAMES, WAITLIST, "WAITLIST")
    monkeypatch.setitem(both_ends_machine.BUTTONS, "waitlist", ["booked", "booked", "proposed", "cancelled"])
    monkeypatch.setitem(both_ends_checks.STEPS_OF_STATE, "staff-booked", {"scheduled", "waitlist"})
    monkeypatch.setitem(both_ends_checks.STEP_OF_STATUS, WAITLIST, "waitlist")
    monkeypatch.setitem(both_ends_checks.FHIR_OF_STATUS, WAITLIST, {"waitlist", "proposed"})


def put_on_the_list(ends: Ends) -> None:
    ends.clock.pass_by(1)
    ends.powerserver.set_status(ends.booking, WAITLIST)
    ends.staff_are_heard()
    ends.deliver()


def card_of(ends: Ends) -> dict[str, Any]:
    (body,) = ends.omegaai.all("Appointment")
    return body


def link_of(ends: Ends) -> Any:
    (link,) = ends.suite.memory.links.values()
    return link


def test_what_staff_put_on_the_waiting_list_is_on_it_in_omegaai_and_waits_for_staff():
    ends = Ends()
    put_on_the_list(ends)
    assert card_of(ends)["status"] == "waitlist"
    assert link_of(ends).who_acts_next is WhoActs.STAFF
    assert [topic for topic, _, _ in ends.suite.memory.events][-1] == "appointment.scheduled"


def test_a_place_on_the_calendar_takes_it_off_the_list():
    ends = Ends()
    put_on_the_list(ends)
    ends.clock.pass_by(1)
    ends.powerserver.set_status(ends.booking, SCHEDULED)
    ends.staff_are_heard()
    ends.deliver()
    assert card_of(ends)["status"] == "pending"
    assert link_of(ends).who_acts_next is WhoActs.PATIENT


def test_a_patient_who_confirms_on_the_list_is_confirmed_in_powerserver():
    ends = Ends()
    put_on_the_list(ends)
    ends.patient_sets("booked")
    ends.deliver()
    assert (ends.booking.status, card_of(ends)["status"]) == (CONFIRMED, "booked")


def test_a_confirmation_is_taken_back_onto_the_list():
    ends = Ends()
    ends.patient_sets("booked")
    ends.deliver()
    ends.staff_are_heard()
    put_on_the_list(ends)
    assert card_of(ends)["status"] == "waitlist"


def test_the_waiting_list_does_not_answer_a_patients_wish_to_move():
    ends = Ends()
    ends.patient_sets("proposed")
    ends.deliver()
    ends.staff_are_heard()
    put_on_the_list(ends)
    assert (link_of(ends).state, card_of(ends)["status"]) == ("move-requested", "proposed")


def test_a_word_of_the_list_that_powerserver_said_before_it_took_the_confirmation_does_not_undo_it():
    ends = Ends()
    ends.clock.pass_by(1)
    ends.powerserver.set_status(ends.booking, WAITLIST)
    ends.staff_are_heard()
    ends.deliver()
    ends.powerserver.change_email(ends.booking, "late@example.org")  # says WAITLIST once more, and is held up
    ends.clock.pass_by(60)
    ends.patient_sets("booked")
    ends.deliver()
    ends.powerserver.queue = ends.powerserver.queue[:1]
    ends.staff_are_heard()
    assert link_of(ends).state == "confirmed"


def test_a_write_of_the_list_does_not_wipe_out_what_the_patient_did_meanwhile():
    for act in (FhirStatus.BOOKED, FhirStatus.PROPOSED, FhirStatus.CANCELLED):
        assert status_to_write(FhirStatus.WAITLIST, act, changed_there=True) is act


class BothEndsWithTheList(BothEnds):
    """The stories of both ends, in which staff use the waiting list too."""

    @acts(which=any_one)
    @precondition(lambda self: self.with_a_time())
    def staff_put_on_the_list(self, which: int) -> None:
        booking = self.pick(self.with_a_time(), which)
        self.clock.pass_by(1)
        self.tell(f"staff put {booking.placer} on the waiting list")
        self.powerserver.set_status(booking, WAITLIST)


@pytest.mark.timeout(600)
def test_both_ends_are_equal_at_rest_with_appointments_on_the_list():
    BothEndsWithTheList.steps, number = 0, 1
    while BothEndsWithTheList.steps < 5000:
        run_stories(BothEndsWithTheList, stories=20, first_seed=number, phases=(Phase.generate,))
        number += 1


@pytest.mark.stack
async def test_the_event_and_the_delivery_say_waitlist(harness: Harness):
    assert await harness.hear(siu(status=ON_THE_LIST)) == [None]
    _, booking = await harness.deliveries()
    assert AppointmentSnapshot.from_bytes(booking.payload).status == "waitlist"
    event = await harness.event("appointment.scheduled")
    assert (event["data"]["status"], event["data"]["who_acts_next"]) == ("waitlist", "staff")
    link = await harness.row("SELECT state, step, who_acts_next FROM appointment_links")
    assert tuple(link) == ("staff-booked", "waitlist", "staff")
