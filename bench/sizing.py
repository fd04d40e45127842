"""`python -m bench.sizing`: what a message costs, and how throughput moves with partitions and replicas here.

Runs scheduler-sync and the notifier as processes, 1, 2 and 4 of each on topics of as many partitions, drives them over
MLLP (16 connections in all) and reads the bill: CPU of the services, of Postgres and of the broker, rows, WAL and disk
in Postgres, bytes handed to Kafka. OmegaAI and the mail server are away, as in P3. The results go to
`bench/results/sizing.json`.
"""

import asyncio
import json
import runpy
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg
import psutil
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from rich.console import Console
from rich.table import Table

import chassis.topics
from bench import spine
from bench.__main__ import RESULTS, servers
from bench.harness import ROOT, driven, empty_database, listening, program
from contracts import topics
from local_stack.ports import free_port

SIZES = (1, 2, 4)
CONNECTIONS = 16
SECONDS = 4.0
RUNS = 3
INSERTED = "SELECT sum(n_tup_ins + n_tup_upd)::float8 FROM pg_stat_user_tables"
BYTES_OUT = "SELECT coalesce(sum(length(value) + length(headers) + 36), 0)::float8, count(*) FROM outbox"
console = Console()


@dataclass
class Cost:
    """Per message unless the name says otherwise."""

    partitions_and_replicas: int
    messages_per_second: float
    acknowledged_per_second: float
    scheduler_sync_cpu_us: float
    notifier_cpu_us: float
    postgres_cpu_us: float
    kafka_cpu_us: float
    events: float
    kafka_bytes: float
    postgres_rows: float
    wal_bytes: float
    disk_bytes: float


