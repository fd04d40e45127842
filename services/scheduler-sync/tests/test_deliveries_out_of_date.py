"""A delivery that goes when what it says is past brings nothing back: it waited, or an operator sent it again."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import both_ends_partners
import pytest
from both_ends import Suite
from both_ends_partners import (
    ARRIVED,
    BEGIN,
    CONFIRMED,
    ORDERED,
    READY,
    SCHEDULED,
    Booking,
    Clock,
    OmegaAI,
    PowerServer,
)
from sync_harness import Harness
from sync_samples import siu
from test_sync_on_postgres import LATER, adopted, omegaai_shows

from chassis.deliveries import Receipt
from scheduler_sync.adapters.powerserver.sender import Shown
from scheduler_sync.domain.appointment import WorkflowStep, sets_powerserver_back
from scheduler_sync.receipts import NOT_SENT
from scheduler_sync.store.queries import StoredIds, StoredSteps

WAITLIST = 40


class Ends:
    """Both partners and the suite, with one appointment that Blume shows as Pending."""

    def __init__(self) -> None:
        self.clock, self.omegaai = Clock(), OmegaAI()
        self.powerserver = PowerServer(self.clock, profile="siu", skew_seconds=0)
        self.suite = Suite(self.clock, self.powerserver, self.omegaai)
        self.booking: Booking = self.powerserver.book("4711", BEGIN + timedelta(days=6))
        self.staff_are_heard()
        self.deliver()

    def staff_are_heard(self) -> None:
        while self.powerserver.queue:
            self.suite.hear(self.powerserver.queue.pop(0).raw)

    def patient_sets(self, status: str) -> None:
        (body,) = self.omegaai.all("Appointment")
        self.omegaai.patient_sets(body, status)
        self.tasks_are_heard()

    def act(self, status: str) -> None:
        """The patient's act in Blume, or OmegaAI's staff delete the appointment."""
        if status != "entered-in-error":
            return self.patient_sets(status)
        (body,) = self.omegaai.all("Appointment")
        self.omegaai.staff_edit(body, status=status)
        return self.tasks_are_heard()

    def tasks_are_heard(self) -> None:
        self.suite.apply_tasks([self.suite.read_task(task) for task in self.omegaai.tasks])
        self.omegaai.tasks.clear()

    def deliver(self, destination: str | None = None) -> None:
        while heads := [one for one in self.suite.heads() if destination in {None, one.delivery.destination}]:
            self.suite.send(heads[0])

    def shown(self) -> tuple[str, str]:
        (body,) = self.omegaai.all("Appointment")
        (person,) = self.omegaai.all("Patient")
        return body["start"][:10], person["telecom"][0]["value"]


def test_a_confirmation_that_had_to_wait_does_not_undo_an_arrival_that_is_known():
    """PowerServer refused it for now; then the patient came, and staff said so."""
    ends = Ends()
    ends.patient_sets("booked")
    ends.suite.send(ends.suite.heads()[0], fate="not now")
    ends.powerserver.set_status(ends.booking, ARRIVED)
    ends.staff_are_heard()
    ends.deliver()
    assert ends.booking.status == ARRIVED
    assert not ends.powerserver.queue
    (entry,) = [one for one in ends.suite.memory.history if one.outcome == "acknowledged"]
    assert entry.message == "not sent: it shows what came later"


def test_a_confirmation_sent_again_by_hand_does_not_answer_the_wish_to_move_that_came_after_it():
    ends = Ends()
    ends.patient_sets("booked")
    ends.suite.send(ends.suite.heads()[0], fate="refused")
    ends.patient_sets("proposed")
    ends.deliver()
    ends.suite.operator_sends_again(ends.suite.memory.dead[0])
    ends.deliver()
    assert (ends.booking.status, ends.suite.memory.dead) == (SCHEDULED, [])


def waiting_pending(ends: Ends) -> None:
    for days in (7, 8, 9):
        ends.clock.pass_by(1)
        ends.powerserver.move(ends.booking, BEGIN + timedelta(days=days))


def waiting_waitlist(ends: Ends) -> None:
    ends.clock.pass_by(1)
    ends.powerserver.set_status(ends.booking, WAITLIST)
    waiting_pending(ends)


def waiting_back_from_ready(ends: Ends) -> None:
    for status in (CONFIRMED, READY, CONFIRMED):
        ends.clock.pass_by(1)
        ends.powerserver.set_status(ends.booking, status)


@pytest.mark.parametrize("act", ["booked", "proposed", "cancelled", "entered-in-error"])
@pytest.mark.parametrize("waiting", [waiting_pending, waiting_waitlist, waiting_back_from_ready])
def test_deliveries_that_waited_leave_an_act_in_omegaai_that_is_known_by_now(
    waiting: Callable[[Ends], None], act: str, monkeypatch: pytest.MonkeyPatch
):
    """The first leaves the act as one that it did not know of, and its version becomes our own."""
    monkeypatch.setitem(both_ends_partners.NAMES, WAITLIST, "WAITLIST")
    ends = Ends()
    waiting(ends)
    ends.staff_are_heard()
    ends.act(act)
    ends.deliver()
    (card,) = ends.omegaai.all("Appointment")
    (link,) = ends.suite.memory.links.values()
    assert card["status"] == ("entered-in-error" if act == "entered-in-error" else link.fhir_status)
    assert link.fhir_status == ("cancelled" if act == "entered-in-error" else act)
    assert ends.suite.memory.dead == []


def test_a_cancellation_of_our_own_is_written_over_so_that_no_write_looks_like_a_patients():
    """Staff take the time away and give another one; the answer to a delivery whose status is past is lost."""
    ends = Ends()
    ends.powerserver.set_status(ends.booking, ORDERED)
    ends.staff_are_heard()
    ends.deliver()
    ends.tasks_are_heard()
    ends.booking.start += timedelta(days=1)
    for status in (READY, SCHEDULED):
        ends.clock.pass_by(1)
        ends.powerserver.set_status(ends.booking, status)
    ends.staff_are_heard()
    (waiting, *_) = [one for one in ends.suite.heads() if one.delivery.destination == "omegaai"]
    ends.suite.send(waiting, fate="no answer")
    ends.tasks_are_heard()
    ends.deliver()
    (card,) = ends.omegaai.all("Appointment")
    (link,) = ends.suite.memory.links.values()
    assert (link.state, card["status"], ends.booking.status) == ("staff-booked", "pending", SCHEDULED)


def test_a_deleted_appointment_is_not_written_to_so_that_no_write_looks_like_a_second_deletion():
    """Staff book it again while the answer to a delivery that waited is lost."""
    ends = Ends()
    waiting_pending(ends)
    ends.staff_are_heard()
    ends.act("entered-in-error")
    (waiting, *_) = [one for one in ends.suite.heads() if one.delivery.destination == "omegaai"]
    ends.suite.send(waiting, fate="no answer")
    ends.clock.pass_by(1)
    ends.powerserver.set_status(ends.booking, CONFIRMED)
    ends.staff_are_heard()
    ends.tasks_are_heard()
    ends.deliver()
    (card,) = ends.omegaai.all("Appointment")
    assert (ends.booking.status, card["status"]) == (CONFIRMED, "booked")


@pytest.mark.parametrize(
    ("told", "step", "shows", "undoes"),
    [
        (WorkflowStep.CONFIRMED, WorkflowStep.CONFIRMED, WorkflowStep.SCHEDULED, False),
        (WorkflowStep.CONFIRMED, WorkflowStep.ARRIVED, WorkflowStep.ARRIVED, True),
        (WorkflowStep.CONFIRMED, WorkflowStep.REQUESTED, WorkflowStep.SCHEDULED, True),
        (WorkflowStep.SCHEDULED, WorkflowStep.REQUESTED, WorkflowStep.CONFIRMED, False),
        (WorkflowStep.SCHEDULED, WorkflowStep.REQUESTED, WorkflowStep.SCHEDULED, False),
        (WorkflowStep.CONFIRMED, WorkflowStep.CANCELLED, WorkflowStep.SCHEDULED, False),
        (WorkflowStep.CONFIRMED, WorkflowStep.CANCELLED, None, False),
    ],
)
def test_only_what_powerserver_shows_already_is_undone(
    told: WorkflowStep, step: WorkflowStep, shows: WorkflowStep | None, *, undoes: bool
):
    assert sets_powerserver_back(told, step=step, powerserver_shows=shows) is undoes


def test_a_refused_move_that_is_sent_again_does_not_bring_the_former_time_back():
    ends = Ends()
    for days, email in ((7, "a@example.org"), (8, "b@example.org")):
        ends.clock.pass_by(1)
        ends.powerserver.move(ends.booking, BEGIN + timedelta(days=days))
        ends.powerserver.change_email(ends.booking, email)
    ends.staff_are_heard()
    for fate in ("refused", "refused"):
        ends.suite.send(ends.suite.heads()[0], fate=fate)
    ends.deliver()
    assert ends.shown() == ("2026-12-03", "b@example.org")
    refused = list(ends.suite.memory.dead)
    assert len(refused) == 2
    for one in refused:
        ends.suite.operator_sends_again(one)
    ends.deliver()
    assert ends.shown() == ("2026-12-03", "b@example.org")
    assert ends.suite.memory.dead == refused, "they stand open, and say why, until an operator drops them"


@pytest.mark.stack
async def test_what_went_before_is_found_by_what_it_is_about(harness: Harness):
    await harness.hear(siu(), siu(placer="P2", control_id="2"))
    await harness.hear(siu("S13", control_id="3", **LATER))
    person, first, other, move = await harness.deliveries()
    ids = StoredIds(harness.store.pool)
    await harness.rows("UPDATE deliveries SET state = 'dead' WHERE id = $1", first.id)
    assert await ids.later(first) is None
    await harness.settle(other, Receipt({"id": "8", "version_id": "1", "status": "pending"}))
    assert await ids.later(first) is None, "that is about another appointment of the patient"
    await harness.rows(
        "UPDATE deliveries SET lease_token = id, lease_until = clock_timestamp() + interval '1 minute' WHERE id = $1",
        move.id,
    )
    assert await ids.later(first) == "under way"
    await harness.settle(move, Receipt({"id": "7", "version_id": "1", "status": "pending"}))
    assert await ids.later(first) == "done"
    assert (await ids.later(move), await ids.later(person)) == (None, None)


@pytest.mark.stack
async def test_where_an_appointment_stands_is_read_for_the_sender(harness: Harness):
    await harness.hear(siu())
    await adopted(harness)
    await omegaai_shows(harness, "booked", "2", "t1")
    (told,) = await harness.deliveries()
    steps = StoredSteps(harness.store.pool)
    assert await steps.of_link(told.key) == Shown(WorkflowStep.CONFIRMED, WorkflowStep.SCHEDULED)
    await harness.hear(siu("S14", control_id="2", status=f"{ARRIVED}^ARRIVED^99PS", made="20261125093100-0500"))
    assert await steps.of_link(told.key) == Shown(WorkflowStep.ARRIVED, WorkflowStep.ARRIVED)
    await harness.settle(told, Receipt({"ack": NOT_SENT}))
    link = await harness.row("SELECT * FROM appointment_links")
    assert (link["state"], link["powerserver_step"]) == ("arrived", "arrived")
    assert await steps.of_link(UUID(int=1)) is None
