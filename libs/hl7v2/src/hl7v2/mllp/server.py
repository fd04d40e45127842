"""An MLLP server. The frames of one connection are handled in order; connections do not wait for each other.

All connections share one budget of bytes for frames that arrive, wait or are being handled. A frame above the budget is
dropped as it comes and answered AE, so that its sender repeats it. Ordinary messages have a reserved share of the
budget.
"""

import asyncio
import ssl as tls
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal, Self, TypeAlias, cast

from hl7v2.ack import AckCode, build_ack
from hl7v2.errors import AckError, Hl7Error
from hl7v2.message import Message
from hl7v2.mllp.budget import DEFAULT_MAX_BYTES_IN_FLIGHT, FREE_BYTES, Budget
from hl7v2.mllp.framing import DEFAULT_MAX_FRAME_BYTES, FrameReader, Oversized, Piece, Unfinished, frame
from hl7v2.mllp.sockets import keep_alive

_MAX_WAITING_FRAMES: Final = 64
_MAX_JUNK_BYTES: Final = 2**20
_BARE_FS_GRACE_SECONDS: Final = 0.25
_TOO_LARGE: Final = AckError("104", text="the message is larger than the receiver's limit")
_BUSY: Final = AckError("207", text="the receiver has no room for a message of this size now: send it again later")
_SWEEP_SECONDS: Final = 1.0
_SLOWEST_BYTES_PER_SECOND: Final = 64 * 2**10
"""A frame may take one second longer for each such number of bytes received."""

EventName: TypeAlias = Literal[
    "connected",
    "disconnected",
    "idle",  # closed: nothing came for idle_timeout_seconds
    "junk",  # bytes outside frames; closed after 1 MiB of them without a frame
    "frame-unfinished",  # a frame had no end before the next began; it is not acknowledged
    "frame-too-large",  # refused with AR
    "frame-too-slow",  # closed: the frame did not end in time
    "busy",  # refused with AE: the connections already hold their limit of bytes
    "connection-refused",  # closed at once: the limit of connections is reached
    "handler-failed",  # closed without an acknowledgement, so that the sender repeats
    "answer-not-taken",  # closed: the partner does not read its answers
]


@dataclass(frozen=True, slots=True)
class Peer:
    """The partner of a connection; ``common_name`` is of its certificate with mutual TLS."""

    host: str
    port: int
    connection: int
    common_name: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """Something on a connection that an operator may want to count or see. Holds no message content."""

    name: EventName
    peer: Peer
    size: int = 0
    error: Exception | None = None


Handler: TypeAlias = Callable[[bytes, Peer], Awaitable[bytes | None]]
OnEvent: TypeAlias = Callable[[Event], None]


class Server:
    """A listening server; made by ``start_server``."""

    def __init__(self, settings: "_Settings") -> None:
        self._settings = settings
        self._connections: set[_Connection] = set()
        self._listener: asyncio.Server | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._count = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def port(self) -> int:
        """The listening port (useful after asking for port 0)."""
        assert self._listener is not None  # noqa: S101  # start_server has set it
        port: int = self._listener.sockets[0].getsockname()[1]
        return port

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return len(self._connections)

    @property
    def bytes_in_flight(self) -> int:
        """Bytes that all connections hold: frames that arrive, wait or are being handled."""
        return self._settings.budget.used_bytes

    async def close(self, drain_seconds: float = 30) -> None:
        """Stop listening and reading, answer every frame that has arrived whole, then close the connections.

        Connections that are not finished after ``drain_seconds`` are cut off without an acknowledgement.
        """
        if self._listener is not None:
            self._listener.close()
        if self._sweep is not None:
            self._sweep.cancel()
        drains = [asyncio.ensure_future(connection.drain()) for connection in self._connections]
        if drains:
            await asyncio.wait(drains, timeout=drain_seconds)
            for connection in list(self._connections):
                connection.cut_off()
            await asyncio.gather(*drains)

    async def listen(self, host: str, port: int, ssl: tls.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            lambda: self._connect(loop), host, port, ssl=ssl, backlog=1024, reuse_address=True
        )
        self._look_for_slow_frames(loop)

    def _look_for_slow_frames(self, loop: asyncio.AbstractEventLoop) -> None:
        for connection in self._connections:
            connection.check_pace()
        pause = min(_SWEEP_SECONDS, self._settings.frame_timeout_seconds / 4)
        self._sweep = loop.call_later(pause, self._look_for_slow_frames, loop)

    def _connect(self, loop: asyncio.AbstractEventLoop) -> "_Connection":
        self._count += 1
        return _Connection(loop, self._settings, self._connections, self._count)


