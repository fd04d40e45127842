"""The composition root: the one place that constructs things and knows them all."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final
from uuid import UUID

import contracts
from chassis.clock import utc_now
from chassis.errors import NeedsSetup, StoreUnavailable, Transient
from chassis.hl7 import Hl7Listener, replay_message
from chassis.host import Certificate, Check, Runtime, Service, StoreGuard
from chassis.messaging import Replayed
from chassis.observe import Metrics
from chassis.store import Exclusive, Store, StoreClock
from chassis.store.store import ERRORS
from chassis.timers import TimerHandlers
from chassis.web.hl7_desk import Hl7Desk
from omegaai.client import FhirClient
from omegaai.connection import connect
from omegaai.tasks import StoredCursor, UnclaimedTask, unclaimed_tasks
from scheduler_sync import metrics as meters
from scheduler_sync import replay
from scheduler_sync.adapters.omegaai.sender import OmegaAISender
from scheduler_sync.adapters.omegaai.tasks import TaskQueue, claims
from scheduler_sync.adapters.powerserver.sender import PowerServerSender
from scheduler_sync.adapters.powerserver.terms import terms
from scheduler_sync.adapters.powerserver.writer import Hl7StatusWriter
from scheduler_sync.claims_upkeep import ClaimsUpkeep
from scheduler_sync.domain.appointment import System
from scheduler_sync.handlers.displacements import tell_displaced
from scheduler_sync.handlers.effects import Effects
from scheduler_sync.inbound import TASK_CONSUMER, PowerServerInbound, TaskInbound
from scheduler_sync.preflight import MllpOut, Preflight
from scheduler_sync.reconciliation.reconciler import Reconciler
from scheduler_sync.reconciliation.runner import ReconcileRunner
from scheduler_sync.recovery import guarded
from scheduler_sync.recovery.recover import Recovery
from scheduler_sync.recovery.report import Report
from scheduler_sync.resources import ResourceDirectory, ResourceImport, StoredResources
from scheduler_sync.reviews_upkeep import ReviewsUpkeep
from scheduler_sync.rooms import Rooms
from scheduler_sync.scheduling.api import SchedulingApi
from scheduler_sync.scheduling.desk import EXPIRED, Desk
from scheduler_sync.scheduling.holds import no_prefetch, release_hold
from scheduler_sync.settings import MllpSettings, PowerServerSettings, SchedulerSyncSettings
from scheduler_sync.settlement import Settlement
from scheduler_sync.site import Site
from scheduler_sync.store.queries import StoredIds, StoredSteps, revisions
from scheduler_sync.store.reconciliation import Reports, Runs
from scheduler_sync.store.reviews import Reviews
from scheduler_sync.store.views import Views
from scheduler_sync.store.work import OpenWork, StoredWork
from scheduler_sync.waiting import WaitingGauge
from scheduler_sync.web.building import message_pages, replayed, task_pages
from scheduler_sync.web.desk import NumbersDesk
from scheduler_sync.web.drift import DriftPages
from scheduler_sync.web.explain_page import ExplainPage
from scheduler_sync.web.pages import Pages
from scheduler_sync.web.preflight_pages import PreflightPages
from scheduler_sync.web.rendering import PAGES
from scheduler_sync.web.resource_pages import ResourcePages
from scheduler_sync.web.review_pages import ReviewPages

NAME: Final = "scheduler-sync"
MIGRATIONS: Final = Path(__file__).parent / "migrations"
DESTINATIONS: Final = (System.OMEGAAI, System.POWERSERVER)
LOOK_UP_SECONDS: Final = 1.0
GATHER_SECONDS: Final = 0.01
LOOK_SECONDS: Final = 0.5
ENDED: Final = frozenset({"done", "failed", "asks", "declined", "superseded"})
"""States of a run that a waiting command need not wait beyond."""
TASK_READER_LOCK: Final = 0x7A5C  # beside the relay's lock, on the service's own store
RECONCILE_LOCK: Final = 0x7A5D


@dataclass
class Core:
    """Shared by the running service and the commands: the runtime, the site, the use cases and the HL7 listener."""

    runtime: Runtime
    site: Site
    directory: ResourceDirectory
    resources: StoredResources
    effects: Effects
    open_work: OpenWork
    rooms: Rooms
    listener: Hl7Listener[StoredWork, NeedsSetup | None]

    @property
    def store(self) -> Store:
        return self.runtime.store

    @property
    def metrics(self) -> Metrics:
        return self.runtime.metrics

    @property
    def clock(self) -> StoreClock:
        return self.runtime.clock


async def open_core(settings: SchedulerSyncSettings) -> Core:
    """Opens the store and builds the use cases. Raises SiteFileError, StoreUnavailable."""
    site = Site(settings.site_file)
    runtime = await Runtime.open(NAME, settings, meters)
    store, metrics, clock = runtime.store, runtime.metrics, runtime.clock
    directory = ResourceDirectory(lambda: site.file)
    resources = StoredResources(store, site)
    effects = Effects(
        site=lambda: site.file,
        resources=directory,
        powerserver=Hl7StatusWriter(lambda: site.file),
        clock=clock,
        meters=meters.InputMeters(metrics),
    )
    rooms = Rooms(lambda: site.file, directory, clock.now)
    open_work = OpenWork(site, rooms, partial(tell_displaced, effects=effects))
    inbound = PowerServerInbound(site, effects)
    listener = Hl7Listener(
        store,
        host=settings.mllp.host,
        port=settings.mllp.port,
        open_work=open_work,
        prefetch=inbound.prefetch,
        handle=inbound.handle,
        metrics=metrics,
        now=clock.now,
        ssl=settings.mllp.ssl_context(),
        honours_wishes=lambda: site.file.hl7.acknowledgement == "as-asked",
        limits=settings.mllp.limits,
        terms=terms,
    )
    return Core(runtime, site, directory, resources, effects, open_work, rooms, listener)


def store_guard(
    settings: SchedulerSyncSettings, store: Store, site: Site | None = None, metrics: Metrics | None = None
) -> StoreGuard:
    """The store's owner: the site, with these partners. Raises SiteFileError."""
    partners = settings.omegaai, settings.powerserver
    return StoreGuard(
        store,
        settings.kafka,
        service=NAME,
        belongs_to={
            "site": (site or Site(settings.site_file)).file.site,
            "OmegaAI": f"{partners[0].base_url.rstrip('/')} as {partners[0].client_id}",
            "PowerServer": f"{partners[1].host}:{partners[1].port}",
        },
        metrics=metrics or Metrics(),
        revisions=revisions,
        may_run_unsure=True,
    )


