"""Compares two views of an appointment, and decides what a difference leads to.

The store compares whole sides by the same rules in one statement (``store.reconciliation.statements``); a test holds
the two together.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from scheduler_sync.domain.appointment import AppointmentLink, State, WorkflowStep, step_for_powerserver


class Side(StrEnum):
    """A view that is compared with the links."""

    OMEGAAI = "omegaai"
    """FHIR Appointments."""
    POWERSERVER = "powerserver"
    """The status that PowerServer's messages said last: the links hold it."""
    WORKLIST = "worklist"
    """PowerServer's modality worklist."""


class Kind(StrEnum):
    """What is wrong between a link and the other side."""

    MISSING = "missing"
    """The other side lacks the appointment."""
    UNKNOWN = "unknown"
    """The other side has an appointment that no link knows."""
    DOUBLE = "double"
    """The other side has a second appointment of the same link."""
    DIFFERS = "differs"
    """Both have it, and show different facts."""


class Settled(StrEnum):
    """What became of a difference."""

    FOUND = "found"
    """It waits for the second look."""
    HEALED = "healed"
    """A delivery or a message is on its way."""
    LISTED = "listed"
    """A person decides."""
    MOVING = "moving"
    """The appointment was changing while the run looked; the next run looks again."""
    GONE = "gone"
    """The second look did not confirm it."""


FIELDS: Final = ("status", "starts", "ends", "resource", "patient")
"""The compared facts, in the order in which reports name them."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One side's view of an appointment. None: that side does not say it.

    ``status`` is the side's own word; ``resource`` and ``patient`` are opaque ids.
    """

    status: str | None
    starts: datetime | None = None
    ends: datetime | None = None
    resource: str | None = None
    patient: str | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """One appointment as a product showed it. ``version`` changes whenever the product changes it.

    ``patient``: an opaque id, or the hash of a number.
    """

    key: str
    version: str
    link_id: UUID | None
    placer: str | None
    status: str
    starts: datetime | None
    ends: datetime | None
    resource: str | None
    patient: str | None
    accession: str | None = None

    @property
    def shown(self) -> Shown:
        return Shown(self.status, self.starts, self.ends, self.resource, self.patient)


def differing(ours: Shown, theirs: Shown) -> tuple[str, ...]:
    """The facts that both sides say, and say differently."""
    return tuple(
        name
        for name in FIELDS
        if (one := getattr(ours, name)) is not None and (other := getattr(theirs, name)) is not None and one != other
    )


def is_shown(link: AppointmentLink) -> bool:
    """Whether OmegaAI has to show the link. A cancelled one that OmegaAI lacks is as good as cancelled."""
    return link.slot is not None and link.state not in {State.CANCELLED, State.UNSCHEDULED}


def status_there(link: AppointmentLink) -> WorkflowStep:
    """The status that PowerServer is to show."""
    return step_for_powerserver(link.step)


PATIENTS_STEPS: Final = {
    State.CONFIRMED: WorkflowStep.CONFIRMED,
    State.CANCELLED: WorkflowStep.CANCELLED,
    State.MOVE_REQUESTED: WorkflowStep.REQUESTED,
}
_OPEN: Final = frozenset({WorkflowStep.SCHEDULED, WorkflowStep.WAITLIST, WorkflowStep.CONFIRMED})


def may_tell_powerserver(link: AppointmentLink) -> bool:
    """Whether the step that PowerServer lacks is the patient's, to be told again. Any other step is PowerServer's own.

    PowerServer keeps an appointment that has gone beyond the patient's reach (arrived, completed, missed).
    """
    is_the_patients = PATIENTS_STEPS.get(link.state) is link.step
    return is_the_patients and link.powerserver_step in _OPEN
