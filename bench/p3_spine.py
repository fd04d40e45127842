"""P3: SIU in at scheduler-sync → state → outbox → Kafka → the notifier's committed effect, everything on.

Ours and the naive pipeline (``bench/naive.py``) run side by side and are driven in turn; traces go to a local
collector, one in ten. Also here: scheduler-sync's resident memory at 400 messages a second. With `--long` a load
of 70 % of what was just measured is held for ten minutes, and what memory grew meanwhile is told.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench import spine
from bench.collector import collector
from bench.harness import at_least, kafka_topics, main, row

PAIRS = 5
SECONDS = 3.0
LATENCY_SECONDS = 8.0
MEMORY_SECONDS = 15.0
MEMORY_RATE = 400.0
LONG_SECONDS = 600.0
STEP = "SIU in → state → outbox → Kafka → effect committed"


async def rows() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="bench-p3-") as name, collector() as endpoint:
        folder = Path(name)
        telemetry = {"TELEMETRY__OTLP_ENDPOINT": endpoint, "TELEMETRY__SAMPLE_RATIO": "0.1"}
        async with (
            kafka_topics() as (bootstrap, prefix),
            kafka_topics() as (_, other),
            spine.ours(folder, bootstrap, prefix, telemetry) as (ours, _),
            spine.floor(folder, bootstrap, f"{other}appointment.scheduled") as floor,
        ):
            found: list[dict[str, Any]] = []
            peak = 0.0
            for connections, least in ((16, 1.2), (1, 0.7)):
                measured = await spine.measured_in_turn(
                    ours, floor, lambda path, connections=connections: path.throughput(connections, SECONDS), PAIRS
                )
                rate = statistics.median(one.rate for one, _ in measured)
                ratio = statistics.median(one.rate / other.rate for one, other in measured)
                words = f"{STEP}, messages/s, {connections} connection{'s' if connections > 1 else ''}"
                figures = (rate, statistics.median(other.rate for _, other in measured), ratio)
                found.append(
                    at_least(f"P3-{connections}", f"{words} (floor: one transaction a message)", figures, least)
                )
                found.append(_cpu_row(connections, measured))
                peak = max(peak, rate)
            found.insert(
                1,
                row("P3-abs", f"{STEP}, messages/s, 16 connections", (peak, None, None), "≥ 1 000/s", met=peak >= 1000),
            )
            found += await _latency_rows(ours, floor, peak / 2, folder)
            found.append(await _memory_row(ours))
            if "--long" in sys.argv:
                found += await _long_rows(ours, peak * 0.7)
            return found


def _cpu_row(connections: int, measured: list[tuple[spine.Run, spine.Run]]) -> dict[str, Any]:
    """CPU time tells apart what a busy machine blurs."""

    def microseconds(run: spine.Run) -> float:
        return sum(run.cpu_seconds.values()) / run.sent * 1e6

    ours = statistics.median(microseconds(one) for one, _ in measured)
    floor = statistics.median(microseconds(other) for _, other in measured)
    step = f"the services' CPU, µs/message, {connections} connection{'s' if connections > 1 else ''}"
    return row(f"P3-{connections}-cpu", step, (ours, floor, ours / floor), "told, no mark", met=True)


async def _latency_rows(ours: spine.Path3, floor: spine.Path3, rate: float, folder: Path) -> list[dict[str, Any]]:
    mine = await ours.latencies(16, LATENCY_SECONDS, rate, folder)
    theirs = await floor.latencies(16, LATENCY_SECONDS, rate, folder)
    found = []
    for name, share, limit in (("p50", 0.5, 50), ("p99", 0.99, 500)):
        figure, other = mine[int(len(mine) * share)], theirs[int(len(theirs) * share)]
        step = f"due → effect committed, ms, {name}, at half load ({rate:.0f}/s)"
        found.append(row(f"P3-{name}", step, (figure, other, figure / other), f"≤ {limit} ms", met=figure <= limit))
    return found


async def _memory_row(ours: spine.Path3) -> dict[str, Any]:
    """Resident memory of scheduler-sync, the most of what was seen while 400 messages a second came."""
    load = asyncio.create_task(asyncio.to_thread(spine.driven, ours.port, 16, MEMORY_SECONDS, MEMORY_RATE))
    most = 0.0
    while not load.done():
        most = max(most, ours.resident_mib("scheduler_sync"))
        await asyncio.sleep(0.5)
    report = await load
    step = f"scheduler-sync's resident memory, MiB, at {report['rate']:.0f} messages/s"
    return row(
        "M1", step, (most, None, None), "≤ 200 MiB at 400/s", met=most <= 200 and report["rate"] >= 0.95 * MEMORY_RATE
    )


async def _long_rows(ours: spine.Path3, rate: float) -> list[dict[str, Any]]:
    began = {name: ours.resident_mib(name) for name in ours.processes}
    started = time.monotonic()
    target = await spine.asyncpg.connect(ours.target_url)
    before = await ours.effect_count(target)
    report = await asyncio.to_thread(spine.driven, ours.port, 16, LONG_SECONDS, rate)
    await ours.settled(target, before + report["sent"])
    await target.close()
    lag = time.monotonic() - started - LONG_SECONDS
    step = f"{STEP}, held for {LONG_SECONDS / 60:.0f} minutes at {report['rate']:.0f}/s: the last effect after, s"
    found = [row("P3-long", step, (lag, None, None), "≤ 5 s", met=lag <= 5 and report["rate"] >= 0.95 * rate)]
    for name, first in began.items():
        grown = ours.resident_mib(name) - first
        step = f"{name}: memory grown in that time, MiB"
        found.append(row(f"P3-long-{name}", step, (grown, None, None), "told, no mark", met=True))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true", help="also hold a load for ten minutes")
    parser.parse_args()
    main(rows)
