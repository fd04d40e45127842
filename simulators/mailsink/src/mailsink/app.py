"""The sink as one object: store, SMTP server and HTTP server, started and stopped together."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import uvicorn

from mailsink.live import Announcements
from mailsink.misbehaviour import Orders
from mailsink.smtp import SinkHandler, start_smtp
from mailsink.store import SinkStore
from mailsink.web import build_app


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the process has one place that listens to SIGTERM."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Sink:
    """``async with Sink(folder) as sink``: serves until the block ends. Port 0 takes a free one."""

    def __init__(self, folder: Path, host: str = "127.0.0.1", http_port: int = 0, smtp_port: int = 0) -> None:
        self._folder = folder
        self._host = host
        self.http_port = http_port
        self.smtp_port = smtp_port

    async def __aenter__(self) -> Self:
        listener = socket.create_server((self._host, self.http_port))
        self.http_port = listener.getsockname()[1]
        self._store = SinkStore(self._folder)
        self._announcements = Announcements()
        self.orders = Orders()
        handler = SinkHandler(self._store, self.orders, self._announcements.announce)
        try:
            self._smtp = await start_smtp(handler, self._host, self.smtp_port)
        except OSError:
            listener.close()
            self._store.close()
            raise
        self.smtp_port = self._smtp.sockets[0].getsockname()[1]
        app = build_app(self._store, self.orders, self._announcements)
        config = uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=3, ws="none")
        self._http = _Server(config)
        self._serving = asyncio.create_task(self._http.serve(sockets=[listener]))
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._smtp.close()
        self._announcements.close()
        self._http.should_exit = True
        await self._serving
        self._store.close()
