"""P2: MLLP receive → committed → acknowledged.

P2 is the listener of the chassis with everything on (codec, journal with its check for repeats, metrics, standard ACK)
and a handler that adds nothing: what it commits is what the floors commit, the message. P2s is scheduler-sync's own
listener with its handlers: each S12 books a new patient and appointment, ten rows in one transaction (journal, patient,
identifier, link, history, two events, two deliveries), beside the same floors.

Floors: a server with one committed INSERT a message, and one that commits what waits in groups; both only store the
bytes and answer. Beside them Apache Camel's `mllp → kafka` route (acks=all) and MessageFoundry (SQLite). Every server,
the driver, Kafka and Postgres are processes of their own on one machine.
"""

import argparse
import asyncio
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).parents[1]))

import asyncpg
import uvloop

from bench import camel, mefor
from bench.harness import at_least, database, driven, empty_database, kafka_topics, listening, main, progress, row
from local_stack.kafka import JarsError

SECONDS = 1.5
WARM_SECONDS = 1.0
PAIRS = 5
LOADS = (1, 16, 64)
CONTROL_ID = re.compile(rb"^MSH(?:\|[^|]*){8}\|([^|]*)")
STEP = {"listener": "MLLP → committed → ACK", "sync": "MLLP → scheduler-sync's whole effect committed → ACK"}
WORDS = {
    "one": "one INSERT a message",
    "grouped": "grouped commit",
    "camel": "Apache Camel mllp → kafka",
    "mefor": "MessageFoundry, stored in SQLite",
}


# ---- servers, each in a process of its own ---------------------------------------------------------------------------


async def serve_listener(url: str) -> None:
    from chassis.hl7 import Hl7Listener, InboundHl7
    from chassis.observe import Metrics
    from chassis.settings import StoreSettings
    from chassis.store import Store

    async def nothing(_work: object, _items: Sequence[InboundHl7]) -> None:
        return None

    async def handle(_work: object, _item: InboundHl7) -> None:
        return None

    store = await Store.open(StoreSettings(url=url))
    await _serve(
        Hl7Listener(
            store,
            host="127.0.0.1",
            port=0,
            open_work=lambda _: None,
            prefetch=nothing,
            handle=handle,
            metrics=Metrics(),
        )
    )


async def serve_sync(url: str) -> None:
    from chassis.store import migrations
    from scheduler_sync import bootstrap
    from scheduler_sync.domain.resource import Resource
    from scheduler_sync.settings import MllpSettings, SchedulerSyncSettings

    await migrations.run(bootstrap.MIGRATIONS, url)
    site = Path(__file__).parents[1] / "deploy" / "site" / "northside.yaml"
    settings = SchedulerSyncSettings(site_file=site, mllp=MllpSettings(port=0))
    settings = settings.model_copy(update={"store": settings.store.model_copy(update={"url": url})})
    core = await bootstrap.open_core(settings)
    booked = Resource(
        id=uuid4(), facility="FAC01", name="BLUME CT", modality="CT", healthcare_service_id="11", duration_minutes=30
    )
    core.directory.fill([booked])
    await core.store.pool.execute(  # a booking claims its time on a resource that the store has
        "INSERT INTO resources (id, facility, organization, name, modality, healthcare_service_id, hours, overbooking, "
        "self_scheduling, active, aliases, seen_at) "
        "VALUES ($1, $2, '2', $3, $4, $5, '[]', false, true, true, '{}', now())",
        booked.id, booked.facility, booked.name, booked.modality, booked.healthcare_service_id,
    )  # fmt: skip
    await _serve(core.listener)


async def _serve(listener: Any) -> None:
    from chassis.host import collect_seldom

    collect_seldom()
    running = asyncio.create_task(listener.run())
    while listener.port == 0:
        await asyncio.sleep(0.01)
    print(listener.port, flush=True)
    await running


def _ack(message: bytes) -> bytes:
    found = CONTROL_ID.match(message)
    control_id = found[1] if found else b""
    return b"\x0bMSH|^~\\&|F|F|R|R|20261125||ACK|1|P|2.3.1\rMSA|AA|" + control_id + b"\r\x1c\r"


async def serve_floor(url: str, *, grouped: bool) -> None:
    pool = await asyncpg.create_pool(url, min_size=4, max_size=16)
    await pool.execute(
        "CREATE TABLE IF NOT EXISTS raw (id bigint GENERATED ALWAYS AS IDENTITY, message bytea NOT NULL)"
    )
    waiting: list[tuple[bytes, asyncio.Future[None]]] = []
    arrived = asyncio.Event()

    async def commit_groups() -> None:
        async with pool.acquire() as connection:
            while True:
                await arrived.wait()
                arrived.clear()
                group, waiting[:] = waiting[:], []
                if not group:
                    continue
                await connection.execute(
                    "INSERT INTO raw (message) SELECT unnest($1::bytea[])", [one for one, _ in group]
                )
                for _, done in group:
                    done.set_result(None)
                if waiting:
                    arrived.set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                message = (await reader.readuntil(b"\x1c\r"))[1:-2]
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()
                return
            if grouped:
                done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                waiting.append((message, done))
                arrived.set()
                await done
            else:
                await pool.execute("INSERT INTO raw (message) VALUES ($1)", message)
            writer.write(_ack(message))

    server = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=256)
    committing = asyncio.create_task(commit_groups()) if grouped else None
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
    del committing


