"""P3: SIU in at scheduler-sync → state → outbox → Kafka → the notifier's committed effect, everything on.

Ours and the naive pipeline (``bench/naive.py``) run side by side and are driven in turn; traces go to a local
collector, one in ten. Also here: scheduler-sync's resident memory at 400 messages a second. With `--long MINUTES` a
load of 70 % of what was just measured is held for so many minutes, and what memory grew meanwhile is told.
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

import asyncpg

from bench import spine
from bench.collector import collector
from bench.harness import at_least, driven, kafka_topics, main, progress, row

PAIRS = 5
SECONDS = 3.0
LATENCY_SECONDS = 8.0
MEMORY_SECONDS = 15.0
MEMORY_RATE = 400.0
HELD_SHARE = 0.7
TELL_SECONDS = 20.0
STEP = "SIU in → state → outbox → Kafka → effect committed"


async def rows(long_minutes: float | None) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="bench-p3-") as name, collector() as endpoint:
        folder = Path(name)
        telemetry = {"TELEMETRY__OTLP_ENDPOINT": endpoint, "TELEMETRY__SAMPLE_RATIO": "0.1"}
        async with (
            kafka_topics() as (bootstrap, prefix),
            kafka_topics() as (_, other),
            spine.ours(folder, bootstrap, prefix, telemetry) as (ours, _),
            spine.floor(folder, bootstrap, f"{other}appointment.scheduled") as floor,
        ):
            progress("both pipelines are warm")
            found: list[dict[str, Any]] = []
            peak = 0.0
            for connections, least in ((16, 1.2), (1, 0.7)):
                measured = await spine.measured_in_turn(
                    ours, floor, lambda path, connections=connections: path.throughput(connections, SECONDS), PAIRS
                )
                rate = statistics.median(one.rate for one, _ in measured)
                progress(f"{connections} connections: {rate:.0f}/s")
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
            progress("latencies at half load, then memory at 400/s")
            found += await _latency_rows(ours, floor, peak / 2, folder)
            found.append(await _memory_row(ours))
            if long_minutes:
                found += await _long_rows(ours, peak * HELD_SHARE, long_minutes * 60)
            return found


def _cpu_row(connections: int, measured: list[tuple[spine.Run, spine.Run]]) -> dict[str, Any]:
    """CPU time shows differences that a busy machine blurs."""
    ours = statistics.median(one.microseconds for one, _ in measured)
    floor = statistics.median(other.microseconds for _, other in measured)
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
    """The largest resident memory of scheduler-sync at 400 messages a second."""
    load = asyncio.create_task(asyncio.to_thread(driven, ours.port, 16, MEMORY_SECONDS, MEMORY_RATE))
    most = 0.0
    while not load.done():
        most = max(most, ours.resident_mib("scheduler_sync"))
        await asyncio.sleep(0.5)
    report = await load
    step = f"scheduler-sync's resident memory, MiB, at {report['rate']:.0f} messages/s"
    return row(
        "M1", step, (most, None, None), "≤ 200 MiB at 400/s", met=most <= 200 and report["rate"] >= 0.95 * MEMORY_RATE
    )


async def _long_rows(ours: spine.Path3, rate: float, seconds: float) -> list[dict[str, Any]]:
    """Holds ``rate`` for this time. Effects that are late at the end show by how much the load was too high."""
    began = {name: ours.resident_mib(name) for name in ours.processes}
    target = await asyncpg.connect(ours.target_url)
    before = await ours.effect_count(target)
    started = time.monotonic()
    load = asyncio.create_task(asyncio.to_thread(driven, ours.port, 16, seconds, rate))
    while not load.done():
        await asyncio.wait({load}, timeout=TELL_SECONDS)
        told = ", ".join(f"{name} {ours.resident_mib(name):.0f} MiB" for name in began)
        effects = await ours.effect_count(target) - before
        progress(f"{time.monotonic() - started:.0f} of {seconds:.0f} s at {rate:.0f}/s: {effects} effects; {told}")
    report = await load
    try:
        await ours.settled(target, before + report["sent"])
    except TimeoutError:
        missing = before + report["sent"] - await ours.effect_count(target)
        progress(f"{missing} effects are missing {spine.EFFECT_TIMEOUT_SECONDS:.0f} s after the load's end")
    await target.close()
    lag = time.monotonic() - started - seconds
    step = f"{STEP}, held for {seconds / 60:g} minutes at {report['rate']:.0f}/s: the last effect after, s"
    found = [row("P3-long", step, (lag, None, None), "≤ 5 s", met=lag <= 5 and report["rate"] >= 0.95 * rate)]
    for name, first in began.items():
        grown = ours.resident_mib(name) - first
        step = f"{name}: memory grown in that time, MiB, over {report['sent']:,} messages"
        found.append(row(f"P3-long-{name}", step, (grown, None, None), "told, no mark", met=True))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", type=float, metavar="MINUTES", help="also hold a load for so long")
    minutes = parser.parse_args().long
    main(lambda: rows(minutes))
