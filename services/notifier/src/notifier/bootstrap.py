"""The composition root: the one place that constructs things and knows them all."""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final

from chassis.host import Consumes, Runtime, Service, StoreGuard
from chassis.observe import Metrics
from chassis.store import Store
from notifier import metrics, recovery
from notifier.adapters.letters import Letterhead, LetterWriter
from notifier.adapters.sender import DESTINATION, NotificationSender
from notifier.adapters.smtp import MailServer, SmtpGateway
from notifier.events import TOPICS
from notifier.inbound import CONSUMER, subscription
from notifier.settings import NotifierSettings
from notifier.web.history import History
from notifier.web.pages import PAGES, MessagesPage

NAME: Final = "notifier"
CONSUMES: Final = Consumes(CONSUMER, TOPICS)
DESTINATIONS: Final = (DESTINATION,)
MIGRATIONS: Final = Path(__file__).parent / "migrations"
LEASE_MARGIN_SECONDS: Final = 10.0
QUEUED_PER_CONNECTION: Final = 4  # while one mail is on the wire the next is written, so that no connection waits


def store_guard(settings: NotifierSettings, store: Store, metrics: Metrics | None = None) -> StoreGuard:
    """The store's owner: the notifier of this portal and this mail server."""
    return StoreGuard(
        store,
        settings.kafka,
        service=NAME,
        belongs_to={"portal": settings.portal_url, "mail server": f"{settings.smtp.host}:{settings.smtp.port}"},
        metrics=metrics or Metrics(),
        consumes=CONSUMES,
    )


async def build(settings: NotifierSettings) -> Service:
    """The whole service, ready to run. StoreUnavailable, SettingsError."""
    runtime = await Runtime.open(NAME, settings, metrics)
    store = runtime.store
    meters = metrics.NotifierMetrics(runtime.metrics)
    gateway = connect_smtp(settings)
    sender = NotificationSender(store, gateway, LetterWriter(letterhead(settings)), meters, clock=runtime.clock)
    runtime.deliver(
        DESTINATION,
        sender.send,
        settled=sender.settled,
        concurrency=settings.smtp.connections * QUEUED_PER_CONNECTION,
        lease_seconds=gateway.longest_hand_over_seconds + LEASE_MARGIN_SECONDS,
    )
    consumer = runtime.consumer(subscription(meters))
    return await runtime.service(
        guard=store_guard(settings, store, runtime.metrics),
        intakes={"consumer": consumer},
        watches={"open-messages": metrics.OpenMessagesWatch(store, runtime.metrics)},
        checks={"consumer": consumer.check},
        routes=MessagesPage(History(store), settings.http.consoles).routes(),
        pages=PAGES,
        closers=[gateway.close],
    )


async def recover(
    settings: NotifierSettings, *, actor: str, dry_run: bool, tell: Callable[[str], None]
) -> recovery.Report:
    """Recovers a store that was set back or is gone. Raises RecoveryRefused, KafkaError, StoreUnavailable."""
    runtime = await Runtime.open(NAME, settings)
    try:
        async with runtime.alone():
            guard = store_guard(settings, runtime.store)
            return await recovery.recover(runtime.store, settings.kafka, guard, actor=actor, dry_run=dry_run, tell=tell)
    finally:
        await runtime.close()


def connect_smtp(settings: NotifierSettings) -> SmtpGateway:
    """The mail server, not yet connected."""
    smtp = settings.smtp
    server = MailServer(
        host=smtp.host,
        port=smtp.port,
        sender=smtp.sender,
        tls=smtp.tls,
        username=smtp.username,
        password=smtp.password.get_secret_value() if smtp.password is not None else None,
        timeout_seconds=smtp.timeout_seconds,
        connections=smtp.connections,
    )
    return SmtpGateway(server, ssl.create_default_context() if smtp.tls != "none" else None)


def letterhead(settings: NotifierSettings) -> Letterhead:
    """Values that every mail of this installation shares."""
    return Letterhead(
        sender=settings.smtp.sender,
        sender_name=settings.smtp.sender_name or settings.site_name,
        site_name=settings.site_name,
        portal_url=settings.portal_url,
        map_url=settings.map_url,
        arrive_early_minutes=settings.arrive_early_minutes,
    )
