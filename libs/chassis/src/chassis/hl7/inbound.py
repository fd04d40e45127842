"""HL7 in: the raw message and its effect are committed before the acknowledgement leaves.

Messages of all connections that wait while a commit is in flight go into the next one together: one transaction, then
each its own ACK (the batch executor that Kafka's consumer runs on as well). A repeat (same sender and MSH-10, same
content) is acknowledged again without a second effect; the same MSH-10 with other content is processed and counted.

A message of more than 1 MiB takes several times its size while it is read and written, so these are processed one at a
time, read in a thread, and written in pieces; what waits is bounded by the listener's budget of bytes.

AA: committed. AR: malformed, or wrong for good; kept in the journal with the reason. AE: a setting is missing (kept,
replayable), a bug (kept), or not now, such as a store that is down (nothing is kept, the sender comes again).
"""

import asyncio
import hashlib
import os
import ssl as tls
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

import asyncpg
import structlog
from opentelemetry.trace import Span

import contracts
from chassis import failpoints
from chassis.clock import Clock, utc_now
from chassis.errors import Malformed, NeedsSetup, Permanent, StoreUnavailable, Transient, reason_of
from chassis.hl7 import answers as hl7_answers
from chassis.loops import LoopBase
from chassis.messaging import BatchExecutor, Done, Duplicate, Failed, Held, Outcome
from chassis.observe import Metrics, masking, tracing
from chassis.store import Store, Transaction, asking
from hl7v2 import AckCode, AckError, Hl7Error, Message, build_ack, readable_part, unwrapped
from hl7v2.mllp import (
    DEFAULT_MAX_BYTES_IN_FLIGHT,
    DEFAULT_MAX_FRAME_BYTES,
    Event,
    EventName,
    Peer,
    Server,
    start_server,
)

LARGEST_BATCH = 100
LARGEST_BATCH_BYTES = 4 * 2**20
LARGE_BYTES = 2**20
"""From here on a message is read in a thread, because it would hold up all others, and written in pieces."""
_LINE_BYTES = 64
"""What a segment costs in memory beside its own bytes."""
LONGEST_CONTROL_ID = 199  # MSH-10 from version 2.7 on; 20 before
LONGEST_TYPE = 40  # as the journal shows MSH-9; HL7's own are of three characters each
LONGEST_SENDER = 2 * 227 + 1  # MSH-3 and MSH-4
IDLE_TIMEOUT_SECONDS = 3600.0
BEAT_SECONDS = 1.0
STATES = ("accepted", "needs_setup", "failed", "rejected", "replayed", "dropped")
DRAIN_SECONDS = 10
REFUSED_SECONDS = 15.0
"""How long a refusal counts when no message has come since: senders that were refused come again within it."""
REFUSALS_SECONDS = 1.0
_REFUSALS: dict[EventName, str] = {
    "connection-refused": "connection",
    "busy": "busy",
    "frame-too-large": "too-large",
    "frame-too-slow": "too-slow",
}
_REFUSAL_CODES: dict[EventName, AckCode] = {"busy": "AE", "frame-too-large": "AR"}
_OPEN_STATES = frozenset({"needs_setup", "failed", "rejected"})
"""A message in one of these is processed again when its sender repeats it, or an operator replays it."""

W = TypeVar("W")
R = TypeVar("R")
log = structlog.get_logger(__name__)


@dataclass(slots=True)
class InboundHl7:
    """One message on its way in. ``sender`` is ``MSH-3|MSH-4``; ``journal_id`` stays the same when it is repeated."""

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
    """The connection of this process that it came over; None for one that was kept and is processed again."""

    @classmethod
    def of(cls, raw: bytes, received_at: datetime) -> "InboundHl7":
        """Raises ``Hl7Error`` when it is not HL7 or cannot be told from others (MSH-3, MSH-10)."""
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
            # Postgres takes no such value: the claims of a whole batch would fail on one message.
            raise Hl7Error("102", "", "the message holds an escaped NUL character", part=message)
        return cls(message, raw, sender, control_id, hashlib.sha256(raw).digest(), received_at)

    @property
    def identity(self) -> tuple[str, str, bytes]:
        return (self.sender, self.control_id, self.digest)


