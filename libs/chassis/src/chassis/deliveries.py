"""Deliveries to partners: a durable queue in the service's store, in order per key, tried until the partner answers.

A worker claims heads of lines under a lease, sends outside of any transaction, and marks those that were taken in one
transaction together with what the service wants to keep of the answers: all that were taken while the last such
transaction was under way. A kill in between sends once more, with the same idempotency key: the partner drops the
repeat. A refusal for good makes the delivery dead, with the partner's answer, for a person; the key's later deliveries
go on.
"""

import asyncio
import heapq
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple, Protocol
from uuid import UUID, uuid4

import asyncpg
import structlog

from chassis import failpoints, tracing
from chassis.backlog import Backlog
from chassis.backoff import pause_seconds, server_pause_seconds
from chassis.breaker import Breaker
from chassis.errors import Permanent, StoreUnavailable, Transient, reason_of
from chassis.loops import LoopBase
from chassis.metrics import Metrics
from chassis.settings import BreakerSettings, RetrySettings
from chassis.store import (
    COLLISIONS,
    COMMAND_TIMEOUT_SECONDS,
    CONNECT_TIMEOUT_SECONDS,
    SESSION_SETTINGS,
    UNAVAILABLE,
    Store,
    no_answer,
)
from chassis.transaction import DELIVERIES_CHANNEL, Transaction

POLL_SECONDS = 1.0
"""Of the time, at most, for counting what waits: much, when a partner has been away."""
LARGEST_SET = 100

log = structlog.get_logger(__name__)


async def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message for a partner. ``attempt`` counts from 1; ``idempotency_key`` is the same at every try.

    ``still_ours`` is false once another worker has the delivery, because this one stood still for longer than its
    lease. Ask it between reading a partner's version and a write that is conditional on that version: then a late
    write can never undo what was delivered meanwhile.
    """

    id: UUID
    destination: str
    key: UUID
    kind: str
    payload: bytes
    idempotency_key: str
    headers: Mapping[str, str]
    attempt: int
    created_at: datetime
    traceparent: str | None = None
    still_ours: Callable[[], Awaitable[bool]] = field(default=_always, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Receipt:
    """The partner's answer, kept with the delivery: opaque ids and codes, no patient's data."""

    detail: Mapping[str, str] = field(default_factory=dict)


class Send(Protocol):
    """Hands one delivery to the partner. Raises ``Transient`` or ``Permanent`` with the partner's answer."""

    async def __call__(self, delivery: Delivery) -> Receipt: ...


class Taken(NamedTuple):
    """A delivery that the partner has taken, and its answer."""

    delivery: Delivery
    receipt: Receipt


Settled = Callable[[Transaction, Sequence[Taken]], Awaitable[None]]
"""Keeps what the service wants of the answers. Each key is there once; when it raises, they come again one by one."""


@dataclass(frozen=True, slots=True, eq=False)
class _ToMark:
    """What waits to be marked done; ``marked`` says whether it was still ours."""

    taken: Taken
    token: UUID
    marked: "asyncio.Future[bool]"


