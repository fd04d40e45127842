"""The worker of one destination: claims heads of lines under a lease, sends, and marks the outcome of each."""

import asyncio
import heapq
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import structlog

from chassis import failpoints
from chassis.backoff import pause_seconds, server_pause_seconds
from chassis.deliveries import statements
from chassis.deliveries.breaker import Breaker
from chassis.deliveries.bugs import DEFAULT_IN_A_ROW, BugLimit, StoppedByBugsError
from chassis.deliveries.keeping import Keeping
from chassis.deliveries.marking import Marking
from chassis.deliveries.model import Accepted, Delivery, Receipt, Send, Settled, UnreadableReceiptError
from chassis.errors import AccessRefused, Permanent, StoreUnavailable, Transient, Withheld, reason_of
from chassis.loops import LoopBase
from chassis.observe import Metrics, meters, tracing
from chassis.settings import BreakerSettings, RetrySettings
from chassis.store import Backlog, Store, asking, is_passing, no_answer
from chassis.store.store import COMMAND_TIMEOUT_SECONDS, CONNECT_TIMEOUT_SECONDS, SESSION_SETTINGS
from chassis.store.transaction import DELIVERIES_CHANNEL

POLL_SECONDS = 1.0

log = structlog.get_logger(__name__)


class DeliveryWorker(LoopBase):
    """Delivers to one destination. Several processes may run one: the lease keeps them apart."""

    def __init__(
        self,
        store: Store,
        destination: str,
        send: Send,
        *,
        settled: Settled | None = None,
        concurrency: int = 8,
        lease_seconds: float = 5,
        send_timeout_seconds: float = 60,
        breaker: BreakerSettings | None = None,
        retry: RetrySettings | None = None,
        metrics: Metrics | None = None,
        poll_seconds: float = POLL_SECONDS,
        gather_seconds: float = 0.0,
        bugs_in_a_row: int = DEFAULT_IN_A_ROW,
    ) -> None:
        """``gather_seconds``: how long the first of several deliveries waits to be marked together with others.

        If the process dies within that time, the delivery is sent again; so only for a partner that knows a repeat by
        its key. A bug of ours makes at most ``bugs_in_a_row`` deliveries dead in a row, over all processes and
        restarts.
        """
        super().__init__()
        self._store = store
        self._destination = destination
        self._send = send
        self._concurrency = concurrency
        self._lease_seconds = lease_seconds
        self._send_timeout_seconds = send_timeout_seconds
        self._retry = retry or RetrySettings()
        self._metrics = metrics or Metrics()
        self._poll_seconds = poll_seconds
        breaking = breaker or BreakerSettings()
        self._breaker = Breaker(breaking)
        self._bugs = BugLimit(bugs_in_a_row, breaking.open_seconds)
        self._refused_because: str | None = None
        self._metrics.set(meters.PARTNER_ACCESS_REFUSED, 0, destination=destination)
        self._wake = asyncio.Event()
        self._backlog = Backlog(store, statements.WAITING, destination, told=self._tell)
        self._underway: dict[asyncio.Task[None], UUID] = {}
        self._again_at: list[float] = []
        self._keeping = Keeping(destination, lambda: self.stopping)
        self._marking = Marking(
            store,
            destination,
            settled,
            self._bugs,
            self._keeping,
            gather_seconds=gather_seconds,
            underway=lambda: len(self._underway),
        )

    async def check(self) -> None:
        """For readiness. Raises ``StoppedByBugsError`` while the limit of bugs holds the deliveries back."""
        if self._bugs.is_reached:
            raise StoppedByBugsError(
                f"to {self._destination}: a bug of ours failed {self._bugs.limit} in a row; the others are kept, "
                "and one is tried from time to time"
            )

    async def run(self) -> None:
        """Delivers until stopped; then finishes the deliveries under way."""
        listener: asyncpg.Connection | None = None
        listening = False
        failures = 0
        renewing = asyncio.create_task(self._renew_leases())
        try:
            while not self.stopping:
                self.beat()
                try:
                    if listener is None or listener.is_closed():
                        listener, listening = await self._connect(), False
                        self._bugs.told(await listener.fetchval(statements.BUGS, self._destination))
                    if listening is (self._breaker.is_open or self._bugs.is_reached):
                        # Deliveries committed meanwhile wait for the next trial, so no notification is needed.
                        await (listener.remove_listener if listening else listener.add_listener)(
                            DELIVERIES_CHANNEL, self._heard
                        )
                        listening = not listening
                    await self._claim()
                    self._backlog.look()
                    failures = 0
                    await self._rest()
                except Exception as error:
                    if not is_passing(error):
                        raise
                    failures += 1
                    if listener is not None:
                        listener.terminate()  # the connection may be the one that does not answer
                    log.warning("deliveries.store-away", destination=self._destination, reason=type(error).__name__)
                    await self.pause(server_pause_seconds(failures))
        finally:
            if self._underway:
                await asyncio.wait(self._underway, timeout=self._send_timeout_seconds)
            renewing.cancel()
            await self._backlog.stop()
            if listener is not None:
                listener.terminate()

    async def _connect(self) -> "asyncpg.Connection":
        """A connection of its own, to listen on."""
        seconds = {"timeout": CONNECT_TIMEOUT_SECONDS, "command_timeout": COMMAND_TIMEOUT_SECONDS}
        return await asyncpg.connect(self._store.url, **seconds, server_settings=SESSION_SETTINGS)

    async def _renew_leases(self) -> None:
        """Renews leases. They are short, so that the deliveries of a killed process go on soon."""
        while True:
            await asyncio.sleep(self._lease_seconds / 3)
            tokens = list(set(self._underway.values()))
            if not tokens:
                continue
            try:
                with asking():
                    await self._store.pool.execute(statements.RENEW, tokens, self._lease_seconds)
            except StoreUnavailable as error:
                log.warning("deliveries.lease-not-renewed", destination=self._destination, reason=error.reason)

    def _heard(self, *_: object) -> None:
        self._wake.set()

    async def _rest(self) -> None:
        """Waits for a notification, a delivery that falls due again, or the end of one under way.

        Deliveries that other processes leave behind are found by polling.
        """
        now = time.monotonic()
        while self._again_at and self._again_at[0] <= now:
            heapq.heappop(self._again_at)
        due_seconds = self._again_at[0] - now if self._again_at else self._poll_seconds
        await self.pause(min(self._poll_seconds, due_seconds), self._wake)

    async def _claim(self) -> None:
        """Claims and starts the deliveries that may go now, as many as there is room for."""
        if self._keeping.is_behind:
            return  # else a delivery whose mark still waits could be claimed, and sent once more
        room = self._breaker.allowance(self._concurrency - len(self._underway))
        room = self._bugs.allowance(room, underway=bool(self._underway))
        self._metrics.set(meters.BREAKER_OPEN, float(self._breaker.is_open), destination=self._destination)
        self._metrics.set(meters.DELIVERIES_STOPPED, float(self._bugs.is_reached), destination=self._destination)
        if room <= 0 or (self._breaker.is_open and self._underway):
            return
        token = uuid4()
        rows = await self._store.pool.fetch(statements.CLAIM, self._destination, room, token, self._lease_seconds)
        if rows:
            failpoints.hit(failpoints.DELIVERY_AFTER_CLAIM_BEFORE_SEND)
            if self._bugs.is_reached:
                self._bugs.tried()
        for row in sorted(rows, key=lambda row: row["sequence"]):
            delivery = Delivery.of_row(row, partial(self._holds, row["id"], token))
            task = asyncio.create_task(self._deliver(delivery, token, row["receipt"]))
            self._underway[task] = token
            task.add_done_callback(self._ended)

    async def _holds(self, delivery_id: UUID, token: UUID) -> bool:
        with asking():
            return bool(await self._store.pool.fetchval(statements.HELD, delivery_id, token))

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._underway.pop(task, None)
        self._wake.set()
        if not task.cancelled() and task.exception() is not None:
            log.error("deliveries.not-marked", destination=self._destination, reason=type(task.exception()).__name__)

    async def _deliver(self, delivery: Delivery, token: UUID, kept: str | None) -> None:
        """``kept``: the partner's answer to an earlier try that could not be settled."""
        if kept is not None and await self._settled_before(delivery, token, kept):
            return
        started = time.monotonic()
        attributes: dict[str, str | int] = {
            "messaging.destination.name": self._destination,
            "delivery.kind": delivery.kind,
            "delivery.id": str(delivery.id),
            "delivery.attempt": delivery.attempt,
        }
        name = f"deliver {self._destination}"
        try:
            with tracing.span(name, tracing.SpanKind.CLIENT, attributes, traceparent=delivery.traceparent):
                async with asyncio.timeout(self._send_timeout_seconds):
                    with self.waiting(self._destination, longest_seconds=None):
                        receipt = await self._send(delivery)
        except (StoreUnavailable, Withheld) as error:
            await self._again(delivery, token, error, partner_failed=False)
        except Transient as error:
            await self._again(delivery, token, error, partner_failed=True)
        except TimeoutError:
            late = Transient(f"no answer within {self._send_timeout_seconds:g} s")
            await self._again(delivery, token, late, partner_failed=True)
        except Permanent as error:
            self._answered()
            await self._dead(delivery, token, error)
        except Exception as error:
            if is_passing(error):
                # A sender may read the store itself. A store that is away is not the delivery's fault.
                await self._again(delivery, token, no_answer(error), partner_failed=False)
            else:
                log.exception("deliveries.bug", destination=self._destination, delivery_id=str(delivery.id))
                await self._bug(delivery, token, error)
        else:
            self._answered()
            failpoints.hit(failpoints.DELIVERY_AFTER_SEND_BEFORE_MARK)
            await self._mark_done(delivery, token, receipt)
        self._metrics.observe(meters.DELIVERY_SECONDS, time.monotonic() - started, destination=self._destination)

    async def _settled_before(self, delivery: Delivery, token: UUID, kept: str) -> bool:
        """False for an answer that this version cannot read: the delivery is sent again, as after a lost answer."""
        try:
            await self._mark_done(delivery, token, Receipt.of_json(kept), is_fresh=False)
        except UnreadableReceiptError as error:
            log.warning("deliveries.receipt-unreadable", destination=self._destination, delivery_id=str(delivery.id),
                        reason=str(error))  # fmt: skip
            return False
        return True

    async def _mark_done(self, delivery: Delivery, token: UUID, receipt: Receipt, *, is_fresh: bool = True) -> None:
        try:
            was_ours = await self._marking.done(Accepted(delivery, receipt), token)
        except Transient:
            raise  # the lease ends, and the same key goes out once more
        except Exception as error:
            if is_passing(error) or (isinstance(error, UnreadableReceiptError) and not is_fresh):
                raise  # told to stop: as above
            # Sent again it would fail again, for ever and at full speed: a person has to look at it.
            log.exception("deliveries.not-settled", destination=self._destination, delivery_id=str(delivery.id))
            await self._bug(delivery, token, error, receipt)
            return
        if was_ours:
            self._count("done")

    async def _again(self, delivery: Delivery, token: UUID, error: Transient, *, partner_failed: bool) -> None:
        is_news = True
        if isinstance(error, AccessRefused):
            is_news = error.reason != self._refused_because
            self._refused_because = error.reason
            self._breaker.refused()
            self._metrics.set(meters.PARTNER_ACCESS_REFUSED, 1, destination=self._destination)
        elif partner_failed:
            self._breaker.failed()
        pause = error.retry_after_seconds
        if pause is None:
            pause = self._retry_pause_seconds(delivery)
        say = log.warning if is_news else log.debug
        say("deliveries.again", destination=self._destination, delivery_id=str(delivery.id),
            attempt=delivery.attempt, reason=error.reason, pause_seconds=round(pause, 2))  # fmt: skip
        again = delivery.id, token, error.reason[:500], pause
        await self._keeping.kept(lambda: self._store.pool.execute(statements.AGAIN, *again))
        heapq.heappush(self._again_at, time.monotonic() + pause)
        self._count("retried")

    async def _bug(self, delivery: Delivery, token: UUID, error: Exception, receipt: Receipt | None = None) -> None:
        """Makes the delivery dead while the limit in a row is not reached; else it keeps its place in its line."""
        reason = reason_of(error)[:500]
        pool, identifier = self._store.pool, str(delivery.id)
        dead = delivery.id, token, reason, self._destination, self._bugs.limit
        in_a_row = await self._keeping.kept(lambda: pool.fetchval(statements.DEAD_OF_A_BUG, *dead))
        if in_a_row is not None:
            self._bugs.told(in_a_row)
            log.error("deliveries.dead", destination=self._destination, delivery_id=identifier, reason=reason)
            self._count("dead")
        else:
            pause = self._retry_pause_seconds(delivery)
            held = delivery.id, token, reason, pause, None if receipt is None else receipt.to_json()
            await self._keeping.kept(lambda: pool.execute(statements.HELD_BACK, *held))
            self._bugs.told(await self._keeping.kept(lambda: pool.fetchval(statements.BUGS, self._destination)))
            self._count("retried")
        if self._bugs.is_reached:
            log.critical("deliveries.stopped-by-bugs", destination=self._destination, in_a_row=self._bugs.in_a_row,
                         reason=reason)  # fmt: skip

    def _retry_pause_seconds(self, delivery: Delivery) -> float:
        first, longest = self._retry.first_seconds, self._retry.longest_seconds
        return pause_seconds(delivery.attempt, first_seconds=first, longest_seconds=longest)

    async def _dead(self, delivery: Delivery, token: UUID, error: Exception) -> None:
        reason = reason_of(error)
        log.error("deliveries.dead", destination=self._destination, delivery_id=str(delivery.id), reason=reason)
        await self._keeping.kept(lambda: self._store.pool.execute(statements.DEAD, delivery.id, token, reason[:500]))
        self._count("dead")

    def _answered(self) -> None:
        """The partner answered about a delivery: it is up, and accepts our access."""
        self._breaker.succeeded()
        if self._refused_because is not None:
            log.info("deliveries.access-granted", destination=self._destination)
        self._refused_because = None
        self._metrics.set(meters.PARTNER_ACCESS_REFUSED, 0, destination=self._destination)

    def _count(self, outcome: str) -> None:
        self._metrics.count(meters.DELIVERIES, destination=self._destination, outcome=outcome)

    def _tell(self, waiting: Mapping[str, Any]) -> None:
        self._bugs.told(waiting["bugs"])
        self._metrics.set(meters.DELIVERIES_PENDING, waiting["pending"], destination=self._destination)
        self._metrics.set(meters.DELIVERIES_DEAD, waiting["dead"], destination=self._destination)
        self._metrics.set(meters.DELIVERIES_OLDEST_PENDING_AGE_SECONDS, waiting["age"], destination=self._destination)


async def check_all(workers: Sequence[DeliveryWorker]) -> None:
    """For readiness: names every destination whose deliveries a limit holds back. Raises ``StoppedByBugsError``."""
    found = []
    for worker in workers:
        try:
            await worker.check()
        except StoppedByBugsError as error:
            found.append(str(error))
    if found:
        raise StoppedByBugsError("; ".join(found))
