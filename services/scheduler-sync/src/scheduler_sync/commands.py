"""What the handlers are asked to do, in the suite's own words, and where each input came from."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from chassis.errors import NeedsSetup
from scheduler_sync.domain.appointment import RemoteFacts, StaffFacts
from scheduler_sync.domain.patient import PatientFacts
from scheduler_sync.domain.resource import Resource


@dataclass(frozen=True, slots=True)
class ChangeAppointmentByStaff:
    """PowerServer booked or changed an appointment (SIU or ORM). ``said_at`` is MSH-7, ``name`` e.g. SIU^S12.

    Where MSH-7 leaves open when in a span it was made, ``said_at`` begins that span and ``said_until`` ends it.
    ``waits_for`` is a word of the message that the site does not know and that nothing else of it needs.
    """

    name: str
    placer_number: str
    patient: PatientFacts
    appointment: StaffFacts
    resource: Resource | None
    said_at: datetime
    said_until: datetime | None = None
    waits_for: NeedsSetup | None = None

    def latest(self, said_at: datetime) -> datetime:
        """The end of the span in which the message was made, taken from ``said_at`` on."""
        return max(said_at, self.said_until or said_at)


@dataclass(frozen=True, slots=True)
class TakeOverOmegaAIAppointment:
    """OmegaAI's Appointment changed. ``link_id`` and ``placer_number`` are the identifiers that it carries of ours.

    ``service_id`` is the HealthcareService that it is on.
    """

    task_id: str
    link_id: UUID | None
    placer_number: str | None
    facts: RemoteFacts
    service_id: str | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an input came from: for the history, and to join what follows from it."""

    source: str
    message: str
    journal_id: UUID
    received_at: datetime
    connection: int | None = None
    """The connection of this process that it came over; None for what was not heard just now."""
