"""The chassis' tables as SQLModel classes on a service's own registry, for queries outside the hot paths.

The SQL in ``schema/`` creates them; a test holds the two against each other.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import MetaData
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


def new_base() -> type[SQLModel]:
    """A base whose tables have a registry and metadata of their own: one per service, so that none sees another's."""

    class Base(SQLModel, registry=registry(metadata=MetaData(naming_convention=NAMING))):
        pass

    return Base


@dataclass(frozen=True)
class ChassisTables:
    """The classes that ``declare`` made."""

    inbox: type[Any]
    outbox: type[Any]
    deliveries: type[Any]
    delivery_bugs: type[Any]
    dead_letters: type[Any]
    parked_keys: type[Any]
    parked_messages: type[Any]
    hl7_journal: type[Any]
    operator_audit: type[Any]
    consumer_positions: type[Any]
    missed_records: type[Any]
    revision_gaps: type[Any]
    store_identity: type[Any]
    timers: type[Any]


def declare(base: type[SQLModel]) -> ChassisTables:
    """Declares the chassis' tables on ``base``'s registry. Call once per service."""

    class Inbox(base, table=True):  # type: ignore[valid-type,misc,call-arg]  # the base is the service's own
        __tablename__ = "inbox"
        consumer: str = Field(primary_key=True)
        message_id: UUID = Field(primary_key=True)
        received_at: datetime

    class Outbox(base, table=True):  # type: ignore[valid-type,misc,call-arg]
        __tablename__ = "outbox"
        id: int = Field(primary_key=True)
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

    class Deliveries(base, table=True):  # type: ignore[valid-type,misc,call-arg]
        __tablename__ = "deliveries"
        id: UUID = Field(primary_key=True)
        sequence: int
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

    class DeliveryBugs(base, table=True):  # type: ignore[valid-type,misc,call-arg]
        __tablename__ = "delivery_bugs"
        destination: str = Field(primary_key=True)
        in_a_row: int
        reason: str
        at: datetime

    class DeadLetters(base, table=True):  # type: ignore[valid-type,misc,call-arg]
        __tablename__ = "dead_letters"
        id: UUID = Field(primary_key=True)
        consumer: str
        kind: str
        reason: str
        topic: str
        partition: int | None
        kafka_offset: int | None
        message_id: UUID | None
        key: bytes | None
        value: bytes | None
        headers: str
        attempts: int
        state: str
        created_at: datetime
        settled_at: datetime | None

    class ParkedKeys(base, table=True):  # type: ignore[valid-type,misc,call-arg]
        __tablename__ = "parked_keys"
        consumer: str = Field(primary_key=True)
        key: UUID = Field(primary_key=True)
        reason: str
        attempts: int
        since: datetime
        next_attempt_at: datetime

    class ParkedMessages(base, table=True):  # type: ignore[valid-type,misc,call-arg]
        __tablename__ = "parked_messages"
        sequence: int = Field(primary_key=True)
        consumer: str
        key: UUID
        message_id: UUID
        topic: str
        partition: int
        kafka_offset: int
        value: bytes
        headers: str

    class Hl7Journal(base, table=True):  # type: ignore[valid-type,misc,call-arg]
        __tablename__ = "hl7_journal"
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

    class OperatorAudit(base, table=True):  # type: ignore[valid-type,misc,call-arg]
        __tablename__ = "operator_audit"
        id: int = Field(primary_key=True)
        at: datetime
        actor: str
        action: str
        subject: str
        detail: str

    class StoreIdentity(base, table=True):  # type: ignore[valid-type,misc,call-arg]
        __tablename__ = "store_identity"
        is_the_one: bool = Field(primary_key=True)
        service: str
        belongs_to: str
        incarnation: UUID
        epoch: int
        compared_to: str
        recovery_began_at: datetime | None
        beat: int
        created_at: datetime

    class ConsumerPositions(base, table=True):  # type: ignore[valid-type,misc,call-arg]
        __tablename__ = "consumer_positions"
        consumer: str = Field(primary_key=True)
        topic: str = Field(primary_key=True)
        partition: int = Field(primary_key=True)
        topic_id: UUID
        next_offset: int
        last_record: bytes | None
        began_at: datetime
        moved_at: datetime

    class MissedRecords(base, table=True):  # type: ignore[valid-type,misc,call-arg]
        __tablename__ = "missed_records"
        id: UUID = Field(primary_key=True)
        consumer: str
        topic: str
        partition: int
        kind: str
        first_offset: int
        number: int | None
        handled_until: datetime
        noticed_at: datetime
        acknowledged_at: datetime | None

    class RevisionGaps(base, table=True):  # type: ignore[valid-type,misc,call-arg]
        __tablename__ = "revision_gaps"
        consumer: str = Field(primary_key=True)
        aggregate_id: UUID = Field(primary_key=True)
        revision: int = Field(primary_key=True)
        type: str
        noticed_at: datetime
        counted_at: datetime | None

    class Timers(base, table=True):  # type: ignore[valid-type,misc,call-arg]
        __tablename__ = "timers"
        kind: str = Field(primary_key=True)
        key: UUID = Field(primary_key=True)
        name: str = Field(primary_key=True)
        revision: int = Field(primary_key=True)
        state: str
        due_at: datetime
        next_attempt_at: datetime
        payload: str
        attempts: int
        last_error: str | None
        traceparent: str | None
        set_at: datetime
        settled_at: datetime | None

    return ChassisTables(
        Inbox, Outbox, Deliveries, DeliveryBugs, DeadLetters, ParkedKeys, ParkedMessages, Hl7Journal, OperatorAudit,
        ConsumerPositions, MissedRecords, RevisionGaps, StoreIdentity, Timers,
    )  # fmt: skip
