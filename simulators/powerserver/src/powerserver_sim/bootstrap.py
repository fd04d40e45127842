"""Puts one simulator together and takes it down again; nothing else constructs its parts."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.applications import Starlette

from hl7v2.mllp import start_server
from powerserver_sim import seed
from powerserver_sim.accounts import Accounts
from powerserver_sim.inbound import Receiver
from powerserver_sim.live import Live
from powerserver_sim.misbehave import Misbehaviour
from powerserver_sim.outbound import Sender
from powerserver_sim.settings import Settings
from powerserver_sim.store import Store
from powerserver_sim.web.app import build
from powerserver_sim.web.context import Services


@dataclass(frozen=True, slots=True)
class Simulator:
    """A running simulator; `mllp_port` is the port in use, also when the setting was 0."""

    app: Starlette
    services: Services
    mllp_port: int


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Simulator]:
    """Store, MLLP listener and sender up; on the way out inbound ends first, the store last."""
    store = await Store.open(settings.data_dir / "powerserver.sqlite3")
    try:
        session_key = await store.write(lambda work: seed.prepare(work, settings))
        misbehaviour = Misbehaviour()
        sender = Sender(store, settings, misbehaviour)
        services = Services(store, Accounts(store), Live(store), misbehaviour, sender)
        receiver = Receiver(store, misbehaviour)
        server = await start_server(receiver.handle, settings.mllp_host, settings.mllp_port)
        sending = asyncio.create_task(sender.run(), name="hl7-sender")
        try:
            yield Simulator(build(services, session_key), services, server.port)
        finally:
            services.live.close()
            await server.close(drain_seconds=3)
            sender.stop()
            await _finish(sending)
    finally:
        await store.close()


async def _finish(sending: "asyncio.Task[None]") -> None:
    """Let the message on its way get its answer, but not for long: unanswered, it goes again after the next start."""
    done, _ = await asyncio.wait({sending}, timeout=2)
    if not done:
        sending.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await sending
