"""`python -m tests.chaos.soak`: a steady load without faults, while the services' memory and tables are watched (R13).

Memory is each service's resident set. Python's own allocations (``witness/sitecustomize.py``) are reported beside it:
they tell kept memory from memory that the allocator has only touched. Slopes are least-squares lines over the minutes'
means after the warm-up. A service *grows* when its slope exceeds the mark by twice its standard error; it is *steady*
when its slope is below the mark by as much; in between, the run was too short. Tables of history, and tables that
retention empties, may grow; no other table may, and no backlog may.
"""

import argparse
import asyncio
import json
import os
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

from local_stack.arguments import above_zero, at_least, end_on_sigterm
from local_stack.settings import ROOT
from tests.chaos.checks import check
from tests.chaos.evidence import Reader
from tests.chaos.load import Town
from tests.chaos.stack import SERVICES, ChaosError, ChaosStack

SAMPLE_SECONDS = 5.0
IDLE_SECONDS = 10.0
LEAST_MINUTES = 4.0  # three whole minutes, for a line and its error
MARK_MIB_PER_HOUR = 1.0
WITNESS = Path(__file__).with_name("witness")
HISTORY = frozenset({
    "patients", "patient_identifiers", "appointment_links", "link_history", "conflicts", "parked_tasks",
    "aggregates", "recipients", "appointments", "notifications", "operator_audit",
})  # fmt: skip
UNTIL_RETENTION = frozenset({"outbox", "inbox", "deliveries", "hl7_journal"})
REPORT = ROOT / ".local" / "soak-report.json"
MEBIBYTE = 2**20
_WAITING = """
SELECT (SELECT count(*) FROM outbox WHERE sent_at IS NULL) + (SELECT count(*) FROM deliveries WHERE state <> 'done')
     + (SELECT count(*) FROM parked_keys) + (SELECT count(*) FROM parked_messages) + (SELECT count(*) FROM dead_letters)
"""
_TABLES = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY relname"


@dataclass(frozen=True)
class Sample:
    """One look at one service."""

    at_seconds: float
    resident_mib: float
    blocks: int
    """Blocks that Python has allocated."""
    cpu_seconds: float


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


def minutes_means(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Seconds and a value → hours and the value's mean over each minute: neighbouring samples are not independent."""
    found: dict[int, list[float]] = {}
    for at, value in points:
        found.setdefault(int(at // 60), []).append(value)
    return [((minute + 0.5) / 60, sum(values) / len(values)) for minute, values in sorted(found.items())]


def verdict_of(line: Line, mark: float = MARK_MIB_PER_HOUR) -> str:
    """The verdict against the mark, with the certainty that the samples allow."""
    if line.slope - 2 * line.standard_error > mark:
        return "grows"
    return "steady" if line.slope + 2 * line.standard_error <= mark else "undecided"


def memory_of(samples: list[Sample]) -> dict[str, Any]:
    """The result of a service's samples after the warm-up."""
    line = Line.through(minutes_means([(one.at_seconds, one.resident_mib) for one in samples]))
    blocks = Line.through(minutes_means([(one.at_seconds, one.blocks) for one in samples]))
    return {
        "first_mib": round(samples[0].resident_mib, 1),
        "last_mib": round(samples[-1].resident_mib, 1),
        "slope_mib_per_hour": asdict(line),
        "allocated_blocks": {"first": samples[0].blocks, "last": samples[-1].blocks, "slope_per_hour": asdict(blocks)},
        "verdict": verdict_of(line),
    }


def grown_tables(before: dict[str, int], after: dict[str, int]) -> list[str]:
    """Tables with more rows than after the warm-up that neither keep history nor are emptied by retention."""
    return [
        name for name, rows in after.items() if name not in HISTORY | UNTIL_RETENTION and rows > before.get(name, 0)
    ]


async def soak(minutes: float, per_second: float, warm_up: float, console: Console) -> dict[str, Any]:
    """Runs the load. Returns the report. Raises ``ChaosError`` when the stack does not start."""
    end_on_sigterm()
    base = Path(tempfile.mkdtemp(prefix="suite-soak-"))
    os.environ["SOAK_WITNESS_FOLDER"] = str(base)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(WITNESS), os.environ.get("PYTHONPATH"))))
    stack = ChaosStack(base)
    try:
        await stack.start()
        timeout = aiohttp.ClientTimeout(total=20, connect=5)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            town, is_over = Town(stack.addresses(), http, seed=1), asyncio.Event()
            await town.begin(int(minutes * 60 * per_second * 2) + 100)
            idle = await _idle_shares(stack)
            living = asyncio.create_task(town.live(is_over, per_second=per_second, most=10**9))
            watch = Watch(stack, base, console)
            await watch.look(warm_up * 60)
            rows_after_warm_up = {name: await _rows(stack, name) for name in SERVICES}
            await watch.look(minutes * 60)
            is_over.set()
            await living
            await town.go_home(30)
            reader = Reader(stack, http)
            _, unsettled = await reader.settle(120, lambda _: None)
            verdict = check(await reader.gather(), town.answered)
        rows = {name: await _rows(stack, name) for name in SERVICES}
        used = {}
        for name, seen in watch.samples.items():
            passed = seen[-1].at_seconds - seen[0].at_seconds
            used[name] = max(0.0, seen[-1].cpu_seconds - seen[0].cpu_seconds - idle[name] * passed)
        return {
            "minutes": minutes,
            "warm_up_minutes": warm_up,
            "appointments_per_second": per_second,
            "appointments": verdict.appointments,
            "inputs": verdict.inputs,
            "violations": len(verdict.violations) + len(unsettled),
            "memory": {
                name: memory_of([one for one in seen if one.at_seconds >= warm_up * 60])
                for name, seen in watch.samples.items()
            },
            "cpu_share_idle": {name: round(share, 4) for name, share in idle.items()},
            "cpu_us_per_input": {name: round(seconds / verdict.inputs * 1e6) for name, seconds in used.items()},
            "waiting_rows": {"most": max(watch.waiting), "at_the_end": watch.waiting[-1]},
            "rows": rows,
            "rows_after_warm_up": rows_after_warm_up,
            "tables_grown": {name: grown_tables(rows_after_warm_up[name], rows[name]) for name in SERVICES},
        }
    finally:
        await stack.close()
        for folder in (base, stack.postgres.data_dir):
            shutil.rmtree(folder, ignore_errors=True)


