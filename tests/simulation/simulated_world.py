"""Two services of two processes each on the real chassis, a partner, and faults between them.

Upstream commits revisions of a few aggregates, and its relays send them to the broker. Downstream consumes them,
applies each once to its own table and delivers it to the partner. For a while every kind of fault may happen; then the
causes end, and every promise must hold.
"""

import asyncio
import contextvars
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
from simulated_kafka import Broker, Reader, Record
from simulated_loop import Process, SimulatedLoop, current
from simulated_postgres import Connection, Database, Pool, Statement
from simulated_statements import LOAD_THINGS, SAVE_THING, STATEMENTS

import contracts
from chassis.clock import Span
from chassis.deliveries import Delivery, DeliveryWorker, Receipt
from chassis.deliveries.breaker import Breaker
from chassis.errors import Permanent, StoreUnavailable, Transient
from chassis.messaging import Consumer, Relay, Subscription
from chassis.settings import BreakerSettings, KafkaSettings, RetrySettings
from chassis.store import Transaction
from chassis.store.store import ERRORS
from chassis.timers import Timer, TimerHandlers, TimerWorker
from contracts.examples import EXAMPLES

CONSUMER = "test"
LEASE_SECONDS = 3.0
FAULTS_SECONDS = 5.0
SETTLING_SECONDS = 300.0
KEYS, REVISIONS = 3, 4
KAFKA = KafkaSettings()
QUICK = RetrySettings(first_seconds=0.2, longest_seconds=2)
_DATA = EXAMPLES[contracts.AppointmentScheduled].data  # type: ignore[attr-defined]


def _message(key: int, revision: int) -> contracts.Message:
    made = contracts.new_message(
        contracts.AppointmentScheduled,
        aggregate_id=UUID(int=key),
        revision=revision,
        data=_DATA,
        producer="scheduler-sync",
        occurred_at=datetime(2026, 11, 25, tzinfo=UTC),
    )
    return made.model_copy(update={"message_id": UUID(int=key * 1000 + revision)})


MESSAGES = {
    (UUID(int=key), revision): _message(key, revision)
    for key in range(1, KEYS + 1)
    for revision in range(1, REVISIONS + 1)
}


@dataclass(frozen=True)
class Rates:
    """The frequency of each fault, drawn from the seed: many runs have few kinds of faults, and some have all kinds."""

    crashes: float
    losses: float
    slow: float
    away: float
    broker: float
    refused: float
    kicks: float
    partner: float
    handler: float

    @classmethod
    def drawn(cls, chance: random.Random) -> "Rates":
        def some(most: float) -> float:
            return chance.random() * most if chance.random() < 0.5 else 0.0

        return cls(some(0.8), some(0.05), some(0.1), some(0.4), some(0.4), some(0.4), some(0.6), some(0.6), some(0.5))


@dataclass
class Mutations:
    """Promises that a test breaks on purpose, to see that the simulation catches it."""

    relay: type[Relay] = Relay
    statements: dict[str, Statement] = field(default_factory=dict)
    renews_leases: bool = True
    on_consumer: Callable[[Any], None] = lambda _: None
    on_timers: Callable[[Any], None] = lambda _: None


class NoMetrics:
    """Accepts and drops the chassis' measurements."""

    def count(self, name: str, amount: float = 1, **labels: str) -> None: ...
    def set(self, name: str, value: float, **labels: str) -> None: ...
    def observe(self, name: str, value: float, **labels: str) -> None: ...


@dataclass
class Work:
    transaction: Transaction
    things: "Things"