async def build(settings: SchedulerSyncSettings) -> Service:
    """The whole service, ready to run. StoreUnavailable, SettingsError."""
    core = await open_core(settings)
    runtime, store, metrics = core.runtime, core.store, core.metrics
    omegaai = connect(settings.omegaai)
    inbound = TaskInbound(store, core.open_work, core.effects)
    queue = TaskQueue(
        omegaai.client,
        inbound.apply,
        issuers=lambda: core.site.file.issuer_of_system,
        unread_types=settings.omegaai.unread_types,
        cursor=StoredCursor(store, TASK_CONSUMER),
        exclusive=Exclusive(
            store, lock=TASK_READER_LOCK, name="task-reader", metrics=metrics, gauge=meters.TASK_READER_ACTIVE
        ),
        now=core.clock.now,
        poll_seconds=settings.omegaai.poll_seconds,
        look_seconds=settings.omegaai.look_seconds,
        unclaimed_after=timedelta(seconds=settings.omegaai.unclaimed_after_seconds),
        metrics=metrics,
    )
    importing = ResourceImport(
        omegaai.client,
        core.site,
        core.resources,
        core.directory,
        interval_seconds=settings.omegaai.resource_import_seconds,
        metrics=metrics,
    )
    desk = Desk(store, core.open_work, core.rooms, core.effects)
    runtime.timers(TimerHandlers(core.open_work, no_prefetch, {EXPIRED: release_hold}))
    powerserver_tls = settings.powerserver.ssl_context()
    powerserver = PowerServerSender(
        settings.powerserver.clients(powerserver_tls),
        StoredSteps(store.pool),
        expects_ack=lambda: core.site.file.mapping.powerserver.expect_ack,
    )
    settlement = Settlement(core.open_work, core.clock.now, resource_fixed=importing.wake)
    runtime.deliver(
        System.OMEGAAI,
        OmegaAISender(omegaai.client, StoredIds(store.pool)).send,
        settled=settlement.omegaai,
        concurrency=settings.omegaai.concurrency,
        gather_seconds=GATHER_SECONDS,
    )
    runtime.deliver(
        System.POWERSERVER,
        powerserver.send,
        settled=settlement.powerserver,
        concurrency=settings.powerserver.connections,
    )
    guard = store_guard(settings, store, core.site, metrics)
    certificates = own_certificates(settings, powerserver_tls)
    preflight = Preflight(
        store,
        omegaai.client,
        core.site,
        MllpOut(settings.powerserver, powerserver_tls),
        settings.kafka,
        guard.topics,
        certificates,
    )
    consoles = settings.http.consoles
    return await runtime.service(
        guard=guard,
        intakes={
            "hl7-listener": core.listener,
            "omegaai-feed": omegaai.feed(queue.wake),
            "omegaai-tasks": queue,
            "reconciliation": reconcile_runner(settings, core, omegaai.client),
        },
        watches={
            "resource-import": importing,
            "waiting": WaitingGauge(store, metrics),
            "claims": ClaimsUpkeep(store, core.open_work),
            "reviews": ReviewsUpkeep(Reviews(store), partial(replayed, store, core.listener.executor)),
        },
        checks={"hl7": core.listener.check, "resources": _resources_check(core.directory)},
        routes=[
            *Pages(Views(store), core.site, core.directory, consoles).routes(),
            *message_pages(store, core.site, core.directory, core.listener.executor, consoles).routes(),
            *task_pages(store, queue, inbound, partial(open_unclaimed, settings, omegaai.client), consoles).routes(),
            *ResourcePages(store, core.site, consoles).routes(),
            *ExplainPage(store, core.site, lambda: core.directory if len(core.directory) else None, consoles).routes(),
            *PreflightPages(preflight, consoles).routes(),
            *DriftPages(Reports(store), consoles).routes(),
            *ReviewPages(Reviews(store), consoles).routes(),
            *SchedulingApi(desk, lambda: core.site.file, metrics).routes(),
        ],
        pages=PAGES,
        certificates=certificates,
        desks=[
            Hl7Desk(store, partial(replayed, store, core.listener.executor), message_page="/messages/in"),
            NumbersDesk(store, lambda: queue.unclaimed),
        ],
        notes={"site-file": lambda: _site_file_refused(core.site)},
        closers=[powerserver.close, omegaai.close],
    )


