"""P10: the cost of tracing in P3, at 100 % and at 10 % sampling, against the same processes without an endpoint.

Three pipelines run side by side and are driven in turn. Each sends its traces to its own local collector, which must
have received some. The mark is on the services' CPU per message, which a busy machine does not blur; the throughput's
ratio is shown beside it.
"""

import statistics
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench import spine
from bench.collector import bytes_taken, collector
from bench.harness import kafka_topics, main, progress, row

TURNS = 9
SECONDS = 2.0
CONNECTIONS = 16
SHARES = {"off": None, "10 %": "0.1", "100 %": "1.0"}
MARKS = {"10 %": 0.05, "100 %": 0.15}
EXPORT_PAUSE_MS = "500"
"""The exporter's own pause is 5 s: what a run traced would be sent, and paid for, while another one is measured."""


async def rows() -> list[dict[str, Any]]:
    paths: dict[str, spine.Path3] = {}
    measured: list[dict[str, spine.Run]] = []
    endpoints: dict[str, str] = {}
    async with AsyncExitStack() as resources:
        for name, share in SHARES.items():
            progress(f"starting the pipeline with tracing at {name}")
            folder = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="bench-p10-")))
            bootstrap, prefix = await resources.enter_async_context(kafka_topics())
            telemetry = {}
            if share:
                endpoints[name] = resources.enter_context(collector())
                telemetry = {"TELEMETRY__OTLP_ENDPOINT": endpoints[name], "TELEMETRY__SAMPLE_RATIO": share}
            extra = {"OTEL_BSP_SCHEDULE_DELAY": EXPORT_PAUSE_MS}
            running = spine.ours(folder, bootstrap, prefix, telemetry, extra)
            paths[name], _ = await resources.enter_async_context(running)
        names = list(paths)
        for turn in range(TURNS):
            order = names[turn % 3 :] + names[: turn % 3]
            measured.append({name: await paths[name].throughput(CONNECTIONS, SECONDS) for name in order})
            told = ", ".join(f"{name} {run.microseconds:,.0f} µs" for name, run in measured[-1].items())
            progress(f"turn {turn + 1} of {TURNS}: {told}")
        for name, endpoint in endpoints.items():
            if not bytes_taken(endpoint):
                raise RuntimeError(f"no trace came from the pipeline that traces {name}: nothing was measured")
    return [one for name, most in MARKS.items() for one in _rows(name, most, measured)]


def _rows(name: str, most: float, measured: list[dict[str, spine.Run]]) -> list[dict[str, Any]]:
    with_it = statistics.median(one[name].microseconds for one in measured)
    without = statistics.median(one["off"].microseconds for one in measured)
    cpu = statistics.median(one[name].microseconds / one["off"].microseconds for one in measured)
    rates = (
        statistics.median(one[name].rate for one in measured),
        statistics.median(one["off"].rate for one in measured),
    )
    rate = statistics.median(one[name].rate / one["off"].rate for one in measured)
    key = name.replace(" %", "")
    return [
        row(f"P10-{key}", f"services' CPU, µs/message, tracing at {name} (floor: without)", (with_it, without, cpu),
            f"≤ {1 + most:.2f} × the floor", met=cpu <= 1 + most),
        row(f"P10-{key}-rate", f"P3, messages/s, tracing at {name} (floor: without)", (*rates, rate),
            "told, no mark", met=True),
    ]  # fmt: skip


if __name__ == "__main__":
    main(rows)
