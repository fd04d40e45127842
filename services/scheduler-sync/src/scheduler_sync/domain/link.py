"""The states of an appointment link and the ONE table of its moves.

A link joins what PowerServer and OmegaAI each know of one appointment. Blume's label is a function of the FHIR status,
and the FHIR status one of PowerServer's status *and* of who must act next. PowerServer says SCHEDULED both when staff
booked (the patient must act: Pending) and when the patient asked (staff must act: Requested), so the state is kept
here and never read off one system's status alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from scheduler_sync.domain.statuses import WorkflowStep


class State(StrEnum):
    """Combined state of both systems; NEW is the one before there is a link."""

    NEW = "new"
    UNSCHEDULED = "L0"
    STAFF_BOOKED = "L1"
    CONFIRMED = "L2"
    MOVE_REQUESTED = "L3"
    PATIENT_BOOKED = "L4"
    ARRIVED = "L5"
    DONE = "L6"
    CANCELLED = "L7"


class WhoActs(StrEnum):
    """Whose move the appointment waits for."""

    PATIENT = "patient"
    STAFF = "staff"
    NOBODY = "nobody"


class Trigger(StrEnum):
    """What can happen to an appointment. STAFF_UPDATED is a message whose status is no news."""

    STAFF_ORDERED = "staff-ordered"
    STAFF_SCHEDULED = "staff-scheduled"
    STAFF_UPDATED = "staff-updated"
    STAFF_CONFIRMED = "staff-confirmed"
    STAFF_ARRIVED = "staff-arrived"
    STAFF_READY = "staff-ready"
    STAFF_COMPLETED = "staff-completed"
    STAFF_CANCELLED = "staff-cancelled"
    STAFF_NO_SHOW = "staff-no-show"
    PATIENT_CONFIRMED = "patient-confirmed"
    PATIENT_ASKED_TO_MOVE = "patient-asked-to-move"
    PATIENT_BOOKED = "patient-booked"
    PATIENT_CANCELLED = "patient-cancelled"

    @property
    def is_patients(self) -> bool:
        return self.value.startswith("patient-")


class System(StrEnum):
    """The two sides; also the names of the deliveries' destinations."""

    POWERSERVER = "powerserver"
    OMEGAAI = "omegaai"


class Announcement(StrEnum):
    """The event that a move publishes."""

    SCHEDULED = "appointment.scheduled"
    REQUESTED = "appointment.requested"
    CONFIRMED = "appointment.confirmed"
    CANCELLED = "appointment.cancelled"


@dataclass(frozen=True, slots=True)
class Move:
    """A legal move: where it leads, what it publishes and whom it tells.

    ``only_if_changed``: the state stays, so it publishes and tells only when a fact that both sides show has changed.
    """

    to: State
    announces: Announcement | None
    tells: System | None
    only_if_changed: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """An illegal move and the reason for the conflict log."""

    why: str


WHO_ACTS_NEXT: Final[Mapping[State, WhoActs]] = {
    State.NEW: WhoActs.STAFF,
    State.UNSCHEDULED: WhoActs.STAFF,
    State.STAFF_BOOKED: WhoActs.PATIENT,
    State.CONFIRMED: WhoActs.NOBODY,
    State.MOVE_REQUESTED: WhoActs.STAFF,
    State.PATIENT_BOOKED: WhoActs.STAFF,
    State.ARRIVED: WhoActs.NOBODY,
    State.DONE: WhoActs.NOBODY,
    State.CANCELLED: WhoActs.NOBODY,
}