async def start_server(
    handler: Handler,
    host: str,
    port: int,
    *,
    ssl: tls.SSLContext | None = None,
    max_frame_bytes: int = DEFAULT_MAX_FRAME_BYTES,
    idle_timeout_seconds: float = 300,
    frame_timeout_seconds: float = 60,
    max_connections: int = 2500,
    max_bytes_in_flight: int = DEFAULT_MAX_BYTES_IN_FLIGHT,
    cost_bytes: Callable[[bytes], int] = len,
    on_event: OnEvent | None = None,
) -> Server:
    """Listen for MLLP.

    ``handler`` gets each frame's content and returns the content to answer with, or None for no answer. A handler that
    raises closes its connection without an answer: only the handler may acknowledge.

    A frame above ``max_frame_bytes`` is answered with AR, and a frame for which ``max_bytes_in_flight`` has no room
    with AE; the handler sees neither. ``cost_bytes`` says how many of these bytes a waiting or handled frame takes. A
    frame must end within ``frame_timeout_seconds`` and one second for each 64 KiB of it. ``on_event`` must not raise.
    """
    server = Server(
        _Settings(
            handler,
            max_frame_bytes,
            idle_timeout_seconds,
            frame_timeout_seconds,
            max_connections,
            Budget(max_bytes_in_flight),
            cost_bytes,
            on_event or _ignore,
        )
    )
    await server.listen(host, port, ssl)
    return server


def _ignore(_: Event) -> None:
    """Events without a listener are dropped."""


@dataclass(frozen=True, slots=True)
class _Settings:
    handler: Handler
    max_frame_bytes: int
    idle_timeout_seconds: float
    frame_timeout_seconds: float
    max_connections: int
    budget: Budget
    cost_bytes: Callable[[bytes], int]
    on_event: OnEvent