class Things:
    """Downstream's repository: the applied revisions, and as negative numbers the revisions whose timers fired."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self.rows: dict[UUID, tuple[int, ...]] = {}
        self._changed: dict[UUID, None] = {}

    def mark(self) -> Any:
        return dict(self.rows), dict(self._changed)

    def rollback_to(self, mark: Any) -> None:
        self.rows, self._changed = dict(mark[0]), dict(mark[1])

    async def load(self, ids: Sequence[UUID]) -> None:
        for row in await self._transaction.connection.fetch(LOAD_THINGS, sorted(set(ids))):
            self.rows[row["id"]] = tuple(row["applied"])

    def apply(self, identifier: UUID, revision: int) -> None:
        self.rows[identifier] = (*self.rows.get(identifier, ()), revision)
        self._changed[identifier] = None

    async def flush(self, connection: Any) -> None:
        rows = [(one, len(self.rows[one]), list(self.rows[one])) for one in self._changed]
        self._changed.clear()
        await connection.executemany(SAVE_THING, rows)


class World:
    """One run. ``violations`` lists the broken promises; ``trace`` lists the steps."""

    def __init__(self, loop: SimulatedLoop, seed: int, *, mutations: Mutations, is_traced: bool) -> None:
        self.loop = loop
        self.chance = random.Random(seed * 7919 + 1)
        self.rates = Rates.drawn(self.chance)
        self.chance_of_cancels = random.Random(seed * 7919 + 2)  # separate: old failing seeds stay the same
        self.mutations = mutations
        self.trace: list[str] | None = [] if is_traced else None
        self.violations: list[str] = []
        self.is_healed = False
        statements = {**STATEMENTS, **mutations.statements}
        skews = [self.chance.uniform(-100, 100) for _ in range(2)]
        self.databases = {
            name: Database(loop.time, statements, skew)
            for name, skew in zip(("upstream", "downstream"), skews, strict=True)
        }
        for database in self.databases.values():
            database.cancels = lambda: self.is_cancelling and self.chance_of_cancels.random() < 0.5
        self.is_cancelling = False
        self.cancelling = max(0.0, self.chance_of_cancels.random() - 0.5)
        """How often, in about a third of a second, an administrator begins to cancel statements."""
        self.broker = Broker(self.delay, self._saw_on_the_bus)
        self.broker.loses_answers = lambda: self.happens(self.rates.losses * 3)
        self.seen_on_the_bus: dict[UUID, int] = {}
        self.committed: dict[UUID, int] = {}
        self.partner = Partner(self)
        self.processes: dict[str, Process] = {}
        self.parts: dict[str, Any] = {}
        self.disturbed_at = 0.0
        self.refused = {key for key in MESSAGES if self.chance.random() < 0.03}
        chance = random.Random(seed * 7919 + 3)  # a separate generator, as above
        self.words = {key: chance.choice(("set", "set", "cancel", None)) for key in MESSAGES}
        """What a message's handler says of its aggregate's timer."""
        self.delays = {key: chance.random() * 3 for key in MESSAGES}
        self.dues: dict[tuple[UUID, int], datetime] = {}
        self.clock = WorldClock(self.databases["downstream"])
        self.chance_of_apart = chance

    # ---- chance

    def note(self, text: str) -> None:
        if self.trace is not None:
            self.trace.append(f"{self.loop.time() - 1000:9.4f}  {current.get().name:<10} {text}")

    def violated(self, text: str) -> None:
        self.note(f"VIOLATED: {text}")
        self.violations.append(text)

    def happens(self, rate: float) -> bool:
        return not self.is_healed and self.chance.random() < rate

    def delay(self) -> float:
        roll = self.chance.random()
        if roll < 0.7:
            return 0.0
        if roll < 1 - self.rates.slow or self.is_healed:
            return roll * 0.02
        return self.chance.random()

    # ---- the store

    async def connect(self, url: str, **_: Any) -> Connection:
        database = self.databases[url]
        await asyncio.sleep(self.delay())
        if current.get().is_dead:
            raise asyncio.CancelledError
        if database.is_away:
            raise ConnectionRefusedError
        return Connection(database, _Wire(self, database))

    def store(self, name: str) -> Any:
        return Storage(Pool(lambda: self.connect(name)), name)

    # ---- upstream's handlers

    async def write_all(self) -> None:
        """Commits every revision. Of two writers, the one with the lower ids may commit later."""
        keys = sorted({one for one, _ in MESSAGES})
        await asyncio.gather(self._write_all_of(keys[::2]), self._write_all_of(keys[1::2]))

    async def _write_all_of(self, keys: Sequence[UUID]) -> None:
        """Writes some revisions together, and some only after a first try was rolled back or its answer was lost."""
        store = self.store("upstream")
        while True:
            open_keys = [key for key in keys if self.committed.get(key, 0) < REVISIONS]
            if not open_keys:
                return
            chosen = [key for key in open_keys if self.chance.random() < 0.6] or open_keys[:1]
            batch = [(key, self.committed.get(key, 0) + 1) for key in sorted(chosen)]
            if self.chance.random() < 0.3:
                batch += [(key, revision + 1) for key, revision in batch if revision < REVISIONS]
            await self._commit(store, batch)
            for key, revision in batch:
                self.committed[key] = revision
            self.note(f"committed {[(key.int, revision) for key, revision in batch]}")
            await asyncio.sleep(self.chance.random() * 0.8)

    async def _commit(self, store: Any, batch: list[tuple[UUID, int]]) -> None:
        """Repeats until the commit is known: a revision that exists already means that the last try was committed."""
        while True:
            try:
                return await self._write(store, batch, gives_up=self.chance.random() < 0.1)
            except asyncpg.UniqueViolationError:
                return self.note("the commit whose answer was lost had happened")
            except (*ERRORS, Permanent):
                await asyncio.sleep(self.chance.random() * 0.3)

    async def _write(self, store: Any, batch: list[tuple[UUID, int]], *, gives_up: bool) -> None:
        async with store.pool.acquire() as connection, connection.transaction():
            transaction = Transaction(connection)
            for one in batch:
                transaction.publish(MESSAGES[one])
            await transaction.flush()
            if gives_up:
                raise Permanent("rolled back on purpose")

    def _saw_on_the_bus(self, record: Record) -> None:
        key, revision = UUID(record.key.decode()), int(contracts.parse(record.value).revision)
        before = self.seen_on_the_bus.get(key, 0)
        self.note(f"on the bus: {key.int} revision {revision}")
        if revision > before + 1:
            self.violated(f"on the bus revision {revision} of {key.int} came after {before}")
        self.seen_on_the_bus[key] = max(before, revision)

    # ---- downstream's handlers

    def open_work(self, transaction: Transaction) -> Work:
        things = Things(transaction)
        transaction.join(things)
        return Work(transaction, things)

    async def prefetch(self, work: Work, messages: Sequence[contracts.Message]) -> None:
        await work.things.load([message.aggregate_id for message in messages])

    async def handle(self, work: Work, message: contracts.Message) -> None:
        key, revision = message.aggregate_id, message.revision
        if self.happens(self.rates.handler):
            raise Transient("told so", retry_after_seconds=self.chance.choice([None, 0.2]))
        if (key, revision) in self.refused:
            raise Permanent("told so")
        work.things.apply(key, revision)
        if self.words[key, revision] == "set":
            due_at = self.databases["downstream"].time() + timedelta(seconds=self.delays[key, revision])
            due_at = self.dues.setdefault((key, revision), due_at)
            work.transaction.set_timer("ring", key=key, due_at=due_at, revision=revision)
        elif self.words[key, revision] == "cancel":
            work.transaction.cancel_timer("ring", key=key, revision=revision)
        work.transaction.deliver(
            "partner",
            key=key,
            kind="k",
            payload=b"p",
            idempotency_key=message.message_id.hex,
            delivery_id=UUID(int=message.message_id.int + 1_000_000),
        )

    async def lock_for_timers(self, work: Work, timers: Sequence[Timer]) -> None:
        await work.things.load([timer.key for timer in timers])

    async def ring(self, timer: Timer, /, *, work: Work) -> None:
        if timer.due_at > min(self.clock.latest, self.clock.latest_earliest):
            self.violated(f"the timer of {timer.key.int} revision {timer.revision} rang early")
        if self.happens(self.rates.handler):
            raise Transient("told so", retry_after_seconds=0.2)
        work.things.apply(timer.key, -timer.revision)

    # ---- processes

    def start(self, name: str) -> None:
        process = self.processes[name] = Process(name)
        context = contextvars.copy_context()
        context.run(current.set, process)
        context.run(self._start_upstream if name.startswith("upstream") else self._start_downstream, name)
        self.note(f"{name} starts")

    def _start_upstream(self, name: str) -> None:
        relay = self.mutations.relay(self.store("upstream"), KAFKA, NoMetrics(), poll_seconds=1.0)  # type: ignore[arg-type]
        self.parts[name] = (relay,)
        self._keep(relay.run)

    def _start_downstream(self, name: str) -> None:
        store = self.store("downstream")
        subscription = Subscription(CONSUMER, (self.broker.topic,), self.open_work, self.prefetch, self.handle)
        consumer = Consumer(store, KAFKA, subscription, metrics=NoMetrics())  # type: ignore[arg-type]
        self.mutations.on_consumer(consumer)
        worker = DeliveryWorker(
            store, "partner", self.partner, concurrency=3, lease_seconds=LEASE_SECONDS, send_timeout_seconds=12,
            retry=QUICK, metrics=NoMetrics(),  # type: ignore[arg-type]
        )  # fmt: skip
        worker._breaker = Breaker(BreakerSettings(failures=3, open_seconds=1.5), now=self.loop.time)
        if not self.mutations.renews_leases:
            worker._renew_leases = _never  # type: ignore[method-assign]
        reader = Reader(self.broker, consumer._on_batch, lambda: self.chance.randrange(1, 6))
        handlers = TimerHandlers(self.open_work, self.lock_for_timers, {"ring": self.ring})
        timers = TimerWorker(store, handlers, clock=self.clock, metrics=NoMetrics())  # type: ignore[arg-type]
        self.mutations.on_timers(timers)
        self.parts[name] = (consumer, consumer.unparker, worker, reader, timers)
        self._keep(consumer.unparker.run)
        self._keep(timers.run)
        self._keep(worker.run)
        self._keep(reader.run)

    def _keep(self, run: Callable[[], Awaitable[None]]) -> None:
        async def kept() -> None:
            try:
                await run()
            except Exception as error:  # noqa: BLE001 (a loop may not end by an error: that is what is looked for)
                if not current.get().is_dead:
                    self.violated(f"a loop ended by {error!r}")

        asyncio.ensure_future(kept())  # noqa: RUF006 (the process holds it)

    def kill(self, name: str) -> None:
        process = self.processes[name]
        self.note(f"{name} is killed")
        for part in self.parts[name]:
            if isinstance(part, Reader):
                self.loop.call_later(self.chance.random() * 2, part.leave)
        process.kill()
        self.loop.call_later(self.chance.random() * 2, self.start, name)


class WorldClock:
    """Replaces downstream's ``StoreClock``. While the clocks are ``apart``, the other clock is behind by that much."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.apart = timedelta()
        self.latest = self.latest_earliest = database.time()
        """By the store's clock, and by the earliest that was told: how late it has been, before any jump back."""

    def now(self) -> datetime:
        self.latest = max(self.latest, self._database.time())
        return self._database.time()

    def span(self) -> Span:
        now = self.now()
        self.latest_earliest = max(self.latest_earliest, now - self.apart)
        return Span(now - self.apart, now)


