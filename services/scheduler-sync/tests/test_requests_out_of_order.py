"""R4 and R5 of patients' requests: everything twice, in another order, and both sides at once."""

from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any
from uuid import UUID

import pytest

from scheduler_sync.domain.appointment import (
    AppointmentLink,
    Decision,
    FhirStatus,
    Outcome,
    RemoteFacts,
    StaffFacts,
    State,
    Study,
    System,
    WorkflowStep,
    requests,
)
from scheduler_sync.domain.slots import Slot

ZONE = "America/Toronto"
NINE = datetime(2026, 12, 1, 14, tzinfo=UTC)
BOOKED, WANTED, THIRD = (
    Slot(NINE + timedelta(hours=hours), NINE + timedelta(hours=hours, minutes=30), ZONE) for hours in (0, 5, 7)
)
MADE = datetime(2026, 11, 25, 15, tzinfo=UTC)


def link(**changes: Any) -> AppointmentLink:
    values: dict[str, Any] = {
        "id": UUID(int=9), "site": "northside", "placer_number": "B00000000000A", "patient_id": UUID(int=1),
        "facility": "FAC01", "resource": "BLUME CT", "modality": "CT", "slot": BOOKED,
        "studies": (Study("CT-HEAD", "CT Head"),), "omegaai_id": "9", "omegaai_version": "1", **changes,
    }  # fmt: skip
    return AppointmentLink(**values)


def said(step: WorkflowStep | None, slot: Slot = BOOKED, **more: Any) -> StaffFacts:
    return StaffFacts(step, "FAC01", "BLUME CT", "CT", slot, (Study("CT-HEAD", "CT Head"),), filler_id="A1", **more)


def hears(one: AppointmentLink, facts: StaffFacts, seconds: float) -> Decision:
    return one.hear_powerserver(facts, said_at=MADE + timedelta(seconds=seconds))


def acts(status: FhirStatus, version: str, wanted: Slot | None = None, **more: Any) -> RemoteFacts:
    start, end = (None, None) if wanted is None else (wanted.start, wanted.end)
    return RemoteFacts("9", version, status, BOOKED.start, BOOKED.end, start, end, **more)


def test_every_order_of_powerservers_answers_to_a_request_ends_alike() -> None:
    """S12, S13 (moved while it waits), S14 confirmed: in each order, each one twice."""
    messages = [
        (said(WorkflowStep.SCHEDULED, is_booking=True), 1),
        (said(WorkflowStep.SCHEDULED, THIRD), 2),
        (said(WorkflowStep.CONFIRMED, THIRD), 3),
    ]
    for order in permutations(messages):
        one = link().book_for_patient().link
        for facts, seconds in (*order, *order):
            one = hears(one, facts, seconds).link
        assert (one.state, one.slot, one.filler_id) == (State.CONFIRMED, THIRD, "A1"), order


@pytest.mark.parametrize("trigger", ["S13 first", "S15 first"])
def test_a_message_that_overtakes_the_booking_is_of_the_same_appointment(trigger: str) -> None:
    one = link().book_for_patient().link
    if trigger == "S15 first":
        one = hears(one, said(WorkflowStep.CANCELLED, reason="no referral"), 2).link
        assert one.state is State.CANCELLED
        late = hears(one, said(WorkflowStep.SCHEDULED, is_booking=True), 1)
        assert (late.outcome, late.link.state, late.link.reason) == (Outcome.STALE, State.CANCELLED, "no referral")
    else:
        one = hears(one, said(WorkflowStep.SCHEDULED, THIRD), 2).link
        late = hears(one, said(WorkflowStep.SCHEDULED, is_booking=True), 1)
        assert (late.link.state, late.link.slot) == (State.PATIENT_BOOKED, THIRD)


def test_a_request_that_also_names_its_own_time_as_wanted_asks_once() -> None:
    one = link().book_for_patient().link
    again = one.hear_omegaai(acts(FhirStatus.PROPOSED, "2", BOOKED))
    assert (again.outcome, again.link.requested_slot) == (Outcome.ECHO, None)
    other = one.hear_omegaai(acts(FhirStatus.PROPOSED, "2", WANTED))
    assert (other.outcome, other.link.requested_slot) == (Outcome.APPLIED, WANTED)


def confirmed() -> AppointmentLink:
    one = hears(link(omegaai_id=None, omegaai_version=None), said(WorkflowStep.CONFIRMED, is_booking=True), 1).link
    return one.told_omegaai("9", "1")


def asked_to_move() -> AppointmentLink:
    return confirmed().hear_omegaai(acts(FhirStatus.PROPOSED, "2", WANTED)).link


