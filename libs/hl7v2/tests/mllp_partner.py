"""Shared by the server's tests: a partner on a raw connection, and a handler that records its frames."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from hl7v2 import Message, build_ack, parse_ack
from hl7v2.mllp import Event, FrameReader, Peer, Server

WAIT_SECONDS = 60


def message(control_id: str, padding: int = 0) -> bytes:
    return f"MSH|^~\\&|RAMSOFT|FAC01|SUITE|N|2026||SIU^S12|{control_id}|P|2.3.1\rNTE|1||{'x' * padding}\r".encode()


async def acknowledge(content: bytes, peer: Peer) -> bytes:
    request = Message.parse(content)
    return build_ack(request, "AA", control_id=f"A{request.control_id}").to_bytes()


class Recorder:
    """A handler that records its frames and events."""

    def __init__(self) -> None:
        self.frames: list[tuple[int, str]] = []
        self.events: list[Event] = []
        self.gate: asyncio.Event | None = None
        self.entered = 0

    async def __call__(self, content: bytes, peer: Peer) -> bytes:
        control_id = Message.parse(content).control_id
        self.entered += 1
        if self.gate is not None:
            await self.gate.wait()
        self.frames.append((peer.connection, control_id))
        return await acknowledge(content, peer)

    def names(self) -> list[str]:
        return [event.name for event in self.events]


class Partner:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.frames = FrameReader()
        self.answers: list[bytes] = []

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[str, str]:
        async with asyncio.timeout(WAIT_SECONDS):
            while not self.answers:
                data = await self.reader.read(65536)
                if not data:
                    raise EOFError
                self.answers += self.frames.feed(data)
        ack = parse_ack(self.answers.pop(0))
        return ack.code, ack.control_id

    async def is_closed_by_server(self) -> bool:
        async with asyncio.timeout(WAIT_SECONDS):
            with contextlib.suppress(ConnectionResetError):
                return await self.reader.read(1) == b""
        return True


@asynccontextmanager
async def connected(server: Server, tls: ssl.SSLContext | None = None) -> AsyncIterator[Partner]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=tls)
    try:
        yield Partner(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not condition():
            await asyncio.sleep(0.005)
