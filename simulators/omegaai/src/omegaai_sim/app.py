"""Puts one simulator together and takes it down again; nothing else constructs its parts."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles

from omegaai_sim import control, seed
from omegaai_sim.auth import Tokens, issue_token
from omegaai_sim.blume import pages as blume_pages
from omegaai_sim.context import DialectSwitch, Services
from omegaai_sim.feed import Feed
from omegaai_sim.fhir.api import Api
from omegaai_sim.live import Live
from omegaai_sim.misbehave import Misbehaviour
from omegaai_sim.settings import Settings
from omegaai_sim.staff import pages as staff_pages
from omegaai_sim.store import Store
from omegaai_sim.web import SecureHeaders

STATIC = Path(__file__).with_name("static")
OWN_NAMES = ["127.0.0.1", "localhost", "omegaai"]
"""Another site could lead its own name here, and a developer's browser with it. The last one is a container's name."""


@dataclass(frozen=True, slots=True)
class Simulator:
    """A running simulator."""

    app: Starlette
    services: Services

    def server(self, host: str, port: int) -> "Server":
        return Server(
            uvicorn.Config(
                self.app, host=host, port=port, log_level="error", access_log=False, lifespan="off",
                timeout_graceful_shutdown=1, ws="websockets-sansio",
            )
        )  # fmt: skip

    def close_streams(self) -> None:
        """Ends event streams and hub connections, so that the server can stop."""
        self.services.live.close()
        self.services.feed.close()


class Server(uvicorn.Server):
    """Leaves signals to who runs it: the event streams have to end first."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Simulator]:
    """The store and everything on it."""
    store = Store(settings.data_dir / "omegaai.sqlite3")
    try:
        session_key = await store.write(seed.prepare)
        tokens, misbehaviour = Tokens(settings.token_seconds), Misbehaviour()
        services = Services(
            store=store,
            tokens=tokens,
            misbehaviour=misbehaviour,
            dialect=DialectSwitch(settings.dialect),
            live=Live(store),
            feed=Feed(store, tokens, misbehaviour),
            session_key=session_key,
        )
        simulator = Simulator(build(services), services)
        yield simulator
        simulator.close_streams()
    finally:
        await store.close()


def build(services: Services) -> Starlette:
    """The web application."""

    async def token(request: Request) -> Response:
        return await issue_token(request, services.tokens, services.misbehaviour)

    return Starlette(
        routes=[
            Route("/auth/oauth2/v2.0/token", token, methods=["POST"]),
            Route("/auth/Token/SignalRConnectionInfo", services.feed.connection_info),
            WebSocketRoute("/auth/hubs/{hub}", services.feed.connect),
            *Api(services).routes(),
            *control.routes(services),
            *blume_pages.routes(services),
            *staff_pages.routes(services),
            Mount("/static", StaticFiles(directory=STATIC), name="static"),
        ],
        middleware=[
            Middleware(SecureHeaders),
            Middleware(TrustedHostMiddleware, allowed_hosts=OWN_NAMES, www_redirect=False),
        ],
    )
