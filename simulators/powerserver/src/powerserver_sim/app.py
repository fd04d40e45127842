"""Builds one simulator and takes it down again; no other module constructs its parts."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from starlette.applications import Starlette

from hl7v2.mllp import start_server
from powerserver_sim import hl7, home, launcher, patients, requests, scheduler, settings, studies, users, worklist
from powerserver_sim.accounts import Accounts
from powerserver_sim.context import PACKAGE, Services, templates
from powerserver_sim.hl7.inbound import Receiver
from powerserver_sim.hl7.outbound import Sender
from powerserver_sim.options import Settings
from powerserver_sim.rules import Refused
from powerserver_sim.users.session import COOKIE, HALF_LOGIN_COOKIE, HALF_LOGIN_SECONDS, refused
from powerserver_sim.worklist.scp import TARGET as WORKLIST_TARGET
from powerserver_sim.worklist.scp import WorklistScp
from simulator_kit import session, web
from simulator_kit.control import Control
from simulator_kit.feature import Feature, open_store, routes_of
from simulator_kit.live import Live
from simulator_kit.misbehaviour import Misbehaviour

FEATURES: Final[tuple[Feature[Services], ...]] = (
    users.FEATURE,
    settings.FEATURE,
    patients.FEATURE,
    worklist.FEATURE,
    scheduler.FEATURE,
    requests.FEATURE,
    studies.FEATURE,
    launcher.FEATURE,
    hl7.FEATURE,
    home.FEATURE,
)
"""The order in which tables are made, stores filled and hooks run."""


@dataclass(frozen=True, slots=True)
class Simulator:
    """A running simulator; `mllp_port` and `worklist_port` are the ports in use, also when the setting was 0."""

    app: Starlette
    services: Services
    mllp_port: int
    worklist_port: int


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Simulator]:
    """Store, listeners and sender, started. At the end the listeners stop first and the store last."""
    store = await open_store(settings.data_dir / "powerserver.sqlite3", FEATURES)
    try:
        await store.write(lambda work: hl7.prepare_sending(work, settings))
        key = await store.write(session.key)
        misbehaviour = Misbehaviour([*hl7.TARGETS, WORKLIST_TARGET])
        half_logins = session.Sessions(key, HALF_LOGIN_COOKIE, lifetime_seconds=HALF_LOGIN_SECONDS)
        parts = Services(store, Accounts(store), session.Sessions(key, COOKIE), half_logins, Live(store), misbehaviour)
        sender = Sender(store, settings, misbehaviour)
        receiver = Receiver(store, misbehaviour)
        server = await start_server(receiver.handle, settings.mllp_host, settings.mllp_port)
        scp = WorklistScp(store, misbehaviour, title=settings.worklist_title)
        scp.start(settings.worklist_host, settings.worklist_port)
        sending = asyncio.create_task(sender.run(), name="hl7-sender")
        try:
            yield Simulator(build(parts), parts, server.port, scp.port)
        finally:
            parts.live.close()
            await server.close(drain_seconds=3)
            await scp.close()
            sender.stop()
            await _finish(sending)
    finally:
        await store.close()


async def _finish(sending: "asyncio.Task[None]") -> None:
    """Waits a short time for the answer to the message on its way.

    An unanswered message is sent again after the next start.
    """
    done, _ = await asyncio.wait({sending}, timeout=2)
    if not done:
        sending.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await sending


def build(parts: Services) -> Starlette:
    """The web application."""
    control = Control(parts.store, parts.misbehaviour, templates, frame="base.html", health=lambda _: {"status": "ok"})
    app = Starlette(
        routes=[*control.routes(), *routes_of(FEATURES, parts), web.static(PACKAGE, FEATURES)],
        middleware=web.middleware("powerserver"),
        exception_handlers={Refused: refused},
    )
    app.state.services = parts
    return app
