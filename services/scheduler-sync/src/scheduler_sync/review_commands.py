"""``reviews list | show | decide``: patients who may be one person."""

# ruff: noqa: T201 - a command line speaks on standard output

import argparse
import sys
from dataclasses import fields
from typing import Final

from chassis.operate import ExtraCommand, listing, logged_in_user
from chassis.store import Store
from scheduler_sync.settings import SchedulerSyncSettings
from scheduler_sync.store.reviews import Person, ReviewRow, Reviews, Side

MERGE: Final = "merge the records in PowerServer: the suite and OmegaAI follow its ADT^A40"


def _arguments(parser: argparse.ArgumentParser) -> None:
    acts = parser.add_subparsers(dest="act", required=True)
    shown = acts.add_parser("list", help="the pairs that wait for a person; no patient data")
    shown.add_argument("--all", action="store_true", help="also those that were decided or merged")
    shown.add_argument("--json", action="store_true", help="every column, a JSON object a line")
    for name, words in (("show", "both records side by side (patient data; audited)"), ("decide", "keep a decision")):
        one = acts.add_parser(name, help=words)
        one.add_argument("number", type=int, metavar="REVIEW")
        one.add_argument("--actor", default=logged_in_user(), help="who does it, for the audit")
        if name == "decide":
            one.add_argument("decision", choices=("same", "different"), help="same: merge them in PowerServer")
    parser.epilog = "Exit codes: 0 done; 1 there is no such pair, or it was merged."


async def _reviews(settings: SchedulerSyncSettings, options: argparse.Namespace) -> int:
    store = await Store.open(settings.store)
    reviews = Reviews(store)
    try:
        if options.act == "list":
            states = ("open", "same", "different", "merged") if options.all else ("open", "same")
            found = await reviews.list(states)
            return listing.show(found, _line, one="pair", many="pairs", as_json=options.json)
        if options.act == "decide":
            if not await reviews.decide(options.number, options.decision, actor=options.actor):
                return _none(options.number)
            print(f"{options.number}: one person; {MERGE}" if options.decision == "same" else f"{options.number}: two")
            return 0
        pair = await reviews.pair(options.number, actor=options.actor)
        if pair is None:
            return _none(options.number)
        for name, first, second in compared(pair[1], pair[2]):
            print(f"{'  ' if first == second else '! '}{name:<14} {first:<40} {second}")
        return 0
    finally:
        await store.close()


def compared(first: Side, second: Side) -> list[tuple[str, str, str]]:
    """Both records, a line for each fact."""
    names = [one.name for one in fields(Person) if one.name != "id"]
    facts = [
        (name.replace("_", " "), *(str(getattr(side.person, name) or "–") for side in (first, second)))
        for name in names
    ]
    return [
        ("numbers", ", ".join(first.numbers), ", ".join(second.numbers)),
        *[(name, one, other) for name, one, other in facts],
        ("appointments", str(first.appointments), str(second.appointments)),
    ]


def _line(row: ReviewRow) -> listing.Line:
    return listing.Line(str(row.id), row.found_at, row.state, ", ".join(row.reasons), f"{row.first_id} {row.second_id}")


def _none(number: int) -> int:
    print(f"there is no pair {number} to decide", file=sys.stderr)
    return 1


COMMAND: Final = ExtraCommand("patients who may be one person: list, show, decide", _arguments, _reviews)