# The heads of the lines: the first pending row of each key, when it is due and nobody holds it.
_CLAIM = """
WITH heads AS (
    SELECT d.id FROM deliveries d
    WHERE d.destination = $1 AND d.state = 'pending' AND d.next_attempt_at <= clock_timestamp()
      AND (d.lease_until IS NULL OR d.lease_until < clock_timestamp())
      AND NOT EXISTS (
          SELECT 1 FROM deliveries earlier
          WHERE earlier.destination = d.destination AND earlier.key = d.key AND earlier.state = 'pending'
            AND earlier.sequence < d.sequence
      )
    ORDER BY d.sequence LIMIT $2 FOR UPDATE SKIP LOCKED
)
UPDATE deliveries d
SET lease_token = $3, lease_until = clock_timestamp() + $4 * interval '1 second', attempts = d.attempts + 1
FROM heads WHERE d.id = heads.id
RETURNING d.*
"""
# What another transaction holds is being marked, or is an operator's. Neither is waited for, so that nobody waits in a
# circle.
_RENEW = """
UPDATE deliveries SET lease_until = clock_timestamp() + $2 * interval '1 second'
WHERE id IN (
    SELECT id FROM deliveries WHERE lease_token = ANY($1::uuid[]) AND state = 'pending' FOR UPDATE SKIP LOCKED
)
"""
_HELD = "SELECT EXISTS (SELECT 1 FROM deliveries WHERE id = $1 AND lease_token = $2 AND state = 'pending')"
_DONE = """
UPDATE deliveries d SET state = 'done', done_at = clock_timestamp(), receipt = taken.receipt, last_error = NULL,
    lease_token = NULL, lease_until = NULL
FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS taken (id, token, receipt)
WHERE d.id = taken.id AND d.lease_token = taken.token AND d.state = 'pending' RETURNING d.id
"""
_AGAIN = """
UPDATE deliveries SET last_error = $3, next_attempt_at = clock_timestamp() + $4 * interval '1 second',
    lease_token = NULL, lease_until = NULL
WHERE id = $1 AND lease_token = $2 AND state = 'pending'
"""
_DEAD = """
UPDATE deliveries SET state = 'dead', done_at = clock_timestamp(), last_error = $3,
    lease_token = NULL, lease_until = NULL
WHERE id = $1 AND lease_token = $2 AND state = 'pending'
"""
# The oldest is the first of its index, so that only counting reads all.
_WAITING = """
SELECT
    (SELECT count(*) FROM deliveries WHERE destination = $1 AND state = 'pending') AS pending,
    (SELECT count(*) FROM deliveries WHERE destination = $1 AND state = 'dead') AS dead,
    coalesce((
        SELECT extract(epoch FROM clock_timestamp() - created_at) FROM deliveries
        WHERE destination = $1 AND state = 'pending' ORDER BY sequence LIMIT 1
    ), 0)::float8 AS age
"""


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
    ) -> None:
        """The first of several under way waits ``gather_seconds`` for others to be marked with it: fewer transactions.

        Until then it goes out again should the process die; so only for a partner that knows a repeat by its key.
        """
        super().__init__()
        self._store = store
        self._destination = destination
        self._send = send
        self._settled = settled
        self._concurrency = concurrency
        self._lease_seconds = lease_seconds
        self._send_timeout_seconds = send_timeout_seconds
        self._retry = retry or RetrySettings()
        self._metrics = metrics or Metrics()
        self._poll_seconds = poll_seconds
        self._gather_seconds = gather_seconds
        self._breaker = Breaker(breaker or BreakerSettings())
        self._wake = asyncio.Event()
        self._backlog = Backlog(store, _WAITING, destination, told=self._tell)
        self._underway: dict[asyncio.Task[None], UUID] = {}
        self._again_at: list[float] = []
        self._to_mark: list[_ToMark] = []
        self._marking: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Until stopped; then what is underway is finished first."""
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
                    if listening is self._breaker.is_open:
                        # What is committed meanwhile can wait for the breaker's next trial: nobody has to be woken.
                        await (listener.remove_listener if listening else listener.add_listener)(
                            DELIVERIES_CHANNEL, self._heard
                        )
                        listening = not listening
                    await self._claim()
                    self._backlog.look()
                    failures = 0
                    await self._rest()
                except UNAVAILABLE as error:
                    failures += 1
                    if listener is not None:
                        listener.terminate()  # it may be the one that does not answer
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
        """One of its own, to listen on."""
        seconds = {"timeout": CONNECT_TIMEOUT_SECONDS, "command_timeout": COMMAND_TIMEOUT_SECONDS}
        return await asyncpg.connect(self._store.url, **seconds, server_settings=SESSION_SETTINGS)

    async def _renew_leases(self) -> None:
        """Leases are short, so that what a killed process held goes on soon; who lives renews them."""
        while True:
            await asyncio.sleep(self._lease_seconds / 3)
            tokens = list(set(self._underway.values()))
            if not tokens:
                continue
            try:
                await self._store.pool.execute(_RENEW, tokens, self._lease_seconds)
            except UNAVAILABLE as error:
                reason = type(error).__name__
                log.warning("deliveries.lease-not-renewed", destination=self._destination, reason=reason)

    def _heard(self, *_: object) -> None:
        self._wake.set()

    async def _rest(self) -> None:
        """Waits for a notification, a delivery that falls due again, or one underway to end and free its key.

        What other processes leave behind is found by polling.
        """
        now = time.monotonic()
        while self._again_at and self._again_at[0] <= now:
            heapq.heappop(self._again_at)
        due_seconds = self._again_at[0] - now if self._again_at else self._poll_seconds
        await self.pause(min(self._poll_seconds, due_seconds), self._wake)

    async def _claim(self) -> None:
        """Claims and starts what may go now: all there is, or all there is room for."""
        room = self._breaker.allowance(self._concurrency - len(self._underway))
        self._metrics.set("breaker_open", float(self._breaker.is_open), destination=self._destination)
        if room <= 0 or (self._breaker.is_open and self._underway):
            return
        token = uuid4()
        rows = await self._store.pool.fetch(_CLAIM, self._destination, room, token, self._lease_seconds)
        if rows:
            failpoints.hit("delivery.after-claim-before-send")
        for row in sorted(rows, key=lambda row: row["sequence"]):
            delivery = _delivery(row, partial(self._holds, row["id"], token))
            task = asyncio.create_task(self._deliver(delivery, token))
            self._underway[task] = token
            task.add_done_callback(self._ended)

    async def _holds(self, delivery_id: UUID, token: UUID) -> bool:
        try:
            return bool(await self._store.pool.fetchval(_HELD, delivery_id, token))
        except UNAVAILABLE as error:
            raise no_answer(error) from error

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._underway.pop(task, None)
        self._wake.set()
        if not task.cancelled() and task.exception() is not None:
            log.error("deliveries.not-marked", destination=self._destination, reason=type(task.exception()).__name__)

    async def _deliver(self, delivery: Delivery, token: UUID) -> None:
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
                    receipt = await self._send(delivery)
        except StoreUnavailable as error:
            await self._again(delivery, token, error, partner_failed=False)
        except Transient as error:
            await self._again(delivery, token, error, partner_failed=True)
        except TimeoutError:
            late = Transient(f"no answer within {self._send_timeout_seconds:g} s")
            await self._again(delivery, token, late, partner_failed=True)
        except Permanent as error:
            self._breaker.succeeded()
            await self._dead(delivery, token, error)
        except UNAVAILABLE as error:
            # A sender may read the store itself; that it is away is not the delivery's fault.
            away = no_answer(error)
            await self._again(delivery, token, away, partner_failed=False)
        except Exception as error:
            log.exception("deliveries.bug", destination=self._destination, delivery_id=str(delivery.id))
            await self._dead(delivery, token, error)
        else:
            self._breaker.succeeded()
            failpoints.hit("delivery.after-send-before-mark")
            await self._mark_done(delivery, token, receipt)
        self._metrics.observe("delivery_seconds", time.monotonic() - started, destination=self._destination)

    async def _mark_done(self, delivery: Delivery, token: UUID, receipt: Receipt) -> None:
        """Waits until the delivery is marked, by a task that marks all which wait for it."""
        marked: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._to_mark.append(_ToMark(Taken(delivery, receipt), token, marked))
        if self._marking is None or self._marking.done():
            self._marking = asyncio.create_task(self._mark_all())
        try:
            was_ours = await marked
        except (*UNAVAILABLE, *COLLISIONS, Transient):
            raise  # the lease ends, and the same key goes out once more
        except Exception as error:
            # Sent again it would fail again, for ever and at full speed: a person has to look at it.
            log.exception("deliveries.not-settled", destination=self._destination, delivery_id=str(delivery.id))
            await self._dead(delivery, token, error)
            return
        finally:
            del marked  # it holds the error, whose traceback holds this frame
        if was_ours:
            self._count("done")

    async def _mark_all(self) -> None:
        """Marks what waits, in sets, until nothing does."""
        if self._gather_seconds and len(self._underway) > len(self._to_mark):
            await asyncio.sleep(self._gather_seconds)
        while self._to_mark:
            together, self._to_mark = self._to_mark[:LARGEST_SET], self._to_mark[LARGEST_SET:]
            try:
                await self._mark(together)
            finally:
                for one in together:
                    if not one.marked.done():  # this task was cancelled
                        one.marked.cancel()

    async def _mark(self, together: Sequence[_ToMark]) -> None:
        """In one transaction; where that does not succeed, one by one, so that each stands for itself."""
        try:
            ours = await self._marked([(one.taken, one.token) for one in together])
        except Exception as error:  # noqa: BLE001 (handed to the delivery that it concerns)
            if len(together) > 1 and not isinstance(error, UNAVAILABLE):
                for one in together:
                    await self._mark([one])
            else:
                for one in together:
                    if not one.marked.done():
                        one.marked.set_exception(error)
            del one, together  # they hold the error, whose traceback holds this frame
            return
        for one in together:
            if not one.marked.done():
                one.marked.set_result(one.taken.delivery.id in ours)

    async def _marked(self, together: Sequence[tuple[Taken, UUID]]) -> set[UUID]:
        """Returns the ids of those that were ours. What ran out of its lease another worker has, and settles."""
        ids = [taken.delivery.id for taken, _ in together]
        tokens = [token for _, token in together]
        receipts = [json.dumps(dict(taken.receipt.detail)) for taken, _ in together]
        async with self._store.pool.acquire() as connection, connection.transaction():
            ours = {row["id"] for row in await connection.fetch(_DONE, ids, tokens, receipts)}
            if ours and self._settled is not None:
                transaction = Transaction(connection)
                await self._settled(transaction, [taken for taken, _ in together if taken.delivery.id in ours])
                await transaction.flush()
        return ours

    async def _again(self, delivery: Delivery, token: UUID, error: Transient, *, partner_failed: bool) -> None:
        if partner_failed:
            self._breaker.failed()
        pause = error.retry_after_seconds
        if pause is None:
            pause = pause_seconds(
                delivery.attempt,
                first_seconds=self._retry.first_seconds,
                longest_seconds=self._retry.longest_seconds,
            )
        log.warning("deliveries.again", destination=self._destination, delivery_id=str(delivery.id),
                    attempt=delivery.attempt, reason=error.reason, pause_seconds=round(pause, 2))  # fmt: skip
        await self._store.pool.execute(_AGAIN, delivery.id, token, error.reason[:500], pause)
        heapq.heappush(self._again_at, time.monotonic() + pause)
        self._count("retried")

    async def _dead(self, delivery: Delivery, token: UUID, error: Exception) -> None:
        reason = reason_of(error)
        log.error("deliveries.dead", destination=self._destination, delivery_id=str(delivery.id), reason=reason)
        await self._store.pool.execute(_DEAD, delivery.id, token, reason[:500])
        self._count("dead")

    def _count(self, outcome: str) -> None:
        self._metrics.count("deliveries_total", destination=self._destination, outcome=outcome)

    def _tell(self, waiting: Mapping[str, Any]) -> None:
        self._metrics.set("deliveries_pending", waiting["pending"], destination=self._destination)
        self._metrics.set("deliveries_dead", waiting["dead"], destination=self._destination)
        self._metrics.set("deliveries_oldest_pending_age_seconds", waiting["age"], destination=self._destination)


def _delivery(row: Any, still_ours: Callable[[], Awaitable[bool]]) -> Delivery:
    return Delivery(
        id=row["id"],
        destination=row["destination"],
        key=row["key"],
        kind=row["kind"],
        payload=row["payload"],
        idempotency_key=row["idempotency_key"],
        headers=json.loads(row["headers"]),
        attempt=row["attempts"],
        created_at=row["created_at"],
        traceparent=row["traceparent"],
        still_ours=still_ours,
    )


# ---- the operator's hand ------------------------------------------------------------------------------------------

_LIST = """
SELECT id, destination, key, kind, state, attempts, next_attempt_at, last_error, created_at, done_at
FROM deliveries WHERE ($1::text IS NULL OR state = $1) AND ($2::text IS NULL OR destination = $2)
ORDER BY sequence DESC LIMIT $3
"""
_RETRY = """
UPDATE deliveries SET state = 'pending', next_attempt_at = clock_timestamp(), done_at = NULL
WHERE id = $1 AND state IN ('pending', 'dead') RETURNING id
"""
_DROP = """
UPDATE deliveries SET state = 'dropped', done_at = clock_timestamp()
WHERE id = $1 AND state IN ('pending', 'dead') RETURNING id
"""


async def list_deliveries(store: Store, *, state: str | None, destination: str | None, limit: int) -> list[Any]:
    """The newest deliveries, without their payloads."""
    return list(await store.pool.fetch(_LIST, state, destination, limit))


async def retry_delivery(store: Store, delivery_id: UUID, *, actor: str) -> bool:
    """Sends a waiting or dead delivery at once, with the same idempotency key. Audited. False when there is none."""
    return await _operate(store, _RETRY, delivery_id, actor=actor, action="delivery.retry")


async def drop_delivery(store: Store, delivery_id: UUID, *, actor: str) -> bool:
    """Gives a waiting or dead delivery up. Audited. False when there is none."""
    return await _operate(store, _DROP, delivery_id, actor=actor, action="delivery.drop")


async def _operate(store: Store, statement: str, delivery_id: UUID, *, actor: str, action: str) -> bool:
    async with store.pool.acquire() as connection, connection.transaction():
        if await connection.fetchval(statement, delivery_id) is None:
            return False
        transaction = Transaction(connection)
        transaction.audit(actor=actor, action=action, subject=str(delivery_id))
        await transaction.flush()
        await connection.execute("SELECT pg_notify($1, '')", DELIVERIES_CHANNEL)
    return True
