"""A partner on a raw socket, for tests of what it says, or does not say."""

import asyncio
import ssl as tls
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias

Talk: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

_TURNS_OF_A_CONNECTION = 5
"""Turns of the loop in which a connection that was accepted gets its talk."""


@asynccontextmanager
async def talking(talk: Talk, *, ssl: tls.SSLContext | None = None) -> AsyncIterator[int]:
    """Holds ``talk`` with each connection, and gives the port. A partner that goes away ends its talk.

    At the end every talk is cancelled and every connection is closed. A connection that is left to the garbage
    collector is reported in whichever test runs at that time.
    """
    talks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talks[task] = writer
        try:
            # Python 3.11 reports the cancelled task of a connection as an error, so the cancellation ends here.
            with suppress(OSError, EOFError, asyncio.CancelledError):
                await talk(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0, ssl=ssl)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for _ in range(_TURNS_OF_A_CONNECTION):
            await asyncio.sleep(0)
        for task, writer in talks.items():
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)
        for writer in talks.values():
            with suppress(OSError):
                await writer.wait_closed()
