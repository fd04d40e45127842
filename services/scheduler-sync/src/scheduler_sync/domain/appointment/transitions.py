"""The moves of an appointment link as ONE table: the effect of each trigger in each state."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, TypeAlias

from scheduler_sync.domain.appointment.states import State, System
from scheduler_sync.domain.appointment.statuses import WorkflowStep


class Trigger(StrEnum):
    """What can happen to an appointment. STAFF_UPDATED is a message without a new status."""

    STAFF_ORDERED = "staff-ordered"
    STAFF_SCHEDULED = "staff-scheduled"
    STAFF_WAITLISTED = "staff-waitlisted"
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


class Announcement(StrEnum):
    """The event that a move publishes."""

    SCHEDULED = "appointment.scheduled"
    REQUESTED = "appointment.requested"
    CONFIRMED = "appointment.confirmed"
    RESCHEDULED = "appointment.rescheduled"
    PROGRESSED = "appointment.progressed"
    CANCELLED = "appointment.cancelled"


@dataclass(frozen=True, slots=True)
class Move:
    """A legal move: one cell of the table. ``step`` is the step afterwards; None keeps it.

    ``has_open_request``: afterwards a request of the patient's waits for staff; every other move ends the request.
    ``only_if_changed``: the state stays, so the move publishes and delivers only when a fact that others are told has
    changed. ``announces_when_moved``: the event in place of ``announces`` when time, resource or facility have changed
    and the step has not.
    """

    to: State
    step: WorkflowStep | None = None
    announces: Announcement | None = None
    tells: frozenset[System] = frozenset()
    has_open_request: bool = False
    only_if_changed: bool = False
    announces_when_moved: Announcement | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """An illegal move and the reason for the conflict log."""

    why: str


Row: TypeAlias = Mapping[Trigger, Move | Refusal]

_OMEGAAI: Final = frozenset({System.OMEGAAI})
_POWERSERVER: Final = frozenset({System.POWERSERVER})
_STAFFS_TURN: Final = Refusal("it is the staff's turn: the patient's request is still open")
_NOT_OFFERED: Final = Refusal("the appointment has no time yet that a patient could act on")
_UNKNOWN: Final = Refusal("there is no appointment to act on")
_ALREADY_BOOKED: Final = Refusal("the appointment exists already")
_UNDER_WAY: Final = Refusal("the patient is here already")
_IS_DONE: Final = Refusal("the exam is completed")
_IS_CANCELLED: Final = Refusal("the appointment is cancelled; a cancelled one is booked anew, not brought back")

# fmt: off
_STAFF: Final[Mapping[Trigger, Move]] = {
    Trigger.STAFF_ORDERED:   Move(State.UNSCHEDULED,  WorkflowStep.ORDERED,   Announcement.CANCELLED, _OMEGAAI),
    Trigger.STAFF_SCHEDULED: Move(State.STAFF_BOOKED, WorkflowStep.SCHEDULED, Announcement.SCHEDULED, _OMEGAAI),
    Trigger.STAFF_WAITLISTED: Move(State.STAFF_BOOKED, WorkflowStep.WAITLIST, Announcement.SCHEDULED, _OMEGAAI),
    Trigger.STAFF_CONFIRMED: Move(State.CONFIRMED,    WorkflowStep.CONFIRMED, Announcement.CONFIRMED, _OMEGAAI),
    Trigger.STAFF_ARRIVED:   Move(State.ARRIVED,      WorkflowStep.ARRIVED,   Announcement.PROGRESSED, _OMEGAAI),
    Trigger.STAFF_READY:     Move(State.ARRIVED, WorkflowStep.READY_FOR_SCAN, Announcement.PROGRESSED, _OMEGAAI),
    Trigger.STAFF_COMPLETED: Move(State.DONE,         WorkflowStep.COMPLETED, Announcement.PROGRESSED, _OMEGAAI),
    Trigger.STAFF_CANCELLED: Move(State.CANCELLED,    WorkflowStep.CANCELLED, Announcement.CANCELLED, _OMEGAAI),
    Trigger.STAFF_NO_SHOW:   Move(State.CANCELLED,    WorkflowStep.NO_SHOW,   Announcement.CANCELLED, _OMEGAAI),
}
"""The move for PowerServer's report of a step, unless a row says otherwise."""

