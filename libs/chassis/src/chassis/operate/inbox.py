"""`dead-letters`, `parked`, `missed`: what waits for a person at the Kafka consumer."""

import argparse
import sys
from typing import TYPE_CHECKING, Any
from uuid import UUID

from chassis.clock import moment
from chassis.messaging import dead_letters, missed, parking
from chassis.operate import listing
from chassis.operate.common import (
    Add,
    acting,
    audited,
    did,
    group,
    identified,
    listing_of,
    missing,
    opened,
    show,
    times,
)
from chassis.settings import EXIT_BAD_SETTING

if TYPE_CHECKING:
    from chassis.settings import ServiceSettings


def commands(commands: Any, add: Add) -> None:
    """The commands of a service that reads Kafka."""
    letters = group(commands, "dead-letters", "messages that could not be handled")
    listed = listing_of(add("list", "the open ones, newest first", _letters_list, letters))
    listed.add_argument("--state", choices=("open", "replayed", "dropped"), default="open", help="which (open)")
    showing = acting(identified(add("show", "one of them; its content only with the option", _letters_show, letters)))
    showing.add_argument("--content", action="store_true", help="show the content, which may be patient data; audited")
    for name, words, run in (
        ("replay", "handle it again, after the cause is fixed", _letters_replay),
        ("drop", "give it up", _letters_drop),
    ):
        acting(identified(add(name, words, run, letters)))

    parked = group(commands, "parked", "aggregates whose messages wait behind one that failed for a passing reason")
    listing_of(add("list", "the parked keys, longest first", _parked_list, parked))
    release = acting(add("release", "try a key again at once", _parked_release, parked))
    release.add_argument("consumer", help="the consumer, as listed")
    release.add_argument("key", type=UUID, help="the key, as listed")

    gone = group(commands, "missed", "records and revisions that a consumer has missed")
    listing_of(add("list", "the unacknowledged gaps, newest first", _missed_list, gone))
    settle = acting(add("acknowledge", "end the alarm, after the missing events were sent again", _acknowledge, gone))
    settle.add_argument("id", type=UUID, nargs="?", help="its id, as listed")
    settle.add_argument("--all", action="store_true", help="all that are listed")


async def _missed_list(_d: Any, settings: "ServiceSettings", options: argparse.Namespace) -> int:
    async with opened(settings) as store:
        rows = await missed.list_missed(store, limit=options.limit)
    return show(rows, _missed_line, options, one="entry", many="entries")


async def _acknowledge(_d: Any, settings: "ServiceSettings", options: argparse.Namespace) -> int:
    if (options.id is None) == (not options.all):
        print("name one, or --all", file=sys.stderr)
        return EXIT_BAD_SETTING
    async with opened(settings) as store:
        settled = await missed.acknowledge(store, options.id, actor=options.actor)
    if not settled and options.id is not None:
        return missing("open entry", options.id)
    print(f"{settled} acknowledged")
    return 0


async def _letters_list(_d: Any, settings: "ServiceSettings", options: argparse.Namespace) -> int:
    async with opened(settings) as store:
        rows = await dead_letters.list_dead_letters(store, state=options.state, limit=options.limit)
    return show(rows, _letter_line, options, one="dead letter", many="dead letters")


async def _letters_show(_d: Any, settings: "ServiceSettings", options: argparse.Namespace) -> int:
    async with opened(settings) as store:
        row = await dead_letters.show_dead_letter(store, options.id)
        if row is None:
            return missing("dead letter", options.id)
        if options.content:
            await audited(store, options, "dead-letter.show")
    for name, value in row.model_dump(exclude={"key", "value"}).items():
        print(f"{name:14} {'–' if value is None else listing.plain(value)}")
    if options.content:
        print((row.value or b"").decode("utf-8", "replace"))
    print(f"dead letter {options.id}: {row.state}")
    return 0


async def _letters_replay(_d: Any, settings: "ServiceSettings", options: argparse.Namespace) -> int:
    async with opened(settings) as store:
        done = await dead_letters.replay_dead_letter(store, options.id, actor=options.actor)
    return did(done, "dead letter", options.id, "is handled again by the running service")


async def _letters_drop(_d: Any, settings: "ServiceSettings", options: argparse.Namespace) -> int:
    async with opened(settings) as store:
        done = await dead_letters.drop_dead_letter(store, options.id, actor=options.actor)
    return did(done, "dead letter", options.id, "dropped")


async def _parked_list(_d: Any, settings: "ServiceSettings", options: argparse.Namespace) -> int:
    async with opened(settings) as store:
        rows = await parking.list_parked(store, limit=options.limit)
    return show(rows, _parked_line, options, one="parked key", many="parked keys")


async def _parked_release(_d: Any, settings: "ServiceSettings", options: argparse.Namespace) -> int:
    async with opened(settings) as store:
        done = await parking.release(store, options.consumer, options.key, actor=options.actor)
    return did(done, "parked key", options.key, "is tried again now")


def _letter_line(row: dead_letters.LetterRow) -> listing.Line:
    at = "" if row.kafka_offset is None else f"@{row.kafka_offset}"
    where = row.topic if row.partition is None else f"{row.topic} {row.partition}{at}"
    return listing.Line(row.id, row.created_at, row.state, where, f"{row.kind}: {row.reason}")


def _missed_line(row: missed.MissedRow) -> listing.Line:
    why = f"{missed.place_of(row)}: {missed.words_of(row)}"
    return listing.Line(row.id, row.noticed_at, row.kind, row.consumer, why)


def _parked_line(row: parking.ParkedRow) -> listing.Line:
    what = f"{row.consumer}: {row.waiting} waiting"
    again = f"tried {times(row.attempts)}, next {moment(row.next_attempt_at)} UTC"
    return listing.Line(row.key, row.since, "parked", what, f"{row.reason}; {again}")
