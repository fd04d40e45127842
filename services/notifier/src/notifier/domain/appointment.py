"""The notifier's projection of an appointment: enough to write a message and to know that it is still true."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Facility:
    """Where the patient is expected. ``time_zone`` is an IANA name or a fixed offset such as ``+02:15``."""

    name: str
    time_zone: str
    phone: str | None
    address: str | None


@dataclass(frozen=True, slots=True)
class FormerPlace:
    """The time and place of an appointment before it was moved, as the patient knows them."""

    start: datetime
    end: datetime
    facility_name: str


@dataclass(frozen=True, slots=True)
class Appointment:
    """The projection of an appointment at ``revision``; ``event`` is the kind of the event that set it.

    ``former`` is the place before the move; None when the event is no move.
    """

    appointment_id: UUID
    patient_id: UUID
    revision: int
    event: str
    status: str
    who_acts_next: str
    start: datetime
    end: datetime
    facility: Facility
    former: FormerPlace | None = None

    @property
    def looks_moved(self) -> bool:
        """Whether a patient sees the move: a move to another resource alone changes nothing that they are told."""
        former = self.former
        here = (self.start, self.end, self.facility.name)
        return former is not None and (former.start, former.end, former.facility_name) != here
