"""Every state with every trigger, against expectations written by hand from the domain's table of combined states."""

import pytest

from scheduler_sync.domain.appointment import (
    BLUME_LABEL_OF_FHIR_STATUS,
    FHIR_STATUS_OF_STEP,
    TRANSITIONS,
    Announcement,
    FhirStatus,
    Move,
    Refusal,
    State,
    System,
    Trigger,
    WhoActs,
    WorkflowStep,
    report_of,
    status_to_write,
    transition,
)

# Rows: states; columns: triggers. A number is the place in STATES where the move leads, "." refuses. After it: what is
# published (s, r, c, p, x for scheduled, requested, confirmed, progressed, cancelled; m: a change of time, resource or
# facility is published as rescheduled) and who is told (O OmegaAI, P PowerServer).
STATES = [
    "unscheduled", "staff-booked", "confirmed", "move-requested", "patient-booked", "arrived", "done", "cancelled",
]  # fmt: skip
COLUMNS = [
    "staff-ordered", "staff-scheduled", "staff-updated", "staff-confirmed", "staff-arrived", "staff-ready",
    "staff-completed", "staff-cancelled", "staff-no-show", "patient-confirmed", "patient-asked-to-move",
    "patient-booked", "patient-cancelled", "staff-waitlisted",
]  # fmt: skip
EXPECTED = {
    "new":            "0    1sO  1sO  2cO  5pO 5pO 6pO 7   7   .   .   4rP .   1sO",
    "unscheduled": "   0    1sO  0    2cO  5pO 5pO 6pO 7O  7O  .   .   .   .   1sO",
    "staff-booked": "  0xO  1smO 1smO 2cO  5pO 5pO 6pO 7xO 7xO 2cP 3rP .   7xP 1smO",
    "confirmed": "     0xO  1sO  2cmO 2cmO 5pO 5pO 6pO 7xO 7xO 2   3rP .   7xP 1sO",
    "move-requested": "3    3O   3O   2cO  5pO 5pO 6pO 7xO 7xO .   3rP .   7xP 3O",
    "patient-booked": "4    4O   4O   2cO  5pO 5pO 6pO 7xO 7xO .   4rP 4rP 7xP 4O",
    "arrived": "       0xO  1sO  5pO  2cO  5pO 5pO 6pO 7xO 7xO .   .   .   .   1sO",
    "done": "          .    .    6p   .    .   .   6p  .   .   .   .   .   .   .",
    "cancelled": "     .    .    7O   .    .   .   6pO 7O  7O  .   .   .   .   .",
}  # fmt: skip
PUBLISHED = {
    "s": Announcement.SCHEDULED, "r": Announcement.REQUESTED, "c": Announcement.CONFIRMED,
    "p": Announcement.PROGRESSED, "x": Announcement.CANCELLED,
}  # fmt: skip
TOLD = {"O": System.OMEGAAI, "P": System.POWERSERVER}

PAIRS = [(state, trigger) for state in State for trigger in Trigger]


@pytest.mark.parametrize(("state", "trigger"), PAIRS)
def test_every_pair_of_state_and_trigger_does_what_the_table_of_the_domain_says(state: State, trigger: Trigger):
    cell = EXPECTED[state.value].split()[COLUMNS.index(trigger.value)]
    found = transition(state, trigger)
    if cell == ".":
        assert isinstance(found, Refusal)
        assert found.why
        return
    assert isinstance(found, Move)
    assert found.to == State(STATES[int(cell[0])])
    assert found.announces == next((PUBLISHED[mark] for mark in cell[1:] if mark in PUBLISHED), None)
    assert found.announces_when_moved == (Announcement.RESCHEDULED if "m" in cell else None)
    assert found.tells == {TOLD[mark] for mark in cell[1:] if mark in TOLD}


def test_the_table_has_every_pair_and_nothing_else():
    assert set(TRANSITIONS) == set(State)
    for row in TRANSITIONS.values():
        assert set(row) == set(Trigger)


@pytest.mark.parametrize(("state", "trigger"), PAIRS)
def test_a_move_that_stays_tells_only_of_changes_and_one_that_goes_always(state: State, trigger: Trigger):
    move = transition(state, trigger)
    if isinstance(move, Move):
        assert move.only_if_changed == (move.to is state)


@pytest.mark.parametrize(("state", "trigger"), PAIRS)
def test_nobody_is_told_of_an_own_act(state: State, trigger: Trigger):
    move = transition(state, trigger)
    if isinstance(move, Move):
        assert move.tells <= {System.POWERSERVER if trigger.is_patients else System.OMEGAAI}