STEP_AFTER: Final[Mapping[Trigger, WorkflowStep]] = {
    Trigger.STAFF_ORDERED: WorkflowStep.ORDERED,
    Trigger.STAFF_SCHEDULED: WorkflowStep.SCHEDULED,
    Trigger.STAFF_CONFIRMED: WorkflowStep.CONFIRMED,
    Trigger.STAFF_ARRIVED: WorkflowStep.ARRIVED,
    Trigger.STAFF_READY: WorkflowStep.READY_FOR_SCAN,
    Trigger.STAFF_COMPLETED: WorkflowStep.COMPLETED,
    Trigger.STAFF_CANCELLED: WorkflowStep.CANCELLED,
    Trigger.STAFF_NO_SHOW: WorkflowStep.NO_SHOW,
    Trigger.PATIENT_CONFIRMED: WorkflowStep.CONFIRMED,
    Trigger.PATIENT_ASKED_TO_MOVE: WorkflowStep.REQUESTED,
    Trigger.PATIENT_BOOKED: WorkflowStep.REQUESTED,
    Trigger.PATIENT_CANCELLED: WorkflowStep.CANCELLED,
}
"""The step that a move leads to; STAFF_UPDATED and a kept request leave the step as it is."""

TRIGGER_OF_STEP: Final[Mapping[WorkflowStep, Trigger]] = {
    WorkflowStep.ORDERED: Trigger.STAFF_ORDERED,
    WorkflowStep.REQUESTED: Trigger.STAFF_SCHEDULED,
    WorkflowStep.SCHEDULED: Trigger.STAFF_SCHEDULED,
    WorkflowStep.WAITLIST: Trigger.STAFF_SCHEDULED,
    WorkflowStep.CONFIRMED: Trigger.STAFF_CONFIRMED,
    WorkflowStep.ARRIVED: Trigger.STAFF_ARRIVED,
    WorkflowStep.READY_FOR_SCAN: Trigger.STAFF_READY,
    WorkflowStep.COMPLETED: Trigger.STAFF_COMPLETED,
    WorkflowStep.CANCELLED: Trigger.STAFF_CANCELLED,
    WorkflowStep.NO_SHOW: Trigger.STAFF_NO_SHOW,
}
"""What PowerServer's report of a step means."""

_OAI, _PS = System.OMEGAAI, System.POWERSERVER
_SCHEDULED, _REQUESTED = Announcement.SCHEDULED, Announcement.REQUESTED
_CONFIRMED, _CANCELLED = Announcement.CONFIRMED, Announcement.CANCELLED


def _stay(state: State, announces: Announcement | None, tells: System | None) -> Move:
    return Move(state, announces, tells, only_if_changed=True)


_STAFFS_TURN: Final = Refusal("it is the staff's turn: the patient's request is still open")
_NOT_OFFERED: Final = Refusal("the appointment has no time yet that a patient could act on")
_UNKNOWN: Final = Refusal("there is no appointment to act on")
_ALREADY_BOOKED: Final = Refusal("the appointment exists already")
_UNDER_WAY: Final = Refusal("the patient is here already")
_IS_DONE: Final = Refusal("the exam is completed")
_IS_CANCELLED: Final = Refusal("the appointment is cancelled; a cancelled one is booked anew, not brought back")