_PATIENT: Final[Row] = {
    Trigger.PATIENT_CONFIRMED: Move(State.CONFIRMED, WorkflowStep.CONFIRMED, Announcement.CONFIRMED, _POWERSERVER),
    Trigger.PATIENT_ASKED_TO_MOVE: Move(
        State.MOVE_REQUESTED, WorkflowStep.REQUESTED, Announcement.REQUESTED, _POWERSERVER, has_open_request=True
    ),
    Trigger.PATIENT_BOOKED: _ALREADY_BOOKED,
    Trigger.PATIENT_CANCELLED: Move(State.CANCELLED, WorkflowStep.CANCELLED, Announcement.CANCELLED, _POWERSERVER),
}
"""The moves for the patient's acts, unless a row says otherwise."""
# fmt: on


def _refused(why: Refusal, triggers: Iterable[Trigger]) -> Row:
    """Refuses all of ``triggers``; a second booking for its own reason."""
    return {trigger: _ALREADY_BOOKED if trigger is Trigger.PATIENT_BOOKED else why for trigger in triggers}


def _row(state: State, *parts: Row, moves_are_told: bool = False) -> Row:
    """The row of ``state``; a later part overrides an earlier one. A move that stays publishes changes alone.

    ``moves_are_told``: the appointment has a time that the patient knows, so a change of it is news of its own.
    """
    row = {trigger: cell for part in parts for trigger, cell in part.items()}
    return {
        trigger: _staying(cell, moves_are_told=moves_are_told and not trigger.is_patients)
        if isinstance(cell, Move) and cell.to is state
        else cell
        for trigger, cell in row.items()
    }


def _staying(move: Move, *, moves_are_told: bool) -> Move:
    return replace(
        move, only_if_changed=True, announces_when_moved=Announcement.RESCHEDULED if moves_are_told else None
    )


def _with_request(state: State) -> Row:
    """The row of an open request. PowerServer shows a request as ORDERED or SCHEDULED: neither answers it."""
    stays = Move(state, tells=_OMEGAAI, has_open_request=True)
    asks_again = Move(state, WorkflowStep.REQUESTED, Announcement.REQUESTED, _POWERSERVER, has_open_request=True)
    return _row(
        state,
        _STAFF,
        _PATIENT,
        {
            Trigger.STAFF_ORDERED: replace(stays, tells=frozenset()),
            Trigger.STAFF_SCHEDULED: stays,
            # Staff are still looking for a time.
            Trigger.STAFF_WAITLISTED: stays,
            Trigger.STAFF_UPDATED: stays,
            Trigger.PATIENT_CONFIRMED: _STAFFS_TURN,
            Trigger.PATIENT_ASKED_TO_MOVE: asks_again,
        },
        {Trigger.PATIENT_BOOKED: asks_again} if state is State.PATIENT_BOOKED else {},
    )


