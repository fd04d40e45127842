"""Each fault of a wire does what its name says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from local_stack.ports import free_port
from tests.chaos.wires import Wire

SILENCE_SECONDS = 0.3


@asynccontextmanager
async def echoing() -> AsyncIterator[Wire]:
    """A wire to an echo server."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    wire = Wire("echo", free_port(), [server.sockets[0].getsockname()[1]])
    await wire.open()
    others = asyncio.all_tasks()
    try:
        yield wire
    finally:
        await wire.close()
        server.close()
        await asyncio.wait(asyncio.all_tasks() - others, timeout=5)


async def talking(wire: Wire) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client that has received the server's answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
    writer.write(b"a")
    assert await reader.readexactly(1) == b"a"
    return reader, writer


async def test_who_is_left_half_open_is_told_nothing() -> None:
    async with echoing() as wire:
        reader, writer = await talking(wire)
        assert wire.half_open() == 1
        heard = asyncio.ensure_future(reader.read(1))
        done, _ = await asyncio.wait({heard}, timeout=SILENCE_SECONDS)
        assert not done, "neither an end nor a reset"
        writer.write(b"b")
        await writer.drain()
        done, _ = await asyncio.wait({heard}, timeout=SILENCE_SECONDS)
        assert not done, "nor when it says something"
        heard.cancel()
        await asyncio.wait({heard})
        writer.close()


async def test_who_is_cut_off_hears_of_it_at_once() -> None:
    async with echoing() as wire:
        reader, writer = await talking(wire)
        assert wire.cut() == 1
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(1), 5)
        writer.close()