async def _idle_shares(stack: ChaosStack) -> dict[str, float]:
    """Each service's share of a core before any input: the idle cost."""

    def used() -> dict[str, float]:
        children = {name: stack.members[name].child for name in SERVICES}
        return {name: sum(psutil.Process(one.pid).cpu_times()[:2]) for name, one in children.items() if one is not None}

    before = used()
    await asyncio.sleep(IDLE_SECONDS)
    return {name: (seconds - before[name]) / IDLE_SECONDS for name, seconds in used().items()}


class Watch:
    """Samples the services every few seconds."""

    def __init__(self, stack: ChaosStack, folder: Path, console: Console) -> None:
        self._stack, self._folder, self._console = stack, folder, console
        self._started = time.monotonic()
        self.samples: dict[str, list[Sample]] = {name: [] for name in SERVICES}
        self.waiting: list[int] = []

    async def look(self, until_seconds: float) -> None:
        """Samples until so many seconds after the start. Raises ``ChaosError`` when a service died without a fault."""
        while (at := time.monotonic() - self._started) < until_seconds:
            for name in SERVICES:
                self.samples[name].append(self._sample(name, at))
            self.waiting.append(sum([await _ask(self._stack, name, _WAITING) for name in SERVICES]))
            if len(self.waiting) % 12 == 1:
                told = ", ".join(
                    f"{name} {seen[-1].resident_mib:.1f} MiB, {seen[-1].blocks:,} blocks"
                    for name, seen in self.samples.items()
                )
                self._console.print(f"  {at:5.0f} s: {told}; {self.waiting[-1]} rows wait")
            await asyncio.sleep(SAMPLE_SECONDS)

    def _sample(self, name: str, at: float) -> Sample:
        child = self._stack.members[name].child
        if child is None or child.poll() is not None:
            raise ChaosError(f"{name} ended without a fault; see {self._stack.members[name].log}")
        process = psutil.Process(child.pid)
        times = process.cpu_times()
        noted = self._folder / f"{child.pid}.blocks"
        blocks = int(noted.read_text() or 0) if noted.exists() else 0
        return Sample(at, process.memory_info().rss / MEBIBYTE, blocks, times.user + times.system)


async def _ask(stack: ChaosStack, service: str, query: str) -> int:
    connection = await asyncpg.connect(stack.settings.database_url(service.replace("-", "_")))
    try:
        return int(await connection.fetchval(query))
    finally:
        await connection.close()


async def _rows(stack: ChaosStack, service: str) -> dict[str, int]:
    connection = await asyncpg.connect(stack.settings.database_url(service.replace("-", "_")))
    try:
        names = [row["relname"] for row in await connection.fetch(_TABLES)]
        return {name: await connection.fetchval(f"SELECT count(*) FROM {name}") for name in names}
    finally:
        await connection.close()


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=above_zero, default=60, help="how long (60)")
    parser.add_argument(
        "--warm-up", type=at_least(0.0), default=15, help="minutes of warm-up, left out of the verdict (15)"
    )
    parser.add_argument("--rate", type=above_zero, default=1.5, help="appointments booked a second (1.5)")
    parser.add_argument("--report", type=Path, default=REPORT, help="where the report goes")
    arguments = parser.parse_args()
    if arguments.minutes < arguments.warm_up + LEAST_MINUTES:
        parser.error(f"argument --minutes: {LEAST_MINUTES:g} more than --warm-up at least, for a slope")
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{arguments.minutes:g} minutes at {arguments.rate:g} appointments a second")
    report = asyncio.run(soak(arguments.minutes, arguments.rate, arguments.warm_up, console))
    arguments.report.parent.mkdir(parents=True, exist_ok=True)
    arguments.report.write_text(json.dumps(report, indent=1) + "\n")
    for name, seen in report["memory"].items():
        line, blocks = seen["slope_mib_per_hour"], seen["allocated_blocks"]["slope_per_hour"]
        console.print(
            f"  {name:<16} {line['slope']:+.1f} ± {line['standard_error']:.1f} MiB an hour, "
            f"{blocks['slope']:+,.0f} ± {blocks['standard_error']:,.0f} blocks: {seen['verdict']}"
        )
    grown = [table for tables in report["tables_grown"].values() for table in tables]
    console.print(
        f"soak: {report['inputs']} inputs, {report['violations']} violations, "
        f"tables grown that keep no history: {', '.join(grown) or 'none'}. {arguments.report}"
    )
    verdicts = {seen["verdict"] for seen in report["memory"].values()}
    if report["violations"] or grown or "grows" in verdicts:
        return 1
    return 2 if "undecided" in verdicts else 0


if __name__ == "__main__":
    sys.exit(main())