TRANSITIONS: Final[Mapping[State, Row]] = {
    State.NEW: _row(
        State.NEW,
        _STAFF,
        _refused(_UNKNOWN, _PATIENT),
        {
            Trigger.STAFF_ORDERED: Move(State.UNSCHEDULED, WorkflowStep.ORDERED),
            # A change that overtook its booking: the message carries the whole appointment.
            Trigger.STAFF_UPDATED: _STAFF[Trigger.STAFF_SCHEDULED],
            # Stored for the booking that it overtook; nobody knows of the appointment yet, so nothing is published.
            Trigger.STAFF_CANCELLED: Move(State.CANCELLED, WorkflowStep.CANCELLED),
            Trigger.STAFF_NO_SHOW: Move(State.CANCELLED, WorkflowStep.NO_SHOW),
            Trigger.PATIENT_BOOKED: Move(
                State.PATIENT_BOOKED,
                WorkflowStep.REQUESTED,
                Announcement.REQUESTED,
                _POWERSERVER,
                has_open_request=True,
            ),
        },
    ),
    State.UNSCHEDULED: _row(
        State.UNSCHEDULED,
        _STAFF,
        _refused(_NOT_OFFERED, _PATIENT),
        {
            Trigger.STAFF_ORDERED: Move(State.UNSCHEDULED, WorkflowStep.ORDERED),
            Trigger.STAFF_UPDATED: Move(State.UNSCHEDULED),
            # The card is cancelled already, but perhaps at a past time.
            Trigger.STAFF_CANCELLED: Move(State.CANCELLED, WorkflowStep.CANCELLED, tells=_OMEGAAI),
            Trigger.STAFF_NO_SHOW: Move(State.CANCELLED, WorkflowStep.NO_SHOW, tells=_OMEGAAI),
        },
    ),
    State.STAFF_BOOKED: _row(
        State.STAFF_BOOKED,
        _STAFF,
        _PATIENT,
        {Trigger.STAFF_UPDATED: Move(State.STAFF_BOOKED, announces=Announcement.SCHEDULED, tells=_OMEGAAI)},
        moves_are_told=True,
    ),
    State.CONFIRMED: _row(
        State.CONFIRMED,
        _STAFF,
        _PATIENT,
        {
            Trigger.STAFF_UPDATED: Move(State.CONFIRMED, announces=Announcement.CONFIRMED, tells=_OMEGAAI),
            Trigger.PATIENT_CONFIRMED: Move(State.CONFIRMED, WorkflowStep.CONFIRMED),
        },
        moves_are_told=True,
    ),
    State.MOVE_REQUESTED: _with_request(State.MOVE_REQUESTED),
    State.PATIENT_BOOKED: _with_request(State.PATIENT_BOOKED),
    # Staff correct a mistaken arrival; the bounds on manual status changes do not bind appointment sync. From here that
    # takes two steps of staff, of which the second may arrive first.
    State.ARRIVED: _row(
        State.ARRIVED,
        _STAFF,
        _refused(_UNDER_WAY, _PATIENT),
        {Trigger.STAFF_UPDATED: Move(State.ARRIVED, announces=Announcement.PROGRESSED, tells=_OMEGAAI)},
    ),
    State.DONE: _row(
        State.DONE,
        _refused(_IS_DONE, Trigger),
        {
            Trigger.STAFF_UPDATED: Move(State.DONE, announces=Announcement.PROGRESSED),
            Trigger.STAFF_COMPLETED: Move(State.DONE, WorkflowStep.COMPLETED, Announcement.PROGRESSED),
        },
    ),
    State.CANCELLED: _row(
        State.CANCELLED,
        _refused(_IS_CANCELLED, Trigger),
        {
            # Both sides moved at once: the patient cancelled, PowerServer's time wins, and both show it.
            Trigger.STAFF_UPDATED: Move(State.CANCELLED, tells=_OMEGAAI),
            # The exam was over before the patient's cancellation reached PowerServer, which keeps a closed appointment.
            Trigger.STAFF_COMPLETED: _STAFF[Trigger.STAFF_COMPLETED],
            # A cancellation that turns out to be a no-show, or the reverse, is written to OmegaAI, which shows the
            # difference.
            Trigger.STAFF_CANCELLED: Move(State.CANCELLED, WorkflowStep.CANCELLED, tells=_OMEGAAI),
            Trigger.STAFF_NO_SHOW: Move(State.CANCELLED, WorkflowStep.NO_SHOW, tells=_OMEGAAI),
        },
    ),
}

_REPORTS: Final[Mapping[WorkflowStep, Trigger]] = {
    **{move.step: trigger for trigger, move in _STAFF.items() if move.step is not None},
    # PowerServer has no word for a request. A site that maps one of its own to it means a booking.
    WorkflowStep.REQUESTED: Trigger.STAFF_SCHEDULED,
}


def transition(state: State, trigger: Trigger) -> Move | Refusal:
    """The move for ``trigger`` in ``state``; every pair stands in the table."""
    return TRANSITIONS[state][trigger]


def report_of(step: WorkflowStep) -> Trigger:
    """The trigger for PowerServer's report of ``step``, when that is news."""
    return _REPORTS[step]
