"""The envelope of every message: strict for the writer, tolerant for the reader.

A writer that misspells a field fails at once (``extra="forbid"``, strict types). Readers override this when they parse,
because a newer producer may have added a field. Errors never show values: they belong to patients.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, get_args, get_origin
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from contracts.errors import ContractError, without_values
from contracts.identifiers import uuid7


class _Utc:
    """Marks a datetime whose offset must be zero, and declares this in the JSON Schema."""

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.datetime_schema(tz_constraint=0)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "pattern": r"(Z|[+-]00:00)$"}


UtcDatetime = Annotated[datetime, _Utc]


def _open_for_readers(schema: dict[str, Any]) -> None:
    """The published schema is the reader's: unknown fields are allowed."""
    schema.pop("additionalProperties", None)


class Payload(BaseModel):
    """The base of everything inside ``data``."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        hide_input_in_errors=True,
        json_schema_extra=_open_for_readers,
    )


def _message_schema(schema: dict[str, Any]) -> None:
    """Each message narrows ``type`` and ``version``; both keep the envelope's description."""
    _open_for_readers(schema)
    for name in ("type", "version"):
        schema["properties"][name].setdefault("description", Message.model_fields[name].description)


class Message(Payload):
    """One event as it stands on its topic: envelope and data in one JSON object.

    A subclass fixes ``type`` and ``version`` by a ``Literal`` and narrows ``data``.
    """

    model_config = ConfigDict(json_schema_extra=_message_schema)

    MESSAGE_TYPE: ClassVar[str]
    MESSAGE_VERSION: ClassVar[int]

    message_id: UUID = Field(description="UUID version 7 of this message; the same again means a repeat.")
    type: str = Field(description="Name of the event, which is also the name of its topic.")
    version: int = Field(description="Version of this event's contract.")
    occurred_at: UtcDatetime = Field(description="When the event occurred, in UTC.")
    producer: str = Field(min_length=1, description="Service that published the message.")
    aggregate_id: UUID = Field(
        description="Opaque identifier of the patient, appointment or resource; the key on the topic."
    )
    revision: int = Field(
        ge=1, description="Counts the aggregate's events over all their types: 1, 2, 3 …; a reader drops older ones."
    )
    correlation_id: UUID = Field(description="Shared by all messages that follow from one cause.")
    causation_id: UUID | None = Field(default=None, description="message_id of the message that led to this one.")
    data: Payload = Field(description="What happened.")

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        kind, version = cls.model_fields["type"].annotation, cls.model_fields["version"].annotation
        if get_origin(kind) is Literal and get_origin(version) is Literal:
            (cls.MESSAGE_TYPE,) = get_args(kind)
            (cls.MESSAGE_VERSION,) = get_args(version)

    def to_bytes(self) -> bytes:
        """The message's exact bytes on Kafka: UTF-8 JSON, every field written, absent values as null."""
        return self.__pydantic_serializer__.to_json(self)

    def key(self) -> bytes:
        """The key on the topic: the aggregate's UUID as text, so that its events stay in order."""
        return str(self.aggregate_id).encode()

    @classmethod
    def schema_id(cls) -> str:
        """The name of this version's JSON Schema, in the form of CloudEvents' ``dataschema``."""
        return f"urn:contracts:{cls.MESSAGE_TYPE}:{cls.MESSAGE_VERSION}"

    @classmethod
    def upcast_from(cls, older: "Message", data: Payload) -> Self:
        """For upcasters: ``older`` in this version, equal in everything but ``version`` and ``data``."""
        envelope = {name: getattr(older, name) for name in Message.model_fields if name not in {"version", "data"}}
        return cls(**envelope, version=cls.MESSAGE_VERSION, data=data)


M = TypeVar("M", bound=Message)


def new_message(
    message_class: type[M],
    *,
    aggregate_id: UUID,
    revision: int,
    data: Payload,
    producer: str,
    occurred_at: datetime,
    correlation_id: UUID | None = None,
    causation_id: UUID | None = None,
) -> M:
    """A message of ``message_class``, with an identifier of its own.

    ``occurred_at`` is any aware datetime. Without ``correlation_id`` the message starts its own correlation. Raises
    ContractError when an argument breaks the contract.
    """
    if occurred_at.tzinfo is None:
        raise ContractError("needs a time zone", "occurred_at")
    message_id = uuid7()
    try:
        return message_class(
            message_id=message_id,
            type=message_class.MESSAGE_TYPE,
            version=message_class.MESSAGE_VERSION,
            occurred_at=occurred_at.astimezone(UTC),
            producer=producer,
            aggregate_id=aggregate_id,
            revision=revision,
            correlation_id=correlation_id or message_id,
            causation_id=causation_id,
            data=data,
        )
    except ValidationError as error:
        broken = without_values(error)
    raise broken


def header_values(message: Message) -> dict[str, str | UUID | datetime]:
    """The Kafka headers as values: writing them as JSON is quicker without turning them into text first."""
    return {
        "ce_id": message.message_id,
        "ce_type": message.type,
        "ce_source": message.producer,
        "ce_specversion": "1.0",
        "ce_time": message.occurred_at,
        "ce_subject": message.aggregate_id,
        "ce_dataschema": message.schema_id(),
        "content-type": "application/json",
    }


def headers(message: Message) -> dict[str, str]:
    """The Kafka headers: CloudEvents 1.0 attributes that repeat the envelope for generic tools; text only."""
    return {
        name: value.isoformat() if isinstance(value, datetime) else str(value)
        for name, value in header_values(message).items()
    }
