"""Helpers for every member's tests: waiting for conditions, a recording transaction, and deaths at fail points."""

import asyncio
import contextvars
import gc
import random
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import contracts
from chassis import failpoints
from chassis.clock import Span, utc_now
from chassis.loops import Loop
from chassis.store import Participant
from chassis.store.transaction import TimerWord, newest_of, timer_word
from chassis.testing.depth import DEPTH

T = TypeVar("T")

MACHINE_SECONDS = 25.0
"""What a busy machine may add to a time that a test measures: a promise of five seconds is held to thirty there."""


async def eventually(condition: Callable[[], Awaitable[T]], *, timeout_seconds: float = 60, what: str = "") -> T:
    """The first true answer of ``condition``. Raises ``AssertionError`` naming ``what`` when none comes in time."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        answer = await condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what or 'the condition'} did not hold within {timeout_seconds:g} s: {answer!r}")
        await asyncio.sleep(0.02)


DEATHS_AT_EACH_POINT = DEPTH.deaths_at_each_point
"""The least number of deaths at each fail point."""


class Life:
    """One incarnation of a component: everything that was started in it dies with it."""

    def __init__(self) -> None:
        self.has_ended = asyncio.Event()
        self.went_on = asyncio.Event()


_LIFE: contextvars.ContextVar[Life] = contextvars.ContextVar("life")


class Deaths:
    """Lets components die at ``points``, from a seed that it prints, until each point has had its deaths.

    ``hit`` replaces ``failpoints.hit``. An exception simulates the death of the process. Nothing outlives it: work of
    an ended life fails at the next fail point, before it can commit or acknowledge anything.
    """

    def __init__(self, *points: str, number: int = DEATHS_AT_EACH_POINT) -> None:
        self.at: Counter[str] = Counter()
        self._points = points
        self._number = number
        self._all_had = asyncio.Event()
        seed = secrets.randbits(32)
        print(f"deaths at {', '.join(points)} from seed {seed}")  # noqa: T201 (shown with a failure)
        self._rng = random.Random(seed)  # noqa: S311 (no secret)

    @property
    def are_over(self) -> bool:
        return self._all_had.is_set()

    def hit(self, name: str) -> None:
        life = _LIFE.get(None)
        if life is None:
            return
        if not life.has_ended.is_set():
            life.went_on.set()
            if name not in self._points or self.at[name] >= self._number or self._rng.random() < 0.5:
                return
            life.has_ended.set()
            self.at[name] += 1
            if all(self.at[point] >= self._number for point in self._points):
                self._all_had.set()
        raise failpoints.FailPoint(name)

    async def lives(self, born: Callable[[], Loop], feed: Callable[[], Awaitable[None]]) -> None:
        """Runs one life after another until all deaths have happened. Each new life is fed again."""
        asyncio.get_running_loop().set_exception_handler(_without_deaths)
        while not self.are_over:
            await self._live(born(), feed)
        gc.collect()  # tasks that nobody awaits any more report their death now, and not in another test

    async def _live(self, component: Loop, feed: Callable[[], Awaitable[None]]) -> None:
        life, context = Life(), contextvars.copy_context()
        context.run(_LIFE.set, life)
        life.went_on.set()
        running = asyncio.create_task(_run(component), context=context)
        while not (running.done() or life.has_ended.is_set() or self.are_over):
            if life.went_on.is_set():
                life.went_on.clear()
                await feed()
            waits = [asyncio.create_task(one.wait()) for one in (life.went_on, life.has_ended, self._all_had)]
            await asyncio.wait([running, *waits], return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
        await component.stop()  # a living task runs to its end, a dead one fails at a fail point
        (outcome,) = await asyncio.gather(running, return_exceptions=True)
        if isinstance(outcome, BaseException) and not isinstance(outcome, failpoints.FailPoint):
            raise outcome


def _without_deaths(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    if not isinstance(context.get("exception"), failpoints.FailPoint):
        loop.default_exception_handler(context)


async def _run(component: Loop) -> None:
    await component.run()


@dataclass
class ClockAsTold:
    """Replaces ``StoreClock``: reports a given time, and a given difference of the clocks."""

    at: datetime | None = None
    apart: timedelta = timedelta()

    def now(self) -> datetime:
        return self.at or utc_now()

    def span(self) -> Span:
        now = self.now()
        return Span(now - self.apart, now)


class RevisionTakenError(Exception):
    """An aggregate's revision was published twice; the store's unique constraint raises the same."""


@dataclass
class RecordingTransaction:
    """Replaces ``Transaction`` in tests of handlers. One contract suite runs against both.

    ``events``, ``deliveries``, ``audits`` and ``timers`` are the rows that a commit would have written; ``writes`` are
    the participants' statements. A timer's word with ``due_at`` None cancels it.
    """

    connection: Any = None
    events: list[contracts.Message] = field(default_factory=list)
    deliveries: list[dict[str, Any]] = field(default_factory=list)
    audits: list[dict[str, Any]] = field(default_factory=list)
    timers: list[TimerWord] = field(default_factory=list)
    writes: list[tuple[str, tuple[object, ...]]] = field(default_factory=list)
    _participants: list[Participant] = field(default_factory=list)

    def join(self, participant: Participant) -> None:
        self._participants.append(participant)

    def publish(self, message: contracts.Message) -> None:
        self.events.append(message)

    def deliver(
        self,
        destination: str,
        *,
        key: UUID,
        kind: str,
        payload: bytes,
        idempotency_key: str,
        delivery_id: UUID | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> UUID:
        identifier = delivery_id or contracts.uuid7()
        self.deliveries.append(
            {
                "id": identifier, "destination": destination, "key": key, "kind": kind, "payload": payload,
                "idempotency_key": idempotency_key, "headers": dict(headers or {}),
            }
        )  # fmt: skip
        return identifier

    def set_timer(
        self,
        kind: str,
        *,
        key: UUID,
        due_at: datetime,
        revision: int,
        name: str = "-",
        payload: Mapping[str, object] | None = None,
    ) -> None:
        self.timers.append(timer_word(kind, key, name, revision, due_at=due_at, payload=payload))

    def cancel_timer(self, kind: str, *, key: UUID, revision: int, name: str = "-") -> None:
        self.timers.append(timer_word(kind, key, name, revision))

    def audit(self, *, actor: str, action: str, subject: str, detail: Mapping[str, object] | None = None) -> None:
        self.audits.append({"actor": actor, "action": action, "subject": subject, "detail": dict(detail or {})})

    def write(self, statement: str, *arguments: object) -> None:
        self.writes.append((statement, arguments))

    def mark(self) -> Any:
        inner = tuple(participant.mark() for participant in self._participants)
        return (len(self.events), len(self.deliveries), len(self.audits), len(self.timers), inner)

    def rollback_to(self, mark: Any) -> None:
        events, deliveries, audits, timers, inner = mark
        del self.events[events:]
        del self.deliveries[deliveries:]
        del self.audits[audits:]
        del self.timers[timers:]
        for participant, one in zip(self._participants, inner, strict=True):
            participant.rollback_to(one)

    async def flush(self) -> None:
        """Raises ``RevisionTakenError``.

        Of deliveries with one idempotency key the first stays, of a timer's words the newest.
        """
        for participant in self._participants:
            await participant.flush(self.connection)
        revisions = [(event.aggregate_id, event.revision) for event in self.events]
        if len(set(revisions)) < len(revisions):
            raise RevisionTakenError
        kept: dict[tuple[str, str], dict[str, Any]] = {}
        for delivery in self.deliveries:
            kept.setdefault((delivery["destination"], delivery["idempotency_key"]), delivery)
        self.deliveries[:] = kept.values()
        self.timers[:] = newest_of(self.timers)
