"""The composition root: the one place that constructs things and knows them all."""

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final
from uuid import UUID

import aiohttp
import structlog

from chassis.deliveries import DeliveryWorker, check_all
from chassis.errors import NeedsSetup, StoreUnavailable, Transient
from chassis.hl7 import Hl7Listener, inbound
from chassis.host import Certificate, CertificateWatch, Check, Service, StoreGuard
from chassis.host.store_guard import LONGEST_LOOK_SECONDS
from chassis.http import open_session
from chassis.loops import Loop
from chassis.messaging import Relay, TopicsWatch, produced_by, published
from chassis.messaging.outbox import LOCK as RELAY_LOCK
from chassis.messaging.outbox import NAME as RELAY
from chassis.observe import Metrics
from chassis.store import Exclusive, Housekeeping, Store, StoreClock, Transaction, identity
from chassis.store import server as store_server
from chassis.store.store import ERRORS
from chassis.web.console import Console
from hl7v2.mllp import Client
from scheduler_sync import replay
from scheduler_sync.adapters.omegaai.client import FhirClient
from scheduler_sync.adapters.omegaai.feed import ChangeFeed
from scheduler_sync.adapters.omegaai.sender import OmegaAISender
from scheduler_sync.adapters.omegaai.tasks import TaskQueue
from scheduler_sync.adapters.omegaai.token import TokenSource
from scheduler_sync.adapters.powerserver.sender import PowerServerSender
from scheduler_sync.adapters.powerserver.writer import Hl7StatusWriter
from scheduler_sync.domain.appointment import Outcome
from scheduler_sync.domain.link import System
from scheduler_sync.feeds import OpenWork, PowerServerFeed, ReadingCounter, Settlement, StoredWork, TaskFeed
from scheduler_sync.handlers import Handlers
from scheduler_sync.ports import Counter as OutcomeCounter
from scheduler_sync.recovery.recover import Healing, Recovery
from scheduler_sync.recovery.report import Report
from scheduler_sync.resources import ResourceDirectory, ResourceImport
from scheduler_sync.settings import MllpSettings, PowerServerSettings, SchedulerSyncSettings
from scheduler_sync.site import Site
from scheduler_sync.store.queries import StoredIds, StoredResources, StoredSteps, Views, revisions
from scheduler_sync.waiting import WaitingGauge
from scheduler_sync.web.pages import PAGES, Pages

NAME: Final = "scheduler-sync"
MIGRATIONS: Final = Path(__file__).parent / "migrations"
DESTINATIONS: Final = (System.OMEGAAI, System.POWERSERVER)
LOOK_UP_SECONDS: Final = 1.0
GATHER_SECONDS: Final = 0.01
TASK_READER_LOCK: Final = 0x7A5C  # beside the relay's, on the service's own store
_WITHOUT_EFFECT: Final = frozenset({Outcome.UNCHANGED, Outcome.STALE, Outcome.ECHO, Outcome.REFUSED})

_log = structlog.get_logger(__name__)


@dataclass
class Core:
    """What the running service and the commands share: the store, the site, the use cases and the HL7 listener."""

    store: Store
    clock: StoreClock
    site: Site
    directory: ResourceDirectory
    resources: StoredResources
    metrics: Metrics
    handlers: Handlers
    open_work: OpenWork
    listener: Hl7Listener[StoredWork, NeedsSetup | None]


async def open_core(settings: SchedulerSyncSettings) -> Core:
    """Open the store and put the use cases together. SiteFileError, StoreUnavailable."""
    site = Site(settings.site_file)
    store = await Store.open(settings.store)
    metrics = Metrics()
    metrics.count("conflicts_total", 0, source=System.POWERSERVER, outcome=Outcome.STALE)  # an alarm sees the first one
    clock = StoreClock(store, settings.clock, metrics)
    await clock.start()
    directory = ResourceDirectory(lambda: site.file)
    resources = StoredResources(store.pool, site)
    handlers = Handlers(
        site=lambda: site.file,
        resources=directory,
        powerserver=Hl7StatusWriter(lambda: site.file),
        count=_counter(metrics),
        now=clock.now,
        doubt=clock.doubt,
        clock_ahead=_lead_counter(metrics),
        count_conflict=lambda source, outcome: metrics.count("conflicts_total", source=source, outcome=outcome),
    )
    open_work = OpenWork(site)
    feed = PowerServerFeed(handlers, site, directory, _reading_counter(metrics))
    listener = Hl7Listener(
        store,
        host=settings.mllp.host,
        port=settings.mllp.port,
        open_work=open_work,
        prefetch=feed.prefetch,
        handle=feed.handle,
        metrics=metrics,
        now=clock.now,
        ssl=settings.mllp.ssl_context(),
        honours_wishes=lambda: site.file.hl7.acknowledgement == "as-asked",
        limits=settings.mllp.limits,
    )
    return Core(store, clock, site, directory, resources, metrics, handlers, open_work, listener)


