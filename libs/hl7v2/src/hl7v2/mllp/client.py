"""An MLLP client: one connection, one message in flight, its acknowledgement matched by MSA-2."""

import asyncio
import ssl as tls
from typing import Final, Self, cast

from hl7v2.ack import Ack, parse_ack
from hl7v2.errors import Hl7Error
from hl7v2.mllp.errors import AckMismatch, AckTimeout, ConnectionLost
from hl7v2.mllp.framing import FrameReader, Piece, frame
from hl7v2.mllp.sockets import keep_alive

_MAX_ACK_BYTES: Final = 2**20
_BARE_FS_GRACE_SECONDS: Final = 0.25


class Client:
    """Sends to one partner.

    Connects when there is something to send, and again after a connection was lost. Messages are sent one after
    another; several tasks may call ``send``. The client never sends a message twice: the caller decides whether and
    when to repeat it, under the same control id.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        ssl: tls.SSLContext | None = None,
        server_hostname: str | None = None,
        connect_timeout_seconds: float = 5,
        ack_timeout_seconds: float = 30,
    ) -> None:
        self._host = host
        self._port = port
        self._ssl = ssl
        self._server_hostname = server_hostname
        self._connect_timeout_seconds = connect_timeout_seconds
        self._ack_timeout_seconds = ack_timeout_seconds
        self._turn = asyncio.Lock()
        self._connection: _Connection | None = None
        self._is_closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def is_connected(self) -> bool:
        """Whether a connection is open."""
        return self._connection is not None and self._connection.is_open

    async def send(self, message: bytes, *, control_id: str) -> Ack:
        """Send one message (without frame) and return its acknowledgement, whichever of the six codes it has.

        ``control_id`` is the message's MSH-10. Raises ConnectionLost, AckTimeout, AckMismatch. Each of these closes the
        connection, so that an answer that comes too late is lost with it.
        """
        framed = frame(message)
        async with self._turn:
            if self._is_closed:
                raise ConnectionLost("the client is closed", may_have_arrived=False)
            connection = await self._connected()
            try:
                answer = await connection.exchange(framed, self._ack_timeout_seconds)
                return _matched(answer, control_id)
            except BaseException:
                # A cancelled exchange also closes the connection: its answer may still come.
                self._drop(connection)
                raise

    async def write(self, message: bytes) -> None:
        """Write one message (without frame) to a partner that sends no acknowledgement.

        Returns when the operating system has taken every byte. Whatever the partner answers is dropped. Raises
        ConnectionLost, AckTimeout: the partner takes no bytes for the time of an acknowledgement.
        """
        framed = frame(message)
        async with self._turn:
            if self._is_closed:
                raise ConnectionLost("the client is closed", may_have_arrived=False)
            connection = await self._connected()
            try:
                await connection.write(framed, self._ack_timeout_seconds)
            except BaseException:
                self._drop(connection)
                raise

    async def close(self) -> None:
        """Wait until the message in flight is answered or times out, then close the connection."""
        self._is_closed = True
        async with self._turn:
            if self._connection is not None:
                connection, self._connection = self._connection, None
                await connection.close()

    async def _connected(self) -> "_Connection":
        if self._connection is not None and self._connection.is_open:
            return self._connection
        self._connection = None
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_timeout_seconds):
                _, connection = await loop.create_connection(
                    lambda: _Connection(loop),
                    self._host,
                    self._port,
                    ssl=self._ssl,
                    server_hostname=self._server_hostname,
                )
        except TimeoutError as error:
            raise ConnectionLost("the partner did not accept a connection in time", may_have_arrived=False) from error
        except OSError as error:
            raise ConnectionLost(f"no connection to the partner: {error}", may_have_arrived=False) from error
        self._connection = connection
        return connection

    def _drop(self, connection: "_Connection") -> None:
        connection.abort()
        if self._connection is connection:
            self._connection = None


def _matched(answer: bytes, control_id: str) -> Ack:
    try:
        ack = parse_ack(answer)
    except Hl7Error as error:
        raise AckMismatch(
            f"the answer is no acknowledgement ({error.location or 'MSH'})", may_have_arrived=True
        ) from error
    if ack.control_id.strip() != control_id.strip():
        raise AckMismatch("MSA-2 of the answer is not MSH-10 of the message", may_have_arrived=True)
    return ack


class _Connection(asyncio.Protocol):
    """One TCP connection. An unexpected answer closes it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._reader = FrameReader(_MAX_ACK_BYTES)
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[bytes] | None = None
        self._closed = loop.create_future()
        self._written: asyncio.Future[None] | None = None
        self._is_deaf = False
        self._grace: asyncio.TimerHandle | None = None

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def exchange(self, framed: bytes, timeout_seconds: float) -> bytes:
        transport = self._transport
        if transport is None or transport.is_closing():
            raise ConnectionLost("the connection has ended", may_have_arrived=False)
        self._answer = self._loop.create_future()
        transport.write(framed)
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._answer
        except TimeoutError:
            raise AckTimeout(f"no acknowledgement within {timeout_seconds} s", may_have_arrived=True) from None
        finally:
            self._answer = None

    async def write(self, framed: bytes, timeout_seconds: float) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            raise ConnectionLost("the connection has ended", may_have_arrived=False)
        self._is_deaf = True
        transport.set_write_buffer_limits(high=0)
        transport.write(framed)
        if self._written is None and not transport.get_write_buffer_size():
            return
        self._written = self._written or self._loop.create_future()
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._written
        except TimeoutError:
            raise AckTimeout(f"the partner took no bytes for {timeout_seconds} s", may_have_arrived=True) from None
        finally:
            self._written = None

    async def close(self) -> None:
        if self._transport is not None:
            if self._is_deaf and self._transport.can_write_eof():
                # A close with answers unread would reset the connection, and lose what the partner has not read yet.
                self._transport.write_eof()
            else:
                self._transport.close()
            try:
                async with asyncio.timeout(5):
                    await asyncio.shield(self._closed)
            except TimeoutError:
                self._transport.abort()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # No isinstance check: uvloop has its own transport classes.
        self._transport = cast("asyncio.Transport", transport)
        keep_alive(transport)

    def pause_writing(self) -> None:
        if self._written is None:
            self._written = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._written is not None and not self._written.done():
            self._written.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
        self._take(self._reader.feed(data))
        if self._reader.discarded_bytes:
            self.abort()
        elif self._reader.ends_in_bare_fs:
            self._grace = self._loop.call_later(
                _BARE_FS_GRACE_SECONDS, lambda: self._take(self._reader.flush_bare_fs())
            )

    def connection_lost(self, _: Exception | None) -> None:
        if self._grace is not None:
            self._grace.cancel()
        self._take(self._reader.flush_bare_fs())
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(
                ConnectionLost("the connection ended before the acknowledgement", may_have_arrived=True)
            )
        if self._written is not None and not self._written.done():
            self._written.set_exception(
                ConnectionLost("the connection ended before the message was written", may_have_arrived=True)
            )
        if not self._closed.done():
            self._closed.set_result(None)

    def _take(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            if isinstance(piece, bytes) and self._answer is not None and not self._answer.done():
                self._answer.set_result(piece)
            else:
                self.abort()
