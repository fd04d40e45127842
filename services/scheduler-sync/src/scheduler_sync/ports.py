"""What the handlers need of the outside; the store and the adapters provide it, tests fake it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

import contracts
from omegaai.tasks import ParkedTask
from scheduler_sync.domain.appointment import AppointmentLink, FhirStatus, Outcome, WorkflowStep
from scheduler_sync.domain.patient import Patient, PatientIdentifier
from scheduler_sync.domain.resource import Resource


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One line of a link's time line: what came in, what it did, what went out because of it."""

    link_id: UUID
    at: datetime
    source: str
    message: str
    cause_id: UUID
    trigger: str | None
    outcome: str
    state_before: str
    state_after: str
    revision: int
    changed: tuple[str, ...]
    delivery_ids: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class Conflict:
    """One line of the conflict log: an input that was refused or overruled, and why."""

    link_id: UUID
    at: datetime
    source: str
    cause_id: UUID
    why: str


class Patients(Protocol):
    """The patients that this unit of work has loaded."""

    def all_identified_by(self, identifiers: Sequence[PatientIdentifier]) -> Sequence[Patient]: ...
    def by_id(self, patient_id: UUID) -> Patient | None: ...
    def save(self, patient: Patient) -> None: ...


class Links(Protocol):
    """The appointment links that this unit of work has loaded, with their histories to write."""

    def by_placer_number(self, placer_number: str) -> AppointmentLink | None: ...
    def by_id(self, link_id: UUID) -> AppointmentLink | None: ...
    def is_being_written(self, link_id: UUID, status: FhirStatus) -> bool: ...
    def save(self, link: AppointmentLink) -> None: ...
    def note(self, entry: HistoryEntry) -> None: ...
    def note_conflict(self, conflict: Conflict) -> None: ...
    def park(self, task: ParkedTask) -> None: ...


class Outgoing(Protocol):
    """What leaves with the transaction: events and deliveries. The chassis' Transaction is one."""

    def publish(self, message: contracts.Message) -> None: ...
    def deliver(
        self,
        destination: str,
        *,
        key: UUID,
        kind: str,
        payload: bytes,
        idempotency_key: str,
        subject: UUID | None = None,
        delivery_id: UUID | None = None,
        headers: Mapping[str, str] = ...,
    ) -> UUID: ...


class Resources(Protocol):
    """The resources that OmegaAI has, held in memory."""

    def named(self, facility: str, name: str) -> Resource:
        """NeedsSetup when OmegaAI has no such resource; Transient while they have never been read."""
        ...

    def has_service(self, healthcare_service_id: str) -> bool: ...


class PowerServerWriter(Protocol):
    """Says an appointment's status in PowerServer's words."""

    def control_id(self, delivery_id: UUID) -> str: ...
    def status_message(
        self, link: AppointmentLink, patient: Patient, step: WorkflowStep, *, control_id: str, made_at: datetime
    ) -> bytes: ...


@dataclass(slots=True)
class Work:
    """One unit of work: the aggregates of a batch, and what leaves with its transaction."""

    outgoing: Outgoing
    patients: Patients
    links: Links


class Clock(Protocol):
    """The service's clock."""

    def now(self) -> datetime: ...
    def doubt(self) -> timedelta:
        """By how much it may be later than ``now``, because clocks of ours differ."""
        ...


class Meters(Protocol):
    """Counts, and says, what became of inputs."""

    def outcome(self, source: str, outcome: Outcome) -> None:
        """An input came to this."""
        ...

    def conflict(self, source: str, outcome: Outcome) -> None:
        """An input led to a line of the conflict log."""
        ...

    def clock_ahead(self, lead: timedelta) -> None:
        """A message of PowerServer was made later than may be, by so much."""
        ...

    def not_read(self, fields: Iterable[tuple[str, str]], repairs: int) -> None:
        """Of a batch of HL7 messages, these (segment, field) were not read, and so many texts were repaired."""
        ...