@dataclass
class OmegaAI:
    """The connection to OmegaAI."""

    session: aiohttp.ClientSession
    tokens: TokenSource
    client: FhirClient


def connect_omegaai(settings: SchedulerSyncSettings) -> OmegaAI:
    """A session of its own; nothing is asked yet."""
    omegaai = settings.omegaai
    session = open_session(connections=4 * omegaai.concurrency)
    tokens = TokenSource(
        session,
        f"{omegaai.base_url.rstrip('/')}/auth/oauth2/v2.0/token",
        client_id=omegaai.client_id,
        client_secret=omegaai.client_secret.get_secret_value(),
        scope=omegaai.scope,
        timeout_seconds=omegaai.timeout_seconds,
    )
    client = FhirClient(
        session,
        omegaai.base_url,
        tokens,
        allowed_hosts=omegaai.hosts,
        timeout_seconds=omegaai.timeout_seconds,
        largest_answer_bytes=omegaai.largest_answer_bytes,
    )
    return OmegaAI(session, tokens, client)


def store_guard(
    settings: SchedulerSyncSettings, store: Store, site: Site | None = None, metrics: Metrics | None = None
) -> StoreGuard:
    """Whose store it must be: the site's, with these partners. SiteFileError."""
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
    await store_server.accept(core.store, settings.environment)
    guard = store_guard(settings, core.store, core.site, core.metrics)
    omegaai = connect_omegaai(settings)
    store, metrics = core.store, core.metrics
    queue = TaskQueue(
        omegaai.client,
        TaskFeed(store, core.open_work, core.handlers).apply,
        exclusive=Exclusive(
            store, lock=TASK_READER_LOCK, name="task-reader", metrics=metrics, gauge="task_reader_active"
        ),
        now=core.clock.now,
        poll_seconds=settings.omegaai.poll_seconds,
        metrics=metrics,
    )
    powerserver_tls = settings.powerserver.ssl_context()
    powerserver = PowerServerSender(
        [
            Client(
                settings.powerserver.host,
                settings.powerserver.port,
                ssl=powerserver_tls,
                ack_timeout_seconds=settings.powerserver.ack_timeout_seconds,
            )
            for _ in range(settings.powerserver.connections)
        ],
        StoredSteps(store.pool),
    )
    topics = TopicsWatch(settings.kafka, produced_by(NAME))
    settlement = Settlement(core.open_work, core.handlers, core.clock.now)
    to_omegaai = DeliveryWorker(
        store,
        System.OMEGAAI,
        OmegaAISender(omegaai.client, StoredIds(store.pool)).send,
        settled=settlement.omegaai,
        concurrency=settings.omegaai.concurrency,
        gather_seconds=GATHER_SECONDS,
        breaker=settings.breaker,
        retry=settings.retry,
        metrics=metrics,
        bugs_in_a_row=settings.deliveries.bugs_in_a_row,
    )
    to_powerserver = DeliveryWorker(
        store,
        System.POWERSERVER,
        powerserver.send,
        settled=settlement.powerserver,
        concurrency=settings.powerserver.connections,
        breaker=settings.breaker,
        retry=settings.retry,
        metrics=metrics,
        bugs_in_a_row=settings.deliveries.bugs_in_a_row,
    )
    # In the order in which they stop: what brings work in, then what takes it out.
    loops: dict[str, Loop] = {
        "hl7-listener": core.listener,
        "omegaai-feed": ChangeFeed(
            omegaai.session,
            settings.omegaai.base_url,
            omegaai.tokens,
            hub=settings.omegaai.hub,
            user=settings.omegaai.client_id,
            wake=queue.wake,
            allowed_hosts=settings.omegaai.hosts,
            timeout_seconds=settings.omegaai.timeout_seconds,
        ),
        "omegaai-tasks": queue,
        "resource-import": ResourceImport(
            omegaai.client,
            core.site,
            core.resources,
            core.directory,
            interval_seconds=settings.omegaai.resource_import_seconds,
            metrics=metrics,
        ),
        "waiting": WaitingGauge(store, metrics),
        "certificates": CertificateWatch(own_certificates(settings, powerserver_tls), metrics, now=core.clock.now),
        "clock": core.clock,
        "housekeeping": Housekeeping(store, settings.retention, metrics),
        "store-server": store_server.StoreServerWatch(store, metrics),
        "relay": Relay(store, settings.kafka, metrics, now=core.clock.now, may_send=guard.is_sure),
        "to-omegaai": to_omegaai,
        "to-powerserver": to_powerserver,
    }
    return Service(
        name=NAME,
        http=settings.http,
        metrics=metrics,
        loops=loops,
        checks={
            "store": store.ping,
            "hl7": core.listener.check,
            "kafka": topics.check,
            "resources": _resources_check(core.directory),
            "deliveries": partial(check_all, [to_omegaai, to_powerserver]),
        },
        routes=Pages(Views(store.pool), core.site, core.directory, settings.http.consoles).routes(),
        console=Console(
            store,
            NAME,
            PAGES,
            destinations=DESTINATIONS,
            consoles=settings.http.consoles,
            replay_hl7=lambda journal_id, actor: inbound.replay(store, core.listener.executor, journal_id, actor=actor),
        ),
        guard=guard,
        closers=[powerserver.close, omegaai.session.close, topics.close, store.close],
    )


