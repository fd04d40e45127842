"""R2: Kafka and Postgres killed, stopped, paused and cut off under load: until the whole path works again.

Both servers are this row's own, behind TCP proxies. A fault is over when the server may work again: at once after a
kill (it is started at once), at the start after a stop, at SIGCONT, at the cut. From then on it counts until a message
that was taken in afterwards has its effect committed at the other end: scheduler-sync's listener, its relay, Kafka, the
notifier's consumer. The server's own start is part of that; a line of progress a fault tells its steps, and what its
start took of the processors. The floor is the shortest program on the same server through the same proxy: a bare
aiokafka producer and consumer, a bare asyncpg INSERT. Half-open connections come last, without a floor: a bare client
waits there for as long as its library's timeout. At the end every acknowledged message must have its effect, once.
"""

import asyncio
import itertools
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

sys.path.insert(0, str(Path(__file__).parents[1]))

import asyncpg
import psutil
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from bench import spine
from bench.driver import booking
from bench.harness import program, progress, row
from chassis.messaging import topics
from chassis.store.store import ERRORS
from local_stack.kafka import EmbeddedKafka
from local_stack.postgres import EmbeddedPostgres
from local_stack.servers import JARS
from tests.chaos import quick_java
from tests.chaos.stack import cpu_seconds, listening_port
from tests.chaos.wires import Wire

SENDERS = 8
RATE = 100
DEADLINE_SECONDS = 120.0
REST_SECONDS = 2.0
"""The pause between two faults, so that the next fault meets working processes."""
LONGEST_SECONDS = 10.0
TAKEN_IN = """
SELECT message_id, extract(epoch FROM sent_at)::float8 AS sent FROM outbox
WHERE id > (SELECT max(id) - 5000 FROM outbox) AND created_at > to_timestamp($1) ORDER BY id LIMIT 500
"""
STORE_ERRORS = ERRORS


