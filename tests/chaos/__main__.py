"""`python -m tests.chaos`: kills, cuts, delays and duplicates parts of the suite, then counts at both outer ends.

A run starts the whole suite in its own folder and on its own ports. Staff and patients act on hundreds of appointments
while faults happen by a plan made from the seed. When everything has settled, the run compares the ledgers of
PowerServer, OmegaAI and the mail server. The report is .local/chaos-report.json. Exit codes: 0 the promise held; 1 it
did not (each violation is printed with its history); 2 the harness could not run.
"""

import argparse
import asyncio
import secrets
import sys
from pathlib import Path

from rich.console import Console

from local_stack.arguments import above_zero, at_least
from local_stack.settings import ROOT
from tests.chaos.report import accumulate, show, totals, write
from tests.chaos.run import Options, Outcome, run
from tests.chaos.sabotage import MODES
from tests.chaos.stack import ChaosError

REPORT = ROOT / ".local" / "chaos-report.json"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=at_least(1), default=1, help="number of runs, each on its own stack (1)")
    parser.add_argument(
        "--seed", type=at_least(0), help="seed of the first run; later runs count up from it (random, printed)"
    )
    parser.add_argument("--seconds", type=above_zero, default=90, help="seconds with faults, per run (90)")
    parser.add_argument("--kills", type=at_least(0), default=60, help="planned kill -9s; fail points add more (60)")
    parser.add_argument("--burst", type=at_least(1), default=1, help="kills in a row, on average (1)")
    parser.add_argument("--others", type=at_least(0), default=70, help="planned other faults (70)")
    parser.add_argument("--rate", type=above_zero, default=2.5, help="appointments booked a second (2.5)")
    parser.add_argument("--replicas", type=int, default=1, choices=range(1, 5), help="of each service (1)")
    parser.add_argument(
        "--settle", type=above_zero, default=300, help="seconds within which the suite must settle (300)"
    )
    parser.add_argument(
        "--sabotage", choices=sorted(MODES), default="", help="break one promise, to see that the harness catches it"
    )
    parser.add_argument("--report", type=Path, default=REPORT, help="where the report goes")
    parser.add_argument("--accumulate", type=Path, help="add each run to this file; stop at the first violation")
    parser.add_argument("--keep", action="store_true", help="keep the folder of logs and data also after success")
    return parser.parse_args()


def main() -> int:
    arguments = _arguments()
    console = Console(highlight=False, soft_wrap=True)
    first = arguments.seed if arguments.seed is not None else secrets.randbelow(1_000_000)
    outcomes: list[Outcome] = []
    for number in range(arguments.runs):
        options = Options(
            seed=first + number, seconds=arguments.seconds, kills=arguments.kills, others=arguments.others,
            per_second=arguments.rate, burst=arguments.burst, replicas=arguments.replicas,
            settle_seconds=arguments.settle, sabotage=arguments.sabotage, keep=arguments.keep,
        )  # fmt: skip
        console.print(f"[bold]Run {number + 1} of {arguments.runs}[/]: seed {options.seed}, {options.words}")
        try:
            outcomes.append(asyncio.run(run(options, console)))
        except ChaosError as error:
            console.print(f"[red]The harness could not run: {error}[/]")
            return 2
        show(outcomes[-1], console)
        write(arguments.report, outcomes)
        if arguments.accumulate is not None:
            sums = accumulate(arguments.accumulate, outcomes[-1])
            console.print(f"  {sums['kills']} kills and {sums['inputs']} inputs in all of {arguments.accumulate}")
            if not outcomes[-1].is_right:
                break
    told = totals(outcomes)
    counts = ", ".join(
        f"{told[name]} {name}" for name in ("lost", "doubled", "reordered", "unequal", "illegal", "orphans")
    )
    head = f"{len(outcomes)} runs from seed {first}: {told['kills']} kills, {told['inputs']} inputs"
    is_right = not told["violations"]
    colour = "green" if is_right else "red"
    words = "The promise held" if is_right else "THE PROMISE DID NOT HOLD"
    console.print(f"[{colour}]{words}[/]: {head}; {counts}. {arguments.report}")
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