def test_a_wish_keeps_the_booked_slot_and_waits_for_staff() -> None:
    decision = confirmed().hear_omegaai(acts(FhirStatus.PROPOSED, "2", WANTED))
    assert decision.tells == {System.POWERSERVER}
    one = decision.link
    assert (one.state, one.slot, one.requested_slot) == (State.MOVE_REQUESTED, BOOKED, WANTED)
    again = one.hear_omegaai(acts(FhirStatus.PROPOSED, "2", WANTED))
    assert (again.outcome, again.link.revision) == (Outcome.ECHO, one.revision)


def test_powerservers_scheduled_does_not_answer_a_wish() -> None:
    decision = hears(asked_to_move(), said(WorkflowStep.SCHEDULED), 5)
    assert (decision.link.state, decision.link.fhir_status) == (State.MOVE_REQUESTED, FhirStatus.PROPOSED)


@pytest.mark.parametrize("slot", [WANTED, BOOKED, THIRD], ids=["accepted", "declined", "a third time"])
def test_staffs_answer_holds_whatever_time_they_give(slot: Slot) -> None:
    one = asked_to_move().told_powerserver(WorkflowStep.SCHEDULED, MADE + timedelta(seconds=4))
    one = hears(one, said(WorkflowStep.SCHEDULED), 5).link
    if slot != BOOKED:
        one = hears(one, said(WorkflowStep.SCHEDULED, slot), 6).link
    decision = hears(one, said(WorkflowStep.CONFIRMED, slot), 7)
    assert (decision.link.state, decision.link.slot) == (State.CONFIRMED, slot)
    assert decision.link.requested_slot is None
    assert decision.announces is not None
    assert System.OMEGAAI in decision.tells


def test_a_confirmation_from_before_the_wish_does_not_end_it() -> None:
    """PowerServer has taken the wish; an S14 that it made before arrives only now, and then its own SCHEDULED."""
    one = asked_to_move().told_powerserver(WorkflowStep.SCHEDULED, MADE + timedelta(seconds=10))
    late = hears(one, said(WorkflowStep.CONFIRMED), 5)
    assert late.link.state is State.MOVE_REQUESTED
    assert late.conflict is not None
    after = hears(late.link, said(WorkflowStep.SCHEDULED), 11).link
    assert (after.state, after.requested_slot) == (State.MOVE_REQUESTED, WANTED)
    assert hears(after, said(WorkflowStep.CONFIRMED, WANTED), 12).link.state is State.CONFIRMED


def test_both_sides_at_once_leave_the_time_to_powerserver_and_the_wish_to_the_patient() -> None:
    one = hears(asked_to_move(), said(WorkflowStep.CONFIRMED, THIRD), 5).link  # moved before the wish was known there
    assert (one.state, one.slot, one.requested_slot) == (State.MOVE_REQUESTED, THIRD, WANTED)


def test_a_patients_cancellation_holds_against_a_late_confirmation() -> None:
    one = asked_to_move().hear_omegaai(acts(FhirStatus.CANCELLED, "3", reason="got well")).link
    assert (one.state, one.reason) == (State.CANCELLED, "got well")
    late = hears(one, said(WorkflowStep.CONFIRMED, WANTED), 6)
    assert (late.link.state, late.link.slot, late.tells) == (State.CANCELLED, WANTED, {System.OMEGAAI})
    assert late.announces is None


@pytest.mark.parametrize("state", [State.STAFF_BOOKED, State.CONFIRMED, State.MOVE_REQUESTED, State.PATIENT_BOOKED])
def test_a_deletion_in_omegaai_takes_the_orders_time(state: State) -> None:
    one = link(state=state, step=WorkflowStep.CONFIRMED, revision=1)
    decision = one.hear_omegaai(acts(FhirStatus.ENTERED_IN_ERROR, "2"))
    assert (decision.link.state, decision.link.step) == (State.UNSCHEDULED, WorkflowStep.ORDERED)
    assert decision.tells == {System.POWERSERVER}
    again = decision.link.hear_omegaai(acts(FhirStatus.ENTERED_IN_ERROR, "2"))
    assert again.outcome is Outcome.ECHO


@pytest.mark.parametrize("state", [State.ARRIVED, State.DONE, State.CANCELLED])
def test_a_deletion_of_what_is_under_way_or_over_is_refused(state: State) -> None:
    decision = link(state=state, step=WorkflowStep.ARRIVED).hear_omegaai(acts(FhirStatus.ENTERED_IN_ERROR, "2"))
    assert (decision.outcome, decision.link.state) == (Outcome.REFUSED, state)


def test_placer_numbers_are_ours_and_of_one_length() -> None:
    numbers = {requests.placer_number(requests.link_id("northside", f"{one}")) for one in range(2000)}
    assert len(numbers) == 2000
    assert all(requests.is_ours(one) and len(one) == 13 for one in numbers)
    assert not any(map(requests.is_ours, ("P100045", "B1", "B0123456789AI", "X0123456789AB")))
    assert requests.link_id("northside", "9") != requests.link_id("lakeshore", "9")