def reconcile_runner(settings: SchedulerSyncSettings, core: Core, client: FhirClient) -> ReconcileRunner:
    """The loop of the reconciliation; it waits until the resources are known."""
    runs = Runs(core.store, contracts.uuid7())

    def make(runner: ReconcileRunner) -> Reconciler | None:
        if not len(core.directory):
            return None
        return reconciler(settings, core, client, runs, still_ours=runner.still_ours, beat=runner.beat)

    return ReconcileRunner(
        core.store,
        runs,
        make,
        exclusive=Exclusive(
            core.store,
            lock=RECONCILE_LOCK,
            name="reconciler",
            metrics=core.metrics,
            gauge=meters.RECONCILER_ACTIVE,
        ),
        interval_seconds=settings.reconciliation.interval_seconds,
        metrics=core.metrics,
    )


def reconciler(
    settings: SchedulerSyncSettings,
    core: Core,
    client: FhirClient,
    runs: Runs,
    *,
    still_ours: Callable[[], Awaitable[None]],
    beat: Callable[[], None] = lambda: None,
) -> Reconciler:
    """Performs runs with the site file's present content."""
    return Reconciler(
        store=core.store,
        site=core.site.file,
        omegaai=client,
        effects=core.effects,
        open_work=core.open_work,
        runs=runs,
        settings=settings.reconciliation,
        worklist_settings=settings.worklist,
        now=core.clock.now,
        still_ours=still_ours,
        beat=beat,
    )


async def perform_reconciliation(settings: SchedulerSyncSettings, run_id: int, wait_seconds: float) -> None:
    """Performs a run here where no service works on the store; else a service takes it up, and this waits for its end.

    SiteFileError, StoreUnavailable, Transient, Permanent.
    """
    core = await open_core(settings)
    omegaai = connect(settings.omegaai)
    try:
        async with Exclusive.held(core.store, lock=RECONCILE_LOCK, name="reconciler") as connection:
            if connection is not None:
                core.directory.fill(await core.resources.all())
                runs = Runs(core.store, contracts.uuid7())

                async def still_ours() -> None:
                    await connection.execute("SELECT 1")

                one = reconciler(settings, core, omegaai.client, runs, still_ours=still_ours)
                await runs.supersede_readers()
                while (run := await runs.take()) is not None:
                    await one.run(run)
                return
        await run_ended(Reports(core.store), run_id, wait_seconds)
    finally:
        await omegaai.close()
        await core.runtime.close()


async def run_ended(reports: Reports, run_id: int, wait_seconds: float) -> None:
    """Returns when the run has ended or asks, or after ``wait_seconds``."""
    with suppress(TimeoutError):
        async with asyncio.timeout(wait_seconds):
            while (row := await reports.run(run_id)) is not None and row.state not in ENDED:
                await asyncio.sleep(LOOK_SECONDS)


def own_certificates(settings: SchedulerSyncSettings, powerserver_tls: ssl.SSLContext | None) -> list[Certificate]:
    """Our certificates for PowerServer, as its server and as its client. The listener reloads its own."""
    found: list[tuple[str, str, MllpSettings | PowerServerSettings, ssl.SSLContext | None]] = [
        ("mllp-listener", "SCHEDULER_SYNC_MLLP", settings.mllp, None),
        ("mllp-client", "SCHEDULER_SYNC_POWERSERVER", settings.powerserver, powerserver_tls),
    ]
    return [
        Certificate(use, f"{group}__CERTIFICATE_FILE", where.certificate_file, where.key_file, context)
        for use, group, where, context in found
        if where.certificate_file is not None and where.key_file is not None
    ]


