"""`python -m bench [row …]`: measures the speed marks, each beside its floor in the same run.

Every row is a separate program (``bench/p1_hl7.py`` …) that prints a JSON list of ``{"id", "step", "ours", "floor",
"ratio", "mark", "met"}``. All rows go to ``bench/results/latest.json`` and, as a picture, to
``bench/results/latest.png`` (``bench/picture.py``). Exit codes: 0 every mark is met; 1 some are not; 2 a row is unknown
or failed.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench import camel, mefor, picture
from bench.harness import PROGRESS
from local_stack import kafka
from local_stack.arguments import above_zero
from local_stack.servers import embedded_stack

HERE = Path(__file__).parent
RESULTS = HERE / "results"
ROW_TIMEOUT_SECONDS = 1200
STOP_SECONDS = 20
ERROR = re.compile(r"[\w.]*(Error|Exception|Interrupt)\b")
"""A traceback's last line; complaints of clients that were not closed come after it."""
LONG_MINUTES = 10.0
console = Console(width=None if sys.stdout.isatty() else 160)


def programs() -> dict[str, Path]:
    """The rows' programs by the mark they measure: p1, p2 … r6."""
    found = {path.stem.partition("_")[0]: path for path in HERE.glob("[pr][0-9]*_*.py")}
    return dict(sorted(found.items(), key=lambda row: (row[0][0], int(row[0][1:]))))


def main() -> int:
    known = programs()
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "rows",
        nargs="*",
        metavar="row",
        help=f"which marks to measure: {' '.join(known)}, or what is measured: timers (all)",
    )
    parser.add_argument(
        "--long", nargs="?", type=above_zero, const=LONG_MINUTES, metavar="MINUTES",
        help=f"hold P3's load, too, for so many minutes ({LONG_MINUTES:g})",
    )  # fmt: skip
    parser.add_argument("--prepare", action="store_true", help="only fetch what stands beside ours in P2")
    options = parser.parse_args()
    if options.prepare:
        return prepare()
    subjects = {path.stem.partition("_")[2]: mark for mark, path in known.items()}
    wanted = [subjects.get(row.lower(), row.lower()) for row in options.rows] or list(known)
    unknown = [row for row in wanted if row not in known]
    if unknown:
        console.print(f"[red]There is no row {', '.join(unknown)}; there are: {' '.join(known)}[/]")
        return 2
    started = time.monotonic()
    with servers() as environment:
        rows, failed = measure({row: known[row] for row in wanted}, environment, hold_minutes=options.long)
    if rows:
        write(rows)
    show(rows)
    missed = [row for row in rows if not row["met"]]
    console.print(
        f"bench: {len(rows) - len(missed)} of {len(rows)} marks met in {(time.monotonic() - started) / 60:.1f} minutes"
        + (f"; failed: {', '.join(failed)}" if failed else "")
        + (f"; figures in {os.path.relpath(RESULTS / 'latest.json')}" if rows else "; nothing was written")
    )
    return 2 if failed else 1 if missed else 0


def prepare() -> int:
    """Fetches the peers of P2, so that a run does not wait for their downloads."""
    try:
        console.print(f"Apache Camel {camel.VERSION}: {len(camel.fetch())} jars in {camel.JARS}")
        console.print(f"{mefor.REQUIREMENT}: {mefor.install()}")
    except (kafka.JarsError, mefor.NotRunError) as error:
        console.print(f"[red]bench: not all was fetched:[/] {escape(str(error))}")
        return 2
    return 0


@contextmanager
def servers() -> Iterator[dict[str, str]]:
    """Yields the addresses of a Kafka and a Postgres for the benchmark programs.

    Both come from the environment variables if both are set. Otherwise embedded servers run until the end of the run.

    SIGTERM ends the run like Ctrl-C, so that no server outlives it.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    names = ("POSTGRES_ADMIN_URL", "KAFKA_BOOTSTRAP_SERVERS")
    if all(name in os.environ for name in names):
        yield {name: os.environ[name] for name in names}
        return
    with ExitStack() as resources:
        with console.status("Starting Kafka and Postgres"):
            stack = resources.enter_context(embedded_stack(kafka_options=()))
        yield {"POSTGRES_ADMIN_URL": stack.postgres_admin_url, "KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap}


def measure(
    wanted: dict[str, Path], environment: dict[str, str], *, hold_minutes: float | None
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Runs the programs one after the other. Returns their rows, and the errors of failed programs."""
    rows: list[dict[str, Any]] = []
    failed = {}
    began = time.monotonic()
    for number, (name, path) in enumerate(wanted.items(), start=1):
        started = time.monotonic()
        holds = hold_minutes is not None and name == "p3"
        limit = ROW_TIMEOUT_SECONDS + (60 * (hold_minutes or 0) if holds else 0)
        try:
            found = run_program(
                [str(path), *(["--long", str(hold_minutes)] if holds else [])], environment, name, limit
            )
        except RowError as error:
            failed[name] = str(error)
            console.print(f"[red]{name} failed after {time.monotonic() - started:.0f} s:[/] {escape(str(error))}")
            continue
        rows += found
        console.print(
            f"{name}: {len(found)} rows in {time.monotonic() - started:.0f} s"
            f" ({number} of {len(wanted)} programs, {time.monotonic() - began:.0f} s in all)"
        )
    return rows, failed


class RowError(Exception):
    """A row's program failed; the text is its last line."""


def run_program(
    arguments: list[str], environment: dict[str, str], name: str, limit_seconds: float
) -> list[dict[str, Any]]:
    """Runs a row's program to its end and shows its progress. Raises ``RowError``."""
    overdue = threading.Event()
    answer: list[str] = []
    last = ""

    def end() -> None:
        overdue.set()
        process.send_signal(signal.SIGINT)  # the program drops its databases and topics
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        kill_group(process)  # and its children, which still hold their end of the pipe

    with subprocess.Popen(
        [sys.executable, *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        watch = threading.Timer(limit_seconds, end)
        watch.start()
        reading = threading.Thread(target=lambda out=process.stdout: answer.append(out.read()))
        reading.start()
        try:
            with console.status(f"Measuring {name}") as status:
                for line in process.stderr:
                    if line.startswith(PROGRESS):
                        words = escape(line.removeprefix(PROGRESS).strip())
                        status.update(f"Measuring {name}: {words}")
                        if not console.is_terminal:
                            console.print(f"  {name}: {words}")
                    elif ERROR.match(line) or (line.strip() and not ERROR.match(last)):
                        last = line.strip()
            process.wait()
        finally:
            watch.cancel()
            kill_group(process)
            reading.join()
    if overdue.is_set():
        raise RowError(f"not done within {limit_seconds:.0f} s and ended")
    if process.returncode != 0:
        raise RowError(last or f"exit code {process.returncode}")
    found: list[dict[str, Any]] = json.loads(answer[0])
    return found


def kill_group(process: "subprocess.Popen[str]") -> None:
    """Kills the program and its children."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


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
    """Writes the rows; rows of marks that were not measured this time are kept."""
    RESULTS.mkdir(exist_ok=True)
    latest = RESULTS / "latest.json"
    measured = {row["id"] for row in rows}
    before = json.loads(latest.read_text()) if latest.exists() else []
    marks = {row["id"].partition("-")[0].rstrip("s") for row in rows}
    kept = [row for row in before if row["id"] not in measured and row["id"].partition("-")[0] not in marks]
    kept = sorted(kept + rows, key=lambda row: row["id"])
    latest.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    picture.draw(kept, RESULTS / "latest.png")


if __name__ == "__main__":
    sys.exit(main())
