"""Builds one sink and takes it down again; no other module constructs its parts."""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, Self

from starlette.applications import Starlette

from mailsink import inbox, smtp
from mailsink.context import PACKAGE, Services, templates
from mailsink.inbox import mails
from mailsink.smtp.listener import SinkHandler, start_smtp
from simulator_kit import web
from simulator_kit.control import Control
from simulator_kit.feature import Feature, open_store, routes_of
from simulator_kit.live import Live
from simulator_kit.misbehaviour import Misbehaviour
from simulator_kit.serving import serving

FEATURES: Final[tuple[Feature[Services], ...]] = (inbox.FEATURE, smtp.FEATURE)


class Sink:
    """`async with Sink(folder) as sink` serves until the block ends. Port 0 takes a free one."""

    def __init__(self, folder: Path, host: str = "127.0.0.1", http_port: int = 0, smtp_port: int = 0) -> None:
        self._folder = folder
        self._host = host
        self.http_port = http_port
        self.smtp_port = smtp_port
        self.misbehaviour = Misbehaviour([smtp.TARGET])

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            store = await open_store(self._folder / "mailsink.sqlite3", FEATURES)
            stack.push_async_callback(store.close)
            self._store = store
            services = Services(store, self.misbehaviour, Live(store))
            self.http_port = await stack.enter_async_context(
                serving(build(services), self._host, self.http_port, close_streams=services.live.close)
            )
            listener = await start_smtp(SinkHandler(services), self._host, self.smtp_port)
            stack.callback(listener.close)
            self.smtp_port = listener.sockets[0].getsockname()[1]
            self._running = stack.pop_all()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._running.aclose()

    async def mails(self, limit: int = 1000) -> list[mails.Row]:
        """All mails, oldest first."""
        return await self._store.read(lambda work: mails.above(work, limit=limit))


def build(services: Services) -> Starlette:
    """The web application."""
    control = Control(services.store, services.misbehaviour, templates, frame="base.html", health=mails.count)
    return Starlette(
        routes=[*control.routes(), *routes_of(FEATURES, services), web.static(PACKAGE, FEATURES)],
        middleware=web.middleware("mailsink"),
    )