@dataclass
class Server:
    """A server that can be killed, stopped, paused or cut off."""

    spawn: Callable[[], "subprocess.Popen[bytes]"]
    answers: Callable[[], Awaitable[bool]]
    wire: Wire
    stop_signal: signal.Signals
    process: "subprocess.Popen[bytes]" = field(init=False)

    def start(self) -> float:
        self.process = self.spawn()
        return time.time()

    def _signal(self, number: signal.Signals) -> None:
        top = psutil.Process(self.process.pid)
        for one in [top, *top.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                one.send_signal(number)

    async def kill(self) -> float:
        """``kill -9``, then an immediate restart."""
        at = time.time()
        self._signal(signal.SIGKILL)
        await asyncio.to_thread(self.process.wait)
        self.start()
        return at

    async def stop(self, seconds: float) -> float:
        """An orderly stop, a pause of this length, and a restart."""
        self.process.send_signal(self.stop_signal)
        await asyncio.to_thread(self.process.wait)
        await asyncio.sleep(seconds)
        return self.start()

    async def pause(self, seconds: float) -> float:
        self._signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        self._signal(signal.SIGCONT)
        return time.time()

    async def cut(self) -> float:
        self.wire.cut()
        return time.time()

    async def half_open(self) -> float:
        """The server's side of every connection ends, but the clients are not told."""
        self.wire.half_open()
        return time.time()

    def close(self) -> None:
        with suppress(psutil.NoSuchProcess):
            self._signal(signal.SIGKILL)
        self.process.wait()


class Senders:
    """Staff who repeat each message until its AA, at a steady rate; counts acknowledgements and their times."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stop = asyncio.Event()
        self._running: list[asyncio.Task[None]] = []
        self.acknowledged = 0
        self.answered_at = [0.0]

    def start(self) -> None:
        self._running = [asyncio.create_task(self._send(number)) for number in range(SENDERS)]

    async def stop(self) -> None:
        self._stop.set()
        await asyncio.gather(*self._running)

    async def _send(self, first: int) -> None:
        reader: asyncio.StreamReader | None = None
        started, number = time.time(), first
        while not self._stop.is_set():
            message = b"\x0b" + booking(f"R{time.time_ns()}{first}", time.time_ns()) + b"\x1c\r"
            answer = b""
            while b"MSA|AA|" not in answer:
                try:
                    if reader is None:
                        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                    writer.write(message)
                    answer = await reader.readuntil(b"\x1c\r")
                except (OSError, asyncio.IncompleteReadError):
                    reader = None
                if b"MSA|AA|" not in answer:
                    await asyncio.sleep(0.05)
            self.acknowledged += 1
            self.answered_at.append(time.time())
            number += SENDERS
            await asyncio.sleep(max(0.0, started + number / RATE - time.time()))
            if time.time() - started - number / RATE > 1:
                started, number = time.time(), first  # messages missed meanwhile are not sent later


class BareKafka:
    """The floor: one record after the other through aiokafka without batching, and back."""

    TOPIC = "bare"

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self.came: list[tuple[float, float]] = [(0.0, 0.0)]

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._again(self._produce))
            group.create_task(self._again(self._consume))

    async def _again(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            with suppress(KafkaError, OSError, TimeoutError):
                await work()
            await asyncio.sleep(0.1)

    async def _produce(self) -> None:
        async with AIOKafkaProducer(bootstrap_servers=self._bootstrap, acks="all") as producer:
            while True:
                await producer.send_and_wait(self.TOPIC, str(time.time()).encode())
                await asyncio.sleep(0.05)

    async def _consume(self) -> None:
        consumer = AIOKafkaConsumer(self.TOPIC, bootstrap_servers=self._bootstrap, group_id="bare")
        async with consumer:
            async for record in consumer:
                self.came.append((float(record.value), time.time()))


class BareStore:
    """The floor: one committed row after the other."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.came: list[tuple[float, float]] = [(0.0, 0.0)]

    async def run(self) -> None:
        while True:
            with suppress(*STORE_ERRORS):
                connection = await asyncpg.connect(self._url, timeout=5, command_timeout=10)
                try:
                    await connection.execute("CREATE TABLE IF NOT EXISTS bare (at float8)")
                    while True:
                        began = time.time()
                        await connection.execute("INSERT INTO bare VALUES ($1)", began)
                        self.came.append((began, time.time()))
                        await asyncio.sleep(0.05)
                finally:
                    connection.terminate()
            await asyncio.sleep(0.1)


class Store:
    """Queries a database past its proxy, and reconnects by itself."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: asyncpg.Connection | None = None

    async def ask(self, query: str, *arguments: Any) -> list[Any]:
        """Runs a query; None when the database does not answer."""
        try:
            if self._connection is None:
                self._connection = await asyncpg.connect(self._url, timeout=2, command_timeout=5)
            return list(await self._connection.fetch(query, *arguments))
        except STORE_ERRORS:
            if self._connection is not None:
                self._connection.terminate()
            self._connection = None
            return []

    async def must(self, query: str) -> Any:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not (found := await self.ask(query)):
                await asyncio.sleep(0.1)
        return found[0][0]


@dataclass
class Scene:
    """The running path, the senders, the floor, and the places to look."""

    senders: Senders
    bare: BareKafka | BareStore
    source: Store
    target: Store
    server: Server

    async def recovery(self, over: float, *, with_floor: bool) -> dict[str, float]:
        """Seconds from ``over`` until each step worked again; ``cpu`` of the server until it answered."""
        found: dict[str, float] = {}
        wanted = {"answers", "AA", "effect"} | ({"floor"} if with_floor else set())
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not wanted <= set(found):
                if "answers" not in found and await self.server.answers():
                    found["answers"] = time.time() - over
                    found["cpu"] = cpu_seconds([psutil.Process(self.server.process.pid)])
                if "AA" not in found and self.senders.answered_at[-1] > over:
                    found["AA"] = next(at for at in self.senders.answered_at if at > over) - over
                if "floor" not in found and self.bare.came[-1][0] > over:
                    found["floor"] = next(at for sent, at in self.bare.came if sent > over) - over
                if "effect" not in found:
                    rows = await self.source.ask(TAKEN_IN, over)
                    if (sent := [one["sent"] for one in rows if one["sent"]]) and "relay" not in found:
                        found["relay"] = min(sent) - over
                    ids = [one["message_id"] for one in rows]
                    if await self.target.ask("SELECT 1 FROM inbox WHERE message_id = ANY($1) LIMIT 1", ids):
                        found["effect"] = time.time() - over
                await asyncio.sleep(0.02)
        return found


async def listens(port: int) -> bool:
    """Whether a broker listens there; it listens as soon as it serves."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(1):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        return True
    return False


def through(url: str, wire: Wire) -> str:
    """The same database through the proxy."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition(":")[0] + f":{wire.port}"))


@asynccontextmanager
async def servers(folder: Path) -> AsyncIterator[dict[str, Server]]:
    """Kafka and Postgres with a wire in front of each."""
    await asyncio.to_thread(folder.chmod, 0o755)  # Postgres runs as nobody
    jars = Path(os.environ.get("KAFKA_JARS_DIR", JARS))
    store = EmbeddedPostgres(folder / "postgres", listening_port())
    wires = [Wire("postgres", listening_port(), [store.port])]
    port = listening_port()
    wires.append(Wire("kafka", listening_port(), [port]))
    broker = EmbeddedKafka(
        folder / "kafka",
        port,
        listening_port(),
        jars,
        advertised_port=wires[1].port,
        jvm_options=quick_java.options(jars),
    )
    store.prepare()
    broker.prepare()
    for wire in wires:
        await wire.open()
    found = {
        "postgres": Server(lambda: store.spawn(folder / "postgres.log"), store.ready, wires[0], signal.SIGINT),
        "kafka": Server(lambda: broker.spawn(folder / "kafka.log"), lambda: listens(port), wires[1], signal.SIGTERM),
    }
    for server in found.values():
        server.start()
    try:
        await store.wait_ready()
        await broker.wait_ready()
        os.environ["POSTGRES_ADMIN_URL"] = store.admin_url
        os.environ["KAFKA_BOOTSTRAP_SERVERS"] = broker.bootstrap
        yield found
    finally:
        for server in found.values():
            server.close()
        for wire in wires:
            await wire.close()


async def databases(*names: str) -> list[str]:
    """The databases' URLs. They end with the server: faults leave no connections behind."""
    admin_url = os.environ["POSTGRES_ADMIN_URL"]
    admin = await asyncpg.connect(admin_url)
    for name in names:
        await admin.execute(f'CREATE DATABASE "{name}"')
    await admin.close()
    return [urlunsplit(urlsplit(admin_url)._replace(path=f"/{name}")) for name in names]


async def make_topics(bootstrap: str) -> None:
    await topics.ensure({"bootstrap_servers": bootstrap})
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(name=BareKafka.TOPIC, num_partitions=1, replication_factor=1)])
    await admin.close()