_CLAIM = """
INSERT INTO hl7_journal (id, sender, control_id, digest, type, raw, state, received_at, processed_at)
SELECT id, sender, control_id, digest, type, raw, 'accepted', received_at, clock_timestamp()
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::bytea[], $7::timestamptz[])
    AS asked (id, sender, control_id, digest, type, raw, received_at)
ORDER BY sender, control_id, digest
ON CONFLICT (sender, control_id, digest) DO UPDATE SET repeats = hl7_journal.repeats + 1
RETURNING id, sender, control_id, digest, state, repeats > 0 AS known, EXISTS (
    SELECT 1 FROM hl7_journal other
    WHERE other.sender = hl7_journal.sender AND other.control_id = hl7_journal.control_id
      AND other.digest <> hl7_journal.digest
) AS other_content
"""
_FORGET = "DELETE FROM hl7_journal WHERE id = ANY($1::uuid[]) AND repeats = 0"
_KEEP = """
UPDATE hl7_journal j SET state = k.state, reason = k.reason, setting = k.setting, processed_at = clock_timestamp()
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) AS k (id, state, reason, setting) WHERE j.id = k.id
"""
_REJECT = """
INSERT INTO hl7_journal (id, sender, control_id, digest, type, raw, state, reason, received_at, processed_at)
VALUES ($1, $2, $3, $4, $5, $6, 'rejected', $7, $8, clock_timestamp())
ON CONFLICT (sender, control_id, digest) DO UPDATE SET repeats = hl7_journal.repeats + 1
RETURNING id, repeats > 0 AS known
"""
_PIECE_BYTES = 2**20
_PUT_PIECE = "SELECT lo_put($1, $2, $3)"
_KEEP_LARGE = "UPDATE hl7_journal SET raw = lo_get($2) WHERE id = $1"


async def _write_large(connection: "asyncpg.Connection", journal_id: UUID, raw: bytes) -> None:
    """Writes ``raw`` in the caller's transaction. As one parameter it would be copied three times on its way."""
    large_object = await connection.fetchval("SELECT lo_create(0)")
    view = memoryview(raw)
    for start in range(0, len(raw), _PIECE_BYTES):
        await connection.execute(_PUT_PIECE, large_object, start, view[start : start + _PIECE_BYTES])
    await connection.execute(_KEEP_LARGE, journal_id, large_object)
    await connection.execute("SELECT lo_unlink($1)", large_object)


