"""The tables, on a registry of the notifier's own, beside those of ``chassis.store.tables``."""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, MetaData, UniqueConstraint, text
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from chassis.store.tables import NAMING
from notifier.domain.notification import STATES


class Base(SQLModel, registry=registry(metadata=MetaData(naming_convention=NAMING))):
    """The base of every table of this service."""


class AggregateRow(Base, table=True):
    """One row per known patient and appointment; its lock serializes their handlers.

    The projections cannot serve as locks: an appointment may arrive before its patient, whose row does not exist yet.
    """

    __tablename__ = "aggregates"

    aggregate_id: UUID = Field(primary_key=True)


class RecipientRow(Base, table=True):
    """Projection of a patient. ``merged_into``: the patient in whose record this one ended."""

    __tablename__ = "recipients"
    __table_args__: ClassVar[Any] = (CheckConstraint("revision >= 1", name="revision"),)

    patient_id: UUID = Field(primary_key=True)
    revision: int
    given_name: str
    email: str | None = None
    language: str
    merged_into: UUID | None = None
    merged_at: datetime | None = None
    changed_at: datetime = Field(sa_column_kwargs={"server_default": text("now()")})


class AppointmentRow(Base, table=True):
    """Projection of an appointment. ``former_…``: its place before the move that set it."""

    __tablename__ = "appointments"
    __table_args__: ClassVar[Any] = (
        CheckConstraint("revision >= 1", name="revision"),
        Index("ix_appointments_patient_id", "patient_id"),
    )

    appointment_id: UUID = Field(primary_key=True)
    patient_id: UUID
    revision: int
    event: str
    status: str
    who_acts_next: str
    start_at: datetime
    end_at: datetime
    facility_name: str
    facility_time_zone: str
    facility_phone: str | None = None
    facility_address: str | None = None
    former_start_at: datetime | None = None
    former_end_at: datetime | None = None
    former_facility_name: str | None = None
    changed_at: datetime = Field(sa_column_kwargs={"server_default": text("now()")})


class NotificationRow(Base, table=True):
    """The history of messages. ``unanswered_handovers`` counts tries without a known answer from the mail server."""

    __tablename__ = "notifications"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("appointment_id", "template", "revision"),
        CheckConstraint("state IN ({})".format(", ".join(f"'{state}'" for state in STATES)), name="state"),
        CheckConstraint("(state = 'sent') = (sent_at IS NOT NULL)", name="sent_at"),
        Index(
            "ix_notifications_awaiting",
            "patient_id",
            postgresql_where=text("state = 'awaiting_recipient'"),
        ),
        Index(
            "ix_notifications_open",
            "appointment_id",
            postgresql_where=text("state IN ('awaiting_recipient', 'queued')"),
        ),
        Index("ix_notifications_history", "changed_at", "notification_id"),
    )

    notification_id: UUID = Field(primary_key=True)
    appointment_id: UUID
    patient_id: UUID
    template: str
    revision: int
    state: str
    reason: str | None = None
    unanswered_handovers: int = Field(default=0, sa_column_kwargs={"server_default": text("0")})
    created_at: datetime = Field(sa_column_kwargs={"server_default": text("now()")})
    changed_at: datetime = Field(sa_column_kwargs={"server_default": text("now()")})
    sent_at: datetime | None = None
