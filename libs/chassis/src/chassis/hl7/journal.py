"""The HL7 journal: every message once, with its content, its state and the reason for the state.

A message is claimed by its identity (sender, MSH-10, digest of its content), in the transaction of its effect.
"""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import structlog
from opentelemetry.trace import Span

import contracts
from chassis.errors import Malformed, NeedsSetup, Transient, reason_of
from chassis.hl7 import statements
from chassis.messaging import Done, Duplicate, Failed, Held, Outcome
from chassis.observe import Metrics, meters, tracing
from chassis.store import Store, Transaction, asking
from hl7v2 import Hl7Error, Message, readable_part, unwrapped

STATES: Final = ("accepted", "needs_setup", "failed", "rejected", "replayed", "dropped")
OPEN_STATES: Final = frozenset({"needs_setup", "failed", "rejected"})
"""States in which a message is processed again, when its sender repeats it or an operator replays it."""
LARGE_BYTES: Final = 2**20
"""A larger message is read in a thread, because reading it would hold up all others, and written in pieces."""
LONGEST_CONTROL_ID: Final = 199  # MSH-10 from version 2.7 on; 20 before
LONGEST_TYPE: Final = 40  # as the journal shows MSH-9; HL7's own codes have three characters each
LONGEST_SENDER: Final = 2 * 227 + 1  # MSH-3 and MSH-4

MOST_TERMS: Final = 50

Terms = Callable[[Message, str | None], Sequence[str]]
"""The numbers by which a message is found. It gets the message, and its state; None for an effect that was had."""

log = structlog.get_logger(__name__)


def no_terms(_message: Message, _state: str | None) -> Sequence[str]:
    """For a service without a search of messages."""
    return ()


@dataclass(slots=True)
class InboundHl7:
    """An incoming message. ``sender`` is ``MSH-3|MSH-4``; ``journal_id`` stays the same for a repeat."""

    message: Message
    raw: bytes
    sender: str
    control_id: str
    digest: bytes
    received_at: datetime
    journal_id: UUID = field(default_factory=contracts.uuid7)
    was_known: bool = False
    span: Span | None = None
    connection: int | None = None
    """The message's connection, by its number in this process; None for a kept message that is processed again."""
    edited_from: UUID | None = None
    """The kept message that a person edited into this one."""

    @classmethod
    def of(cls, raw: bytes, received_at: datetime) -> "InboundHl7":
        """Raises ``Hl7Error`` when the message is not HL7 or has no identity (MSH-3, MSH-10)."""
        raw = unwrapped(raw)
        message = Message.parse(raw)
        sender = _sender_of(message)
        control_id = message.control_id
        if not control_id:
            raise Hl7Error("101", "MSH-10", "the message control id is missing", part=message)
        if len(control_id) > LONGEST_CONTROL_ID or len(sender) > LONGEST_SENDER:
            where = "MSH-10" if len(control_id) > LONGEST_CONTROL_ID else "MSH-3"
            raise Hl7Error("104", where, "the value is longer than HL7 allows", part=message)
        if message.holds_escaped_nul:
            # Postgres refuses NUL in text: one such message would fail the claims of a whole batch.
            raise Hl7Error("102", "", "the message holds an escaped NUL character", part=message)
        return cls(message, raw, sender, control_id, hashlib.sha256(raw).digest(), received_at)

    @property
    def identity(self) -> tuple[str, str, bytes]:
        return (self.sender, self.control_id, self.digest)


_PIECE_BYTES = 2**20
_PUT_PIECE = "SELECT lo_put($1, $2, $3)"


async def _write_large(connection: "asyncpg.Connection", journal_id: UUID, raw: bytes) -> None:
    """Writes ``raw`` in the caller's transaction, in pieces. As one parameter it would be copied three times."""
    large_object = await connection.fetchval("SELECT lo_create(0)")
    view = memoryview(raw)
    for start in range(0, len(raw), _PIECE_BYTES):
        await connection.execute(_PUT_PIECE, large_object, start, view[start : start + _PIECE_BYTES])
    await connection.execute(statements.KEEP_LARGE, journal_id, large_object)
    await connection.execute("SELECT lo_unlink($1)", large_object)