class JournalIntake:
    """Claims messages in ``hl7_journal`` and keeps there what became of them."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def claim(
        self, connection: "asyncpg.Connection", items: Sequence[InboundHl7]
    ) -> Sequence[Duplicate | Held | None]:
        """The items of one call differ in identity."""
        rows = await connection.fetch(
            _CLAIM,
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
                self._metrics.count("hl7_repeats_total", kind="other-content")
                log.warning("hl7.control-id-used-again", journal_id=str(row["id"]))
            is_repeat = row["known"] and row["state"] not in _OPEN_STATES
            if is_repeat:
                self._metrics.count("hl7_repeats_total", kind="same-content")
            claims.append(Duplicate() if is_repeat else None)
        return claims

    async def settle(
        self, transaction: Transaction, items: Sequence[InboundHl7], outcomes: Sequence[Outcome[object]]
    ) -> None:
        forgotten: list[UUID] = []
        kept: list[tuple[UUID, str, str | None, str | None]] = []
        for item, outcome in zip(items, outcomes, strict=True):
            if isinstance(outcome, Failed):
                if isinstance(outcome.error, Transient):
                    forgotten.append(item.journal_id)
                else:
                    kept.append((item.journal_id, *_state_of(outcome.error)))
            elif isinstance(outcome, Done) and isinstance(outcome.result, NeedsSetup):
                kept.append((item.journal_id, *_state_of(outcome.result)))
            elif isinstance(outcome, Done) and item.was_known:
                kept.append((item.journal_id, "replayed", None, None))
        if forgotten:
            transaction.write(_FORGET, forgotten)
        if kept:
            transaction.write(_KEEP, *zip(*kept, strict=True))

    def key(self, item: InboundHl7) -> None:
        """Nothing is held back here: a connection's next message is read only after the former's ACK."""
        del item

    def traced(self, item: InboundHl7) -> AbstractContextManager[None]:
        """The span that began when the message arrived and ends with its acknowledgement."""
        return tracing.inside(item.span)


def _state_of(error: BaseException) -> tuple[str, str, str | None]:
    reason = reason_of(error)
    if isinstance(error, NeedsSetup):
        return "needs_setup", reason, error.setting
    return ("rejected" if isinstance(error, Malformed) else "failed"), reason, None


@dataclass(frozen=True, slots=True)
class MllpLimits:
    """What a listener takes at most.

    ``max_message_bytes``: a larger message is answered AR. ``max_bytes_in_flight``: what all connections hold together;
    a message for which there is no room is answered AE. ``frame_timeout_seconds``: so soon a message that has begun
    must end, a second later for each 64 KiB of it. Above ``max_connections`` a new connection is closed at once.
    """

    max_message_bytes: int = DEFAULT_MAX_FRAME_BYTES
    max_bytes_in_flight: int = DEFAULT_MAX_BYTES_IN_FLIGHT
    max_connections: int = 2500
    frame_timeout_seconds: float = 60.0


@dataclass(slots=True)
class _Waiting(Generic[R]):
    item: InboundHl7
    outcome: "asyncio.Future[Outcome[R]]"


class Hl7Listener(LoopBase, Generic[W, R]):
    """An MLLP listener whose messages go through one batch executor."""

    def __init__(
        self,
        store: Store,
        *,
        host: str,
        port: int,
        open_work: Callable[[Transaction], W],
        prefetch: Callable[[W, Sequence[InboundHl7]], Awaitable[None]],
        handle: Callable[[W, InboundHl7], Awaitable[R]],
        metrics: Metrics,
        now: Clock = utc_now,
        ssl: tls.SSLContext | None = None,
        honours_wishes: Callable[[], bool] = lambda: True,
        limits: MllpLimits | None = None,
    ) -> None:
        """``handle`` may give back a ``NeedsSetup``: the message has its effect, and waits for that setting as well.

        ``honours_wishes``: whether MSH-15 and MSH-16 say how a message is answered (``hl7_answers``).
        """
        super().__init__()
        self._honours_wishes = honours_wishes
        self._store = store
        self._host, self._port, self._ssl = host, port, ssl
        self._limits = limits or MllpLimits()
        self._metrics = metrics
        self._large = asyncio.Lock()
        self._told_at: dict[EventName, float] = {}
        self._now = now
        for code in ("AA", "AE", "AR"):
            metrics.count("hl7_received_total", 0, code=code)  # an alarm sees the first one only if it was 0 before
        for reason in _REFUSALS.values():
            metrics.count("mllp_refused_total", 0, reason=reason)
        self.executor: BatchExecutor[InboundHl7, W, R] = BatchExecutor(
            store, intake=JournalIntake(metrics), open_work=open_work, prefetch=prefetch, handle=handle
        )
        self._queue: deque[_Waiting[R]] = deque()
        self._arrived = asyncio.Event()
        self._server: Server | None = None
        self._refused: tuple[StoreUnavailable, float] | None = None

    async def check(self) -> None:
        """For readiness. Raises when the store did not take the newest messages, such as on a full disk."""
        if self._refused is not None and time.monotonic() - self._refused[1] < REFUSED_SECONDS:
            raise StoreUnavailable(f"messages are answered AE: {self._refused[0].reason}")

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._server.port if self._server is not None else self._port

    async def run(self) -> None:
        """Listens and commits until stopped; then answers what has arrived and closes the connections."""
        committing = asyncio.create_task(self._commit_groups())
        try:
            self._server = await start_server(
                self.accept,
                self._host,
                self._port,
                ssl=self._ssl,
                max_frame_bytes=self._limits.max_message_bytes,
                idle_timeout_seconds=IDLE_TIMEOUT_SECONDS,
                frame_timeout_seconds=self._limits.frame_timeout_seconds,
                max_connections=self._limits.max_connections,
                max_bytes_in_flight=self._limits.max_bytes_in_flight,
                cost_bytes=cost_bytes,
                on_event=self._refuse,
            )
            log.info("hl7.listening", port=self.port)
            stopping = asyncio.ensure_future(self._stopping.wait())
            await asyncio.wait({stopping, committing}, return_when=asyncio.FIRST_COMPLETED)
            # Without its committer nobody would be answered: then cut off, so that partners come again.
            await self._server.close(drain_seconds=0 if committing.done() else DRAIN_SECONDS)
            if committing.done():
                committing.result()
        finally:
            committing.cancel()

    async def accept(self, raw: bytes, peer: Peer | None = None) -> bytes | None:
        """One message in, its acknowledgement out; None when its sender wants none of this kind."""
        received_at = self._now()
        if len(raw) <= LARGE_BYTES:
            try:
                item = self._read(raw, received_at, peer)
            except Hl7Error as error:
                return await self._reject(raw, error, received_at)
            return await self._process(item)
        async with self._large:
            try:
                item = await asyncio.to_thread(self._read, raw, received_at, peer)
            except Hl7Error as error:
                return await self._reject(raw, error, received_at)
            return await self._process(item)

    def _read(self, raw: bytes, received_at: datetime, peer: Peer | None) -> InboundHl7:
        item = InboundHl7.of(raw, received_at)
        if self._honours_wishes():
            hl7_answers.check(item.message)
        item.connection = None if peer is None else peer.connection
        return item

    async def _process(self, item: InboundHl7) -> bytes | None:
        item.span = tracing.begin("receive hl7v2", tracing.SpanKind.SERVER, {"hl7v2.journal_id": str(item.journal_id)})
        try:
            waiting = _Waiting[R](item, asyncio.get_running_loop().create_future())
            self._queue.append(waiting)
            self._arrived.set()
            outcome = await waiting.outcome
            if isinstance(outcome, Failed):
                tracing.failed(item.span, outcome.error)
            failpoints.hit("inbound.after-commit-before-ack")
            return self._answer(item.message, outcome)
        finally:
            if item.span is not None:
                item.span.end()

    def _refuse(self, event: Event) -> None:
        """What the server refuses by itself is counted, and logged once a second at most."""
        reason = _REFUSALS.get(event.name)
        if reason is None:
            return
        self._metrics.count("mllp_refused_total", reason=reason)
        if code := _REFUSAL_CODES.get(event.name):
            self._metrics.count("hl7_received_total", code=code)
        now = time.monotonic()
        if now - self._told_at.get(event.name, -REFUSALS_SECONDS) >= REFUSALS_SECONDS:
            self._told_at[event.name] = now
            log.warning("mllp.refused", why=reason, peer_host=event.peer.host, size=event.size)

    def _show_load(self) -> None:
        if self._server is not None:
            self._metrics.set("mllp_connections", self._server.connections)
            self._metrics.set("mllp_bytes_in_flight", self._server.bytes_in_flight)

    async def _commit_groups(self) -> None:
        while True:
            self._show_load()
            if not self._queue:
                self.beat()
                self._arrived.clear()
                try:
                    await asyncio.wait_for(self._arrived.wait(), BEAT_SECONDS)
                except TimeoutError:
                    continue
            group = self._next_group()
            try:
                failpoints.hit("inbound.before-commit")
                outcomes: Sequence[Outcome[R]] = await self.executor.run([waiting.item for waiting in group])
                self._refused = None
            except Transient as error:
                if isinstance(error, StoreUnavailable):
                    self._refused = (error, time.monotonic())
                outcomes = [Failed(error)] * len(group)
            except Exception as error:
                log.exception("hl7.batch-failed")
                outcomes = [Failed(error)] * len(group)
            self.beat()
            self._metrics.observe("batch_messages", len(group))
            for waiting, outcome in zip(group, outcomes, strict=True):
                if not waiting.outcome.done():
                    waiting.outcome.set_result(outcome)
            del group, outcomes, waiting, outcome  # they would hold the messages until others come

    def _next_group(self) -> list[_Waiting[R]]:
        """What waits, in order; of two copies of one message the second waits for the next group."""
        group: list[_Waiting[R]] = []
        later: list[_Waiting[R]] = []
        seen = set()
        left_bytes = LARGEST_BATCH_BYTES
        while self._queue and len(group) < LARGEST_BATCH:
            waiting = self._queue.popleft()
            if waiting.item.identity in seen:
                later.append(waiting)
                continue
            left_bytes -= len(waiting.item.raw)
            if left_bytes < 0 and group:
                self._queue.appendleft(waiting)
                break
            seen.add(waiting.item.identity)
            group.append(waiting)
        self._queue.extendleft(reversed(later))
        return group

    def _answer(self, request: Message, outcome: Outcome[R]) -> bytes | None:
        code: AckCode = "AA"
        text: str | None = None
        errors: tuple[AckError, ...] = ()
        if isinstance(outcome, Failed):
            code, text, errors = refusal(outcome.error)
        elif isinstance(outcome, Held):
            code, text = "AE", "an earlier message of the same key waits"
        self._metrics.count("hl7_received_total", code=code)
        wanted = hl7_answers.wanted(request, code) if self._honours_wishes() else code
        if wanted is None:
            return None
        return build_ack(request, wanted, control_id=_control_id(), text=text, errors=errors).to_bytes()

    async def _reject(self, raw: bytes, error: Hl7Error, received_at: datetime) -> bytes:
        """A line in the journal and AR; AE where the line cannot be written."""
        message = readable_part(error)
        code: AckCode = "AR"
        digest = hashlib.sha256(raw).digest()
        sender = _sender_of(message) if message else "|"
        control_id = (message.control_id if message else "") or digest.hex()[:20]
        kind = _type_of(message) if message else "?"
        identity = (contracts.uuid7(), *map(_storable, (sender, control_id)), digest, _storable(kind))
        try:
            with asking():
                await self._keep_rejected(identity, raw, str(error), received_at)
        except StoreUnavailable:
            code = "AE"
        self._metrics.count("hl7_received_total", code=code)
        answer = build_ack(message, code, control_id=_control_id(), text=str(error), errors=[error.as_ack_error()])
        return answer.to_bytes()

    async def _keep_rejected(self, identity: tuple[Any, ...], raw: bytes, reason: str, received_at: datetime) -> None:
        if len(raw) <= LARGE_BYTES:
            await self._store.pool.execute(_REJECT, *identity, raw, reason, received_at)
            return
        async with self._store.pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(_REJECT, *identity, b"", reason, received_at)
            if not row["known"]:
                await _write_large(connection, row["id"], raw)


def cost_bytes(raw: bytes) -> int:
    """What a message takes of the budget: its bytes, and more where it is made of many short lines."""
    return len(raw) + _LINE_BYTES * (raw.count(b"\r") + raw.count(b"\n"))


def _type_of(message: Message) -> str:
    return f"{message.type}^{message.trigger}"[:LONGEST_TYPE]


def _sender_of(message: Message) -> str:
    return f"{message.get('MSH-3.1') or ''}|{message.get('MSH-4.1') or ''}"


def _storable(text: str) -> str:
    """What the journal shows of a header that cannot be taken: Postgres takes no NUL, its indexes no long values."""
    return text.replace("\x00", "\ufffd")[:LONGEST_SENDER]


def refusal(error: BaseException) -> tuple[AckCode, str, tuple[AckError, ...]]:
    """How an error is answered: the code, the text, and the errors of the acknowledgement (table 0357)."""
    reason = reason_of(error)
    match error:
        case Malformed():
            return "AR", reason, (AckError(error.code, error.location, reason),)
        case NeedsSetup():
            text = f"{reason}; set {error.setting}"
            return "AE", text, (AckError("103", "", text),)
        case Permanent():
            return "AR", reason, (AckError("207", "", reason),)
        case _:
            return "AE", reason, (AckError("207", "", reason),)


def _control_id() -> str:
    """An MSH-10 of ours: 20 characters, which is what version 2.3.1 allows."""
    return os.urandom(10).hex().upper()


# ---- the operator's hand ------------------------------------------------------------------------------------------

_LIST = """
SELECT id, sender, control_id, type, state, reason, setting, repeats, received_at, processed_at, length(raw) AS bytes
FROM hl7_journal WHERE ($1::text[] IS NULL OR state = ANY($1)) ORDER BY received_at DESC LIMIT $2
"""


async def list_journal(store: Store, *, states: Sequence[str] | None, limit: int) -> list[Any]:
    """The newest messages with what became of them; no content, and of their headers only what is a code."""
    return [masking.listed(row) for row in await store.pool.fetch(_LIST, list(states) if states else None, limit)]


async def replay(store: Store, executor: BatchExecutor[InboundHl7, Any, Any], journal_id: UUID, *, actor: str) -> str:
    """Processes a kept message again. Returns what came of it in words. Audited.

    Raises ``KeyError`` when there is no such message, or none that waits.
    """
    row = await store.pool.fetchrow("SELECT raw, received_at, state FROM hl7_journal WHERE id = $1", journal_id)
    if row is None or row["state"] not in _OPEN_STATES:
        raise KeyError(str(journal_id))
    item = InboundHl7.of(bytes(row["raw"]), row["received_at"])
    try:
        (outcome,) = await executor.run([item])
    except StoreUnavailable as error:
        outcome = Failed(error)
    words = f"failed: {reason_of(outcome.error)}" if isinstance(outcome, Failed) else "processed"
    async with store.pool.acquire() as connection, connection.transaction():
        transaction = Transaction(connection)
        transaction.audit(actor=actor, action="hl7.replay", subject=str(journal_id), detail={"outcome": words})
        await transaction.flush()
    return words
