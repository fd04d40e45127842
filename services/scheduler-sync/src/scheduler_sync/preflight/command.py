"""``python -m scheduler_sync preflight``: looks at every prerequisite, or confirms one that no protocol shows."""

# ruff: noqa: T201 - a command line speaks on standard output

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict
from itertools import groupby
from typing import Final

from chassis.operate import ExtraCommand, logged_in_user
from scheduler_sync.preflight.lines import Line, State, exit_code
from scheduler_sync.preflight.run import Preflight, UnknownCheckError
from scheduler_sync.settings import SchedulerSyncSettings

NAME: Final = "scheduler-sync"
Open = Callable[[SchedulerSyncSettings], AbstractAsyncContextManager[Preflight]]
_MARKS: Final = {
    State.FOUND: "found         ",
    State.MISSING: "MISSING       ",
    State.NOT_VISIBLE: "not visible   ",
    State.NOT_LOOKED_AT: "could not look",
}


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="a JSON object a line")
    act = parser.add_mutually_exclusive_group()
    act.add_argument("--confirm", metavar="ID", help="keep that you have seen this line in the product yourself")
    act.add_argument("--take-back", metavar="ID", help="take a confirmation back")
    parser.add_argument("--actor", default=logged_in_user(), help="who confirms, for the audit (the logged-in user)")
    parser.epilog = (
        "Nothing is sent to PowerServer and nothing is written to OmegaAI. Exit codes: 0 all found or confirmed; "
        "1 something is missing, or not visible and not confirmed; 2 something could not be looked at."
    )


def command(open_it: Open) -> ExtraCommand:
    """The command on what ``open_it`` opens."""

    async def run(settings: SchedulerSyncSettings, options: argparse.Namespace) -> int:
        async with open_it(settings) as preflight:
            if options.confirm or options.take_back:
                try:
                    await preflight.confirm(
                        options.confirm or options.take_back, actor=options.actor, takes_back=bool(options.take_back)
                    )
                except UnknownCheckError as error:
                    print(f"{NAME}: {error}", file=sys.stderr)
                    return 1
            lines = await preflight.newest()
        _print(lines, as_json=options.json)
        return exit_code(lines)

    return ExtraCommand("look at every prerequisite: what is found, what is missing, where to set it", _arguments, run)


def _print(lines: Sequence[Line], *, as_json: bool) -> None:
    if as_json:
        for line in lines:
            print(json.dumps(asdict(line), default=str, ensure_ascii=False))
        return
    for group, of_it in groupby(lines, key=lambda line: line.group):
        print(group)
        for line in of_it:
            print(f"  {_MARKS[line.state]}  {line.what}: {line.seen}")
            if line.state is not State.FOUND:
                print(f"                  set it: {line.where or '–'}")
            if line.can_confirm and line.state is not State.FOUND:
                print(f"                  seen it yourself: preflight --confirm {line.id}")
    counts = {state: sum(line.state is state for line in lines) for state in State}
    print(", ".join(f"{number} {state}" for state, number in counts.items() if number))
