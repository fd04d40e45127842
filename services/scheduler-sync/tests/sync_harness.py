"""The service's insides on a real Postgres without its loops: messages go in, deliveries are sent by hand."""

import asyncio
import json
import ssl as tls
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import aiohttp
import asyncpg
from fake_omegaai import FakeOmegaAI
from sync_samples import SITE_FILE, directory, siu

from chassis.clock import utc_now
from chassis.deliveries import Accepted, Delivery, Receipt
from chassis.hl7 import InboundHl7
from chassis.messaging import BatchExecutor, Done, Failed
from chassis.store import Exclusive, Store, Transaction
from hl7v2 import Ack
from hl7v2.mllp import Client
from omegaai.client import FhirClient
from omegaai.token import TokenSource
from scheduler_sync import bootstrap
from scheduler_sync.adapters.omegaai.tasks import TaskQueue
from scheduler_sync.adapters.powerserver.writer import Hl7StatusWriter
from scheduler_sync.domain.appointment import Outcome
from scheduler_sync.handlers.displacements import tell_displaced
from scheduler_sync.handlers.effects import Effects
from scheduler_sync.inbound import PowerServerInbound, TaskInbound
from scheduler_sync.resources import ResourceDirectory
from scheduler_sync.rooms import Rooms
from scheduler_sync.settings import MllpSettings, SchedulerSyncSettings
from scheduler_sync.settlement import Settlement
from scheduler_sync.site import Site
from scheduler_sync.store.work import OpenWork

RECEIVED_AT = datetime(2026, 11, 25, 15, 30, tzinfo=UTC)
"""After what the samples say of when they were made."""


@dataclass
class StoreUrl:
    url: str
    pool_size: int = 4


class NoIntake:
    """Claims nothing: what these tests are about is what comes after the claim."""

    async def claim(self, connection: object, items: Sequence[object]) -> list[None]:
        return [None] * len(items)

    async def settle(self, connection: object, items: object, outcomes: object) -> None:
        pass

    def key(self, item: object) -> None:
        pass

    def traced(self, item: object) -> AbstractContextManager[None]:
        return nullcontext()


class ClockInDoubt:
    """The machine's clock, in as much doubt as the harness says."""

    def __init__(self, harness: "Harness") -> None:
        self._harness = harness

    def now(self) -> datetime:
        return utc_now()

    def doubt(self) -> timedelta:
        return self._harness.doubt


class NotedMeters:
    """Keeps in the harness what is counted."""

    def __init__(self, harness: "Harness") -> None:
        self._harness = harness

    def outcome(self, source: str, outcome: Outcome) -> None:
        self._harness.counts.append((source, outcome))

    def clock_ahead(self, lead: timedelta) -> None:
        self._harness.leads.append(lead)

    def conflict(self, source: str, outcome: Outcome) -> None: ...

    def not_permitted(self, station: str) -> None: ...

    def not_read(self, fields: Iterable[tuple[str, str]], repairs: int) -> None: ...


@dataclass
class Harness:
    store: Store
    site: Site
    resources: ResourceDirectory
    counts: list[tuple[str, Outcome]] = field(default_factory=list)
    leads: list[timedelta] = field(default_factory=list)
    doubt: timedelta = timedelta()

    def __post_init__(self) -> None:
        self.effects = Effects(
            site=lambda: self.site.file,
            resources=self.resources,
            powerserver=Hl7StatusWriter(lambda: self.site.file),
            clock=ClockInDoubt(self),
            meters=NotedMeters(self),
        )
        rooms = Rooms(lambda: self.site.file, self.resources, utc_now)
        self.open_work = OpenWork(self.site, rooms, partial(tell_displaced, effects=self.effects))
        self.inbound = PowerServerInbound(self.site, self.effects)
        self.tasks = TaskInbound(self.store, self.open_work, self.effects)
        self.settlement = Settlement(self.open_work, utc_now)
        self.executor = BatchExecutor(
            self.store,
            intake=NoIntake(),
            open_work=self.open_work,
            prefetch=self.inbound.prefetch,
            handle=self.inbound.handle,
        )

    async def hear(self, *raws: bytes, received_at: datetime = RECEIVED_AT) -> list[BaseException | None]:
        """One batch of HL7 messages; an error for each that failed."""
        items = [InboundHl7.of(raw, received_at) for raw in raws]
        outcomes = await self.executor.run(items)
        assert all(isinstance(one, Done | Failed) for one in outcomes)
        return [one.error if isinstance(one, Failed) else None for one in outcomes]

    async def rows(self, query: str, *values: object) -> list[asyncpg.Record]:
        return await self.store.pool.fetch(query, *values)

    async def row(self, query: str, *values: object) -> asyncpg.Record:
        (found,) = await self.rows(query, *values)
        return found

    async def events(self) -> list[tuple[str, int]]:
        return [(row["topic"], row["revision"]) for row in await self.rows("SELECT * FROM outbox ORDER BY id")]

    async def event(self, topic: str, *, revision: int | None = None) -> dict[str, Any]:
        row = await self.row(
            "SELECT value FROM outbox WHERE topic = $1 AND ($2::int IS NULL OR revision = $2)", topic, revision
        )
        return json.loads(row["value"])

    async def deliveries(self, state: str = "pending") -> list[Delivery]:
        rows = await self.rows("SELECT * FROM deliveries WHERE state = $1 ORDER BY sequence", state)
        return [
            Delivery(
                id=row["id"], destination=row["destination"], key=row["key"], kind=row["kind"],
                payload=row["payload"], idempotency_key=row["idempotency_key"], headers={}, attempt=1,
                created_at=row["created_at"], subject=row["subject"],
            )
            for row in rows
        ]  # fmt: skip

    async def settle(self, delivery: Delivery, receipt: Receipt) -> None:
        """What the delivery worker does after a success, in one transaction."""
        async with self.store.pool.acquire() as connection, connection.transaction():
            transaction = Transaction(connection)
            settled = self.settlement.omegaai if delivery.destination == "omegaai" else self.settlement.powerserver
            await settled(transaction, [Accepted(delivery, receipt)])
            await transaction.flush()
            await connection.execute("UPDATE deliveries SET state = 'done' WHERE id = $1", delivery.id)


