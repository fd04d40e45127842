"""The times that an appointment claims, as a function of its link alone."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID, uuid5

from scheduler_sync.domain.appointment import AppointmentLink, State, WorkflowStep
from scheduler_sync.domain.appointment.requests import is_ours
from scheduler_sync.domain.slots import Slot

_REQUESTS: Final = UUID("6e1f3c0a-52f4-5d0d-8c0f-3b1e0d7c9a14")
CLAIMING: Final = frozenset(
    {State.STAFF_BOOKED, State.CONFIRMED, State.MOVE_REQUESTED, State.PATIENT_BOOKED, State.ARRIVED, State.DONE}
)


class Kind(StrEnum):
    """A fact is never refused and puts promises out of its place. A block does so too, and takes all places.

    A hold expires, a request waits for staff.
    """

    HOLD = "hold"
    REQUEST = "request"
    FACT = "fact"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A time that a link claims on the resource of this name, without buffers."""

    id: UUID
    kind: Kind
    facility: str
    resource: str
    slot: Slot


def wanted_by(link: AppointmentLink) -> tuple[Wanted, ...]:
    """The claims of a link: its booked time as a fact, and the time that its patient asks for as a request.

    A time that PowerServer has never spoken of is the patient's request. Whoever is on the waiting list has no time.
    """
    if link.state not in CLAIMING or link.step is WorkflowStep.WAITLIST or not link.resource:
        return ()
    is_asked_for = link.powerserver_heard_at is None and is_ours(link.placer_number)
    found: list[Wanted] = []
    if link.slot is not None and not is_asked_for:
        found.append(Wanted(link.id, Kind.FACT, link.facility, link.resource, link.slot))
    asked = link.requested_slot or (link.slot if is_asked_for else None)
    if asked is not None:
        found.append(Wanted(uuid5(_REQUESTS, str(link.id)), Kind.REQUEST, link.facility, link.resource, asked))
    return tuple(found)
