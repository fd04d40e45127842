"""A delivery, the partner's answer, and the functions that a service gives its worker."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from chassis.store import Transaction


async def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message for a partner.

    ``attempt`` counts from 1; ``idempotency_key`` is the same at every try. ``subject`` is the thing that the delivery
    is about; None for deliveries of a former version. ``still_ours`` is false once another worker has the delivery,
    because this worker stood still for longer than its lease. Ask it between reading a partner's version and a write
    that is conditional on that version: then a late write can never undo a newer one.
    """

    id: UUID
    destination: str
    key: UUID
    kind: str
    payload: bytes
    idempotency_key: str
    headers: Mapping[str, str]
    attempt: int
    created_at: datetime
    traceparent: str | None = None
    subject: UUID | None = None
    still_ours: Callable[[], Awaitable[bool]] = field(default=_always, compare=False, repr=False)

    @classmethod
    def of_row(cls, row: Any, still_ours: Callable[[], Awaitable[bool]]) -> "Delivery":
        """Reads a claimed row of ``deliveries``."""
        return cls(
            id=row["id"],
            destination=row["destination"],
            key=row["key"],
            kind=row["kind"],
            payload=row["payload"],
            idempotency_key=row["idempotency_key"],
            headers=json.loads(row["headers"]),
            attempt=row["attempts"],
            created_at=row["created_at"],
            traceparent=row["traceparent"],
            subject=row["subject"],
            still_ours=still_ours,
        )


@dataclass(frozen=True, slots=True)
class Receipt:
    """The partner's answer, kept with the delivery: opaque ids and codes, no patient data."""

    detail: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(dict(self.detail))

    @classmethod
    def of_json(cls, kept: str) -> "Receipt":
        """Reads the stored text. Raises ``UnreadableReceiptError`` unless it is an object of texts."""
        try:
            detail = json.loads(kept)
        except ValueError:
            raise UnreadableReceiptError("it is no JSON") from None
        if not isinstance(detail, dict) or not all(isinstance(value, str) for value in detail.values()):
            raise UnreadableReceiptError("it is no object of texts")
        return cls(detail)


class UnreadableReceiptError(Exception):
    """A kept answer lacks a value that this version needs. The text names the value, and quotes nothing.

    When settling raises it, the delivery is sent again with the same idempotency key.
    """


class Send(Protocol):
    """Hands one delivery to the partner. Raises ``Transient`` or ``Permanent`` with the partner's answer."""

    async def __call__(self, delivery: Delivery) -> Receipt: ...


class Accepted(NamedTuple):
    """A delivery that the partner has accepted, and its answer."""

    delivery: Delivery
    receipt: Receipt


Settled = Callable[[Transaction, Sequence[Accepted]], Awaitable[None]]
"""Stores what the service keeps of the answers. Each key occurs once. When it raises, it is called for each alone."""
