"""`python -m tests.chaos.soak`: a steady load without faults, the services' memory and tables watched (R13).

Memory is each service's resident set, sampled every few seconds; its slope is a least-squares line over the samples
after the warm-up, with the line's standard error: a short run gives a coarse figure, and says how coarse. What may
grow are tables that keep history until retention deletes it; what waits must not.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import psutil
from rich.console import Console

from local_stack.settings import ROOT
from tests.chaos.checks import check
from tests.chaos.evidence import Reader
from tests.chaos.load import Town
from tests.chaos.stack import SERVICES, ChaosStack

SAMPLE_SECONDS = 5.0
REPORT = ROOT / ".local" / "soak-report.json"
MEBIBYTE = 2**20
_WAITING = """
SELECT (SELECT count(*) FROM outbox WHERE sent_at IS NULL) + (SELECT count(*) FROM deliveries WHERE state <> 'done')
     + (SELECT count(*) FROM parked_keys) + (SELECT count(*) FROM parked_messages) + (SELECT count(*) FROM dead_letters)
"""
_TABLES = "SELECT relname, n_live_tup FROM pg_stat_user_tables ORDER BY relname"


@dataclass
class Line:
    """A straight line through samples."""

    slope: float
    standard_error: float
    samples: int

    @classmethod
    def through(cls, points: list[tuple[float, float]]) -> "Line":
        """Ordinary least squares; needs three points."""
        number = len(points)
        mean_x, mean_y = sum(x for x, _ in points) / number, sum(y for _, y in points) / number
        spread = sum((x - mean_x) ** 2 for x, _ in points)
        slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
        rest = sum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in points)
        return cls(round(slope, 2), round((rest / (number - 2) / spread) ** 0.5, 2), number)


async def soak(minutes: float, per_second: float, warm_up: float, console: Console) -> dict[str, Any]:
    """Runs the load. Returns the report. Raises ``ChaosError`` when the stack does not start."""
    base = Path(tempfile.mkdtemp(prefix="suite-soak-"))
    stack = ChaosStack(base)
    try:
        await stack.start()
        timeout = aiohttp.ClientTimeout(total=20, connect=5)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            town, is_over = Town(stack.addresses(), http, seed=1), asyncio.Event()
            await town.begin(int(minutes * 60 * per_second * 2) + 100)
            living = asyncio.create_task(town.live(is_over, per_second=per_second, most=10**9))
            memory, waiting = await _watch(stack, minutes * 60, console)
            is_over.set()
            await living
            await town.go_home(30)
            reader = Reader(stack, http)
            _, unsettled = await reader.settle(120, lambda _: None)
            verdict = check(await reader.gather(), town.answered)
        after = [(at, sizes) for at, sizes in memory if at >= warm_up * 60]
        return {
            "minutes": minutes,
            "appointments_per_second": per_second,
            "appointments": verdict.appointments,
            "inputs": verdict.inputs,
            "violations": len(verdict.violations) + len(unsettled),
            "memory_mib_first_after_warm_up": {name: round(after[0][1][name], 1) for name in SERVICES},
            "memory_mib_last": {name: round(after[-1][1][name], 1) for name in SERVICES},
            "memory_slope_mib_per_hour": {
                name: asdict(Line.through([(at / 3600, sizes[name]) for at, sizes in after])) for name in SERVICES
            },
            "waiting_rows": {"most": max(waiting), "at_the_end": waiting[-1]},
            "rows": {name: await _rows(stack, name) for name in SERVICES},
        }
    finally:
        await stack.close()
        for folder in (base, stack.postgres.data_dir):
            shutil.rmtree(folder, ignore_errors=True)


async def _watch(
    stack: ChaosStack, seconds: float, console: Console
) -> tuple[list[tuple[float, dict[str, float]]], list[int]]:
    memory, waiting = [], []
    started = time.monotonic()
    while (at := time.monotonic() - started) < seconds:
        sizes = {}
        for name in SERVICES:
            child = stack.members[name].child
            sizes[name] = psutil.Process(child.pid).memory_info().rss / MEBIBYTE if child is not None else 0.0
        memory.append((at, sizes))
        waiting.append(sum([await _ask(stack, name, _WAITING) for name in SERVICES]))
        if len(memory) % 12 == 1:
            told = ", ".join(f"{name} {size:.1f} MiB" for name, size in sizes.items())
            console.print(f"  {at:5.0f} s: {told}; {waiting[-1]} rows wait")
        await asyncio.sleep(SAMPLE_SECONDS)
    return memory, waiting


async def _ask(stack: ChaosStack, service: str, query: str) -> int:
    connection = await asyncpg.connect(stack.settings.database_url(service.replace("-", "_")))
    try:
        return int(await connection.fetchval(query))
    finally:
        await connection.close()


async def _rows(stack: ChaosStack, service: str) -> dict[str, int]:
    connection = await asyncpg.connect(stack.settings.database_url(service.replace("-", "_")))
    try:
        await connection.execute("ANALYZE")
        return {row["relname"]: row["n_live_tup"] for row in await connection.fetch(_TABLES)}
    finally:
        await connection.close()


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10, help="how long (10)")
    parser.add_argument("--warm-up", type=float, default=3, help="minutes at the start that do not count (3)")
    parser.add_argument("--rate", type=float, default=1.5, help="appointments booked a second (1.5)")
    parser.add_argument("--report", type=Path, default=REPORT, help="where the report goes")
    arguments = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{arguments.minutes:g} minutes at {arguments.rate:g} appointments a second")
    report = asyncio.run(soak(arguments.minutes, arguments.rate, arguments.warm_up, console))
    arguments.report.parent.mkdir(parents=True, exist_ok=True)
    arguments.report.write_text(json.dumps(report, indent=1) + "\n")
    for name, line in report["memory_slope_mib_per_hour"].items():
        console.print(f"  {name:<16} {line['slope']:+.1f} ± {line['standard_error']:.1f} MiB an hour")
    console.print(f"{report['inputs']} inputs, {report['violations']} violations. {arguments.report}")
    return 1 if report["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
