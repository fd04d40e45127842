"""scheduler-sync's tables, on a registry of its own, beside those of ``chassis.store.tables``."""

from datetime import date, datetime
from typing import Any, ClassVar, Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Identity,
    Index,
    MetaData,
    SmallInteger,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)  # fmt: skip
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSTZRANGE
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from chassis.store.tables import NAMING

_IS_HELD: Final = text("NOT released")


class Base(SQLModel, registry=registry(metadata=MetaData(naming_convention=NAMING))):
    """The base of every table of this service."""


class Patients(Base, table=True):
    """A patient of the site, under an opaque id of ours."""

    __tablename__: ClassVar[Any] = "patients"

    id: UUID = Field(primary_key=True)
    site: str
    family: str
    given: str
    middle: str | None = None
    birth_date: date | None = None
    sex: str
    email: str | None = None
    phone: str | None = None
    language: str
    address: dict[str, Any] | None = Field(default=None, sa_column=Column(JSONB))
    organization: str
    heard_at: datetime
    details_heard_at: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    revision: int
    fhir_id: str | None = None
    fhir_version: str | None = None
    number_roles: list[Any] = Field(sa_column=Column(JSONB, nullable=False, server_default="[]"))
    merged_into: UUID | None = None
    guardian: dict[str, Any] | None = Field(default=None, sa_column=Column(JSONB))


class PatientIdentifiers(Base, table=True):
    """A patient's identifier: within its issuer it belongs to one patient of the site."""

    __tablename__: ClassVar[Any] = "patient_identifiers"

    site: str = Field(primary_key=True)
    issuer: str = Field(primary_key=True)
    value: str = Field(primary_key=True)
    patient_id: UUID = Field(foreign_key="patients.id", index=True)
    position: int


class PatientReviews(Base, table=True):
    """Two records that may be of one person: two patients, or a patient and OmegaAI's Patient ``omegaai_id``.

    ``state``: open, same, different, merged (in PowerServer), settled (in OmegaAI). ``seen``: OmegaAI's Patient as it
    was read; ``journal_ids``: the messages that named the numbers of both.
    """

    __tablename__: ClassVar[Any] = "patient_reviews"
    __table_args__ = (
        UniqueConstraint("first_id", "second_id"),
        Index(
            "uq_patient_reviews_omegaai",
            "first_id",
            "omegaai_id",
            unique=True,
            postgresql_where=text("second_id IS NULL"),
        ),
    )

    id: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    first_id: UUID
    second_id: UUID | None = None
    reasons: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    state: str
    found_at: datetime
    decided_at: datetime | None = None
    decided_by: str | None = None
    omegaai_id: str | None = None
    seen: Any = Field(default=None, sa_column=Column(JSONB))
    journal_ids: list[UUID] = Field(
        default_factory=list, sa_column=Column(ARRAY(Uuid), nullable=False, server_default=text("'{}'"))
    )


class AppointmentLinks(Base, table=True):
    """One appointment in both systems. Its placer number is unique at its site."""

    __tablename__: ClassVar[Any] = "appointment_links"
    __table_args__ = (
        UniqueConstraint("site", "placer_number"),
        Index("ix_appointment_links_resource_start", "facility", "resource", "slot_start"),
    )

    id: UUID = Field(primary_key=True)
    site: str
    placer_number: str
    patient_id: UUID = Field(foreign_key="patients.id", index=True)
    facility: str
    resource: str
    modality: str | None = None
    slot_start: datetime | None = Field(default=None, index=True)
    slot_end: datetime | None = None
    slot_zone: str | None = None
    studies: list[Any] = Field(sa_column=Column(JSONB, nullable=False))
    study_details: list[Any] = Field(sa_column=Column(JSONB, nullable=False))
    state: str = Field(index=True)
    step: str
    who_acts_next: str
    filler_id: str | None = None
    accession_numbers: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    requested_start: datetime | None = None
    requested_end: datetime | None = None
    requested_zone: str | None = None
    reason: str | None = None
    powerserver_step: str | None = None
    powerserver_heard_at: datetime | None = None
    powerserver_told_at: datetime | None = None
    omegaai_id: str | None = Field(default=None, index=True)
    omegaai_version: str | None = None
    omegaai_written_version: str | None = None
    revision: int
    referring_physician: dict[str, Any] | None = Field(default=None, sa_column=Column(JSONB))
    study_facts: list[Any] = Field(sa_column=Column(JSONB, nullable=False))
    updated_at: datetime = Field(sa_column_kwargs={"server_default": text("now()")}, index=True)


class LinkHistory(Base, table=True):
    """The time line of a link: every input, its outcome, and the deliveries that it caused."""

    __tablename__: ClassVar[Any] = "link_history"
    __table_args__ = (
        Index("ix_link_history_line", "link_id", "id"),
        Index("ix_link_history_cause_id", "cause_id"),
        Index("ix_link_history_tasks", "at", postgresql_where=text("source = 'omegaai'")),
    )

    id: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    link_id: UUID
    at: datetime
    source: str
    message: str
    cause_id: UUID
    trigger: str | None = None
    outcome: str
    state_before: str
    state_after: str
    revision: int
    changed: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    delivery_ids: list[UUID] = Field(sa_column=Column(ARRAY(Uuid()), nullable=False))


