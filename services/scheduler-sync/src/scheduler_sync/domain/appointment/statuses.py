"""One word per workflow step, and what each system calls it.

PowerServer's status *names* can be renamed by a site, so a step is found by the status's order value through the
site file. OmegaAI speaks FHIR Appointment.status. Blume's label follows from that one alone.
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
    """PowerServer has no word for a request: it shows one as SCHEDULED."""
    return WorkflowStep.SCHEDULED if step is WorkflowStep.REQUESTED else step


def sets_powerserver_back(told: WorkflowStep, *, step: WorkflowStep, powerserver_shows: WorkflowStep | None) -> bool:
    """Whether ``told``, decided before, would undo in PowerServer what the appointment has come to (``step``) since.

    It has when PowerServer shows that already: by staff's own act, or because it took a later word of ours.
    """
    now = step_for_powerserver(step)
    return powerserver_shows is now and told is not now


PATIENTS_ACTS: Final = frozenset({FhirStatus.BOOKED, FhirStatus.PROPOSED, FhirStatus.CANCELLED})
"""What a patient brings about in Blume: confirming, asking for another time, cancelling."""


_LEAVES_ACTS: Final = frozenset({FhirStatus.PENDING, FhirStatus.WAITLIST, FhirStatus.BOOKED, FhirStatus.PROPOSED})


def status_to_write(ours: FhirStatus, found: FhirStatus | None, *, changed_there: bool) -> FhirStatus:
    """The status for OmegaAI when its Appointment may have changed since we last knew it.

    PowerServer owns the slot and the status; the patient owns confirming, asking and cancelling. So what we say of an
    appointment that is still ahead never wipes out an act of the patient that this write did not know of: the act's own
    event will, or has.
    """
    if changed_there and ours in _LEAVES_ACTS and found in PATIENTS_ACTS:
        return found
    return ours
