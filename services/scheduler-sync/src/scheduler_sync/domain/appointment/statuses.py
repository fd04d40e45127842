"""One word per workflow step, and each system's name for it.

A site can rename PowerServer's status *names*, so a step is found by the status's order value through the site file.
OmegaAI uses FHIR Appointment.status, from which Blume's label follows.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class WorkflowStep(StrEnum):
    """Where an appointment stands, in the words of the shared contracts."""

    ORDERED = "ordered"
    REQUESTED = "requested"
    SCHEDULED = "scheduled"
    WAITLIST = "waitlist"
    CONFIRMED = "confirmed"
    ARRIVED = "arrived"
    READY_FOR_SCAN = "ready-for-scan"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    NO_SHOW = "no-show"


class FhirStatus(StrEnum):
    """FHIR R4 AppointmentStatus (http://hl7.org/fhir/appointmentstatus)."""

    PROPOSED = "proposed"
    PENDING = "pending"
    BOOKED = "booked"
    ARRIVED = "arrived"
    CHECKED_IN = "checked-in"
    FULFILLED = "fulfilled"
    CANCELLED = "cancelled"
    NOSHOW = "noshow"
    WAITLIST = "waitlist"
    ENTERED_IN_ERROR = "entered-in-error"


FHIR_STATUS_OF_STEP: Final[Mapping[WorkflowStep, FhirStatus]] = {
    WorkflowStep.ORDERED: FhirStatus.PROPOSED,
    WorkflowStep.REQUESTED: FhirStatus.PROPOSED,
    WorkflowStep.SCHEDULED: FhirStatus.PENDING,
    WorkflowStep.WAITLIST: FhirStatus.WAITLIST,
    WorkflowStep.CONFIRMED: FhirStatus.BOOKED,
    WorkflowStep.ARRIVED: FhirStatus.ARRIVED,
    WorkflowStep.READY_FOR_SCAN: FhirStatus.CHECKED_IN,
    WorkflowStep.COMPLETED: FhirStatus.FULFILLED,
    WorkflowStep.CANCELLED: FhirStatus.CANCELLED,
    WorkflowStep.NO_SHOW: FhirStatus.NOSHOW,
}

BLUME_LABEL_OF_FHIR_STATUS: Final[Mapping[FhirStatus, str]] = {
    FhirStatus.PROPOSED: "Requested",
    FhirStatus.PENDING: "Pending",
    FhirStatus.WAITLIST: "Pending",
    FhirStatus.BOOKED: "Scheduled",
    FhirStatus.ARRIVED: "Scheduled",
    FhirStatus.CHECKED_IN: "Scheduled",
    FhirStatus.FULFILLED: "Completed",
    FhirStatus.CANCELLED: "Cancelled",
    FhirStatus.NOSHOW: "Cancelled",
    FhirStatus.ENTERED_IN_ERROR: "Cancelled",
}


def step_for_powerserver(step: WorkflowStep) -> WorkflowStep:
    """PowerServer has no word for a request, and shows SCHEDULED."""
    return WorkflowStep.SCHEDULED if step is WorkflowStep.REQUESTED else step


def sets_powerserver_back(told: WorkflowStep, *, step: WorkflowStep, powerserver_shows: WorkflowStep | None) -> bool:
    """Whether the status ``told``, decided earlier, would undo a later step of the appointment in PowerServer.

    It would when PowerServer shows ``step`` already: by an act of staff, or because it took a later status of ours.
    """
    now = step_for_powerserver(step)
    return powerserver_shows is now and told is not now


PATIENTS_ACTS: Final = frozenset({FhirStatus.BOOKED, FhirStatus.PROPOSED, FhirStatus.CANCELLED})
"""The statuses that a patient brings about in Blume: confirming, asking for another time, cancelling."""


_LEAVES_ACTS: Final = frozenset({FhirStatus.PENDING, FhirStatus.WAITLIST, FhirStatus.BOOKED, FhirStatus.PROPOSED})

_ACTS: Final = PATIENTS_ACTS | {FhirStatus.ENTERED_IN_ERROR}
"""A deletion by OmegaAI's staff is an act as well."""


def status_to_write(
    ours: FhirStatus, found: FhirStatus | None, *, changed_there: bool, now: FhirStatus | None = None
) -> FhirStatus:
    """The status to write when OmegaAI's Appointment may have changed since we last read it.

    PowerServer owns the slot and the status; the patient owns confirming, asking and cancelling. So a write about a
    future appointment never overwrites an act of the patient that it did not know of: the act has an event of its own.
    Nor does a write whose status is past overwrite the act that led to ``now``, the appointment's status: no later
    write would bring it back.
    """
    led_to_now = found is now or (found is FhirStatus.ENTERED_IN_ERROR and now is FhirStatus.CANCELLED)
    is_left = (led_to_now and ours is not now) or (changed_there and ours in _LEAVES_ACTS)
    return found if found in _ACTS and is_left else ours