TRANSITIONS: Final[Mapping[State, Mapping[Trigger, Move | Refusal]]] = {
    State.NEW: {
        Trigger.STAFF_ORDERED: Move(State.UNSCHEDULED, None, None),
        Trigger.STAFF_SCHEDULED: Move(State.STAFF_BOOKED, _SCHEDULED, _OAI),
        # A change that overtook its booking: the message carries the whole appointment.
        Trigger.STAFF_UPDATED: Move(State.STAFF_BOOKED, _SCHEDULED, _OAI),
        Trigger.STAFF_CONFIRMED: Move(State.CONFIRMED, _CONFIRMED, _OAI),
        Trigger.STAFF_ARRIVED: Move(State.ARRIVED, None, _OAI),
        Trigger.STAFF_READY: Move(State.ARRIVED, None, _OAI),
        Trigger.STAFF_COMPLETED: Move(State.DONE, None, _OAI),
        # Kept, so that the booking it overtook finds it; nobody knows of the appointment, so nobody is told.
        Trigger.STAFF_CANCELLED: Move(State.CANCELLED, None, None),
        Trigger.STAFF_NO_SHOW: Move(State.CANCELLED, None, None),
        Trigger.PATIENT_CONFIRMED: _UNKNOWN,
        Trigger.PATIENT_ASKED_TO_MOVE: _UNKNOWN,
        Trigger.PATIENT_BOOKED: Move(State.PATIENT_BOOKED, _REQUESTED, _PS),
        Trigger.PATIENT_CANCELLED: _UNKNOWN,
    },
    State.UNSCHEDULED: {
        Trigger.STAFF_ORDERED: _stay(State.UNSCHEDULED, None, None),
        Trigger.STAFF_SCHEDULED: Move(State.STAFF_BOOKED, _SCHEDULED, _OAI),
        Trigger.STAFF_UPDATED: _stay(State.UNSCHEDULED, None, None),
        Trigger.STAFF_CONFIRMED: Move(State.CONFIRMED, _CONFIRMED, _OAI),
        Trigger.STAFF_ARRIVED: Move(State.ARRIVED, None, _OAI),
        Trigger.STAFF_READY: Move(State.ARRIVED, None, _OAI),
        Trigger.STAFF_COMPLETED: Move(State.DONE, None, _OAI),
        # The card is cancelled already, but perhaps at a time that is past.
        Trigger.STAFF_CANCELLED: Move(State.CANCELLED, None, _OAI),
        Trigger.STAFF_NO_SHOW: Move(State.CANCELLED, None, _OAI),
        Trigger.PATIENT_CONFIRMED: _NOT_OFFERED,
        Trigger.PATIENT_ASKED_TO_MOVE: _NOT_OFFERED,
        Trigger.PATIENT_BOOKED: _ALREADY_BOOKED,
        Trigger.PATIENT_CANCELLED: _NOT_OFFERED,
    },
    State.STAFF_BOOKED: {
        Trigger.STAFF_ORDERED: Move(State.UNSCHEDULED, _CANCELLED, _OAI),
        Trigger.STAFF_SCHEDULED: _stay(State.STAFF_BOOKED, _SCHEDULED, _OAI),
        Trigger.STAFF_UPDATED: _stay(State.STAFF_BOOKED, _SCHEDULED, _OAI),
        Trigger.STAFF_CONFIRMED: Move(State.CONFIRMED, _CONFIRMED, _OAI),
        Trigger.STAFF_ARRIVED: Move(State.ARRIVED, None, _OAI),
        Trigger.STAFF_READY: Move(State.ARRIVED, None, _OAI),
        Trigger.STAFF_COMPLETED: Move(State.DONE, None, _OAI),
        Trigger.STAFF_CANCELLED: Move(State.CANCELLED, _CANCELLED, _OAI),
        Trigger.STAFF_NO_SHOW: Move(State.CANCELLED, _CANCELLED, _OAI),
        Trigger.PATIENT_CONFIRMED: Move(State.CONFIRMED, _CONFIRMED, _PS),
        Trigger.PATIENT_ASKED_TO_MOVE: Move(State.MOVE_REQUESTED, _REQUESTED, _PS),
        Trigger.PATIENT_BOOKED: _ALREADY_BOOKED,
        Trigger.PATIENT_CANCELLED: Move(State.CANCELLED, _CANCELLED, _PS),
    },
    State.CONFIRMED: {
        Trigger.STAFF_ORDERED: Move(State.UNSCHEDULED, _CANCELLED, _OAI),
        Trigger.STAFF_SCHEDULED: Move(State.STAFF_BOOKED, _SCHEDULED, _OAI),
        Trigger.STAFF_UPDATED: _stay(State.CONFIRMED, _CONFIRMED, _OAI),
        Trigger.STAFF_CONFIRMED: _stay(State.CONFIRMED, _CONFIRMED, _OAI),
        Trigger.STAFF_ARRIVED: Move(State.ARRIVED, None, _OAI),
        Trigger.STAFF_READY: Move(State.ARRIVED, None, _OAI),
        Trigger.STAFF_COMPLETED: Move(State.DONE, None, _OAI),
        Trigger.STAFF_CANCELLED: Move(State.CANCELLED, _CANCELLED, _OAI),
        Trigger.STAFF_NO_SHOW: Move(State.CANCELLED, _CANCELLED, _OAI),
        Trigger.PATIENT_CONFIRMED: _stay(State.CONFIRMED, None, None),
        Trigger.PATIENT_ASKED_TO_MOVE: Move(State.MOVE_REQUESTED, _REQUESTED, _PS),
        Trigger.PATIENT_BOOKED: _ALREADY_BOOKED,
        Trigger.PATIENT_CANCELLED: Move(State.CANCELLED, _CANCELLED, _PS),
    },
    State.MOVE_REQUESTED: {
        # PowerServer shows an open request as ORDERED or SCHEDULED: neither answers it.
        Trigger.STAFF_ORDERED: _stay(State.MOVE_REQUESTED, None, None),
        Trigger.STAFF_SCHEDULED: _stay(State.MOVE_REQUESTED, None, _OAI),
        Trigger.STAFF_UPDATED: _stay(State.MOVE_REQUESTED, None, _OAI),
        Trigger.STAFF_CONFIRMED: Move(State.CONFIRMED, _CONFIRMED, _OAI),
        Trigger.STAFF_ARRIVED: Move(State.ARRIVED, None, _OAI),
        Trigger.STAFF_READY: Move(State.ARRIVED, None, _OAI),
        Trigger.STAFF_COMPLETED: Move(State.DONE, None, _OAI),
        Trigger.STAFF_CANCELLED: Move(State.CANCELLED, _CANCELLED, _OAI),
        Trigger.STAFF_NO_SHOW: Move(State.CANCELLED, _CANCELLED, _OAI),
        Trigger.PATIENT_CONFIRMED: _STAFFS_TURN,
        Trigger.PATIENT_ASKED_TO_MOVE: _stay(State.MOVE_REQUESTED, _REQUESTED, _PS),
        Trigger.PATIENT_BOOKED: _ALREADY_BOOKED,
        Trigger.PATIENT_CANCELLED: Move(State.CANCELLED, _CANCELLED, _PS),
    },
    State.PATIENT_BOOKED: {
        Trigger.STAFF_ORDERED: _stay(State.PATIENT_BOOKED, None, None),
        Trigger.STAFF_SCHEDULED: _stay(State.PATIENT_BOOKED, None, _OAI),
        Trigger.STAFF_UPDATED: _stay(State.PATIENT_BOOKED, None, _OAI),
        Trigger.STAFF_CONFIRMED: Move(State.CONFIRMED, _CONFIRMED, _OAI),
        Trigger.STAFF_ARRIVED: Move(State.ARRIVED, None, _OAI),
        Trigger.STAFF_READY: Move(State.ARRIVED, None, _OAI),
        Trigger.STAFF_COMPLETED: Move(State.DONE, None, _OAI),
        Trigger.STAFF_CANCELLED: Move(State.CANCELLED, _CANCELLED, _OAI),
        Trigger.STAFF_NO_SHOW: Move(State.CANCELLED, _CANCELLED, _OAI),
        Trigger.PATIENT_CONFIRMED: _STAFFS_TURN,
        Trigger.PATIENT_ASKED_TO_MOVE: _stay(State.PATIENT_BOOKED, _REQUESTED, _PS),
        Trigger.PATIENT_BOOKED: _stay(State.PATIENT_BOOKED, _REQUESTED, _PS),
        Trigger.PATIENT_CANCELLED: Move(State.CANCELLED, _CANCELLED, _PS),
    },
    State.ARRIVED: {
        # Staff correct a mistaken arrival; the bounds on manual status changes do not bind appointment sync.
        # From here that takes two steps of staff's, of which the second may be heard first.
        Trigger.STAFF_ORDERED: Move(State.UNSCHEDULED, _CANCELLED, _OAI),
        Trigger.STAFF_SCHEDULED: Move(State.STAFF_BOOKED, _SCHEDULED, _OAI),
        Trigger.STAFF_UPDATED: _stay(State.ARRIVED, None, _OAI),
        Trigger.STAFF_CONFIRMED: Move(State.CONFIRMED, _CONFIRMED, _OAI),
        Trigger.STAFF_ARRIVED: _stay(State.ARRIVED, None, _OAI),
        Trigger.STAFF_READY: _stay(State.ARRIVED, None, _OAI),
        Trigger.STAFF_COMPLETED: Move(State.DONE, None, _OAI),
        Trigger.STAFF_CANCELLED: Move(State.CANCELLED, _CANCELLED, _OAI),
        Trigger.STAFF_NO_SHOW: Move(State.CANCELLED, _CANCELLED, _OAI),
        Trigger.PATIENT_CONFIRMED: _UNDER_WAY,
        Trigger.PATIENT_ASKED_TO_MOVE: _UNDER_WAY,
        Trigger.PATIENT_BOOKED: _ALREADY_BOOKED,
        Trigger.PATIENT_CANCELLED: _UNDER_WAY,
    },
    State.DONE: {
        Trigger.STAFF_ORDERED: _IS_DONE,
        Trigger.STAFF_SCHEDULED: _IS_DONE,
        Trigger.STAFF_UPDATED: _stay(State.DONE, None, None),
        Trigger.STAFF_CONFIRMED: _IS_DONE,
        Trigger.STAFF_ARRIVED: _IS_DONE,
        Trigger.STAFF_READY: _IS_DONE,
        Trigger.STAFF_COMPLETED: _stay(State.DONE, None, None),
        Trigger.STAFF_CANCELLED: _IS_DONE,
        Trigger.STAFF_NO_SHOW: _IS_DONE,
        Trigger.PATIENT_CONFIRMED: _IS_DONE,
        Trigger.PATIENT_ASKED_TO_MOVE: _IS_DONE,
        Trigger.PATIENT_BOOKED: _ALREADY_BOOKED,
        Trigger.PATIENT_CANCELLED: _IS_DONE,
    },
    State.CANCELLED: {
        Trigger.STAFF_ORDERED: _IS_CANCELLED,
        Trigger.STAFF_SCHEDULED: _IS_CANCELLED,
        # Both sides moved at once: the patient cancelled, PowerServer's time holds, and both show it.
        Trigger.STAFF_UPDATED: _stay(State.CANCELLED, None, _OAI),
        Trigger.STAFF_CONFIRMED: _IS_CANCELLED,
        Trigger.STAFF_ARRIVED: _IS_CANCELLED,
        Trigger.STAFF_READY: _IS_CANCELLED,
        # The exam was over before the patient's cancellation reached PowerServer, which keeps what is closed.
        Trigger.STAFF_COMPLETED: Move(State.DONE, None, _OAI),
        # A cancellation that turns out to be a no-show, or the reverse, is told to OmegaAI: it shows which.
        Trigger.STAFF_CANCELLED: _stay(State.CANCELLED, None, _OAI),
        Trigger.STAFF_NO_SHOW: _stay(State.CANCELLED, None, _OAI),
        Trigger.PATIENT_CONFIRMED: _IS_CANCELLED,
        Trigger.PATIENT_ASKED_TO_MOVE: _IS_CANCELLED,
        Trigger.PATIENT_BOOKED: _ALREADY_BOOKED,
        Trigger.PATIENT_CANCELLED: _IS_CANCELLED,
    },
}


def transition(state: State, trigger: Trigger) -> Move | Refusal:
    """What ``trigger`` does in ``state``; every pair stands in the table."""
    return TRANSITIONS[state][trigger]
