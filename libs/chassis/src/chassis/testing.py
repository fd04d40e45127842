"""Helpers for the tests of every member: waiting for conditions, and a transaction that only records."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

import contracts
from chassis.transaction import Participant

T = TypeVar("T")


async def eventually(condition: Callable[[], Awaitable[T]], *, timeout_seconds: float = 10, what: str = "") -> T:
    """The first true answer of ``condition``. Raises ``AssertionError`` naming ``what`` when none comes in time."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        answer = await condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what or 'the condition'} did not hold within {timeout_seconds:g} s: {answer!r}")
        await asyncio.sleep(0.02)


class RevisionTakenError(Exception):
    """An aggregate's revision was published twice; the store's unique constraint says the same."""


@dataclass
class RecordingTransaction:
    """Stands for ``Transaction`` in tests of handlers. One contract suite holds it to the real one.

    ``events``, ``deliveries`` and ``audits`` are what a commit would have written.
    """

    connection: Any = None
    events: list[contracts.Message] = field(default_factory=list)
    deliveries: list[dict[str, Any]] = field(default_factory=list)
    audits: list[dict[str, Any]] = field(default_factory=list)
    _participants: list[Participant] = field(default_factory=list)
    _written: tuple[int, int] = (0, 0)

    def join(self, participant: Participant) -> None:
        self._participants.append(participant)

    def publish(self, message: contracts.Message) -> None:
        self.events.append(message)

    def deliver(
        self,
        destination: str,
        *,
        key: UUID,
        kind: str,
        payload: bytes,
        idempotency_key: str,
        delivery_id: UUID | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> UUID:
        identifier = delivery_id or contracts.uuid7()
        self.deliveries.append(
            {
                "id": identifier, "destination": destination, "key": key, "kind": kind, "payload": payload,
                "idempotency_key": idempotency_key, "headers": dict(headers or {}),
            }
        )  # fmt: skip
        return identifier

    def audit(self, *, actor: str, action: str, subject: str, detail: Mapping[str, object] | None = None) -> None:
        self.audits.append({"actor": actor, "action": action, "subject": subject, "detail": dict(detail or {})})

    def mark(self) -> Any:
        inner = tuple(participant.mark() for participant in self._participants)
        return (len(self.events), len(self.deliveries), len(self.audits), inner)

    def rollback_to(self, mark: Any) -> None:
        events, deliveries, audits, inner = mark
        del self.events[events:]
        del self.deliveries[deliveries:]
        del self.audits[audits:]
        for participant, one in zip(self._participants, inner, strict=True):
            participant.rollback_to(one)

    async def flush(self) -> None:
        """Raises ``RevisionTakenError``; of deliveries with one idempotency key the first stays."""
        for participant in self._participants:
            await participant.flush(self.connection)
        revisions = [(event.aggregate_id, event.revision) for event in self.events]
        if len(set(revisions)) < len(revisions):
            raise RevisionTakenError
        kept: dict[tuple[str, str], dict[str, Any]] = {}
        for delivery in self.deliveries:
            kept.setdefault((delivery["destination"], delivery["idempotency_key"]), delivery)
        self.deliveries[:] = kept.values()
