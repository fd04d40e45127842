"""Commands for the handlers, in the suite's own words, and the origin of each input."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias
from uuid import UUID, uuid5

from chassis.errors import NeedsSetup
from scheduler_sync.domain.appointment import FhirStatus, RemoteFacts, StaffFacts, Study
from scheduler_sync.domain.patient import PatientFacts, PatientIdentifier
from scheduler_sync.domain.resource import GridRow, Resource
from scheduler_sync.domain.slots import Slot

_TASKS: Final = UUID("5d1f3a52-6f0c-5a0e-9d7f-3c1f0d6b2a11")


@dataclass(frozen=True, slots=True)
class ChangeAppointmentByStaff:
    """PowerServer booked or changed an appointment (SIU or ORM). ``said_at`` is MSH-7, ``name`` e.g. SIU^S12.

    Where MSH-7 allows several instants, ``said_at`` and ``said_until`` are the first and the last. ``waits_for``: a
    code in the message that the site does not know; the rest of the message takes effect.
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
        """The end of the span in which the message was made; the span begins at ``said_at``."""
        return max(said_at, self.said_until or said_at)


@dataclass(frozen=True, slots=True)
class ChangePatientByStaff:
    """PowerServer registered or changed a patient (ADT), with or without an appointment. Times as above."""

    name: str
    patient: PatientFacts
    said_at: datetime
    said_until: datetime | None = None

    def latest(self, said_at: datetime) -> datetime:
        """The end of the span in which the message was made; the span begins at ``said_at``."""
        return max(said_at, self.said_until or said_at)


@dataclass(frozen=True, slots=True)
class Merge:
    """One record ended in another: ``survivor`` is the patient who remains, ``former`` the ended record's numbers."""

    survivor: PatientFacts
    former: tuple[PatientIdentifier, ...]


@dataclass(frozen=True, slots=True)
class MergePatients:
    """PowerServer merged records of patients (ADT A39, A40). Times as above."""

    name: str
    merges: tuple[Merge, ...]
    said_at: datetime
    said_until: datetime | None = None

    @property
    def identifiers(self) -> tuple[PatientIdentifier, ...]:
        return tuple(one for merge in self.merges for one in (*merge.survivor.identifiers, *merge.former))

    def latest(self, said_at: datetime) -> datetime:
        """The end of the span in which the message was made; the span begins at ``said_at``."""
        return max(said_at, self.said_until or said_at)


@dataclass(frozen=True, slots=True)
class DeletePatient:
    """PowerServer deleted a patient's record (ADT A23). Times as above."""

    name: str
    patient: PatientFacts
    said_at: datetime
    said_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class ReceiveOmegaAIAppointment:
    """OmegaAI's Appointment changed. ``link_id`` and ``placer_number`` are our identifiers in it.

    ``service_id`` is its HealthcareService, ``patient_fhir_id`` its Patient. ``about``: what was read beside it, for a
    request that may have begun in Blume.
    """

    task_id: str
    link_id: UUID | None
    placer_number: str | None
    facts: RemoteFacts
    service_id: str | None = None
    patient_fhir_id: str | None = None
    studies: tuple[Study, ...] = ()
    minutes: int | None = None
    about: "Asked | None" = None

    @property
    def may_begin_in_blume(self) -> bool:
        """Whether it is a request without a number of the suite's or PowerServer's."""
        return self.facts.status is FhirStatus.PROPOSED and self.placer_number is None


@dataclass(frozen=True, slots=True)
class Asked:
    """What OmegaAI says of a request's Patient and HealthcareService.

    ``identifiers``: the Patient's numbers of issuers that the site knows. ``organization`` provides the service.
    """

    identifiers: tuple[PatientIdentifier, ...] = ()
    organization: str | None = None


@dataclass(frozen=True, slots=True)
class TakeGridRows:
    """Resources that PowerServer made, changed or deleted (MFN). A deleted one may have its key alone, and no name."""

    name: str
    rows: tuple[GridRow, ...]


@dataclass(frozen=True, slots=True)
class BlockTime:
    """PowerServer blocked a time of a resource, moved the block, or opened it (SIU^S23, S24). Times as above.

    ``number`` names the block in PowerServer. ``resource`` and ``slot`` are None where the time is opened.
    """

    name: str
    number: str
    facility: str
    said_at: datetime
    said_until: datetime | None = None
    resource: str | None = None
    slot: Slot | None = None

    def latest(self, said_at: datetime) -> datetime:
        """The end of the span in which the message was made; the span begins at ``said_at``."""
        return max(said_at, self.said_until or said_at)


AboutPatients: TypeAlias = ChangePatientByStaff | MergePatients | DeletePatient
FromPowerServer: TypeAlias = ChangeAppointmentByStaff | BlockTime | AboutPatients | TakeGridRows
"""Everything that one message of PowerServer's can say."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The origin of an input: for the history, and for the trace of its effects."""

    source: str
    message: str
    journal_id: UUID
    received_at: datetime
    connection: int | None = None
    """The connection of this process; None for an input that was not just received."""


def cause_of_task(task_id: str) -> UUID:
    """A UUID for a Task, the same each time: the inbox claims it and the history refers to it."""
    return uuid5(_TASKS, task_id)
