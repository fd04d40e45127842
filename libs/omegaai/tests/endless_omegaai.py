"""A partner on a raw socket whose answers have no end, or exceed any memory."""

import asyncio
import base64
import gzip
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from chassis.testing.talks import talking

PIECE = b"A" * 2**16
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/fhir+json\r\n"
Speak = Callable[[asyncio.StreamWriter], AsyncIterator[bytes]]


async def endless_body(_: asyncio.StreamWriter) -> AsyncIterator[bytes]:
    yield OK + b'\r\n{"id": "'
    while True:
        yield PIECE


async def endless_chunks(_: asyncio.StreamWriter) -> AsyncIterator[bytes]:
    yield OK + b"Transfer-Encoding: chunked\r\n\r\n"
    while True:
        yield b"10000\r\n" + PIECE + b"\r\n"


async def endless_tiny_chunks(_: asyncio.StreamWriter) -> AsyncIterator[bytes]:
    yield OK + b"Transfer-Encoding: chunked\r\n\r\n"
    while True:
        yield b"1\r\nA\r\n" * 10_000


async def endless_error_page(_: asyncio.StreamWriter) -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\n\r\n<html>"
    while True:
        yield PIECE


async def endless_redirect_body(_: asyncio.StreamWriter) -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 302 Found\r\nLocation: /fhir/Appointment/2\r\n\r\n"
    while True:
        yield PIECE


async def endless_headers(_: asyncio.StreamWriter) -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n"
    while True:
        yield b"X-More: " + b"A" * 1000 + b"\r\n"


async def endless_header(_: asyncio.StreamWriter) -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nX-More: "
    while True:
        yield PIECE


async def endless_continue(_: asyncio.StreamWriter) -> AsyncIterator[bytes]:
    while True:
        yield b"HTTP/1.1 100 Continue\r\n\r\n" * 1000


async def endless_chunk_extension(_: asyncio.StreamWriter) -> AsyncIterator[bytes]:
    yield OK + b"Transfer-Encoding: chunked\r\n\r\n1;"
    while True:
        yield PIECE


async def endless_trailer(_: asyncio.StreamWriter) -> AsyncIterator[bytes]:
    yield OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    while True:
        yield b"X-More: " + b"A" * 1000 + b"\r\n"


async def a_byte_at_a_time(_: asyncio.StreamWriter) -> AsyncIterator[bytes]:
    yield OK + b"\r\n"
    while True:
        yield b" "
        await asyncio.sleep(0.05)


async def gzip_bomb(_: asyncio.StreamWriter) -> AsyncIterator[bytes]:
    bomb = gzip.compress(b" " * 2**29, 1)
    yield OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    yield bomb


async def gzip_with_an_endless_tail(_: asyncio.StreamWriter) -> AsyncIterator[bytes]:
    yield OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"{}")
    while True:
        yield PIECE


def whole(body: bytes) -> Speak:
    async def speak(_: asyncio.StreamWriter) -> AsyncIterator[bytes]:
        yield OK + b"Content-Length: %d\r\n\r\n" % len(body)
        yield body

    return speak


async def endless_frame(writer: asyncio.StreamWriter) -> AsyncIterator[bytes]:
    """A WebSocket text frame of a tebibyte; ``serving`` keeps the key."""
    key = writer.websocket_key  # type: ignore[attr-defined]
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())  # noqa: S324
    yield (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    yield b"\x81\x7f" + (2**40).to_bytes(8, "big")
    while True:
        yield PIECE


ENDLESS: dict[str, Speak] = {
    one.__name__.replace("_", " "): one
    for one in (
        endless_body, endless_chunks, endless_tiny_chunks, endless_error_page, endless_redirect_body, endless_headers,
        endless_header, endless_continue, endless_chunk_extension, endless_trailer, a_byte_at_a_time, gzip_bomb,
        gzip_with_an_endless_tail,
    )
}  # fmt: skip
ENDLESS["a nest of a hundred thousand lists"] = whole(b"[" * 100_000 + b"]" * 100_000)
ENDLESS["a nest of five hundred objects"] = whole(b'{"a":' * 500 + b"1" + b"}" * 500)
ENDLESS["a million empty lists"] = whole(b'{"resourceType":"Appointment","a":[' + b"[]," * 1_000_000 + b"[]]}")
ENDLESS["a Bundle of a million entries"] = whole(b'{"resourceType":"Bundle","entry":[' + b"{}," * 1_000_000 + b"{}]}")


@asynccontextmanager
async def serving(answers: dict[bytes, Speak]) -> AsyncIterator[int]:
    """Gives the port. Answers by the first path that a request's path begins with; any other request gets a token."""
    token = whole(json.dumps({"access_token": "t", "expires_in": 3600}).encode())

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.split(b"\r\n")
            named = {line.partition(b":")[0].lower(): line.partition(b":")[2].strip() for line in lines[1:]}
            await reader.readexactly(int(named.get(b"content-length", b"0")))
            writer.websocket_key = named.get(b"sec-websocket-key", b"")  # type: ignore[attr-defined]
            path = lines[0].split()[1]
            speak = next((one for start, one in answers.items() if path.startswith(start)), token)
            async for piece in speak(writer):
                writer.write(piece)
                await writer.drain()

    async with talking(serve) as port:
        yield port
