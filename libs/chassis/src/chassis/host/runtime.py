"""The base of every service, opened once in its composition root; a service adds its own parts.

A stop follows the work: first the intakes, then the watches, the relay and the deliveries.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from starlette.routing import BaseRoute

from chassis.deliveries import DeliveryWorker, Send, Settled, check_all
from chassis.host.certificates import Certificate, CertificateWatch
from chassis.host.service import Check, Service
from chassis.host.store_guard import StoreGuard
from chassis.loops import Loop
from chassis.messaging import Consumer, Relay, Subscription, TopicsWatch
from chassis.messaging.outbox import LOCK as RELAY_LOCK
from chassis.messaging.outbox import NAME as RELAY
from chassis.observe import Metrics
from chassis.settings import ServiceSettings
from chassis.store import Exclusive, Housekeeping, Store, StoreClock
from chassis.store import server as store_server
from chassis.timers import TimerHandlers, TimerWorker
from chassis.web.console import Console
from chassis.web.desks import Desk
from chassis.web.guard import PatientSession
from chassis.web.inbox_desk import InboxDesk
from chassis.web.layout import Page

if TYPE_CHECKING:
    import asyncpg

W = TypeVar("W")


class RecoveryRefused(Exception):  # noqa: N818 (it is no fault)
    """A recovery may not run now; the text says why."""


@dataclass
class Runtime:
    """A service's store, metrics and clock.

    ``open`` makes it; ``service`` makes the host; a command calls ``close``.
    """

    name: str
    settings: ServiceSettings
    store: Store
    metrics: Metrics
    clock: StoreClock
    _desks: list[Desk] = field(default_factory=list, init=False, repr=False)
    _workers: dict[str, DeliveryWorker] = field(default_factory=dict, init=False, repr=False)
    _timers: dict[str, Loop] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    async def open(cls, name: str, settings: ServiceSettings, *declaring: ModuleType) -> "Runtime":
        """Connects to the store and reads its time. ``declaring`` hold the service's metrics. StoreUnavailable."""
        store = await Store.open(settings.store)
        metrics = Metrics(*declaring)
        clock = StoreClock(store, settings.clock, metrics)
        try:
            await clock.start()
        except BaseException:
            await store.close()
            raise
        return cls(name, settings, store, metrics, clock)

    async def close(self) -> None:
        """For a command; a running service closes by itself."""
        await self.store.close()

    def consumer(self, subscription: Subscription[W]) -> Consumer[W]:
        """Adds the consumer of the service's topics."""
        self._desks.append(InboxDesk(self.store))
        return Consumer(
            self.store,
            self.settings.kafka,
            subscription,
            metrics=self.metrics,
            dead_letter_limit=self.settings.dead_letters.limit,
        )

    def deliver(
        self,
        destination: str,
        send: Send,
        *,
        settled: Settled,
        concurrency: int,
        lease_seconds: float | None = None,
        gather_seconds: float = 0.0,
    ) -> None:
        """Adds deliveries to ``destination``. ``DeliveryWorker`` documents the values."""
        given = {} if lease_seconds is None else {"lease_seconds": lease_seconds}
        self._workers[destination] = DeliveryWorker(
            self.store,
            destination,
            send,
            settled=settled,
            concurrency=concurrency,
            gather_seconds=gather_seconds,
            breaker=self.settings.breaker,
            retry=self.settings.retry,
            metrics=self.metrics,
            bugs_in_a_row=self.settings.deliveries.bugs_in_a_row,
            **given,
        )

    def timers(self, handlers: TimerHandlers[W]) -> None:
        """Adds the service's timers. Call once, with the handlers of all kinds."""
        self._timers["timers"] = TimerWorker(
            self.store,
            handlers,
            clock=self.clock,
            metrics=self.metrics,
            dead_limit=self.settings.dead_letters.limit,
        )

    async def service(
        self,
        *,
        guard: StoreGuard,
        intakes: Mapping[str, Loop],
        watches: Mapping[str, Loop] | None = None,
        checks: Mapping[str, Check],
        routes: Sequence[BaseRoute] = (),
        pages: Sequence[Page] = (),
        notes: Mapping[str, Callable[[], str | None]] | None = None,
        patient_session: PatientSession | None = None,
        certificates: Sequence[Certificate] = (),
        desks: Sequence[Desk] = (),
        closers: Sequence[Callable[[], Awaitable[None]]] = (),
    ) -> Service:
        """The whole service, ready to run. When it cannot be made, everything is closed again. SettingsError.

        ``intakes`` bring work in and stop first, in their order; ``watches`` are the service's own. ``desks``: the
        console's part of intakes beside the consumer. ``closers`` run before the store is closed.
        """
        topics = TopicsWatch(self.settings.kafka, guard.topics)
        closing = [*closers, topics.close, self.store.close]
        try:
            await store_server.accept(self.store, self.settings.environment)
        except BaseException:
            for close in closing:
                await close()
            raise
        certificate_watch = CertificateWatch(certificates, self.metrics, now=self.clock.now)
        loops: dict[str, Loop] = {
            **intakes,
            **self._timers,
            **(watches or {}),
            **({"certificates": certificate_watch} if certificates else {}),
            "clock": self.clock,
            "housekeeping": Housekeeping(self.store, self.settings.retention, self.metrics),
            "store-server": store_server.StoreServerWatch(self.store, self.metrics),
            "relay": Relay(self.store, self.settings.kafka, self.metrics, now=self.clock.now, may_send=guard.is_sure),
            **{f"to-{destination}": worker for destination, worker in self._workers.items()},
        }
        return Service(
            name=self.name,
            http=self.settings.http,
            metrics=self.metrics,
            loops=loops,
            checks={
                "store": self.store.ping,
                "kafka": topics.check,
                **checks,
                "deliveries": partial(check_all, list(self._workers.values())),
            },
            routes=routes,
            console=Console(
                self.store,
                self.name,
                pages,
                destinations=list(self._workers),
                desks=[*desks, *self._desks],
                consoles=self.settings.http.consoles,
            ),
            guard=guard,
            notes=notes or {},
            patient_session=patient_session,
            closers=closing,
        )

    @asynccontextmanager
    async def alone(self) -> "AsyncIterator[asyncpg.Connection]":
        """For a command that must not meet the running service. Raises RecoveryRefused where one works on the store."""
        async with Exclusive.held(self.store, lock=RELAY_LOCK, name=RELAY) as connection:
            if connection is None:
                raise RecoveryRefused(f"a {self.name} works on this store: stop it, or let a new start refuse it")
            yield connection