Fault = tuple[str, Callable[[Server], Awaitable[float]]]
KILL: Fault = ("kill -9", Server.kill)
CUT: Fault = ("cut", Server.cut)
FAULTS: dict[str, tuple[Fault, ...]] = {
    "kafka": (
        KILL,
        ("paused 5 s", lambda server: server.pause(5)),
        CUT,
        ("restarted", lambda server: server.stop(0)),
        ("paused 30 s", lambda server: server.pause(30)),
        KILL,
    ),
    "postgres": (
        KILL,
        ("stopped for 5 s", lambda server: server.stop(5)),
        CUT,
        ("paused 5 s", lambda server: server.pause(5)),
        KILL,
    ),
}
HALF_OPEN: tuple[Fault, ...] = (("half-open", Server.half_open),) * 2


async def hurt(scene: Scene, name: str, faults: Sequence[Fault], *, with_floor: bool) -> dict[str, float]:
    """The longest recovery of ours and of the floor, and the longest after the server answered again."""
    longest = dict.fromkeys(("effect", "floor", "effect after its answer", "floor after its answer"), 0.0)
    for words, fault in faults:
        await asyncio.sleep(REST_SECONDS)
        began = time.time()
        found = await scene.recovery(await fault(scene.server), with_floor=with_floor)
        answered = [at for at in scene.senders.answered_at if at > began - 1]
        silent = max(later - at for at, later in itertools.pairwise(answered))
        after = {f"{step} after its answer": found.get(step, 0.0) - found["answers"] for step in ("effect", "floor")}
        longest = {step: max(so_far, (found | after).get(step, 0.0)) for step, so_far in longest.items()}
        steps = ", ".join(f"{step} {seconds:.1f}" for step, seconds in found.items() if step != "cpu")
        progress(
            f"{name} {words}: {steps} s; no AA for {silent:.1f} s; "
            f"its processor time since its start {found['cpu']:.1f} s; load {os.getloadavg()[0]:.1f}"
        )
    return longest


