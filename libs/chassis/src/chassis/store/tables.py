"""The chassis' tables, which every service's store has.

Queries and statements take their names from these models. The SQL in ``schema/`` creates the tables;
``chassis.testing.differences`` compares the two.
"""

from datetime import datetime
from typing import Any, ClassVar, Final
from uuid import UUID

from sqlalchemy import BigInteger, Index, MetaData, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

NAMING: Final = {
    "ix": "ix_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(SQLModel, registry=registry(metadata=MetaData(naming_convention=NAMING))):
    """The chassis' base; a service has a base of its own."""


class Inbox(Base, table=True):
    """Handled messages, by consumer: a repeated message has no second effect."""

    __tablename__: ClassVar[Any] = "inbox"
    __table_args__: ClassVar[Any] = (Index("ix_inbox_received", "received_at"),)

    consumer: str = Field(primary_key=True)
    message_id: UUID = Field(primary_key=True)
    received_at: datetime


class Outbox(Base, table=True):
    """Events to send. ``sent_at`` is set once Kafka has acknowledged the event."""

    __tablename__: ClassVar[Any] = "outbox"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("aggregate_id", "revision"),
        Index("ix_outbox_unsent", "id", postgresql_where=text("sent_at IS NULL")),
        Index("ix_outbox_sent", "sent_at", postgresql_where=text("sent_at IS NOT NULL")),
    )

    id: int = Field(primary_key=True, sa_type=BigInteger)
    topic: str
    aggregate_id: UUID
    revision: int
    message_id: UUID
    value: bytes
    headers: str
    traceparent: str | None
    created_at: datetime
    sent_at: datetime | None
    resend_at: datetime | None


class Deliveries(Base, table=True):
    """Messages to partners. The deliveries with one destination and key form a line."""

    __tablename__: ClassVar[Any] = "deliveries"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("destination", "idempotency_key"),
        Index("ix_deliveries_line", "destination", "key", "sequence", postgresql_where=text("state = 'pending'")),
        Index("ix_deliveries_pending", "destination", "sequence", postgresql_where=text("state = 'pending'")),
        Index("ix_deliveries_lease", "lease_token", postgresql_where=text("lease_token IS NOT NULL")),
        Index("ix_deliveries_dead", "sequence", postgresql_where=text("state = 'dead'")),
        Index("ix_deliveries_dropped", "id", postgresql_where=text("state = 'dropped'")),
        Index("ix_deliveries_key", "key"),
        Index("ix_deliveries_settled", "done_at", postgresql_where=text("state IN ('done', 'dropped')")),
    )

    id: UUID = Field(primary_key=True)
    sequence: int = Field(sa_type=BigInteger)
    destination: str
    key: UUID
    kind: str
    payload: bytes
    headers: str
    idempotency_key: str
    state: str
    attempts: int
    next_attempt_at: datetime
    lease_token: UUID | None
    lease_until: datetime | None
    last_error: str | None
    receipt: str | None
    traceparent: str | None
    created_at: datetime
    done_at: datetime | None
    subject: UUID | None


class DeliveryBugs(Base, table=True):
    """How many times in a row a bug of ours has failed a delivery."""

    __tablename__: ClassVar[Any] = "delivery_bugs"

    destination: str = Field(primary_key=True)
    in_a_row: int
    reason: str
    at: datetime


class DeadLetters(Base, table=True):
    """Messages that could not be handled."""

    __tablename__: ClassVar[Any] = "dead_letters"
    __table_args__: ClassVar[Any] = (
        Index("ix_dead_letters_open", "consumer", "created_at", postgresql_where=text("state = 'open'")),
        Index(
            "uq_dead_letters_record",
            "consumer",
            "topic",
            "partition",
            "kafka_offset",
            unique=True,
            postgresql_where=text("kafka_offset IS NOT NULL AND state = 'open'"),
        ),
        Index(
            "ix_dead_letters_message",
            "consumer",
            "message_id",
            postgresql_where=text("message_id IS NOT NULL AND state <> 'replayed'"),
        ),
        Index("ix_dead_letters_settled", "settled_at", postgresql_where=text("state <> 'open'")),
    )

    id: UUID = Field(primary_key=True)
    consumer: str
    kind: str
    reason: str
    topic: str
    partition: int | None
    kafka_offset: int | None = Field(sa_type=BigInteger)
    message_id: UUID | None
    key: bytes | None
    value: bytes | None
    headers: str
    attempts: int
    state: str
    created_at: datetime
    settled_at: datetime | None


class ParkedKeys(Base, table=True):
    """Keys whose messages wait behind one that failed for a passing reason."""

    __tablename__: ClassVar[Any] = "parked_keys"

    consumer: str = Field(primary_key=True)
    key: UUID = Field(primary_key=True)
    reason: str
    attempts: int
    since: datetime
    next_attempt_at: datetime


class ParkedMessages(Base, table=True):
    """The waiting messages, in order of ``sequence``."""

    __tablename__: ClassVar[Any] = "parked_messages"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("consumer", "message_id"),
        Index("ix_parked_messages_line", "consumer", "key", "sequence"),
    )

    sequence: int = Field(primary_key=True, sa_type=BigInteger)
    consumer: str
    key: UUID
    message_id: UUID
    topic: str
    partition: int
    kafka_offset: int = Field(sa_type=BigInteger)
    value: bytes
    headers: str


