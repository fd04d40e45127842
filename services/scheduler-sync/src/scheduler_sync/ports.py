"""The ports of the handlers; the store and the adapters implement them, tests fake them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

import contracts
from omegaai.tasks import ParkedTask
from scheduler_sync.commands import Origin
from scheduler_sync.domain.appointment import AppointmentLink, FhirStatus, Outcome, WorkflowStep
from scheduler_sync.domain.claims import Block
from scheduler_sync.domain.patient import Patient, PatientIdentifier
from scheduler_sync.domain.resource import GridRow, Resource
from scheduler_sync.domain.slots import Slot


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One line of a link's time line: the input, its outcome, and its deliveries."""

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
    def doubt(self, patients: Sequence[Patient], cause_id: UUID) -> None:
        """A message named the numbers of all these patients: the review list asks a person. ``cause_id``: the message.

        The doubt is kept although the message fails.
        """
        ...


class Links(Protocol):
    """The appointment links that this unit of work has loaded, with their histories to write."""

    def by_placer_number(self, placer_number: str) -> AppointmentLink | None: ...
    def by_id(self, link_id: UUID) -> AppointmentLink | None: ...
    def by_omegaai_id(self, appointment_id: str) -> AppointmentLink | None: ...
    def of_patient(self, patient_id: UUID) -> Sequence[AppointmentLink]: ...
    def is_being_written(self, link_id: UUID, status: FhirStatus) -> bool: ...
    def save(self, link: AppointmentLink) -> None: ...
    def note(self, entry: HistoryEntry) -> None: ...
    def note_conflict(self, conflict: Conflict) -> None: ...
    def park(self, task: ParkedTask) -> None: ...


@dataclass(frozen=True, slots=True)
class Offer:
    """A slot of a resource, free when it was looked for. Nothing holds it."""

    resource: str
    slot: Slot


@dataclass(frozen=True, slots=True)
class Displaced:
    """A link whose request has lost its place, and the line of history of the booking that took it.

    ``cause`` is None where the place was taken before the request came; ``block`` is the message that blocked it.
    """

    link: AppointmentLink
    cause: HistoryEntry | None
    block: Origin | None = None


class Blocks(Protocol):
    """The blocked times that this unit of work has loaded."""

    def by_id(self, block_id: UUID) -> Block | None: ...
    def save(self, block: Block, origin: Origin) -> None:
        """Claims the block's time, or releases it, with the transaction. ``origin``: the message that says it."""
        ...


class Claims(Protocol):
    """The times on resources that the links of this unit of work have.

    They follow from the links: whoever saves a link claims its times and releases the former ones, in the same
    transaction. A booked time is never refused. A patient's request that finds no place is told with alternatives, as
    is one that loses its place to a booking; ``has_room`` lets a handler refuse it beforehand.
    """

    async def has_room(self, link: AppointmentLink) -> bool:
        """Whether the time that the link's patient asks for is free, beside all other links of this unit of work."""
        ...

    async def alternatives(self, link: AppointmentLink, asked: Slot) -> Sequence[Offer]:
        """Free slots in place of ``asked``: of the same resource within a week, then of others like it."""
        ...


class Outgoing(Protocol):
    """The effects of the transaction: events and deliveries. The chassis' Transaction implements it."""

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
    def join_lines(self, destination: str, *, former: UUID, key: UUID) -> None:
        """The deliveries of ``former`` that are not done go on in the line of ``key``."""
        ...


class Resources(Protocol):
    """OmegaAI's resources, held in memory."""

    def named(self, facility: str, name: str) -> Resource:
        """NeedsSetup when OmegaAI has no such resource; Transient while they have never been read."""
        ...

    def of_service(self, healthcare_service_id: str) -> Resource | None:
        """The resource that is this HealthcareService; Transient while they have never been read."""
        ...


class GridRecords(Protocol):
    """PowerServer's resources that this unit of work has loaded."""

    def hear(self, row: GridRow, *, actor: str, now: datetime) -> bool:
        """Takes a row over; False when it changes nothing."""
        ...


class PowerServerWriter(Protocol):
    """Writes an appointment's status, or the patient's request, as a message to PowerServer."""

    def control_id(self, delivery_id: UUID) -> str: ...
    def status_message(
        self, link: AppointmentLink, patient: Patient, step: WorkflowStep, *, control_id: str, made_at: datetime
    ) -> bytes: ...
    def request_message(
        self, link: AppointmentLink, patient: Patient, *, control_id: str, made_at: datetime
    ) -> bytes: ...
    def move_message(self, link: AppointmentLink, patient: Patient, *, control_id: str, made_at: datetime) -> bytes: ...


@dataclass(slots=True)
class Work:
    """One unit of work: the aggregates of a batch, and the effects of its transaction."""

    outgoing: Outgoing
    patients: Patients
    links: Links
    claims: Claims


class Clock(Protocol):
    """The service's clock."""

    def now(self) -> datetime: ...
    def doubt(self) -> timedelta:
        """How much later than ``now`` it may be, because our clocks differ."""
        ...


class Meters(Protocol):
    """Counts and logs the outcomes of inputs."""

    def outcome(self, source: str, outcome: Outcome) -> None:
        """The outcome of an input."""
        ...

    def conflict(self, source: str, outcome: Outcome) -> None:
        """An input caused a line of the conflict log."""
        ...

    def clock_ahead(self, lead: timedelta) -> None:
        """PowerServer's clock was ahead: a message's time was later than possible, by this much."""
        ...

    def not_permitted(self, station: str) -> None:
        """A station of the site's mapping sent a message that is not on its list."""
        ...

    def not_read(self, fields: Iterable[tuple[str, str]], repairs: int) -> None:
        """After a batch of HL7 messages: the unread (segment, field) pairs, and the number of repaired texts."""
        ...