class Conflicts(Base, table=True):
    """The conflict log: refused and overruled inputs, with the reason."""

    __tablename__: ClassVar[Any] = "conflicts"

    id: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    link_id: UUID = Field(index=True)
    at: datetime
    source: str
    cause_id: UUID
    why: str


class Resources(Base, table=True):
    """A bookable resource: OmegaAI's HealthcareService under a facility's organisation."""

    __tablename__: ClassVar[Any] = "resources"
    __table_args__ = (UniqueConstraint("healthcare_service_id"), Index("ix_resources_name", "facility", "name"))

    id: UUID = Field(primary_key=True)
    facility: str
    organization: str
    name: str
    modality: str | None = None
    healthcare_service_id: str
    duration_minutes: int | None = None
    hours: list[Any] = Field(sa_column=Column(JSONB, nullable=False))
    overbooking: bool
    self_scheduling: bool
    active: bool
    aliases: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    powerserver: dict[str, Any] | None = Field(default=None, sa_column=Column(JSONB))
    seen_at: datetime
    is_gone: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    """OmegaAI no longer has the service; it is inactive as well."""


class PowerServerResources(Base, table=True):
    """A row of PowerServer's resource grid, from a CSV export or an MFN message."""

    __tablename__: ClassVar[Any] = "powerserver_resources"
    __table_args__ = (
        UniqueConstraint("facility", "name", deferrable=True, initially="DEFERRED"),  # names move between rows
        Index("ix_powerserver_resources_key", "facility", "key"),
    )

    id: UUID = Field(primary_key=True)
    facility: str
    name: str
    key: str | None = None
    kind: str | None = None
    modality: str | None = None
    department: str | None = None
    room: str | None = None
    category: str | None = None
    """PowerServer's column Class."""
    hours: dict[str, Any] | None = Field(default=None, sa_column=Column(JSONB))
    duration_minutes: int | None = None
    overbooking: bool | None = None
    active: bool
    heard_at: datetime
    source: str


class ResourcePairs(Base, table=True):
    """How a resource stands on both sides, as it was last compared. ``revision`` counts its events."""

    __tablename__: ClassVar[Any] = "resource_pairs"

    id: UUID = Field(primary_key=True)
    facility: str
    name: str
    powerserver_id: UUID | None = None
    resource_id: UUID | None = None
    state: str = Field(index=True)
    drift: list[Any] = Field(sa_column=Column(JSONB, nullable=False))
    near: list[Any] = Field(sa_column=Column(JSONB, nullable=False))
    revision: int
    changed_at: datetime


class ResourceHistory(Base, table=True):
    """Every change of a resource on either side, every decision about one, and who made it."""

    __tablename__: ClassVar[Any] = "resource_history"
    __table_args__ = (Index("ix_resource_history_line", "facility", "name", "id"),)

    id: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    facility: str
    name: str
    at: datetime
    actor: str
    what: str
    detail: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))


class PreflightConfirmations(Base, table=True):
    """A prerequisite that no protocol shows, and the person who has seen it in the product."""

    __tablename__: ClassVar[Any] = "preflight_confirmations"

    check_id: str = Field(primary_key=True)
    confirmed_at: datetime
    actor: str


class Calendars(Base, table=True):
    """The lock of a resource's claims, and how many promises may stand at once."""

    __tablename__: ClassVar[Any] = "calendars"

    resource_id: UUID = Field(primary_key=True, foreign_key="resources.id")
    capacity: int = Field(sa_column=Column(SmallInteger, nullable=False, server_default=text("1")))


class Claims(Base, table=True):
    """A resource's time: a fact (PowerServer booked it), a block of PowerServer's, a patient's request, or a hold.

    A hold expires. The ``link_id`` of a block is the block's own id.

    Only the functions of the migration write here. An exclusion constraint keeps two claims from one lane.
    """

    __tablename__: ClassVar[Any] = "claims"
    __table_args__ = (
        Index("ix_claims_stretch", "resource_id", "during", postgresql_using="gist", postgresql_where=_IS_HELD),
        Index("ix_claims_link_id", "link_id", postgresql_where=text("link_id IS NOT NULL")),
        Index(
            "ix_claims_expires_at", "expires_at", postgresql_where=text("(NOT released) AND (expires_at IS NOT NULL)")
        ),
    )

    id: UUID = Field(primary_key=True)
    resource_id: UUID = Field(foreign_key="calendars.resource_id")
    lane: int
    capacity: int = Field(sa_column=Column(SmallInteger, nullable=False))
    during: Any = Field(sa_column=Column(TSTZRANGE, nullable=False))
    kind: str
    released: bool = Field(sa_column_kwargs={"server_default": text("false")})
    expires_at: datetime | None = None
    link_id: UUID | None = None
    made_at: datetime = Field(sa_column_kwargs={"server_default": text("clock_timestamp()")})


