"""HL7 in: the raw message and its effect are committed before the acknowledgement leaves.

Messages that arrive during a commit, on any connection, share the next transaction; each gets its own ACK (the batch
executor of the Kafka consumer). A repeat (same sender, MSH-10 and content) is acknowledged again without a second
effect. The same MSH-10 with other content is processed and counted. A message of more than 1 MiB takes several times
its size while it is read and written, so such messages are processed one at a time, read in a thread, and written in
pieces. The listener's budget of bytes bounds the waiting messages.

AA: committed. AR: malformed, or a permanent failure; kept in the journal with the reason. AE: a setting is missing
(kept, replayable), a bug (kept), or a passing failure such as a store that is down (nothing is kept, the sender comes
again).
"""

import asyncio
import os
import ssl as tls
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

import structlog

from chassis import failpoints
from chassis.clock import Clock, utc_now
from chassis.errors import Malformed, NeedsSetup, Permanent, StoreUnavailable, Transient, reason_of
from chassis.hl7 import answers as hl7_answers
from chassis.hl7.journal import LARGE_BYTES, InboundHl7, JournalIntake, Terms, keep_rejected, no_terms
from chassis.loops import LoopBase
from chassis.messaging import BatchExecutor, Failed, Held, Outcome
from chassis.observe import Metrics, meters, tracing
from chassis.store import Store, Transaction
from hl7v2 import AckCode, AckError, Hl7Error, Message, build_ack, readable_part
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
_LINE_BYTES = 64
"""Memory of a segment beside its own bytes."""
IDLE_TIMEOUT_SECONDS = 3600.0
BEAT_SECONDS = 1.0
DRAIN_SECONDS = 10
REFUSED_SECONDS = 15.0
"""How long a refusal counts when no further message comes: a refused sender comes again within this time."""
REFUSALS_SECONDS = 1.0
_REFUSALS: dict[EventName, str] = {
    "connection-refused": "connection",
    "busy": "busy",
    "frame-too-large": "too-large",
    "frame-too-slow": "too-slow",
}
_REFUSAL_CODES: dict[EventName, AckCode] = {"busy": "AE", "frame-too-large": "AR"}
W = TypeVar("W")
R = TypeVar("R")
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class MllpLimits:
    """Limits of a listener.

    ``max_message_bytes``: a larger message is answered AR. ``max_bytes_in_flight``: the bytes of all connections
    together; a message without room is answered AE. ``frame_timeout_seconds``: a message must end within this time
    after its first byte, plus a second for each 64 KiB. Above ``max_connections`` a new connection is closed at once.
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
        terms: Terms = no_terms,
    ) -> None:
        """``handle`` may return a ``NeedsSetup``: the message has its effect, and also waits for that setting.

        ``honours_wishes``: whether MSH-15 and MSH-16 decide the answer (``hl7_answers``). ``terms``: the numbers by
        which the journal finds a message.
        """
        super().__init__()
        self._terms = terms
        self._honours_wishes = honours_wishes
        self._store = store
        self._host, self._port, self._ssl = host, port, ssl
        self._limits = limits or MllpLimits()
        self._metrics = metrics
        self._large = asyncio.Lock()
        self._told_at: dict[EventName, float] = {}
        self._now = now
        for code in ("AA", "AE", "AR"):
            # an alarm detects the first event only if the counter was 0 before
            metrics.count(meters.HL7_RECEIVED, 0, code=code)
        for reason in _REFUSALS.values():
            metrics.count(meters.MLLP_REFUSED, 0, reason=reason)
        self.executor: BatchExecutor[InboundHl7, W, R] = BatchExecutor(
            store, intake=JournalIntake(metrics, terms), open_work=open_work, prefetch=prefetch, handle=handle
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
        """The port that the listener has bound."""
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
            # Without its committer the listener answers nobody. It closes the connections, so that partners connect
            # again.
            await self._server.close(drain_seconds=0 if committing.done() else DRAIN_SECONDS)
            if committing.done():
                committing.result()
        finally:
            committing.cancel()

    async def accept(self, raw: bytes, peer: Peer | None = None) -> bytes | None:
        """Takes one message and returns its acknowledgement; None when the sender wants none of this kind."""
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
            failpoints.hit(failpoints.INBOUND_AFTER_COMMIT_BEFORE_ACK)
            return self._answer(item.message, outcome)
        finally:
            if item.span is not None:
                item.span.end()

    def _refuse(self, event: Event) -> None:
        """Counts the server's own refusals, and logs at most one a second."""
        reason = _REFUSALS.get(event.name)
        if reason is None:
            return
        self._metrics.count(meters.MLLP_REFUSED, reason=reason)
        if code := _REFUSAL_CODES.get(event.name):
            self._metrics.count(meters.HL7_RECEIVED, code=code)
        now = time.monotonic()
        if now - self._told_at.get(event.name, -REFUSALS_SECONDS) >= REFUSALS_SECONDS:
            self._told_at[event.name] = now
            log.warning("mllp.refused", why=reason, peer_host=event.peer.host, size=event.size)

    def _show_load(self) -> None:
        if self._server is not None:
            self._metrics.set(meters.MLLP_CONNECTIONS, self._server.connections)
            self._metrics.set(meters.MLLP_BYTES_IN_FLIGHT, self._server.bytes_in_flight)

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
                failpoints.hit(failpoints.INBOUND_BEFORE_COMMIT)
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
            self._metrics.observe(meters.BATCH_MESSAGES, len(group))
            for waiting, outcome in zip(group, outcomes, strict=True):
                if not waiting.outcome.done():
                    waiting.outcome.set_result(outcome)
            del group, outcomes, waiting, outcome  # they would keep the messages in memory until others come

    def _next_group(self) -> list[_Waiting[R]]:
        """The waiting messages, in order. Of two copies of one message the second waits for the next group."""
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
        self._metrics.count(meters.HL7_RECEIVED, code=code)
        wanted = hl7_answers.wanted(request, code) if self._honours_wishes() else code
        if wanted is None:
            return None
        return build_ack(request, wanted, control_id=_control_id(), text=text, errors=errors).to_bytes()

    async def _reject(self, raw: bytes, error: Hl7Error, received_at: datetime) -> bytes:
        """Writes a journal line and answers AR; AE where the line cannot be written."""
        code: AckCode = "AR"
        try:
            await keep_rejected(self._store, raw, error, received_at, self._terms)
        except StoreUnavailable:
            code = "AE"
        self._metrics.count(meters.HL7_RECEIVED, code=code)
        errors = [error.as_ack_error()]
        answer = build_ack(readable_part(error), code, control_id=_control_id(), text=str(error), errors=errors)
        return answer.to_bytes()


def cost_bytes(raw: bytes) -> int:
    """The bytes that a message takes of the budget: its size, and more when it has many short lines."""
    return len(raw) + _LINE_BYTES * (raw.count(b"\r") + raw.count(b"\n"))


def refusal(error: BaseException) -> tuple[AckCode, str, tuple[AckError, ...]]:
    """The answer to an error: the code, the text, and the errors of the acknowledgement (table 0357)."""
    reason = reason_of(error)
    match error:
        case Malformed():
            return "AR", reason, (AckError(error.code, error.location, reason),)
        case NeedsSetup():
            text = f"{reason}; set {error.setting}"
            return "AE", text, (AckError("103", error.location, text),)
        case Permanent():
            return "AR", reason, (AckError("207", "", reason),)
        case _:
            return "AE", reason, (AckError("207", "", reason),)


def _control_id() -> str:
    """A new MSH-10: 20 characters, the limit of version 2.3.1."""
    return os.urandom(10).hex().upper()
