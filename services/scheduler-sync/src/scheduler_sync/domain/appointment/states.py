"""The states of an appointment link, and whose move each of them waits for."""

from enum import StrEnum


class WhoActs(StrEnum):
    """Whose move the appointment waits for."""

    PATIENT = "patient"
    STAFF = "staff"
    NOBODY = "nobody"


class System(StrEnum):
    """The two sides; also the names of the deliveries' destinations."""

    POWERSERVER = "powerserver"
    OMEGAAI = "omegaai"


class State(StrEnum):
    """Combined state of both systems; NEW is the one before there is a link.

    PowerServer says SCHEDULED both when staff booked (the patient must act: Pending) and when the patient asked (staff
    must act: Requested). So the state is kept, and never read off one system's status alone.
    """

    NEW = "new"
    UNSCHEDULED = "L0"
    STAFF_BOOKED = "L1"
    CONFIRMED = "L2"
    MOVE_REQUESTED = "L3"
    PATIENT_BOOKED = "L4"
    ARRIVED = "L5"
    DONE = "L6"
    CANCELLED = "L7"

    @property
    def who_acts_next(self) -> WhoActs:
        match self:
            case State.STAFF_BOOKED:
                return WhoActs.PATIENT
            case State.NEW | State.UNSCHEDULED | State.MOVE_REQUESTED | State.PATIENT_BOOKED:
                return WhoActs.STAFF
            case State.CONFIRMED | State.ARRIVED | State.DONE | State.CANCELLED:
                return WhoActs.NOBODY
