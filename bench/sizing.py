"""`python -m bench.sizing`: what a message costs, and how throughput moves with partitions and replicas here.

Runs scheduler-sync and the notifier as processes, 1, 2 and 4 of each on topics of as many partitions, drives them over
MLLP (16 connections in all) and reads the bill: CPU of the services, of all of Postgres and of the broker; rows, WAL
and bytes of each table in Postgres; bytes in Kafka's segments. OmegaAI and the mail server are away, as in P3. The
results go to `bench/results/sizing.json`, and from there into the tables of `docs/operations/sizing.md`
(`bench/sizing_plan.py`); `--document` writes those anew and measures nothing, `--soak REPORT` takes over what a message
costs with its partners there from a report of `python -m tests.chaos.soak`.
"""

import argparse
import asyncio
import json
import os
import runpy
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import asyncpg
import psutil
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from rich.console import Console
from rich.table import Table

import chassis.messaging.topics
from bench import spine
from bench.__main__ import RESULTS, servers
from bench.harness import ROOT, driven, empty_database, listening, program
from bench.sizing_plan import DOCUMENT, Cost, Measured, Partners, document
from contracts import topics
from local_stack.ports import free_port

SIZES = ((1, 1), (4, 1), (2, 2), (4, 4))
"""Partitions per topic, and replicas of each service."""
CONNECTIONS = 16
WARM_SECONDS = 3.0
IDLE_SECONDS = 4.0
SECONDS = 4.0
RUNS = 5
CHANGED = "SELECT sum(n_tup_ins + n_tup_upd)::float8 FROM pg_stat_user_tables"
TABLES = """
SELECT relname, pg_total_relation_size(oid)::float8 AS bytes FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
"""
FILE = RESULTS / "sizing.json"
console = Console(highlight=False, soft_wrap=True)


