"""An HTTP server that runs for as long as a block, and the signals that end a process."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.types import ASGIApp


class _Server(uvicorn.Server):
    """Leaves signals to `until_stopped`, because the event streams must end first."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(
    app: ASGIApp,
    host: str,
    port: int,
    *,
    close_streams: Callable[[], None],
    grace_seconds: int = 3,
    websockets: bool = False,
) -> AsyncIterator[int]:
    """Serve `app` until the block ends; the value is the port in use, also when 0 was asked for.

    Raises `OSError` when the port is taken. On the way out `close_streams` ends the event streams, then open requests
    have `grace_seconds`. `websockets` needs the library of that name.
    """
    listener = socket.create_server((host, port), backlog=2048)
    server = _Server(
        uvicorn.Config(
            app, log_level="error", access_log=False, lifespan="off", timeout_graceful_shutdown=grace_seconds,
            ws="websockets-sansio" if websockets else "none",
        )
    )  # fmt: skip
    running = asyncio.create_task(server.serve(sockets=[listener]), name="http-server")
    try:
        yield int(listener.getsockname()[1])
    finally:
        close_streams()
        server.should_exit = True
        await running
        listener.close()


async def until_stopped() -> None:
    """Wait for SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()