@dataclass
class Storage:
    """The part of the chassis' Store that the chassis uses."""

    pool: Pool
    url: str


class _Wire:
    """The network between a process and a database."""

    def __init__(self, world: World, database: Database) -> None:
        self._world = world
        self._database = database

    async def pass_through(self) -> None:
        world = self._world
        await asyncio.sleep(world.delay())
        if self._database.is_away or world.happens(world.rates.losses):
            world.disturbed_at = world.loop.time()
            world.note("a connection to the store is lost")
            raise ConnectionResetError


@dataclass
class _Call:
    process: Process
    since: float


class Partner:
    """Accepts each idempotency key once. Its answers come late or never; it may refuse or be down."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.effects: list[UUID] = []
        self.refused = {UUID(int=one.message_id.int) for one in MESSAGES.values() if world.chance.random() < 0.02}
        self._under_way: dict[UUID, list[_Call]] = {}

    async def __call__(self, delivery: Delivery) -> Receipt:
        world, process = self._world, current.get()
        if world.happens(0.02):
            raise StoreUnavailable("told so")
        self._look_for_company(delivery, process)
        call = _Call(process, world.loop.time())
        self._under_way.setdefault(delivery.id, []).append(call)
        # The request is on its way and arrives, even when its sender dies.
        answered = contextvars.Context().run(asyncio.ensure_future, self._take(delivery))
        try:
            await asyncio.wait({answered})
            return answered.result()
        finally:
            self._under_way[delivery.id].remove(call)

    def _look_for_company(self, delivery: Delivery, process: Process) -> None:
        """While a process lives and can renew its lease, no other process sends the same delivery."""
        world = self._world
        for other in self._under_way.get(delivery.id, ()):
            quiet = world.disturbed_at < other.since - LEASE_SECONDS and not world.rates.slow
            if other.process is not process and not other.process.is_dead and quiet:
                world.violated(f"delivery {delivery.id.int % 1_000_000} was sent by two processes at once")

    async def _take(self, delivery: Delivery) -> Receipt:
        world = self._world
        slow = 4 * LEASE_SECONDS if world.happens(world.rates.partner * 0.3) else 0.05
        await asyncio.sleep(world.chance.random() * slow)
        if world.happens(world.rates.partner * 0.5):
            raise Transient("busy")
        message_id = UUID(delivery.idempotency_key)
        if message_id in self.refused:
            raise Permanent("422")
        if message_id not in self.effects:
            world.note(f"the partner takes {message_id.int}")
            later = [one for one in self.effects if one.int // 1000 == message_id.int // 1000 and one > message_id]
            if later:
                world.violated(f"the partner took {message_id.int} after {later[0].int}")
            self.effects.append(message_id)
        await asyncio.sleep(world.chance.random() * slow)
        if world.happens(world.rates.partner * 0.3):
            raise Transient("the answer was lost")
        return Receipt({"id": "42"})


async def _never() -> None:
    await asyncio.get_running_loop().create_future()
