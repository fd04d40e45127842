"""``reviews list | show | decide``: patients who may be one person."""

# ruff: noqa: T201 - a command line speaks on standard output

import argparse
import sys
from typing import Final, NamedTuple

from chassis.operate import ExtraCommand, listing, logged_in_user
from chassis.store import Store
from scheduler_sync.settings import SchedulerSyncSettings
from scheduler_sync.store.reviews import ALL, OPEN, Decision, ReviewRow, Reviews, Side

MERGE: Final = "merge the records in PowerServer: the suite and OmegaAI follow its ADT^A40"
OVERWRITE: Final = "PowerServer's data are written over OmegaAI's, and the appointments follow"
CORRECT_NUMBER: Final = (
    "correct the number in OmegaAI: until then this patient's data and appointments wait, and are tried every minute"
)
CORRECT_MESSAGE: Final = "correct the numbers in PowerServer, or edit the message that named both"


def _arguments(parser: argparse.ArgumentParser) -> None:
    acts = parser.add_subparsers(dest="act", required=True)
    shown = acts.add_parser("list", help="the pairs that wait for a person; no patient data")
    shown.add_argument("--all", action="store_true", help="also those that are decided or done")
    shown.add_argument("--json", action="store_true", help="every column, a JSON object a line")
    for name, words in (("show", "both records side by side (patient data; audited)"), ("decide", "keep a decision")):
        one = acts.add_parser(name, help=words)
        one.add_argument("number", type=int, metavar="REVIEW")
        one.add_argument("--actor", default=logged_in_user(), help="who does it, for the audit")
        if name == "decide":
            one.add_argument("decision", choices=("same", "different"), help="one person, or two")
    parser.epilog = "Exit codes: 0 done; 1 there is no such pair, or it is done."


async def _reviews(settings: SchedulerSyncSettings, options: argparse.Namespace) -> int:
    store = await Store.open(settings.store)
    reviews = Reviews(store)
    try:
        if options.act == "list":
            found = await reviews.list(ALL if options.all else OPEN)
            return listing.show(found, _line, one="pair", many="pairs", as_json=options.json)
        if options.act == "decide":
            if not await reviews.decide(options.number, options.decision, actor=options.actor):
                return _none(options.number)
            (review,) = [one for one in await reviews.list(ALL) if one.id == options.number]
            print(f"{options.number}: {'one person' if options.decision == 'same' else 'two people'}; ", end="")
            print(follows(review, options.decision))
            return 0
        pair = await reviews.pair(options.number, actor=options.actor)
        if pair is None:
            return _none(options.number)
        for name, first, second, verdict in compared(pair[1], pair[2]):
            print(f"{'! ' if verdict == DIFFERS else '  '}{name:<16} {first:<40} {second}")
        return 0
    finally:
        await store.close()


DIFFERS: Final = "differs"
_PERSONAL: Final = {
    "family": "family name", "given": "given name", "middle": "middle name", "birth_date": "birth date", "sex": "sex",
    "email": "e-mail", "phone": "phone",
}  # fmt: skip


class Compared(NamedTuple):
    """A fact of both records. ``verdict``: same, differs, or empty where one record does not say it."""

    name: str
    first: str
    second: str
    verdict: str


def compared(first: Side, second: Side) -> list[Compared]:
    """Both records, a line for each fact; what differs by nature has no verdict."""
    lines = [Compared("record numbers", ", ".join(first.numbers) or "–", ", ".join(second.numbers) or "–", "")]
    for name, words in _PERSONAL.items():
        one, other = getattr(first, name), getattr(second, name)
        verdict = "" if not (one and other) else "same" if one.casefold() == other.casefold() else DIFFERS
        lines.append(Compared(words, one or "–", other or "–", verdict))
    return [
        *lines,
        Compared("last message made", _moment(first), _moment(second), ""),
        Compared("OmegaAI's id", first.fhir_id or "–", second.fhir_id or "–", ""),
        Compared("appointments", _number(first), _number(second), ""),
    ]


def _moment(side: Side) -> str:
    return "–" if side.seen_at is None else f"{side.seen_at:%Y-%m-%d %H:%M:%S} UTC"


def _number(side: Side) -> str:
    return "–" if side.appointments is None else str(side.appointments)


def follows(review: ReviewRow, decision: Decision) -> str:
    """What a decision leads to."""
    if review.second_id is None:
        return OVERWRITE if decision == "same" else CORRECT_NUMBER
    if decision == "same":
        return MERGE
    return CORRECT_MESSAGE if review.journal_ids else "they are not asked about again"


def _line(row: ReviewRow) -> listing.Line:
    return listing.Line(
        str(row.id),
        row.found_at,
        row.state,
        ", ".join(row.reasons),
        f"{row.first_id} {row.second_id or row.omegaai_id}",
    )


def _none(number: int) -> int:
    print(f"there is no pair {number} to decide", file=sys.stderr)
    return 1


COMMAND: Final = ExtraCommand("patients who may be one person: list, show, decide", _arguments, _reviews)
