"""R3: a hundred deaths at each fail point of listener, relay, consumer, deliveries and timers, from a seed.

Each time a new incarnation goes on while messages keep coming; a few components die side by side. At rest nothing is
lost, nothing has a second effect, and each key's order is kept. The batch executor's points are in
``test_chassis_batch.py``.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack
from itertools import count
from uuid import UUID, uuid4, uuid5

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from chassis_bench_domain import SPACE, Behaviour, Desk, Things, Work, applied, event, kafka_settings, open_store, siu

import contracts
from chassis import failpoints
from chassis.deliveries import Delivery, DeliveryWorker, Receipt
from chassis.hl7 import Hl7Listener
from chassis.hl7 import inbound as hl7_inbound
from chassis.loops import Loop
from chassis.messaging import Consumer, Relay, Subscription, topics
from chassis.observe import Metrics
from chassis.settings import RetrySettings
from chassis.store import Store, Transaction, exclusive
from chassis.testing import DEATHS_AT_EACH_POINT, ClockAsTold, Deaths, eventually
from chassis.timers import Timer, TimerHandlers, TimerWorker
from contracts.topics import TOPICS
from hl7v2.mllp import Client, MllpError
from local_stack.fixtures import Stack, a_database, free_port

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
TOPIC = "appointment.scheduled"
RELAYS = 4
PARTNERS = 6
SENDERS = 3
KEYS = 3


@pytest.fixture
def relay_urls(stack: Stack) -> Iterator[list[str]]:
    """One relay is active per database."""
    with ExitStack() as databases:
        yield [databases.enter_context(a_database(stack)) for _ in range(RELAYS)]


@pytest.fixture
async def relay_stores(relay_urls: list[str]) -> AsyncIterator[list[Store]]:
    async with AsyncExitStack() as opened:
        stores = [await open_store(url, pool_size=2) for url in relay_urls]
        for store in stores:
            opened.push_async_callback(store.close)
        yield stores


@pytest.fixture
async def prefix(kafka_bootstrap: str, topic_prefix: str) -> str:
    await topics.ensure({"bootstrap_servers": kafka_bootstrap}, prefix=topic_prefix)
    return topic_prefix


class Feed:
    """The next revision of a few keys, each time it is asked."""

    def __init__(self, send: Callable[[list[contracts.Message]], Awaitable[None]]) -> None:
        self.sent: dict[UUID, list[int]] = {uuid4(): [] for _ in range(KEYS)}
        self._send = send

    async def __call__(self) -> None:
        messages = []
        for key, revisions in self.sent.items():
            revisions.append(len(revisions) + 1)
            messages.append(event(key, revisions[-1]))
        await self._send(messages)


def commits_to(store: Store, stage: Callable[[Transaction, contracts.Message], object]) -> Feed:
    async def commit(messages: list[contracts.Message]) -> None:
        async with store.pool.acquire() as connection, connection.transaction():
            transaction = Transaction(connection)
            for message in messages:
                stage(transaction, message)
            await transaction.flush()

    return Feed(commit)


def all_of(feeds: list[Feed]) -> dict[UUID, list[int]]:
    return {key: revisions for feed in feeds for key, revisions in feed.sent.items()}


async def die_and_go_on(
    points: tuple[str, ...],
    born: Sequence[Callable[[], Loop]],
    feeds: Sequence[Callable[[], Awaitable[None]]],
    at_rest: Callable[[], Awaitable[bool]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each of ``born`` with its feed lives and dies until all deaths were had; the last ones go on to rest."""
    deaths = Deaths(*points)
    monkeypatch.setattr(failpoints, "hit", deaths.hit)
    await asyncio.gather(*(deaths.lives(one, feed) for one, feed in zip(born, feeds, strict=True)))
    assert dict(deaths.at) == dict.fromkeys(points, DEATHS_AT_EACH_POINT)
    last = [one() for one in born]
    running = [asyncio.create_task(one.run()) for one in last]
    try:
        await eventually(at_rest, what="rest")
    finally:
        for one in last:
            await one.stop()
        await asyncio.wait_for(asyncio.gather(*running), 60)


