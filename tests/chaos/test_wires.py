"""Each fault of a wire does what its name says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from chassis.testing.talks import talking
from local_stack.ports import free_port
from tests.chaos.wires import Wire

SILENCE_SECONDS = 0.3


@asynccontextmanager
async def echoing() -> AsyncIterator[Wire]:
    """A wire to an echo server."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)

    async with talking(echo) as port:
        wire = Wire("echo", free_port(), [port])
        await wire.open()
        try:
            yield wire
        finally:
            await wire.close()


async def heard(wire: Wire) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client that has received the server's answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
    writer.write(b"a")
    assert await reader.readexactly(1) == b"a"
    return reader, writer


async def test_who_is_left_half_open_is_told_nothing() -> None:
    async with echoing() as wire:
        reader, writer = await heard(wire)
        assert wire.half_open() == 1
        reading = asyncio.ensure_future(reader.read(1))
        done, _ = await asyncio.wait({reading}, timeout=SILENCE_SECONDS)
        assert not done, "neither an end nor a reset"
        writer.write(b"b")
        await writer.drain()
        done, _ = await asyncio.wait({reading}, timeout=SILENCE_SECONDS)
        assert not done, "nor when it says something"
        reading.cancel()
        await asyncio.wait({reading})
        writer.close()


async def test_who_is_cut_off_hears_of_it_at_once() -> None:
    async with echoing() as wire:
        reader, writer = await heard(wire)
        assert wire.cut() == 1
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(1), 60)
        writer.close()
