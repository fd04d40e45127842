"""`python -m demo_story`: the story that `make demo` plays once the stack is up.

Exit codes: 0 nothing was lost or doubled; 1 something was lost or doubled, or a step was not seen; 2 a setting is
wrong.
"""

import argparse
import asyncio
import json
import os
import time
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import aiohttp
from rich.console import Console
from rich.table import Table

from demo_story.acts import GROUPS, MOST_OF_A_FLOW, Acts
from demo_story.clients import Addresses, People, StoryError
from demo_story.contest import Api, Contest
from demo_story.counting import Tally
from demo_story.drift import Drift
from demo_story.story import play
from demo_story.volume import VolumeRun
from roster.members import port_variable, roster

console = Console()
SERVICE: Final = "scheduler-sync"
TOKENS: Final = "SCHEDULER_SYNC_HTTP__SERVICE_TOKENS"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m demo_story", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--appointments", type=int, default=500, help="appointments in the volume run (500; 0 skips the run)"
    )
    parser.add_argument(
        "--report", type=Path, default=Path(os.environ.get("SUITE_LOCAL_DIR", ".local")) / "demo-report.json"
    )
    for name in (*(one.name for one in fields(Addresses)), SERVICE):
        default = f"http://127.0.0.1:{os.environ.get(port_variable(name), roster().by_name[name].http)}"
        parser.add_argument(f"--{name}", default=default, help=f"address of {name} ({default})")
    options = parser.parse_args()
    if options.appointments < 0:
        console.print("[red]--appointments cannot be negative[/]")
        return 2
    addresses = Addresses(options.powerserver, options.omegaai, options.mailsink)
    code = 1
    try:
        return asyncio.run(demo(addresses, Api(options.scheduler_sync, _token()), options.appointments, options.report))
    except* StoryError as errors:
        console.print(f"[red]{_first(errors)}[/]", soft_wrap=True)
    except* aiohttp.ClientError as errors:
        console.print(
            f"[red]A simulator does not answer ({_first(errors)}): is the stack up? make status[/]", soft_wrap=True
        )
    except* KeyboardInterrupt:
        console.print("The demo was stopped. The stack stays up and completes the bookings; make down stops it.")
        code = 130
    return code


def _token() -> str:
    """The development token that every local stack's scheduling API takes."""
    return roster().by_name[SERVICE].local[TOKENS].partition(":")[2]


def _first(errors: BaseExceptionGroup[Any]) -> BaseException:
    found: BaseException = errors
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


async def demo(addresses: Addresses, api: Api, appointments: int, report: Path) -> int:
    # Less than the simulators' 5 s, so that no request goes out on a connection that is about to close.
    connector = aiohttp.TCPConnector(limit=40, keepalive_timeout=2)
    async with aiohttp.ClientSession(connector=connector) as http:
        people = People(addresses, http)
        await play(people, addresses, console)
        if not appointments:
            return 0
        console.print(f"\n[bold]The same with {appointments} appointments[/]")
        started = time.monotonic()
        volume = VolumeRun(people, addresses, appointments)
        tally = await volume.run(console)
        confirmed = volume.confirmed()
        acts = await Acts(people, addresses, confirmed).run(console)
        acts |= await Drift(people, addresses, confirmed[GROUPS * MOST_OF_A_FLOW :]).run(console)
        acts |= await Contest(people, addresses, api, confirmed).run(console)
        seconds = time.monotonic() - started
    return conclude(tally, acts, seconds, report)


def conclude(tally: Tally, acts: dict[str, dict[str, Any]], seconds: float, report: Path) -> int:
    """Shows and writes the counts; 0 when nothing was lost or doubled."""
    flows = {**tally.flows(), **acts}
    table = Table(title="Counted at both ends", title_justify="left", box=None, pad_edge=False)
    for column in ("flow", "started", "finished", "lost", "doubled", "p50 ms", "p95 ms"):
        table.add_column(column, justify="left" if column == "flow" else "right", header_style="bold")
    for row in flows.values():
        values = [row[key] for key in ("started", "finished", "lost", "doubled", "p50_ms", "p95_ms")]
        shown = ("–" if value is None else f"{value:,}".replace(",", "\u202f") for value in values)
        table.add_row(row["title"], *shown)
    console.print()
    console.print(table)
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(json.dumps({"flows": flows}, indent=1, ensure_ascii=False) + "\n")
    lost, doubled = sum(row["lost"] for row in flows.values()), sum(row["doubled"] for row in flows.values())
    verdict = (
        "[green]Nothing lost, nothing doubled[/]"
        if not lost and not doubled
        else f"[red]{lost} lost, {doubled} doubled[/]"
    )
    console.print(
        f"{verdict}: booked {len(tally.booked)}, pending {len(tally.pending)}, confirmed {len(tally.confirmed)}, "
        f"mails {tally.mails_received} in {seconds:.0f} s; report in {report}"
    )
    return 0 if not lost and not doubled else 1
