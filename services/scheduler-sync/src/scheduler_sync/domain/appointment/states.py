"""The states of an appointment link, and who acts next in each."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class WhoActs(StrEnum):
    """Who acts next."""

    PATIENT = "patient"
    STAFF = "staff"
    NOBODY = "nobody"


class System(StrEnum):
    """The two sides; also the names of the deliveries' destinations."""

    POWERSERVER = "powerserver"
    OMEGAAI = "omegaai"


class State(StrEnum):
    """Combined state of both systems; NEW is the state before there is a link.

    PowerServer shows SCHEDULED both when staff booked (the patient must act: Pending) and when the patient asked (staff
    must act: Requested). So the state is stored, and never derived from one system's status alone.
    """

    NEW = "new"
    UNSCHEDULED = "unscheduled"
    STAFF_BOOKED = "staff-booked"
    CONFIRMED = "confirmed"
    MOVE_REQUESTED = "move-requested"
    PATIENT_BOOKED = "patient-booked"
    ARRIVED = "arrived"
    DONE = "done"
    CANCELLED = "cancelled"

    @property
    def who_acts_next(self) -> WhoActs:
        match self:
            case State.STAFF_BOOKED:
                return WhoActs.PATIENT
            case State.NEW | State.UNSCHEDULED | State.MOVE_REQUESTED | State.PATIENT_BOOKED:
                return WhoActs.STAFF
            case State.CONFIRMED | State.ARRIVED | State.DONE | State.CANCELLED:
                return WhoActs.NOBODY

    @classmethod
    def _missing_(cls, value: object) -> "State | None":
        """The state that a former version stored as a number, until a store holds words alone."""
        return FORMER.get(value) if isinstance(value, str) else None


FORMER: Final[Mapping[str, State]] = {
    "L0": State.UNSCHEDULED,
    "L1": State.STAFF_BOOKED,
    "L2": State.CONFIRMED,
    "L3": State.MOVE_REQUESTED,
    "L4": State.PATIENT_BOOKED,
    "L5": State.ARRIVED,
    "L6": State.DONE,
    "L7": State.CANCELLED,
}