class BlockedTimes(Base, table=True):
    """A time of a resource that PowerServer blocked; without times once it is opened. Its claim has the same id."""

    __tablename__: ClassVar[Any] = "blocked_times"

    id: UUID = Field(primary_key=True)
    site: str
    facility: str
    resource: str
    starts: datetime | None = None
    ends: datetime | None = None
    zone: str | None = None
    heard_at: datetime


class HeldSlots(Base, table=True):
    """A hold of the scheduling API; the claim of the same id has its time. ``moves_id``: the appointment to move."""

    __tablename__: ClassVar[Any] = "held_slots"

    id: UUID = Field(primary_key=True)
    client: str
    facility: str
    resource: str
    slot_start: datetime
    slot_end: datetime
    studies: list[Any] = Field(sa_column=Column(JSONB, nullable=False))
    patient_id: UUID | None = None
    moves_id: UUID | None = None
    expires_at: datetime = Field(index=True)


class ParkedTasks(Base, table=True):
    """A Task of OmegaAI's queue whose resource could not be read or processed, with the offending element."""

    __tablename__: ClassVar[Any] = "parked_tasks"
    __table_args__ = (Index("ix_parked_tasks_waiting", "parked_at", postgresql_where=text("replayed_at IS NULL")),)

    task_id: str = Field(primary_key=True)
    focus: str
    expression: str | None = None
    reason: str
    parked_at: datetime
    replayed_at: datetime | None = None


class FeedCursor(Base, table=True):
    """How far the Task queue has been read, for the operator: the queue itself remembers what is open."""

    __tablename__: ClassVar[Any] = "feed_cursor"

    feed: str = Field(primary_key=True)
    last_task_id: str
    last_authored_on: str | None = None
    read_at: datetime


class TaskCursor(Base, table=True):
    """The time until which OmegaAI's Task queue was read; ``omegaai.tasks`` reads and writes it."""

    __tablename__: ClassVar[Any] = "task_cursor"

    reader: str = Field(primary_key=True)
    read_until: datetime
    moved_at: datetime


class ReconcileRuns(Base, table=True):
    """A comparison of the links with both products, from the wish for it to its report."""

    __tablename__: ClassVar[Any] = "reconcile_runs"
    __table_args__ = (
        Index(
            "ix_reconcile_runs_open",
            "id",
            postgresql_where=text("state IN ('wanted', 'reading', 'healing', 'asks', 'approved')"),
        ),
    )

    id: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    state: str
    holder: UUID | None = None
    wanted_by: str
    wanted_at: datetime
    day: date | None = None
    dry_run: bool
    started_at: datetime | None = None
    finished_at: datetime | None = None
    first_day: date | None = None
    end_day: date | None = None
    counts: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False, server_default=text("'{}'")))
    reason: str | None = None
    answered_by: str | None = None


class ReconcileDifferences(Base, table=True):
    """A difference that a run found, with both values and what became of it."""

    __tablename__: ClassVar[Any] = "reconcile_differences"
    __table_args__ = (
        Index("ix_reconcile_differences_run", "run_id", "id"),
        Index("ix_reconcile_differences_noted", "noted_at"),
    )

    id: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    run_id: int = Field(
        sa_column=Column(BigInteger, ForeignKey("reconcile_runs.id", ondelete="CASCADE"), nullable=False)
    )
    side: str
    kind: str
    link_id: UUID | None = None
    key: str | None = None
    fields: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    ours: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    theirs: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    settled: str
    why: str | None = None
    noted_at: datetime
    since: datetime


class ReconcileSeen(Base, table=True):
    """What a product showed when a day was last read. A crash of the server empties it: the day is read again."""

    __tablename__: ClassVar[Any] = "reconcile_seen"
    __table_args__ = (
        Index("ix_reconcile_seen_day", "side", "day"),
        Index("ix_reconcile_seen_key", "side", "key"),
        {"prefixes": ["UNLOGGED"]},
    )

    number: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    side: str
    day: date
    key: str
    link_id: UUID | None = None
    placer: str | None = None
    accession: str | None = None
    status: str
    starts: datetime | None = None
    ends: datetime | None = None
    resource: str | None = None
    patient: str | None = None


class ReconcileDays(Base, table=True):
    """A day that was read, with the digest of what it showed; emptied with ``reconcile_seen``."""

    __tablename__: ClassVar[Any] = "reconcile_days"
    __table_args__ = ({"prefixes": ["UNLOGGED"]},)

    side: str = Field(primary_key=True)
    day: date = Field(primary_key=True)
    digest: str
    read_at: datetime
    known_at: datetime


class MessageSearches(Base, table=True):
    """A search of messages, by an opaque id: its terms may be patient data, and stand in no address."""

    __tablename__: ClassVar[Any] = "message_searches"

    id: UUID = Field(primary_key=True)
    actor: str
    wanted: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    made_at: datetime = Field(sa_column_kwargs={"server_default": text("clock_timestamp()")}, index=True)