async def open_harness(database_url: str) -> Harness:
    store = await Store.open(StoreUrl(database_url))
    return Harness(store, Site(SITE_FILE), directory())


def task_queue(
    harness: Harness,
    session: aiohttp.ClientSession,
    base_url: str,
    *,
    exclusive: Exclusive | None = None,
    poll_seconds: float = 0.05,
) -> TaskQueue:
    """A reader of the Task queue of the OmegaAI at ``base_url``."""
    tokens = TokenSource(
        session, f"{base_url}/auth/oauth2/v2.0/token",
        client_id="suite", client_secret="development-secret", scope="api",
    )  # fmt: skip
    client = FhirClient(session, base_url, tokens)
    return TaskQueue(
        client,
        harness.tasks.apply,
        issuers=lambda: harness.site.file.issuer_of_system,
        exclusive=exclusive,
        poll_seconds=poll_seconds,
    )


async def patient_confirms(harness: Harness, server: FakeOmegaAI, placer: str) -> None:
    """Staff booked, OmegaAI took it, and the patient presses the button."""
    assert await harness.hear(siu(placer=placer, control_id=placer)) == [None]
    link = await harness.row("SELECT * FROM appointment_links WHERE placer_number = $1", placer)
    start = link["slot_start"]
    server.put_directly(
        {
            "resourceType": "Appointment", "id": placer, "status": "booked",
            "start": start.isoformat(), "end": (start + timedelta(minutes=30)).isoformat(),
            "identifier": [{"system": "urn:ietf:rfc:3986", "value": f"urn:uuid:{link['id']}"}],
        }
    )  # fmt: skip


async def each_confirmed_once(harness: Harness, placers: Sequence[str]) -> None:
    """Every patient's confirmation took effect exactly once, whatever failed before.

    Each link is confirmed, with one ``appointment.confirmed`` event and one delivery to PowerServer.
    """
    links = await harness.rows("SELECT placer_number, state, revision FROM appointment_links")
    assert {row["placer_number"]: (row["state"], row["revision"]) for row in links} == dict.fromkeys(
        placers, ("confirmed", 2)
    )
    events = [topic for topic, _ in await harness.events()]
    assert events.count("appointment.confirmed") == len(placers)
    to_powerserver = [one for one in await harness.deliveries() if one.destination == "powerserver"]
    assert len({one.key for one in to_powerserver}) == len(to_powerserver) == len(placers)


@asynccontextmanager
async def listening(
    url: str, *, mllp: MllpSettings | None = None, ssl: tls.SSLContext | None = None
) -> AsyncIterator[tuple[bootstrap.Core, Client]]:
    """The whole HL7 listener on a real port, and a client of it."""
    settings = SchedulerSyncSettings(
        site_file=SITE_FILE, mllp=mllp or MllpSettings(port=0), store={"url": url, "pool_size": 4}, _env_file=None
    )
    core = await bootstrap.open_core(settings)
    core.directory.fill(directory()._by_name.values())
    running = asyncio.create_task(core.listener.run())
    async with asyncio.timeout(60):
        while not core.listener.port:
            await asyncio.sleep(0.01)
    try:
        async with Client("127.0.0.1", core.listener.port, ssl=ssl, ack_timeout_seconds=30) as client:
            yield core, client
    finally:
        await core.listener.stop()
        await asyncio.wait_for(running, 60)
        await core.store.close()


async def send(client: Client, raw: bytes) -> Ack:
    """Send one message under its own MSH-10."""
    control_id = raw.split(b"\r")[0].split(b"|")[9].decode()
    return await client.send(raw, control_id=control_id)
