"""P2: MLLP receive → committed → acknowledged, everything on: scheduler-sync's own listener with its handlers.

Each S12 books a new patient and appointment: journal, patient, identifier, link, history, two events, two deliveries.
Floors: a server with one committed INSERT a message, and one that commits what waits in groups; both only store the
bytes and answer. Server, driver and Postgres on one machine, each in its own process.
"""

import argparse
import asyncio
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).parents[1]))

import asyncpg
import uvloop

from bench.harness import at_least, database, main, row
from chassis import migrations
from scheduler_sync import bootstrap
from scheduler_sync.domain.appointment import Resource
from scheduler_sync.settings import MllpSettings, SchedulerSyncSettings

SITE = Path(__file__).parents[1] / "deploy" / "site" / "northside.yaml"
SECONDS = 2.0
WARM_SECONDS = 1.0
PAIRS = 5
LOADS = (1, 16, 64)
CONTROL_ID = re.compile(rb"^MSH(?:\|[^|]*){8}\|([^|]*)")

SIU = (
    "MSH|^~\\&|RAMSOFT|FAC01|SUITE|NORTHSIDE|20261125093000-0500||SIU^S12|{n}|P|2.3.1||||||UNICODE UTF-8\r"
    "SCH|{n}^RAMSOFT|A{n}^RAMSOFT|||||CT-HEAD^CT Head^99STUDYTYPE||30|min^minutes^ISO+"
    "|^^30^20261201143000-0500^20261201150000-0500||||||||||||||30^SCHEDULED^99PS\r"
    "PID|1|{n}^^^NORTHSIDE|{n}^^^NORTHSIDE||Roe^Jane^A||19800229|F|||12 Elm St^^Toronto^ON^M5V1A1^CA"
    "||(416)555-0100^PRN^PH^p{n}@example.org|||||ACC{n}\r"
    "PV1|1|O|RADIOLOGY^CT1^^FAC01|||||1001^Miller^Ann||||||||||||V{n}\r"
    "RGS|1|A\r"
    "AIS|1|A|CT-HEAD^CT Head^99STUDYTYPE|20261201143000-0500|||30|min\r"
    "AIG|1|A|BLUME CT^BLUME CT|CT\r"
    "AIL|1|A|RADIOLOGY^CT1^^FAC01\r"
)


# ---- servers, each in a process of its own ---------------------------------------------------------------------------


async def serve_ours(url: str) -> None:
    await migrations.run(bootstrap.MIGRATIONS, url)
    settings = SchedulerSyncSettings(site_file=SITE, mllp=MllpSettings(port=0))
    settings = settings.model_copy(update={"store": settings.store.model_copy(update={"url": url})})
    core = await bootstrap.open_core(settings)
    core.directory.fill(
        [
            Resource(
                id=uuid4(),
                facility="FAC01",
                name="BLUME CT",
                modality="CT",
                healthcare_service_id="11",
                duration_minutes=30,
            )
        ]
    )
    running = asyncio.create_task(core.listener.run())
    while core.listener.port == 0:
        await asyncio.sleep(0.01)
    print(core.listener.port, flush=True)
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

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    committing = asyncio.create_task(commit_groups()) if grouped else None
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
    del committing


# ---- the driver, in a process of its own -----------------------------------------------------------------------------


async def drive(port: int, connections: int, seconds: float) -> None:
    """Prints messages a second and the p50 and p99 in milliseconds."""
    run = f"{time.time_ns() % 10**9:09d}"
    counter = iter(range(10**9))
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end:
            message = SIU.format(n=f"{run}{next(counter)}").encode()
            started = time.perf_counter()
            writer.write(b"\x0b" + message + b"\x1c\r")
            answer = await reader.readuntil(b"\x1c\r")
            if b"MSA|AA|" not in answer:
                raise RuntimeError(f"not accepted: {answer[-200:]!r}")
            latencies.append((time.perf_counter() - started) * 1000)
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(connections)))
    rate = len(latencies) / (time.perf_counter() - started)
    cuts = statistics.quantiles(latencies, n=100)
    print(rate, cuts[49], cuts[98])


def driven(port: int, connections: int, seconds: float) -> tuple[float, float]:
    command = [sys.executable, __file__, "drive", str(port), str(connections), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    rate, _, p99 = (float(one) for one in done.stdout.split())
    return rate, p99


async def rows() -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = []
    async with database() as ours_url, database() as floor_url, _empty_database() as empty_url:
        urls = {"ours": empty_url, "one": ours_url, "grouped": floor_url}
        servers, ports = [], {}
        try:
            for kind, url in urls.items():
                server = subprocess.Popen(
                    [sys.executable, __file__, "serve", kind, url], stdout=subprocess.PIPE, text=True
                )
                servers.append(server)
                assert server.stdout is not None
                while not (line := server.stdout.readline().strip()).isdigit():
                    if not line and server.poll() is not None:
                        raise RuntimeError(f"the server {kind} did not start")
                ports[kind] = int(line)
            for connections in LOADS:
                for kind in urls:
                    driven(ports[kind], connections, WARM_SECONDS)
                measured = [{kind: driven(ports[kind], connections, SECONDS) for kind in urls} for _ in range(PAIRS)]
                result += _rows(connections, measured)
        finally:
            for server in servers:
                server.kill()
                server.wait()
    return result


def _rows(connections: int, measured: list[dict[str, tuple[float, float]]]) -> list[dict[str, Any]]:
    def median(kind: str, place: int) -> float:
        return statistics.median(one[kind][place] for one in measured)

    def ratio(kind: str) -> float:
        return statistics.median(one["ours"][0] / one[kind][0] for one in measured)

    step = f"MLLP → committed → ACK, messages/s, {connections} connection{'s' if connections > 1 else ''}"
    marks = {"one": 0.7} if connections == 1 else {"one": 2.0, "grouped": 0.5}
    words = {"one": "one INSERT a message", "grouped": "grouped commit"}
    found = [
        at_least(
            f"P2-{connections}-{kind}",
            f"{step} (floor: {words[kind]})",
            (median("ours", 0), median(kind, 0), ratio(kind)),
            least,
        )
        for kind, least in marks.items()
    ]
    p99 = statistics.median(one["ours"][1] / one["one"][1] for one in measured)
    found.append(
        row(f"P2-{connections}-p99", f"the same, p99 in ms, {connections} connections (floor: one INSERT a message)",
            (median("ours", 1), median("one", 1), p99), "≤ 2 × the floor", met=p99 <= 2)
    )  # fmt: skip
    return found


@asynccontextmanager
async def _empty_database() -> AsyncIterator[str]:
    """A database for the service's own migrations."""
    async with database() as url:
        connection = await asyncpg.connect(url)
        await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        await connection.close()
        yield url


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", nargs="?", choices=("serve", "drive"))
    parser.add_argument("rest", nargs="*")
    options = parser.parse_args()
    if options.part == "serve":
        kind, url = options.rest
        os.environ.setdefault("SCHEDULER_SYNC_TELEMETRY__LOG_LEVEL", "WARNING")
        uvloop.run(serve_ours(url) if kind == "ours" else serve_floor(url, grouped=kind == "grouped"))
    elif options.part == "drive":
        uvloop.run(drive(int(options.rest[0]), int(options.rest[1]), float(options.rest[2])))
    else:
        main(rows)