@asynccontextmanager
async def opened_preflight(settings: SchedulerSyncSettings) -> AsyncIterator[Preflight]:
    """A preflight for the command, with connections of its own. SiteFileError, StoreUnavailable, SettingsError."""
    site = Site(settings.site_file)
    tls = settings.powerserver.ssl_context()
    store = await Store.open(settings.store)
    omegaai = connect(settings.omegaai)
    out = MllpOut(settings.powerserver, tls)
    topics = store_guard(settings, store, site).topics
    try:
        yield Preflight(store, omegaai.client, site, out, settings.kafka, topics, own_certificates(settings, tls))
    finally:
        await omegaai.close()
        await store.close()


async def known_resources(settings: SchedulerSyncSettings) -> ResourceDirectory | None:
    """The resources in the store; None when it does not answer within a second. Raises SiteFileError."""
    site = Site(settings.site_file)
    directory = ResourceDirectory(lambda: site.file)
    try:
        async with asyncio.timeout(LOOK_UP_SECONDS):
            store = await Store.open(settings.store)
            try:
                directory.fill(await StoredResources(store, site).all())
            finally:
                store.pool.terminate()
    except (TimeoutError, StoreUnavailable, *ERRORS):
        return None
    return directory


async def replay_hl7(settings: SchedulerSyncSettings, store: Store, journal_id: UUID, actor: str) -> Replayed:
    """Processes a kept HL7 message again."""
    core = await open_core(settings)
    try:
        core.directory.fill(await core.resources.all())
        return await replay_message(store, core.listener.executor, journal_id, actor=actor)
    finally:
        await core.runtime.close()


async def replay_tasks(settings: SchedulerSyncSettings, task_ids: Sequence[str], actor: str) -> dict[str, Replayed]:
    """Reads the Appointments of parked Tasks again. Returns the outcomes by Task id."""
    core = await open_core(settings)
    omegaai = connect(settings.omegaai)
    try:
        core.directory.fill(await core.resources.all())
        inbound = TaskInbound(core.store, core.open_work, core.effects)
        queue = TaskQueue(
            omegaai.client, inbound.apply, issuers=lambda: core.site.file.issuer_of_system, now=core.clock.now
        )
        return await replay.replay_tasks(core.store, queue, inbound, task_ids, actor=actor)
    finally:
        await omegaai.close()
        await core.runtime.close()


async def open_unclaimed(settings: SchedulerSyncSettings, client: FhirClient, most: int) -> list[UnclaimedTask]:
    """OmegaAI's open Tasks that no service of the suite handles, as it has them now. Transient, Permanent."""
    after = timedelta(seconds=settings.omegaai.unclaimed_after_seconds)
    return await unclaimed_tasks(
        client, now=utc_now(), after=after, most=most, claims=claims(settings.omegaai.unread_types)
    )


async def unclaimed(settings: SchedulerSyncSettings, *, most: int) -> list[UnclaimedTask]:
    """``open_unclaimed``, for a command. Transient, Permanent."""
    omegaai = connect(settings.omegaai)
    try:
        return await open_unclaimed(settings, omegaai.client, most)
    finally:
        await omegaai.close()


async def recover(settings: SchedulerSyncSettings, *, actor: str, dry_run: bool, tell: Callable[[str], None]) -> Report:
    """Recovers a store that was set back or is gone.

    Raises RecoveryRefused, KafkaError, StoreUnavailable, Transient, Permanent.
    """
    core = await open_core(settings)
    omegaai = connect(settings.omegaai)

    async def prepared() -> Recovery:
        importing = ResourceImport(omegaai.client, core.site, core.resources, core.directory, interval_seconds=1)
        await importing.import_once(compares=False)
        return Recovery(
            store=core.store,
            site=core.site.file,
            resources=await core.resources.all(),
            omegaai=omegaai.client,
            open_work=core.open_work,
            effects=core.effects,
            tell=tell,
            now=await core.store.now(),
        )

    try:
        async with core.runtime.alone():
            guard = store_guard(settings, core.store, core.site, core.metrics)
            return await guarded.recover(core.store, settings.kafka, guard, prepared, actor=actor, dry_run=dry_run)
    finally:
        await omegaai.close()
        await core.runtime.close()


def _site_file_refused(site: Site) -> str | None:
    """What is wrong with a changed site file or mapping file; the content before the change is in force."""
    return None if site.problem is None else f"the content before the change is in force: {site.problem}"


def _resources_check(directory: ResourceDirectory) -> Check:
    async def check() -> None:
        if not len(directory):
            raise Transient("no resource has been read from OmegaAI yet; bookings are answered AE until then")

    return check