async def test_deaths_of_the_listener(store, monkeypatch) -> None:
    """Senders that come again until they hear AA, each with a connection and appointments of its own."""
    points = ("inbound.before-commit", "inbound.after-commit-before-ack")
    deaths = Deaths(*points)
    monkeypatch.setattr(failpoints, "hit", deaths.hit)
    monkeypatch.setattr(hl7_inbound, "DRAIN_SECONDS", 0)  # the dead answer nothing more
    desk, port = Desk(), free_port()
    wanted: dict[UUID, list[int]] = defaultdict(list)

    def listener() -> Hl7Listener:
        return Hl7Listener(
            store, host="127.0.0.1", port=port,
            open_work=desk.open_work, prefetch=desk.prefetch, handle=desk.handle, metrics=Metrics(),
        )  # fmt: skip

    async def sender(number: int) -> None:
        async with Client("127.0.0.1", port, connect_timeout_seconds=1, ack_timeout_seconds=10) as client:
            for turn in count():
                if deaths.are_over:
                    return
                placer, control_id = f"P{number}-{turn % KEYS}", f"C{number}-{turn}"
                key = uuid5(SPACE, placer)
                wanted[key].append(len(wanted[key]) + 1)

                async def accepted(placer: str = placer, control_id: str = control_id) -> bool:
                    try:
                        return (await client.send(siu(control_id, placer), control_id=control_id)).code == "AA"
                    except MllpError:
                        return False

                await eventually(accepted, what="AA")

    async def nothing() -> None:
        pass

    senders = [asyncio.create_task(sender(number)) for number in range(SENDERS)]
    await deaths.lives(listener, nothing)
    assert dict(deaths.at) == dict.fromkeys(points, DEATHS_AT_EACH_POINT)
    last = listener()
    running = asyncio.create_task(last.run())
    await asyncio.wait_for(asyncio.gather(*senders), 60)
    await last.stop()
    await asyncio.wait_for(running, 60)
    assert await applied(store) == wanted
    assert await store.pool.fetchval("SELECT count(*) FROM outbox") == sum(map(len, wanted.values()))
    assert await store.pool.fetchval("SELECT count(*) FROM hl7_journal WHERE state <> 'accepted'") == 0
    assert await store.pool.fetchval("SELECT sum(repeats) FROM hl7_journal") > 0


async def test_deaths_of_the_relay(relay_stores, kafka_bootstrap, prefix, monkeypatch) -> None:
    monkeypatch.setattr(exclusive, "STANDBY_SECONDS", 0.02)  # the dead one's connection is about to be noticed
    feeds = [commits_to(store, Transaction.publish) for store in relay_stores]

    async def all_marked() -> bool:
        count = "SELECT count(*) FROM outbox WHERE sent_at IS NULL"
        return not any([await store.pool.fetchval(count) for store in relay_stores])

    await die_and_go_on(
        ("relay.before-send", "relay.after-send-before-mark"),
        [lambda one=one: Relay(one, kafka_settings(kafka_bootstrap, prefix), Metrics()) for one in relay_stores],
        feeds,
        all_marked,
        monkeypatch,
    )
    first_times, repeats = await on_the_bus(kafka_bootstrap, prefix, number=sum(map(len, all_of(feeds).values())))
    assert first_times == all_of(feeds)
    assert repeats >= DEATHS_AT_EACH_POINT, "the inboxes of the readers are what drops them"


async def on_the_bus(bootstrap: str, prefix: str, *, number: int) -> tuple[dict[UUID, list[int]], int]:
    """Each key's revisions in the order in which they came first, until ``number`` came; how many came again."""
    found: dict[UUID, list[int]] = defaultdict(list)
    seen: set[UUID] = set()
    repeats = 0
    consumer = AIOKafkaConsumer(prefix + TOPIC, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    async with consumer, asyncio.timeout(60):
        while len(seen) < number:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for message in (contracts.parse(record.value) for record in records):
                    repeats += message.message_id in seen
                    if message.message_id not in seen:
                        seen.add(message.message_id)
                        found[message.aggregate_id].append(message.revision)
    return found, repeats


async def test_deaths_of_the_consumer(store, kafka_bootstrap, prefix, monkeypatch) -> None:
    """A group and a topic for each of them; every feed has a message that no one can read, and one that came before."""
    poison: list[bytes] = []

    def consumer(topic: str) -> Consumer:
        behaviour = Behaviour()
        subscription = Subscription(
            f"reader-of-{topic}", (topic,), behaviour.open_work, behaviour.prefetch, behaviour.handle
        )
        settings = kafka_settings(kafka_bootstrap, prefix)
        return Consumer(store, settings, subscription, metrics=Metrics(), dead_letter_limit=1_000_000)

    async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap) as producer:

        def sends_to(topic: str) -> Feed:
            async def send(messages: list[contracts.Message]) -> None:
                poison.append(f"not a message {len(poison)}".encode())
                records = [(one.key(), one.to_bytes()) for one in messages]
                for key, value in [*records, (records[0][0], poison[-1]), records[0]]:
                    await producer.send(prefix + topic, value, key=key)
                await producer.flush()

            return Feed(send)

        names = [topic.name for topic in TOPICS.values()]
        feeds = [sends_to(name) for name in names]

        async def all_kept() -> bool:
            kept = await store.pool.fetchval("SELECT count(*) FROM dead_letters")
            return kept >= len(poison) and await applied(store) == all_of(feeds)

        await die_and_go_on(
            ("consumer.after-commit-before-offsets",),
            [lambda name=name: consumer(name) for name in names],
            feeds,
            all_kept,
            monkeypatch,
        )
    assert await applied(store) == all_of(feeds)
    letters = [bytes(row["value"]) for row in await store.pool.fetch("SELECT value FROM dead_letters")]
    assert sorted(letters) == sorted(poison)
    published: dict[UUID, list[int]] = defaultdict(list)
    for row in await store.pool.fetch("SELECT aggregate_id, revision FROM outbox ORDER BY id"):
        published[row["aggregate_id"]].append(row["revision"])
    assert published == all_of(feeds)