# ---- the measurement -------------------------------------------------------------------------------------------------


class Servers:
    """The measured servers by name, and the servers that could not start, with the reason."""

    def __init__(self) -> None:
        self.ports: dict[str, int] = {}
        self.missing: dict[str, str] = {}

    async def start(self, resources: AsyncExitStack, folder: Path) -> None:
        for kind in ("listener", "sync", "one", "grouped"):
            url = await resources.enter_async_context(empty_database() if kind == "sync" else database())
            server = subprocess.Popen([sys.executable, __file__, "serve", kind, url], stdout=subprocess.PIPE, text=True)
            resources.callback(server.wait)
            resources.callback(server.kill)
            assert server.stdout is not None
            while not (line := server.stdout.readline().strip()).isdigit():
                if not line and server.poll() is not None:
                    raise RuntimeError(f"the server {kind} did not start")
            self.ports[kind] = int(line)
        try:
            (folder / "mefor").mkdir()
            port = resources.enter_context(mefor.listening(folder / "mefor"))
            await listening(port)
            self.ports["mefor"] = port
        except (mefor.NotRunError, TimeoutError) as error:
            self.missing["mefor"] = str(error) or "it did not listen within a minute"
        try:
            bootstrap, prefix = await resources.enter_async_context(kafka_topics())
            port = resources.enter_context(camel.listening(folder, bootstrap, f"{prefix}appointment.scheduled"))
            await listening(port)
            self.ports["camel"] = port
            await asyncio.to_thread(driven, port, 16, camel.WARM_SECONDS)
        except (JarsError, TimeoutError, RuntimeError) as error:
            self.ports.pop("camel", None)
            self.missing["camel"] = str(error) or "it did not listen within a minute"


async def rows() -> list[dict[str, Any]]:
    servers, result = Servers(), []
    with tempfile.TemporaryDirectory(prefix="bench-p2-") as folder:
        async with AsyncExitStack() as resources:
            progress("starting the servers and warming Camel, two minutes")
            await servers.start(resources, Path(folder))
            for connections in LOADS:
                progress(f"{connections} connections: {', '.join(servers.ports)}")
                for port in servers.ports.values():
                    await asyncio.to_thread(driven, port, connections, WARM_SECONDS)
                measured = [await _once(servers, connections, turn) for turn in range(PAIRS)]
                result += _rows(connections, measured)
    for kind, reason in servers.missing.items():
        result.append(row(f"P2-{kind}", f"{WORDS[kind]}: not run: {reason}", (0, None, None), "beside ours", met=False))
    return result


async def _once(servers: Servers, connections: int, turn: int) -> dict[str, dict[str, Any]]:
    """Measures every server once, in rotating order, so that no server always has the same neighbour."""
    kinds = list(servers.ports)
    order = kinds[turn % len(kinds) :] + kinds[: turn % len(kinds)]
    return {kind: await asyncio.to_thread(driven, servers.ports[kind], connections, SECONDS) for kind in order}


def _rows(connections: int, measured: list[dict[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    def median(kind: str, figure: str) -> float:
        return statistics.median(one[kind][figure] for one in measured)

    def ratio(ours: str, floor: str, figure: str = "rate") -> float:
        return statistics.median(one[ours][figure] / one[floor][figure] for one in measured)

    load = f"{connections} connection{'s' if connections > 1 else ''}"
    found = []
    for ours, identifier in (("listener", "P2"), ("sync", "P2s")):
        marks = (
            {"one": 0.7, "mefor": 1.0} if connections == 1 else {"one": 2.0, "grouped": 0.5, "camel": 1.0, "mefor": 1.0}
        )
        for floor, least in marks.items():
            if floor in measured[0]:
                figures = (median(ours, "rate"), median(floor, "rate"), ratio(ours, floor))
                words = f"{STEP[ours]}, messages/s, {load} (floor: {WORDS[floor]})"
                found.append(at_least(f"{identifier}-{connections}-{floor}", words, figures, least))
        p99 = (median(ours, "p99_ms"), median("one", "p99_ms"), ratio(ours, "one", "p99_ms"))
        words = f"{STEP[ours]}, p99 in ms, {load} (floor: {WORDS['one']})"
        found.append(row(f"{identifier}-{connections}-p99", words, p99, "≤ 2 × the floor", met=p99[2] <= 2))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=("serve",))
    parser.add_argument("rest", nargs="*")
    options = parser.parse_args()
    if options.part == "serve":
        kind, url = options.rest
        os.environ.setdefault("SCHEDULER_SYNC_TELEMETRY__LOG_LEVEL", "WARNING")
        serving = {
            "listener": lambda: serve_listener(url),
            "sync": lambda: serve_sync(url),
            "one": lambda: serve_floor(url, grouped=False),
            "grouped": lambda: serve_floor(url, grouped=True),
        }
        uvloop.run(serving[kind]())
    else:
        main(rows)
