"""Every state with every trigger, against expectations written by hand from the domain's table of combined states."""

import pytest

from scheduler_sync.domain.link import (
    STEP_AFTER,
    TRANSITIONS,
    TRIGGER_OF_STEP,
    WHO_ACTS_NEXT,
    Announcement,
    Move,
    Refusal,
    State,
    System,
    Trigger,
    WhoActs,
    transition,
)
from scheduler_sync.domain.statuses import (
    BLUME_LABEL_OF_FHIR_STATUS,
    FHIR_STATUS_OF_STEP,
    FhirStatus,
    WorkflowStep,
    status_to_write,
)

# Rows: states; columns: triggers. A state's number is where the move leads, "." refuses. After it: what is published
# (s, r, c, x for scheduled, requested, confirmed, cancelled) and who is told (O OmegaAI, P PowerServer).
COLUMNS = [
    "staff-ordered", "staff-scheduled", "staff-updated", "staff-confirmed", "staff-arrived", "staff-ready",
    "staff-completed", "staff-cancelled", "staff-no-show", "patient-confirmed", "patient-asked-to-move",
    "patient-booked", "patient-cancelled",
]  # fmt: skip
EXPECTED = {
    "new": "0    1sO 1sO 2cO 5O 5O 6O 7   7   .   .   4rP .",
    "L0":  "0    1sO 0   2cO 5O 5O 6O 7O  7O  .   .   .   .",
    "L1":  "0xO  1sO 1sO 2cO 5O 5O 6O 7xO 7xO 2cP 3rP .   7xP",
    "L2":  "0xO  1sO 2cO 2cO 5O 5O 6O 7xO 7xO 2   3rP .   7xP",
    "L3":  "3    3O  3O  2cO 5O 5O 6O 7xO 7xO .   3rP .   7xP",
    "L4":  "4    4O  4O  2cO 5O 5O 6O 7xO 7xO .   4rP 4rP 7xP",
    "L5":  "0xO  1sO 5O  2cO 5O 5O 6O 7xO 7xO .   .   .   .",
    "L6":  ".    .   6   .   .  .  6  .   .   .   .   .   .",
    "L7":  ".    .   7O  .   .  .  6O 7O  7O  .   .   .   .",
}  # fmt: skip
PUBLISHED = {
    "s": Announcement.SCHEDULED, "r": Announcement.REQUESTED, "c": Announcement.CONFIRMED, "x": Announcement.CANCELLED,
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
    assert found.to == State(f"L{cell[0]}")
    assert found.announces == next((PUBLISHED[mark] for mark in cell[1:] if mark in PUBLISHED), None)
    assert found.tells == next((TOLD[mark] for mark in cell[1:] if mark in TOLD), None)


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
    if isinstance(move, Move) and move.tells is not None:
        assert move.tells is (System.POWERSERVER if trigger.is_patients else System.OMEGAAI)


@pytest.mark.parametrize("state", [State.MOVE_REQUESTED, State.PATIENT_BOOKED])
@pytest.mark.parametrize("trigger", [Trigger.STAFF_SCHEDULED, Trigger.STAFF_UPDATED, Trigger.STAFF_ORDERED])
def test_a_scheduled_of_powerserver_does_not_turn_a_requested_card_into_pending(state: State, trigger: Trigger):
    move = transition(state, trigger)
    assert isinstance(move, Move)
    assert move.to is state
    assert WHO_ACTS_NEXT[move.to] is WhoActs.STAFF


def test_who_acts_next_is_known_of_every_state():
    assert {state.value: who.value for state, who in WHO_ACTS_NEXT.items()} == {
        "new": "staff", "L0": "staff", "L1": "patient", "L2": "nobody", "L3": "staff", "L4": "staff", "L5": "nobody",
        "L6": "nobody", "L7": "nobody",
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


def test_every_step_has_a_trigger_and_every_trigger_but_an_update_a_step():
    assert set(TRIGGER_OF_STEP) == set(WorkflowStep)
    assert set(STEP_AFTER) == set(Trigger) - {Trigger.STAFF_UPDATED}


@pytest.mark.parametrize("ours", [FhirStatus.PENDING, FhirStatus.BOOKED, FhirStatus.PROPOSED])
@pytest.mark.parametrize("found", list(FhirStatus))
def test_what_is_still_ahead_leaves_what_the_patient_did_meanwhile(ours: FhirStatus, found: FhirStatus):
    acts = {FhirStatus.BOOKED, FhirStatus.PROPOSED, FhirStatus.CANCELLED}
    assert status_to_write(ours, found, changed_there=True) is (found if found in acts else ours)
    assert status_to_write(ours, found, changed_there=False) is ours
    for settled in (FhirStatus.CANCELLED, FhirStatus.ARRIVED, FhirStatus.FULFILLED, FhirStatus.NOSHOW):
        assert status_to_write(settled, found, changed_there=True) is settled
