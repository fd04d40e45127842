"""`python -m bench [row …]`: measures the speed marks, each beside its floor in the same run.

Every row is a program of its own (``bench/p1_hl7.py`` …) that prints a JSON list of
``{"id", "step", "ours", "floor", "ratio", "mark", "met"}``. The whole goes to ``bench/results/latest.json`` and, as a
picture, to ``bench/results/latest.png``. Exit codes: 0 every mark is met; 1 some are not; 2 a row is unknown or failed.
"""

import argparse
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt
from rich.console import Console
from rich.table import Table

from local_stack.servers import embedded_stack

HERE = Path(__file__).parent
RESULTS = HERE / "results"
ROW_TIMEOUT_SECONDS = 1800
console = Console(width=None if sys.stdout.isatty() else 160)
mpl.use("Agg")


def programs() -> dict[str, Path]:
    """The rows' programs by the mark they measure: p1, p2 …"""
    found = {path.stem.partition("_")[0]: path for path in HERE.glob("p[0-9]*_*.py")}
    return dict(sorted(found.items(), key=lambda row: int(row[0][1:])))


def main() -> int:
    known = programs()
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", metavar="row", help=f"which marks to measure: {' '.join(known)} (all)")
    parser.add_argument("--long", action="store_true", help="hold P3's load for ten minutes, too")
    options = parser.parse_args()
    wanted = [row.lower() for row in options.rows] or list(known)
    unknown = [row for row in wanted if row not in known]
    if unknown:
        console.print(f"[red]There is no row {', '.join(unknown)}; there are: {' '.join(known)}[/]")
        return 2
    with servers() as environment:
        rows, failed = measure({row: known[row] for row in wanted}, environment, long=options.long)
    write(rows)
    show(rows)
    missed = [row for row in rows if not row["met"]]
    console.print(
        f"{len(rows) - len(missed)} of {len(rows)} marks met"
        + (f"; not run: {', '.join(failed)}" if failed else "")
        + f"; figures in {os.path.relpath(RESULTS / 'latest.json')}"
    )
    return 2 if failed else 1 if missed else 0


@contextmanager
def servers() -> Iterator[dict[str, str]]:
    """A Kafka and a Postgres for the rows: the environment's, or embedded ones for the time of the run."""
    names = ("POSTGRES_ADMIN_URL", "KAFKA_BOOTSTRAP_SERVERS")
    if all(name in os.environ for name in names):
        yield {name: os.environ[name] for name in names}
        return
    with ExitStack() as resources:
        with console.status("Starting Kafka and Postgres"):
            stack = resources.enter_context(embedded_stack(kafka_options=()))
        yield {"POSTGRES_ADMIN_URL": stack.postgres_admin_url, "KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap}


def measure(
    wanted: dict[str, Path], environment: dict[str, str], *, long: bool
) -> tuple[list[dict[str, Any]], list[str]]:
    """Runs the programs one after the other. Returns their rows and the names of those that failed."""
    rows: list[dict[str, Any]] = []
    failed = []
    for name, path in wanted.items():
        started = time.monotonic()
        command = [sys.executable, str(path)] + (["--long"] if long and name == "p3" else [])
        with console.status(f"Measuring {name} ({path.name})"):
            try:
                done = subprocess.run(
                    command,
                    env={**os.environ, **environment},
                    capture_output=True,
                    text=True,
                    timeout=ROW_TIMEOUT_SECONDS,
                    check=True,
                )
            except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
                failed.append(name)
                words = error.stderr.decode() if isinstance(error.stderr, bytes) else error.stderr or ""
                console.print(f"[red]{name} failed:[/] {(words.strip().splitlines() or [str(error)])[-1]}")
                continue
        found = json.loads(done.stdout)
        rows += found
        console.print(f"{name}: {len(found)} rows in {time.monotonic() - started:.0f} s")
    return rows, failed


def show(rows: list[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("id", "step", "ours", "floor", "ratio", "mark", "met"):
        table.add_column(
            column, justify="right" if column in {"ours", "floor", "ratio"} else "left", header_style="bold"
        )
    for row in rows:
        met = "[green]✓ met[/]" if row["met"] else "[red]✗ not met[/]"
        table.add_row(
            row["id"],
            row["step"],
            _figure(row["ours"]),
            _figure(row["floor"]),
            _figure(row["ratio"]),
            str(row["mark"]),
            met,
        )
    console.print(table)


def _figure(value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return "–" if value is None else str(value)


def write(rows: list[dict[str, Any]]) -> None:
    """Keeps rows of marks that were not measured this time."""
    RESULTS.mkdir(exist_ok=True)
    latest = RESULTS / "latest.json"
    measured = {row["id"] for row in rows}
    before = json.loads(latest.read_text()) if latest.exists() else []
    marks = {row["id"].partition("-")[0].rstrip("s") for row in rows}
    kept = [row for row in before if row["id"] not in measured and row["id"].partition("-")[0] not in marks]
    kept = sorted(kept + rows, key=lambda row: row["id"])
    latest.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    draw(kept)


def draw(rows: list[dict[str, Any]]) -> None:
    shown = [row for row in rows if isinstance(row["ratio"], int | float)]
    figure, axes = plt.subplots(figsize=(10, 0.42 * len(shown) + 1.4))
    colours = ["#2e7d32" if row["met"] else "#c62828" for row in shown]
    labels = [textwrap.shorten(f"{row['id']}  {row['step']}", 84, placeholder=" …") for row in shown]
    axes.barh(labels, [row["ratio"] for row in shown], color=colours)
    for number, row in enumerate(shown):
        axes.text(row["ratio"], number, f"  {row['ratio']:.2f}  ({row['mark']})", va="center", fontsize=8)
    axes.axvline(1, color="#777777", linewidth=0.8)
    axes.set_xscale("log")
    axes.invert_yaxis()
    axes.set_xlabel("ours ÷ floor (log)")
    axes.margins(x=0.35, y=0.01)
    figure.savefig(RESULTS / "latest.png", dpi=90, bbox_inches="tight")
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