def own_certificates(settings: SchedulerSyncSettings, powerserver_tls: ssl.SSLContext | None) -> list[Certificate]:
    """Those that we show to PowerServer, as its server and as its client. The listener renews its own by itself."""
    found: list[tuple[str, str, MllpSettings | PowerServerSettings, ssl.SSLContext | None]] = [
        ("mllp-listener", "SCHEDULER_SYNC_MLLP", settings.mllp, None),
        ("mllp-client", "SCHEDULER_SYNC_POWERSERVER", settings.powerserver, powerserver_tls),
    ]
    return [
        Certificate(use, f"{group}__CERTIFICATE_FILE", where.certificate_file, where.key_file, context)
        for use, group, where, context in found
        if where.certificate_file is not None and where.key_file is not None
    ]


async def known_resources(settings: SchedulerSyncSettings) -> ResourceDirectory | None:
    """The resources as the store has them; None when it does not say within a second. SiteFileError."""
    site = Site(settings.site_file)
    directory = ResourceDirectory(lambda: site.file)
    try:
        async with asyncio.timeout(LOOK_UP_SECONDS):
            store = await Store.open(settings.store)
            try:
                directory.fill(await StoredResources(store.pool, site).all())
            finally:
                store.pool.terminate()
    except (TimeoutError, StoreUnavailable, *ERRORS):
        return None
    return directory


async def replay_hl7(settings: SchedulerSyncSettings, store: Store, journal_id: UUID, actor: str) -> str:
    """Process a kept HL7 message again; what came of it in words."""
    core = await open_core(settings)
    try:
        core.directory.fill(await core.resources.all())
        return await inbound.replay(store, core.listener.executor, journal_id, actor=actor)
    finally:
        await core.store.close()


async def replay_tasks(settings: SchedulerSyncSettings, task_ids: Sequence[str], actor: str) -> dict[str, str]:
    """Read the Appointments of parked Tasks again; what came of each, by Task id."""
    core = await open_core(settings)
    omegaai = connect_omegaai(settings)
    try:
        core.directory.fill(await core.resources.all())
        feed = TaskFeed(core.store, core.open_work, core.handlers)
        return await replay.replay_tasks(
            core.store, TaskQueue(omegaai.client, feed.apply, now=core.clock.now), feed, task_ids, actor=actor
        )
    finally:
        await omegaai.session.close()
        await core.store.close()