async def make_topics(bootstrap: str, prefix: str, partitions: int) -> list[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    names = [prefix + name for name in topics.TOPICS]
    await admin.create_topics([NewTopic(name=name, num_partitions=partitions, replication_factor=1) for name in names])
    await admin.close()
    return names


def run_with_partitions(module: str, partitions: int) -> None:
    """A service that is content with topics of so few partitions."""
    chassis.topics.TOPICS = {name: replace(one, partitions=partitions) for name, one in topics.TOPICS.items()}  # type: ignore[attr-defined]
    sys.argv = [module, "run"]
    runpy.run_module(module, run_name="__main__")


def cpu_of(processes: list[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def backends(databases: list[str]) -> list[psutil.Process]:
    """Postgres' processes for these databases; each names its database."""
    found = []
    for process in psutil.process_iter(["name", "cmdline"]):
        command = " ".join(process.info["cmdline"] or [])
        if command.startswith("postgres:") and any(name in command for name in databases):
            found.append(process)
    return found


def listening_on(port: int) -> list[psutil.Process]:
    servers_of = [one for one in psutil.net_connections("tcp") if one.status == "LISTEN" and one.laddr.port == port]
    return [psutil.Process(pid) for pid in {one.pid for one in servers_of} if pid]


class Bill:
    """What has been used so far, read twice and subtracted."""

    def __init__(self, pids: dict[str, list[int]], urls: list[str], bootstrap: str) -> None:
        self.pids, self.urls, self.bootstrap = pids, urls, bootstrap

    async def read(self) -> dict[str, float]:
        names = [url.rsplit("/", 1)[1] for url in self.urls]
        found = {name: cpu_of([psutil.Process(pid) for pid in pids]) for name, pids in self.pids.items()}
        found["postgres"] = cpu_of(backends(names))
        found["kafka"] = cpu_of(listening_on(int(self.bootstrap.rpartition(":")[2])))
        found |= {"rows": 0.0, "disk": 0.0, "kafka_bytes": 0.0, "events": 0.0}
        for url in self.urls:
            connection = await asyncpg.connect(url)
            await connection.execute("SELECT pg_stat_force_next_flush()")
            found["rows"] += await connection.fetchval(INSERTED) or 0.0
            found["disk"] += await connection.fetchval("SELECT pg_database_size(current_database())::float8")
            out, events = await connection.fetchrow(BYTES_OUT)
            found["kafka_bytes"] += out
            found["events"] += events
            found["wal"] = await connection.fetchval("SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::float8")
            await connection.close()
        return found


async def measured(bootstrap: str, size: int, folder: Path) -> Cost:
    prefix = f"s{time.time_ns() % 10**8}."
    names = await make_topics(bootstrap, prefix, size)
    async with empty_database() as source, empty_database() as target, AsyncExitStack() as running:
        settings = spine.Ours(folder, source, target, bootstrap, prefix)
        await settings.prepare()
        ports, pids = [], {"scheduler_sync": [], "notifier": []}  # type: ignore[var-annotated]
        for number in range(size):
            settings = replace(settings, mllp=free_port(), http=free_port(), notifier_http=free_port())
            ports.append(settings.mllp)
            for name, environment in (("scheduler_sync", settings.scheduler_sync()), ("notifier", settings.notifier())):
                process = running.enter_context(
                    program("-m", "bench.sizing", "run", name, str(size),
                            log=folder / f"{name}-{size}-{number}.log", environment=environment)
                )  # fmt: skip
                pids[name].append(process.pid)
        for port in ports:
            await listening(port, 120)
        connection = await asyncpg.connect(target)

        async def load(seconds: float) -> tuple[int, float, float]:
            before = await connection.fetchval("SELECT count(*) FROM appointments")
            started = time.monotonic()
            each = max(1, CONNECTIONS // size)
            reports = await asyncio.gather(*(asyncio.to_thread(driven, port, each, seconds) for port in ports))
            sent = sum(report["sent"] for report in reports)
            async with asyncio.timeout(spine.EFFECT_TIMEOUT_SECONDS):
                while await connection.fetchval("SELECT count(*) FROM appointments") < before + sent:
                    await asyncio.sleep(0.02)
            return sent, sent / (time.monotonic() - started), sum(report["rate"] for report in reports)

        await load(2.0)
        bill = Bill(pids, [source, target], bootstrap)
        first = await bill.read()
        loads = [await load(SECONDS) for _ in range(RUNS)]
        last = await bill.read()
        await connection.close()
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.delete_topics(names)
    await admin.close()
    sent = sum(one[0] for one in loads)
    per = {name: (last[name] - first[name]) / sent for name in last}
    return Cost(
        size, statistics.median(one[1] for one in loads), statistics.median(one[2] for one in loads),
        per["scheduler_sync"] * 1e6, per["notifier"] * 1e6, per["postgres"] * 1e6, per["kafka"] * 1e6,
        per["events"], per["kafka_bytes"], per["rows"], per["wal"], per["disk"],
    )  # fmt: skip


async def every_size(bootstrap: str) -> list[Cost]:
    with tempfile.TemporaryDirectory(prefix="bench-sizing-") as folder:
        return [await measured(bootstrap, size, Path(folder)) for size in SIZES]


def show(costs: list[Cost]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("per message", header_style="bold")
    for cost in costs:
        table.add_column(f"{cost.partitions_and_replicas} × {cost.partitions_and_replicas}", justify="right")
    for name in list(asdict(costs[0]))[1:]:
        table.add_row(name.replace("_", " "), *(f"{getattr(cost, name):,.1f}" for cost in costs))
    console.print(table)


def main() -> int:
    if sys.argv[1:2] == ["run"]:
        run_with_partitions(sys.argv[2], int(sys.argv[3]))
        return 0
    with servers() as environment:
        import os

        os.environ |= environment
        costs = asyncio.run(every_size(environment["KAFKA_BOOTSTRAP_SERVERS"]))
    show(costs)
    RESULTS.mkdir(exist_ok=True)
    found: list[dict[str, Any]] = [asdict(cost) for cost in costs]
    (RESULTS / "sizing.json").write_text(json.dumps(found, indent=1) + "\n")
    console.print(f"written to {(RESULTS / 'sizing.json').relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