async def server_rows(scene: Scene, name: str) -> list[dict[str, Any]]:
    bare = asyncio.create_task(scene.bare.run())
    await scene.recovery(time.time(), with_floor=True)
    longest = await hurt(scene, name, FAULTS[name], with_floor=True)
    bare.cancel()
    await asyncio.wait({bare})
    step = f"{name} killed, stopped, paused, cut under load → effect of what came afterwards, s, longest of"
    step = f"{step} {len(FAULTS[name])} (floor: a bare client)"
    found = [
        _row(f"R2-{name}", step, longest["effect"], longest["floor"]),
        _row(f"R2-{name}-answers", f"the same from when {name} answers again", longest["effect after its answer"],
             longest["floor after its answer"]),
    ]  # fmt: skip
    longest = await hurt(scene, name, HALF_OPEN, with_floor=False)
    step = f"all connections of {name} half-open → the same, s, longest of {len(HALF_OPEN)}"
    return [*found, _row(f"R2-{name}-half-open", step, longest["effect"], None)]


def _row(identifier: str, step: str, ours: float, floor: float | None) -> dict[str, Any]:
    figures = (ours, floor, None if floor is None else ours / floor)
    return row(identifier, step, figures, f"≤ {LONGEST_SECONDS:g} s", met=ours <= LONGEST_SECONDS)


async def rows() -> list[dict[str, Any]]:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # the floor's client logs every attempt
    async with AsyncExitStack() as running:
        temporary = tempfile.TemporaryDirectory(prefix="bench-r2-", ignore_cleanup_errors=True)
        folder = Path(running.enter_context(temporary))
        hurtable = await running.enter_async_context(servers(folder))
        await make_topics(os.environ["KAFKA_BOOTSTRAP_SERVERS"])
        source, target, bare = await databases("source", "target", "bare")
        store_wire, kafka_wire = hurtable["postgres"].wire, hurtable["kafka"].wire
        proxied = f"127.0.0.1:{kafka_wire.port}"
        settings = spine.Ours(folder, through(source, store_wire), through(target, store_wire), proxied, "")
        await settings.prepare()
        for name, environment in (("scheduler_sync", settings.scheduler_sync()), ("notifier", settings.notifier())):
            running.enter_context(program("-m", name, "run", log=folder / f"{name}.log", environment=environment))
        senders = Senders(settings.mllp)
        senders.start()
        stores = Store(source), Store(target)
        floors: dict[str, BareKafka | BareStore] = {
            "kafka": BareKafka(proxied),
            "postgres": BareStore(through(bare, store_wire)),
        }
        found: list[dict[str, Any]] = []
        for name, floor in floors.items():
            found += await server_rows(Scene(senders, floor, *stores, hurtable[name]), name)
        await senders.stop()
        await nothing_lost(senders.acknowledged, *stores)
    return found


async def nothing_lost(acknowledged: int, source: Store, target: Store) -> None:
    """Raises unless each acknowledged message has one link and one effect."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while (effects := await target.must("SELECT count(*) FROM appointments")) < acknowledged:
            await asyncio.sleep(0.2)
    links = await source.must("SELECT count(*) FROM appointment_links")
    progress(f"{acknowledged:,} acknowledged, {links:,} links, {effects:,} effects")
    if not acknowledged == links == effects:
        raise RuntimeError(f"{acknowledged} acknowledged, {links} links, {effects} effects")


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    json.dump(asyncio.run(rows()), sys.stdout, ensure_ascii=False)  # not uvloop's: it has no sockets to reset