@asynccontextmanager
async def topics_of(bootstrap: str, prefix: str, partitions: int) -> AsyncIterator[None]:
    """The contracts' topics with this number of partitions each; deleted at the end."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    names = [prefix + name for name in topics.TOPICS]
    await admin.create_topics([NewTopic(name=name, num_partitions=partitions, replication_factor=1) for name in names])
    try:
        yield
    finally:
        await admin.delete_topics(names)
        await admin.close()


def run_with_partitions(module: str, partitions: int) -> None:
    """Runs a service that accepts topics with so few partitions."""
    chassis.messaging.topics.TOPICS = {name: replace(one, partitions=partitions) for name, one in topics.TOPICS.items()}  # type: ignore[attr-defined]
    sys.argv = [module, "run"]
    runpy.run_module(module, run_name="__main__")


def server_on(port: int) -> psutil.Process:
    """The process that listens there. Raises ``RuntimeError`` when it is not on this machine."""
    for one in psutil.net_connections("tcp"):
        if one.status == "LISTEN" and one.pid and isinstance(one.laddr, tuple) and one.laddr[1] == port:
            return psutil.Process(one.pid)
    raise RuntimeError(f"no process of this machine listens on {port}: servers elsewhere have bills of their own")


def cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    """Processor time of these processes and of their ended children."""
    total = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])
    return total


def port_of(url: str) -> int:
    """The port in a Postgres URL or a Kafka bootstrap address."""
    return int(url.rpartition("@")[2].partition("/")[0].rpartition(":")[2])


@dataclass
class Bill:
    """The resources used so far, read twice and subtracted."""

    services: dict[str, list[psutil.Process]]
    urls: list[str]
    bootstrap: str
    prefix: str
    postgres: psutil.Process = field(init=False)
    kafka: psutil.Process = field(init=False)

    def __post_init__(self) -> None:
        self.postgres = server_on(port_of(self.urls[0]))
        self.kafka = server_on(port_of(self.bootstrap))

    async def read(self) -> dict[str, float]:
        found = self._cpu()
        found["kafka_bytes"] = float(self._segments())
        found["rows"] = 0.0
        for url in self.urls:
            connection = await asyncpg.connect(url)
            await connection.execute("SELECT pg_stat_force_next_flush()")
            found["rows"] += await connection.fetchval(CHANGED) or 0.0
            for row in await connection.fetch(TABLES):
                name = "table " + row["relname"]
                found[name] = found.get(name, 0.0) + row["bytes"]
            found["wal"] = await connection.fetchval("SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::float8")
            await connection.close()
        return found

    async def idle(self) -> dict[str, float]:
        """CPU seconds a second without load: a cost of no message."""
        before, started = self._cpu(), time.monotonic()
        await asyncio.sleep(IDLE_SECONDS)
        passed = time.monotonic() - started
        return {name: (used - before[name]) / passed for name, used in self._cpu().items()}

    def _cpu(self) -> dict[str, float]:
        found = {name: cpu_seconds(processes) for name, processes in self.services.items()}
        found["postgres"] = cpu_seconds([self.postgres, *self.postgres.children(recursive=True)])
        found["kafka"] = cpu_seconds([self.kafka])
        return found

    def _segments(self) -> int:
        """Bytes of our topics' log segments on the broker's disk."""
        properties = Path(self.kafka.cmdline()[-1]).read_text()
        (folder,) = (line.partition("=")[2] for line in properties.splitlines() if line.startswith("log.dirs="))
        return sum(path.stat().st_size for path in Path(folder).glob(f"{self.prefix}*/*.log"))


async def measured(bootstrap: str, partitions: int, replicas: int, folder: Path) -> Cost:
    prefix = f"s{time.time_ns() % 10**8}."
    async with (
        topics_of(bootstrap, prefix, partitions),
        empty_database() as source,
        empty_database() as target,
        AsyncExitStack() as running,
    ):
        settings = spine.Ours(folder, source, target, bootstrap, prefix)
        await settings.prepare()
        ports: list[int] = []
        services: dict[str, list[psutil.Process]] = {"scheduler_sync": [], "notifier": []}
        for number in range(replicas):
            settings = replace(settings, mllp=free_port(), http=free_port(), notifier_http=free_port())
            ports.append(settings.mllp)
            for name, environment in (("scheduler_sync", settings.scheduler_sync()), ("notifier", settings.notifier())):
                log = folder / f"{name}-{partitions}-{replicas}-{number}.log"
                arguments = ("-m", "bench.sizing", "run", name, str(partitions))
                process = running.enter_context(program(*arguments, log=log, environment=environment))
                services[name].append(psutil.Process(process.pid))
        for port in ports:
            await listening(port, 120)
        path = spine.Path3("ours", ports[0], source, target, "appointments", "appointment_id", "")
        await _load(path, ports, WARM_SECONDS)
        bill = Bill(services, [source, target], bootstrap, prefix)
        idle = await bill.idle()
        started, first = time.monotonic(), await bill.read()
        loads = []
        for _ in range(RUNS):
            loads.append(await _load(path, ports, SECONDS))
            say(f"{partitions} partitions × {replicas} replicas: {loads[-1][1]:.0f} messages/s")
        last, passed = await bill.read(), time.monotonic() - started
    sent = sum(one[0] for one in loads)
    per = {
        name: max(0.0, used - first.get(name, 0.0) - idle.get(name, 0.0) * passed) / sent for name, used in last.items()
    }
    return Cost(
        partitions=partitions,
        replicas=replicas,
        messages=sent,
        messages_per_second=statistics.median(one[1] for one in loads),
        acknowledged_per_second=statistics.median(one[2] for one in loads),
        scheduler_sync_cpu_us=per["scheduler_sync"] * 1e6,
        notifier_cpu_us=per["notifier"] * 1e6,
        postgres_cpu_us=per["postgres"] * 1e6,
        kafka_cpu_us=per["kafka"] * 1e6,
        kafka_bytes=per["kafka_bytes"],
        postgres_rows=per["rows"],
        wal_bytes=per["wal"],
        table_bytes={
            name.removeprefix("table "): round(each, 1)
            for name, each in sorted(per.items())
            if name.startswith("table ") and each >= 1
        },
    )


async def _load(path: spine.Path3, ports: list[int], seconds: float) -> tuple[int, float, float]:
    """Messages, effects a second, acknowledgements a second, over all replicas."""
    connection = await asyncpg.connect(path.target_url)
    before = await path.effect_count(connection)
    started = time.monotonic()
    each = max(1, CONNECTIONS // len(ports))
    reports = await asyncio.gather(*(asyncio.to_thread(driven, port, each, seconds) for port in ports))
    sent = sum(report["sent"] for report in reports)
    await path.settled(connection, before + sent)
    passed = time.monotonic() - started
    await connection.close()
    return sent, sent / passed, sum(report["rate"] for report in reports)


def say(words: str) -> None:
    console.print(f"  {time.strftime('%H:%M:%S')} {words}")


async def every_size(bootstrap: str) -> list[Cost]:
    with tempfile.TemporaryDirectory(prefix="bench-sizing-") as folder:
        return [await measured(bootstrap, *size, Path(folder)) for size in SIZES]


def show(costs: list[Cost]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("per message", header_style="bold")
    for cost in costs:
        table.add_column(f"{cost.partitions} × {cost.replicas}", justify="right")
    for name, value in asdict(costs[0]).items():
        if isinstance(value, float):
            table.add_row(name.replace("_", " "), *(f"{getattr(cost, name):,.1f}" for cost in costs))
    console.print(table)


def main() -> int:
    if sys.argv[1:2] == ["run"]:
        run_with_partitions(sys.argv[2], int(sys.argv[3]))
        return 0
    parser = argparse.ArgumentParser(
        prog="python -m bench.sizing", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--document", action="store_true", help="only write the document's tables anew")
    parser.add_argument("--soak", type=Path, metavar="REPORT", help="take over the costs with partners from a soak")
    options = parser.parse_args()
    if options.soak is not None and not options.soak.is_file():
        parser.error(f"argument --soak: {options.soak} is not there: python -m tests.chaos.soak writes one")
    kept = Measured.read(FILE) if FILE.exists() else None
    if options.document or options.soak:
        if kept is None:
            parser.error(f"{FILE} is not there: measure first")
        found = kept
    else:
        started, load_before = time.monotonic(), os.getloadavg()[0]
        with servers() as environment:
            os.environ |= environment
            costs = asyncio.run(every_size(environment["KAFKA_BOOTSTRAP_SERVERS"]))
        found = Measured(costs, round(load_before, 2), kept.partners if kept else None)
        show(costs)
        console.print(f"measured in {(time.monotonic() - started) / 60:.1f} minutes")
    if options.soak:
        found = replace(found, partners=Partners.of_soak(json.loads(options.soak.read_text())))
    found.write(FILE)
    DOCUMENT.write_text(document(DOCUMENT.read_text(), found))
    console.print(f"sizing: written to {FILE.relative_to(ROOT)} and {DOCUMENT.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