class Hl7Journal(Base, table=True):
    """Every received HL7 message and its outcome."""

    __tablename__: ClassVar[Any] = "hl7_journal"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("sender", "control_id", "digest"),
        Index("ix_hl7_journal_received_at", "received_at"),
        Index("ix_hl7_journal_open", "received_at", postgresql_where=text("state IN ('needs_setup', 'failed')")),
        Index(
            "ix_hl7_journal_settled", "processed_at", postgresql_where=text("state NOT IN ('needs_setup', 'failed')")
        ),
        Index("ix_hl7_journal_refused", "received_at", postgresql_where=text("state IN ('rejected', 'dropped')")),
        Index("ix_hl7_journal_edited_from", "edited_from", postgresql_where=text("edited_from IS NOT NULL")),
        Index("ix_hl7_journal_terms", "terms", postgresql_using="gin", postgresql_where=text("terms IS NOT NULL")),
    )

    id: UUID = Field(primary_key=True)
    sender: str
    control_id: str
    digest: bytes
    type: str
    raw: bytes
    state: str
    reason: str | None
    setting: str | None
    repeats: int
    received_at: datetime
    processed_at: datetime | None
    edited_from: UUID | None = None
    """The message that a person edited into this one."""
    terms: list[str] | None = Field(default=None, sa_type=ARRAY(Text))
    """Numbers by which the message is found, where its effect does not lead to it."""


class OperatorAudit(Base, table=True):
    """Actions of people."""

    __tablename__: ClassVar[Any] = "operator_audit"

    id: int = Field(primary_key=True, sa_type=BigInteger)
    at: datetime
    actor: str
    action: str
    subject: str
    detail: str


class StoreIdentity(Base, table=True):
    """The identity of the store: one row."""

    __tablename__: ClassVar[Any] = "store_identity"

    is_the_one: bool = Field(primary_key=True)
    service: str
    belongs_to: str
    incarnation: UUID
    epoch: int
    compared_to: str
    recovery_began_at: datetime | None
    beat: int = Field(sa_type=BigInteger)
    created_at: datetime


class ConsumerPositions(Base, table=True):
    """The position of a consumer in each partition."""

    __tablename__: ClassVar[Any] = "consumer_positions"

    consumer: str = Field(primary_key=True)
    topic: str = Field(primary_key=True)
    partition: int = Field(primary_key=True)
    topic_id: UUID
    next_offset: int = Field(sa_type=BigInteger)
    last_record: bytes | None
    began_at: datetime
    moved_at: datetime


class MissedRecords(Base, table=True):
    """Records that Kafka no longer had, listed for a person."""

    __tablename__: ClassVar[Any] = "missed_records"
    __table_args__: ClassVar[Any] = (
        Index("ix_missed_records_open", "consumer", "noticed_at", postgresql_where=text("acknowledged_at IS NULL")),
    )

    id: UUID = Field(primary_key=True)
    consumer: str
    topic: str
    partition: int
    kind: str
    first_offset: int = Field(sa_type=BigInteger)
    number: int | None = Field(sa_type=BigInteger)
    handled_until: datetime
    noticed_at: datetime
    acknowledged_at: datetime | None


class RevisionGaps(Base, table=True):
    """Revisions that did not arrive."""

    __tablename__: ClassVar[Any] = "revision_gaps"

    consumer: str = Field(primary_key=True)
    aggregate_id: UUID = Field(primary_key=True)
    revision: int = Field(primary_key=True)
    type: str
    noticed_at: datetime
    counted_at: datetime | None


class Timers(Base, table=True):
    """Timers: each row sets or cancels the timer (kind, key, name)."""

    __tablename__: ClassVar[Any] = "timers"
    __table_args__: ClassVar[Any] = (
        Index("ix_timers_due", "kind", "next_attempt_at", postgresql_where=text("state = 'waiting'")),
        Index("ix_timers_due_at", "due_at"),
        Index("ix_timers_line", "key", "due_at", postgresql_where=text("state = 'waiting'")),
        Index(
            "ix_timers_troubled",
            "due_at",
            postgresql_where=text("state = 'dead' OR (state = 'waiting' AND attempts > 0)"),
        ),
        Index("ix_timers_settled", "settled_at", postgresql_where=text("state IN ('fired', 'cancelled')")),
    )

    kind: str = Field(primary_key=True)
    key: UUID = Field(primary_key=True)
    name: str = Field(primary_key=True)
    revision: int = Field(primary_key=True, sa_type=BigInteger)
    state: str
    due_at: datetime
    next_attempt_at: datetime
    payload: str
    attempts: int
    last_error: str | None
    traceparent: str | None
    set_at: datetime
    settled_at: datetime | None


class WebSessions(Base, table=True):
    """Logged-in people, by the hash of the cookie."""

    __tablename__: ClassVar[Any] = "web_sessions"

    token_hash: bytes = Field(primary_key=True)
    subject: str
    name: str
    role: str
    began_at: datetime
    seen_at: datetime
    ends_at: datetime