async def recover(settings: SchedulerSyncSettings, *, actor: str, dry_run: bool, tell: Callable[[str], None]) -> Report:
    """Make a store whole again that was set back or is gone.

    RecoveryRefused, KafkaError, StoreUnavailable, Transient, Permanent.
    """
    core = await open_core(settings)
    omegaai = connect_omegaai(settings)
    guard = store_guard(settings, core.store, core.site, core.metrics)
    try:
        async with Exclusive.held(core.store, lock=RELAY_LOCK, name=RELAY) as connection:
            if connection is None:
                raise RecoveryRefused("a scheduler-sync works on this store: stop it, or let a new start refuse it")
            verdict = await guard.look(within_seconds=LONGEST_LOOK_SECONDS)
            if verdict.kind in {"elsewhere", "unsure"}:
                raise RecoveryRefused(verdict.why)
            epoch = 0 if (known := await identity.read(core.store.pool)) is None else known.epoch
            if not dry_run:
                epoch = (await guard.begin_recovery()).epoch
            importing = ResourceImport(omegaai.client, core.site, core.resources, core.directory, interval_seconds=1)
            await importing.import_once()
            recovery = Recovery(
                store=core.store,
                site=core.site.file,
                resources=await core.resources.all(),
                omegaai=omegaai.client,
                open_work=core.open_work,
                handlers=Healing(
                    site=lambda: core.site.file,
                    resources=core.directory,
                    powerserver=Hl7StatusWriter(lambda: core.site.file),
                    count=_counter(core.metrics),
                    now=core.clock.now,
                ),
                tell=tell,
                now=await core.store.now(),
            )
            async with published.opened(settings.kafka, guard.topics) as reader:
                report = await recovery.run(reader, epoch=epoch, dry_run=dry_run)
                if not dry_run:
                    was_behind = verdict.kind == "set back" or report.has_found_something
                    after = await guard.adopt(compared_to=reader.following, new_epoch=was_behind)
                    async with core.store.pool.acquire() as audited, audited.transaction():
                        transaction = Transaction(audited)
                        detail = {"epoch": after.epoch, **report.counts()}
                        transaction.audit(
                            actor=actor, action="store.recover", subject=str(after.incarnation), detail=detail
                        )
                        await transaction.flush()
            return report
    finally:
        await omegaai.session.close()
        await core.store.close()


class RecoveryRefused(Exception):  # noqa: N818 (it is no fault)
    """A recovery may not run now; the text says why."""


def _resources_check(directory: ResourceDirectory) -> Check:
    async def check() -> None:
        if not len(directory):
            raise Transient("no resource has been read from OmegaAI yet; bookings are answered AE until then")

    return check


def _lead_counter(metrics: Metrics) -> Callable[[timedelta], None]:
    """Counts and says that a sender's clock is ahead of ours."""

    def count(lead: timedelta) -> None:
        metrics.count("sender_clock_ahead_total")
        _log.warning("hl7.clock-ahead", seconds=round(lead.total_seconds()))

    return count


def _reading_counter(metrics: Metrics) -> ReadingCounter:
    """Counts what of a batch of messages is not read, and texts that were repaired. Labels are looked up once each."""
    known: dict[tuple[str, str], Callable[[float], None]] = {}

    def count(keys: Iterable[tuple[str, str]], repairs: int) -> None:
        for key, number in Counter(keys).items():
            add = known.get(key)
            if add is None:
                add = known[key] = metrics.counter("hl7_ignored_total", segment=key[0], field=key[1])
            add(number)
        if repairs:
            metrics.count("hl7_texts_repaired_total", repairs)

    return count


def _counter(metrics: Metrics) -> OutcomeCounter:
    """Counts, and says, what had no effect and why."""

    def count(source: str, outcome: Outcome) -> None:
        if outcome in _WITHOUT_EFFECT:
            metrics.count("stale_total", kind=f"{source}.{outcome}")
            _log.info("input.without-effect", source=source, outcome=str(outcome))

    return count