@pytest.mark.parametrize("state", [State.MOVE_REQUESTED, State.PATIENT_BOOKED])
@pytest.mark.parametrize(
    "trigger",
    [Trigger.STAFF_SCHEDULED, Trigger.STAFF_WAITLISTED, Trigger.STAFF_UPDATED, Trigger.STAFF_ORDERED],
)
def test_a_scheduled_of_powerserver_does_not_turn_a_requested_card_into_pending(state: State, trigger: Trigger):
    move = transition(state, trigger)
    assert isinstance(move, Move)
    assert move.to is state
    assert move.to.who_acts_next is WhoActs.STAFF


def test_who_acts_next_is_known_of_every_state():
    assert {state.value: state.who_acts_next.value for state in State} == {
        "new": "staff", "unscheduled": "staff", "staff-booked": "patient", "confirmed": "nobody",
        "move-requested": "staff", "patient-booked": "staff", "arrived": "nobody", "done": "nobody",
        "cancelled": "nobody",
    }  # fmt: skip


def test_each_step_becomes_the_status_and_the_label_that_blume_documents():
    labels = {step: BLUME_LABEL_OF_FHIR_STATUS[status] for step, status in FHIR_STATUS_OF_STEP.items()}
    assert {(step.value, FHIR_STATUS_OF_STEP[step].value, label) for step, label in labels.items()} == {
        ("ordered", "proposed", "Requested"),
        ("requested", "proposed", "Requested"),
        ("scheduled", "pending", "Pending"),
        ("waitlist", "waitlist", "Pending"),
        ("confirmed", "booked", "Scheduled"),
        ("arrived", "arrived", "Scheduled"),
        ("ready-for-scan", "checked-in", "Scheduled"),
        ("no-show", "noshow", "Cancelled"),
        ("cancelled", "cancelled", "Cancelled"),
        ("completed", "fulfilled", "Completed"),
    }


STEP_AFTER = {
    "staff-ordered": "ordered", "staff-scheduled": "scheduled", "staff-waitlisted": "waitlist",
    "staff-updated": None, "staff-confirmed": "confirmed",
    "staff-arrived": "arrived", "staff-ready": "ready-for-scan", "staff-completed": "completed",
    "staff-cancelled": "cancelled", "staff-no-show": "no-show", "patient-confirmed": "confirmed",
    "patient-asked-to-move": "requested", "patient-booked": "requested", "patient-cancelled": "cancelled",
}  # fmt: skip
"""By hand: the step that each trigger leads to. An update leaves the step."""
REQUESTS = {State.MOVE_REQUESTED, State.PATIENT_BOOKED}


@pytest.mark.parametrize(("state", "trigger"), PAIRS)
def test_every_move_leads_to_the_step_of_its_trigger(state: State, trigger: Trigger):
    move = transition(state, trigger)
    if not isinstance(move, Move):
        return
    wanted = STEP_AFTER[trigger.value]
    if state is State.NEW and trigger is Trigger.STAFF_UPDATED:
        wanted = "scheduled"  # a change that overtook its booking is a booking
    if state in REQUESTS and move.to is state and not trigger.is_patients:
        wanted = None  # what PowerServer shows meanwhile does not answer the request
    assert move.step == wanted


@pytest.mark.parametrize(("state", "trigger"), PAIRS)
def test_a_request_is_open_after_a_move_exactly_where_the_state_waits_for_its_answer(state: State, trigger: Trigger):
    move = transition(state, trigger)
    if isinstance(move, Move):
        assert move.has_open_request == (move.to in REQUESTS)


def test_powerservers_report_of_each_step_is_a_trigger_of_staffs():
    assert {step.value: report_of(step).value for step in WorkflowStep} == {
        "ordered": "staff-ordered", "requested": "staff-scheduled", "scheduled": "staff-scheduled",
        "waitlist": "staff-waitlisted", "confirmed": "staff-confirmed", "arrived": "staff-arrived",
        "ready-for-scan": "staff-ready", "completed": "staff-completed", "cancelled": "staff-cancelled",
        "no-show": "staff-no-show",
    }  # fmt: skip


@pytest.mark.parametrize("ours", [FhirStatus.PENDING, FhirStatus.WAITLIST, FhirStatus.BOOKED, FhirStatus.PROPOSED])
@pytest.mark.parametrize("found", list(FhirStatus))
def test_what_is_still_ahead_leaves_what_the_patient_did_meanwhile(ours: FhirStatus, found: FhirStatus):
    acts = {FhirStatus.BOOKED, FhirStatus.PROPOSED, FhirStatus.CANCELLED, FhirStatus.ENTERED_IN_ERROR}
    assert status_to_write(ours, found, changed_there=True) is (found if found in acts else ours)
    assert status_to_write(ours, found, changed_there=False) is ours
    for settled in (FhirStatus.CANCELLED, FhirStatus.ARRIVED, FhirStatus.FULFILLED, FhirStatus.NOSHOW):
        assert status_to_write(settled, found, changed_there=True) is settled