async def test_deaths_of_the_deliveries(store, monkeypatch) -> None:
    effects: dict[UUID, list[int]] = defaultdict(list)
    seen: dict[str, int] = defaultdict(int)

    async def partner(delivery: Delivery) -> Receipt:
        """Drops a repeat by its idempotency key, as each partner does."""
        seen[delivery.idempotency_key] += 1
        if seen[delivery.idempotency_key] == 1:
            effects[delivery.key].append(int(delivery.payload))
        return Receipt({"id": "42"})

    def stages_for(destination: str) -> Feed:
        def stage(transaction: Transaction, message: contracts.Message) -> None:
            key, revision = message.aggregate_id, message.revision
            transaction.deliver(
                destination, key=key, kind="k", payload=f"{revision}".encode(), idempotency_key=f"{key}:{revision}"
            )

        return commits_to(store, stage)

    def worker(destination: str) -> DeliveryWorker:
        retry = RetrySettings(first_seconds=0.02, longest_seconds=0.1)
        return DeliveryWorker(store, destination, partner, lease_seconds=0.2, poll_seconds=0.05, retry=retry)

    names = [f"partner-{number}" for number in range(PARTNERS)]
    feeds = [stages_for(name) for name in names]

    async def all_done() -> bool:
        return await store.pool.fetchval("SELECT count(*) FROM deliveries WHERE state <> 'done'") == 0

    await die_and_go_on(
        ("delivery.after-claim-before-send", "delivery.after-send-before-mark"),
        [lambda name=name: worker(name) for name in names],
        feeds,
        all_done,
        monkeypatch,
    )
    assert effects == all_of(feeds)
    assert sum(seen.values()) - len(seen) >= DEATHS_AT_EACH_POINT, "what was sent before a death was sent again"


async def test_deaths_of_the_timers(store, monkeypatch) -> None:
    """Several workers side by side; each timer is set anew by its handler once, and others are cancelled."""
    started = await store.now()
    wanted: dict[UUID, list[int]] = defaultdict(list)
    partner: dict[str, int] = defaultdict(int)

    def open_work(transaction: Transaction) -> Work:
        things = Things(transaction)
        transaction.join(things)
        return Work(transaction, things)

    async def prefetch(work: Work, timers: Sequence[Timer]) -> None:
        await work.things.load([timer.key for timer in timers])

    async def remind(timer: Timer, /, *, work: Work) -> None:
        work.things.apply(timer.key, timer.revision)
        work.transaction.publish(event(timer.key, timer.revision))
        work.transaction.deliver(
            "partner", key=timer.key, kind="k", payload=b"p", idempotency_key=timer.idempotency_key
        )
        if timer.revision == 1:
            work.transaction.set_timer("remind", key=timer.key, due_at=started, revision=timer.revision + 1)

    def sets() -> Callable[[], Awaitable[None]]:
        turns = count()
        key, gone = uuid4(), uuid4()

        async def feed() -> None:
            """One that its handler sets anew, and one that is cancelled with the word that set it."""
            turn = next(turns)
            async with store.pool.acquire() as connection, connection.transaction():
                one = uuid5(key, str(turn))
                transaction = Transaction(connection)
                transaction.set_timer("remind", key=one, due_at=started, revision=1)
                transaction.set_timer("remind", key=gone, due_at=started, revision=2 * turn, name=f"n{turn}")
                transaction.cancel_timer("remind", key=gone, revision=2 * turn + 1, name=f"n{turn}")
                await transaction.flush()
            wanted[one] = [1, 2]

        return feed

    def worker() -> TimerWorker[Work]:
        handlers = TimerHandlers(open_work, prefetch, {"remind": remind})
        return TimerWorker(store, handlers, clock=ClockAsTold(), metrics=Metrics())

    async def all_fired() -> bool:
        return await store.pool.fetchval("SELECT count(*) FROM timers WHERE state = 'waiting'") == 0

    workers = 4
    await die_and_go_on(
        (
            "timer.after-due-before-claim",
            "timer.after-claim-before-effect",
            "timer.after-effect-before-mark",
            "timer.after-commit",
        ),
        [worker for _ in range(workers)],
        [sets() for _ in range(workers)],
        all_fired,
        monkeypatch,
    )
    assert await applied(store) == wanted
    for row in await store.pool.fetch("SELECT idempotency_key FROM deliveries"):
        partner[row["idempotency_key"]] += 1
    assert set(partner.values()) == {1}
    assert len(partner) == await store.pool.fetchval("SELECT count(*) FROM outbox") == 2 * len(wanted)
    early = "SELECT count(*) FROM timers WHERE state = 'fired' AND settled_at < due_at"
    assert await store.pool.fetchval(early) == 0