class _Connection(asyncio.Protocol):
    def __init__(
        self, loop: asyncio.AbstractEventLoop, settings: _Settings, connections: set["_Connection"], number: int
    ) -> None:
        self._loop = loop
        self._settings = settings
        self._connections = connections
        self._number = number
        self._reader = FrameReader(settings.max_frame_bytes)
        self._budget = settings.budget
        self._waiting: deque[tuple[Piece, int]] = deque()
        """Each piece with its bytes in the budget, until it is handled."""
        self._waiting_bytes = 0
        self._held_bytes = 0
        """Bytes that the budget counts for this connection."""
        self._frame_began_at: float | None = None
        self._wake: asyncio.Future[None] | None = None
        self._lost: asyncio.Future[None] = loop.create_future()
        self._writable: asyncio.Future[None] | None = None
        self._last_activity = loop.time()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._is_ending = False
        self._is_over = False
        self._is_paused = False
        self._is_busy = False
        self._junk_bytes = 0
        self._junk_bytes_before = 0
        """The value of ``_junk_bytes`` when the last frame had come."""

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # No isinstance check: uvloop has its own transport classes.
        self._transport = cast("asyncio.Transport", transport)
        name = transport.get_extra_info("peername") or ("", 0)
        self._peer = Peer(str(name[0]), int(name[1]), self._number, _common_name(self._transport))
        if len(self._connections) >= self._settings.max_connections:
            self._transport.set_protocol(asyncio.Protocol())
            self._transport.abort()
            self._report("connection-refused")
            return
        keep_alive(transport)
        self._connections.add(self)
        self._task = self._loop.create_task(self._work())
        self._timers["idle"] = self._loop.call_later(self._settings.idle_timeout_seconds, self._check_idle)
        self._report("connected")

    def data_received(self, data: bytes) -> None:
        if self._is_over:
            return
        self._last_activity = self._loop.time()
        if grace := self._timers.pop("grace", None):
            grace.cancel()
        reader = self._reader
        pieces = reader.feed(data)
        if reader.junk_bytes > self._junk_bytes:
            self._report("junk", size=reader.junk_bytes - self._junk_bytes)
            self._junk_bytes = reader.junk_bytes
        if pieces:
            self._junk_bytes_before = self._junk_bytes
            self._enqueue(pieces)
        elif self._junk_bytes - self._junk_bytes_before > _MAX_JUNK_BYTES:
            self._transport.abort()
        if not reader.is_in_frame:
            self._frame_began_at = None
        else:
            if pieces or self._frame_began_at is None:
                self._frame_began_at = self._last_activity
            self._hold()
        if reader.ends_in_bare_fs:
            self._timers["grace"] = self._loop.call_later(
                _BARE_FS_GRACE_SECONDS, lambda: self._enqueue(self._reader.flush_bare_fs())
            )
        elif reader.discarded_bytes > 4 * self._settings.max_frame_bytes:
            self._report("frame-too-large", size=reader.discarded_bytes)
            self._transport.abort()

    def eof_received(self) -> bool:
        """Keep the connection open for the answers to frames that have arrived."""
        if self._is_over:
            return False
        self._enqueue(self._reader.flush_bare_fs())
        self._end()
        return self._transport.get_extra_info("ssl_object") is None

    def connection_lost(self, _: Exception | None) -> None:
        for timer in self._timers.values():
            timer.cancel()
        # Whole frames are still handled: some senders do not wait for their answers.
        self._reader = FrameReader(self._settings.max_frame_bytes)
        self._frame_began_at = None
        self._count_held()
        self._end()
        self.resume_writing()
        self._lost.set_result(None)
        self._report("disconnected")

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    # Called by the server.

    async def drain(self) -> None:
        """Answer the frames that have arrived whole, then close."""
        if not self._is_paused and not self._transport.is_closing():
            self._transport.pause_reading()
        self._end()
        await asyncio.wait([self._task, self._lost])

    def cut_off(self) -> None:
        """Close without answering the frame that is being handled."""
        self._transport.abort()
        self._task.cancel()

    def check_pace(self) -> None:
        """Close when the current frame takes too long."""
        if self._frame_began_at is None or self._is_paused:
            return
        size = self._reader.buffered_bytes + self._reader.discarded_bytes
        allowed = self._settings.frame_timeout_seconds + size / _SLOWEST_BYTES_PER_SECOND
        if self._loop.time() - self._frame_began_at > allowed:
            self._report("frame-too-slow", size=size)
            self._transport.abort()

    # Handling of frames.

    async def _work(self) -> None:
        try:
            while await self._has_next():
                piece, cost = self._waiting.popleft()
                self._is_busy = True
                is_going_on = await self._handle(piece)
                del piece
                self._is_busy = False
                self._last_activity = self._loop.time()
                if not is_going_on:
                    break
                self._resume_reading(cost)
        except asyncio.CancelledError:
            pass
        finally:
            self._is_busy = False
            self._let_go_of_all()
            self._transport.close()
            self._connections.discard(self)

    async def _has_next(self) -> bool:
        while not self._waiting:
            if self._is_ending:
                return False
            self._wake = self._loop.create_future()
            await self._wake
        return True

    async def _handle(self, piece: Piece) -> bool:
        """Handle one piece; False when the connection must end."""
        if isinstance(piece, Unfinished):
            self._report("frame-unfinished", size=piece.size)
            return True
        if isinstance(piece, Oversized):
            is_too_large = piece.size > self._settings.max_frame_bytes
            self._report("frame-too-large" if is_too_large else "busy", size=piece.size)
            answer = frame(_refusal(piece, is_final=is_too_large))
        else:
            try:
                content = await self._settings.handler(piece, self._peer)
                answer = b"" if content is None else frame(content)
            except Exception as error:  # noqa: BLE001  # whatever it is, the sender must not take it for an answer
                self._report("handler-failed", error=error)
                return False
        if answer and not self._transport.is_closing():
            self._transport.write(answer)
        return await self._written()

    async def _written(self) -> bool:
        if self._writable is None:
            return True
        try:
            async with asyncio.timeout(self._settings.idle_timeout_seconds):
                await asyncio.shield(self._writable)
        except TimeoutError:
            self._report("answer-not-taken")
            self._transport.abort()
            return False
        return True

    def _enqueue(self, pieces: list[Piece]) -> None:
        of_others = self._budget.used_bytes - self._held_bytes
        for piece in pieces:
            cost = 0
            if isinstance(piece, bytes):
                cost = self._settings.cost_bytes(piece)
                would_hold = self._waiting_bytes + cost
                if would_hold > FREE_BYTES and of_others + would_hold > self._budget.limit_for(cost):
                    piece, cost = Oversized.of(piece), 0  # noqa: PLW2901  # takes its place in the order of answers
            self._waiting.append((piece, cost))
            self._waiting_bytes += cost
        self._count_held()
        if not self._is_paused and (
            len(self._waiting) > _MAX_WAITING_FRAMES or self._waiting_bytes > self._settings.max_frame_bytes
        ):
            self._is_paused = True
            self._transport.pause_reading()
        self._wake_up()

    def _hold(self) -> None:
        """Count the unfinished frame; drop it when there is no room for it."""
        self._count_held()
        size = self._reader.buffered_bytes
        if self._held_bytes > FREE_BYTES and self._budget.used_bytes > self._budget.limit_for(size):
            self._reader.drop()
            self._count_held()

    def _let_go_of_all(self) -> None:
        """Stop handling; bytes that still arrive before the connection is lost are dropped."""
        self._is_over = True
        self._waiting.clear()
        self._waiting_bytes = 0
        self._reader = FrameReader(self._settings.max_frame_bytes)
        self._count_held()

    def _count_held(self) -> None:
        held = self._waiting_bytes + self._reader.buffered_bytes
        self._budget.used_bytes += held - self._held_bytes
        self._held_bytes = held

    def _resume_reading(self, done_bytes: int) -> None:
        self._waiting_bytes -= done_bytes
        self._count_held()
        if not self._is_paused or self._is_ending:
            return
        if len(self._waiting) <= _MAX_WAITING_FRAMES // 2 and self._waiting_bytes <= self._settings.max_frame_bytes:
            self._is_paused = False
            if self._frame_began_at is not None:
                self._frame_began_at = self._loop.time()
            self._transport.resume_reading()

    def _end(self) -> None:
        self._is_ending = True
        self._wake_up()

    def _wake_up(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _check_idle(self) -> None:
        idle_seconds = 0.0 if self._is_busy or self._waiting else self._loop.time() - self._last_activity
        remaining = self._settings.idle_timeout_seconds - idle_seconds
        if remaining <= 0:
            self._report("idle")
            self._transport.abort()
        else:
            self._timers["idle"] = self._loop.call_later(remaining, self._check_idle)

    def _report(self, name: EventName, *, size: int = 0, error: Exception | None = None) -> None:
        self._settings.on_event(Event(name, self._peer, size, error))


def _refusal(oversized: Oversized, *, is_final: bool) -> bytes:
    """AR for a frame above the limit, AE for a frame to repeat; addressed by the part of its MSH that arrived."""
    header = oversized.head.replace(b"\n", b"\r").split(b"\r", 1)[0]
    try:
        request: Message | None = Message.parse(header, require_header=False)
    except Hl7Error:
        request = None
    code: AckCode = "AR" if is_final else "AE"
    error = _TOO_LARGE if is_final else _BUSY
    return build_ack(request, code, control_id=uuid.uuid4().hex[:20], text=error.text, errors=[error]).to_bytes()


def _common_name(transport: asyncio.Transport) -> str | None:
    certificate = transport.get_extra_info("peercert") or {}
    for attributes in certificate.get("subject", ()):
        for key, value in attributes:
            if key == "commonName":
                return str(value)
    return None
