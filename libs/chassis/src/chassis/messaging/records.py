"""A Kafka record as it came, and the message that it holds."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import contracts


@dataclass(frozen=True, slots=True)
class Record:
    """A Kafka record as it came; dead letters and parked messages keep it.

    ``topic_id`` tells the topic from others of its name. A record without it does not move a consumer's position.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    timestamp_ms: int = 0
    topic_id: UUID | None = None

    def header(self, name: str) -> str | None:
        """The text of one header; None when the header is missing."""
        for found, value in self.headers:
            if found == name:
                return _header_text(value)
        return None

    def headers_text(self) -> str:
        """The headers as JSON; a value that is not UTF-8 is kept as Latin-1, so that no byte is lost."""
        return json.dumps({name: _header_text(value) for name, value in self.headers})


def _header_text(value: bytes | None) -> str:
    if value is None:
        return ""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


@dataclass(frozen=True, slots=True)
class Item:
    """A record with its message, or with the reason why it has none."""

    record: Record
    message: contracts.Message | contracts.ContractError

    @classmethod
    def of(cls, record: Record) -> "Item":
        try:
            return cls(record, contracts.parse(record.value or b""))
        except contracts.ContractError as error:
            return cls(record, error)

    @property
    def readable(self) -> contracts.Message | None:
        return None if isinstance(self.message, contracts.ContractError) else self.message
