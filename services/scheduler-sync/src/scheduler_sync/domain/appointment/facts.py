"""The facts about an appointment in a message of either side."""

from dataclasses import dataclass
from datetime import datetime

from scheduler_sync.domain.appointment.physician import Physician
from scheduler_sync.domain.appointment.statuses import FhirStatus, WorkflowStep
from scheduler_sync.domain.appointment.studies import Study, StudyChange
from scheduler_sync.domain.slots import Slot


@dataclass(frozen=True, slots=True)
class StaffFacts:
    """The facts in one PowerServer message. ``step`` is None when the message gives no status.

    None or empty means unsaid and changes nothing; ``deleted`` names the facts that the message deletes (the HL7 null).
    ``studies`` is the whole list, ``study_changes`` are changes to it. ``is_of_orders``: each change concerns one
    order, and studies without a change stay. ``has_times_of_studies``: the slot follows from the studies.
    ``has_no_end``: the slot's length is the resource's usual one. ``is_booking``: the message announces a booking
    (SIU^S12, ORM NW), not a change. ``priority`` is PowerServer's name or code of it.
    """

    step: WorkflowStep | None
    facility: str
    resource: str | None
    modality: str | None
    slot: Slot | None
    studies: tuple[Study, ...]
    filler_id: str | None = None
    accession_numbers: tuple[str, ...] = ()
    reason: str | None = None
    deleted: frozenset[str] = frozenset()
    study_changes: tuple[StudyChange, ...] = ()
    is_of_orders: bool = False
    has_times_of_studies: bool = False
    has_no_end: bool = False
    is_booking: bool = False
    referring_physician: Physician | None = None
    priority: str | None = None


@dataclass(frozen=True, slots=True)
class OwnWrite:
    """A write of the suite's. ``left``: the version whose act it left standing; None where it wrote its own status."""

    left: str | None = None


@dataclass(frozen=True, slots=True)
class RemoteFacts:
    """The facts in OmegaAI's Appointment: its status, its times, its version.

    ``own_write``: the suite wrote these facts; nobody has changed them since.
    """

    fhir_id: str
    version: str
    status: FhirStatus
    start: datetime | None
    end: datetime | None
    requested_start: datetime | None = None
    requested_end: datetime | None = None
    reason: str | None = None
    own_write: OwnWrite | None = None