class JournalIntake:
    """Claims messages in ``hl7_journal`` and records their outcomes there."""

    def __init__(self, metrics: Metrics, terms: Terms = no_terms) -> None:
        self._metrics = metrics
        self._terms = terms

    async def claim(
        self, connection: "asyncpg.Connection", items: Sequence[InboundHl7]
    ) -> Sequence[Duplicate | Held | None]:
        """The items of one call differ in identity."""
        rows = await connection.fetch(
            statements.CLAIM,
            [item.journal_id for item in items],
            [item.sender for item in items],
            [item.control_id for item in items],
            [item.digest for item in items],
            [_type_of(item.message) for item in items],
            [item.raw if len(item.raw) <= LARGE_BYTES else b"" for item in items],
            [item.received_at for item in items],
        )
        found = {(row["sender"], row["control_id"], row["digest"]): row for row in rows}
        claims: list[Duplicate | Held | None] = []
        for item in items:
            row = found[item.identity]
            item.journal_id, item.was_known = row["id"], row["known"]
            if len(item.raw) > LARGE_BYTES and not item.was_known:
                await _write_large(connection, item.journal_id, item.raw)
            if row["other_content"] and not row["known"]:
                self._metrics.count(meters.HL7_REPEATS, kind="other-content")
                log.warning("hl7.control-id-used-again", journal_id=str(row["id"]))
            is_repeat = row["known"] and row["state"] not in OPEN_STATES
            if is_repeat:
                self._metrics.count(meters.HL7_REPEATS, kind="same-content")
            claims.append(Duplicate() if is_repeat else None)
        return claims

    async def settle(
        self, transaction: Transaction, items: Sequence[InboundHl7], outcomes: Sequence[Outcome[object]]
    ) -> None:
        forgotten: list[UUID] = []
        kept: list[tuple[UUID, str, str | None, str | None, str | None, UUID | None]] = []
        for item, outcome in zip(items, outcomes, strict=True):
            if isinstance(outcome, Failed) and isinstance(outcome.error, Transient):
                forgotten.append(item.journal_id)
            elif isinstance(outcome, Failed | Done):
                state, reason, setting = _state_after(item, outcome)
                terms = self._terms(item.message, state)
                if state is not None or terms or item.edited_from is not None:
                    line = (state or "accepted", reason, setting, _joined(terms), item.edited_from)
                    kept.append((item.journal_id, *line))
                if item.edited_from is not None and state in {None, "replayed"}:
                    transaction.write(statements.REPLACED, item.edited_from)
        if forgotten:
            transaction.write(statements.FORGET, forgotten)
        if kept:
            transaction.write(statements.KEEP_OUTCOMES, *zip(*kept, strict=True))

    def key(self, item: InboundHl7) -> None:
        """Nothing is held back here: a connection's next message is read only after the ACK of the one before."""
        del item

    def traced(self, item: InboundHl7) -> AbstractContextManager[None]:
        """The span from the message's arrival to its acknowledgement."""
        return tracing.inside(item.span)


async def keep_rejected(
    store: Store, raw: bytes, error: Hl7Error, received_at: datetime, terms: Terms = no_terms
) -> None:
    """A journal line for a message that is not HL7, or has no identity. StoreUnavailable."""
    message = readable_part(error)
    digest = hashlib.sha256(raw).digest()
    sender = _sender_of(message) if message else "|"
    control_id = (message.control_id if message else "") or digest.hex()[:20]
    kind = _type_of(message) if message else "?"
    found = _joined(terms(message, "rejected")) if message else None
    identity = (contracts.uuid7(), *map(_storable, (sender, control_id)), digest, _storable(kind))
    with asking():
        if len(raw) <= LARGE_BYTES:
            await store.pool.execute(statements.REJECT, *identity, raw, str(error), received_at, found)
            return
        async with store.pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(statements.REJECT, *identity, b"", str(error), received_at, found)
            if not row["known"]:
                await _write_large(connection, row["id"], raw)


def _state_after(item: InboundHl7, outcome: Failed | Done[object]) -> tuple[str | None, str | None, str | None]:
    """The state to keep, with its reason and setting; no state where the claim's own, accepted, stands."""
    if isinstance(outcome, Failed):
        return _state_of(outcome.error)
    if isinstance(outcome.result, NeedsSetup):
        return _state_of(outcome.result)
    return ("replayed" if item.was_known else None), None, None


def _state_of(error: BaseException) -> tuple[str, str, str | None]:
    reason = reason_of(error)
    if isinstance(error, NeedsSetup):
        return "needs_setup", reason, error.setting
    return ("rejected" if isinstance(error, Malformed) else "failed"), reason, None


def _joined(terms: Sequence[str]) -> str | None:
    """The terms, one a line, as the statements take them; None for none."""
    one_line = (_storable(" ".join(term.split())) for term in terms[:MOST_TERMS])
    return "\n".join(filter(None, one_line)) or None


def _type_of(message: Message) -> str:
    return f"{message.type}^{message.trigger}"[:LONGEST_TYPE]


def _sender_of(message: Message) -> str:
    return f"{message.get('MSH-3.1') or ''}|{message.get('MSH-4.1') or ''}"


def _storable(text: str) -> str:
    """A header's value, fit for the journal: Postgres takes no NUL, and its indexes no long values."""
    return text.replace("\x00", "\ufffd")[:LONGEST_SENDER]
