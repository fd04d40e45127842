"""TCP proxies in front of every link, for network faults: cut, half-open, slow, deaf, refused.

One proxy may have several targets: each new connection goes to the next target that answers, so that replicas of a
listener share one port.
"""

import asyncio
import itertools
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

_CHUNK_BYTES = 64 * 1024
_CONNECT_SECONDS = 2.0
_LAST_WORDS_SECONDS = 1.0


@dataclass(eq=False)
class _Line:
    """One connection through a wire: the client's side and the target's."""

    client: asyncio.StreamWriter
    target: asyncio.StreamWriter
    is_half_open: bool = False

    def abort(self) -> None:
        """Resets the connection, so that both sides learn of it at once."""
        _reset(self.client)
        _reset(self.target)


@dataclass
class Wire:
    """A proxy on ``port`` towards ``targets`` (ports on this machine). Faults last until they are undone."""

    name: str
    port: int
    targets: list[int]
    is_refusing: bool = False
    is_deaf: bool = False
    """Nothing passes in either direction, and no side is told, as after a firewall lost its state."""
    loses_answers: bool = False
    """Clients' bytes arrive; answers do not."""
    delay_seconds: float = 0.0
    _lines: set[_Line] = field(default_factory=set)
    _turns: Iterator[int] = field(default_factory=itertools.count)
    _talks: set["asyncio.Task[None]"] = field(default_factory=set)
    _server: asyncio.Server | None = None

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._hold, "127.0.0.1", self.port)

    async def close(self) -> None:
        """Ends the listener and every connection, and returns when nothing is left of them."""
        if self._server is not None:
            self._server.close()
        self.cut()
        for talk in self._talks:
            talk.cancel()
        if self._talks:
            await asyncio.wait(self._talks)

    def cut(self) -> int:
        """Ends every connection. Returns their number."""
        lines = list(self._lines)
        for line in lines:
            line.abort()
        return len(lines)

    def half_open(self) -> int:
        """Ends the targets' sides without telling the clients. Returns the number of connections left half-open."""
        lines = list(self._lines)
        for line in lines:
            line.is_half_open = True
            _reset(line.target)
        return len(lines)

    def heal(self) -> None:
        """Undoes every fault. Deaf connections are cut: their lost bytes cannot come again."""
        was_lossy = self.is_deaf or self.loses_answers
        self.is_refusing = self.is_deaf = self.loses_answers = False
        self.delay_seconds = 0.0
        if was_lossy:
            self.cut()

    async def _hold(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.current_task()
        assert talk is not None
        self._talks.add(talk)
        try:
            with suppress(asyncio.CancelledError):  # by close; Python 3.11 would report it as an error
                await self._accept(reader, writer)
        finally:
            if not writer.is_closing():
                _reset(writer)
            self._talks.discard(talk)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_refusing:
            _reset(writer)
            return
        try:
            target_reader, target_writer = await self._connect()
        except (OSError, TimeoutError):
            _reset(writer)
            return
        line = _Line(writer, target_writer)
        self._lines.add(line)
        there = asyncio.ensure_future(self._pump(line, reader, target_writer, is_answer=False))
        back = asyncio.ensure_future(self._pump(line, target_reader, writer, is_answer=True))
        try:
            done, _ = await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
            if line.is_half_open:
                there.cancel()
                await asyncio.wait({there})  # only one task reads at a time
                with suppress(OSError):
                    while await reader.read(_CHUNK_BYTES):
                        pass  # the client's bytes go nowhere, until it gives up by itself
            elif all(pump.result() for pump in done):
                await asyncio.wait({there, back}, timeout=_LAST_WORDS_SECONDS)
                writer.close()  # in order: the last answer still arrives
        finally:
            there.cancel()
            back.cancel()
            await asyncio.gather(there, back, return_exceptions=True)
            self._lines.discard(line)
            _reset(target_writer)
            if not writer.is_closing():
                _reset(writer)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The next target in turn that answers."""
        first = next(self._turns)
        error: Exception = ConnectionRefusedError()
        for place in range(len(self.targets)):
            port = self.targets[(first + place) % len(self.targets)]
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    return await asyncio.open_connection("127.0.0.1", port)
            except (OSError, TimeoutError) as problem:
                error = problem
        raise error

    async def _pump(
        self, line: _Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool
    ) -> bool:
        """Carries bytes until one side ends. Returns whether it ended in order."""
        with suppress(OSError):
            while data := await reader.read(_CHUNK_BYTES):
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                if self.is_deaf or (is_answer and self.loses_answers):
                    continue
                writer.write(data)
                await writer.drain()
            if not line.is_half_open:  # otherwise the end would be passed on
                with suppress(OSError):
                    writer.write_eof()
            return True
        return False


def _reset(writer: asyncio.StreamWriter) -> None:
    """Ends a connection at once, without an orderly close."""
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    writer.transport.abort()
