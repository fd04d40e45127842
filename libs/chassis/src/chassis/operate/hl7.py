"""`needs-setup` and `journal`: received HL7 messages with their outcomes, and those that wait for a person."""

import argparse
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from chassis.hl7 import JournalRow, kept_message, list_journal
from chassis.hl7.journal import STATES
from chassis.messaging import Replayed
from chassis.operate import listing
from chassis.operate.common import (
    Add,
    Commands,
    acting,
    audited,
    group,
    identified,
    listing_of,
    missing,
    opened,
    show,
)
from chassis.store import Store

if TYPE_CHECKING:
    from chassis.settings import ServiceSettings

Replay = Callable[[Any, Store, UUID, str], Awaitable[Replayed]]
"""Processes a kept message again, with the service's settings: the store, the message's id, the actor. KeyError."""


def commands(replay: Replay) -> Commands:
    """The commands of a service that receives HL7."""

    def add_to(commands: Any, add: Add) -> None:
        setup = group(commands, "needs-setup", "HL7 messages that wait for a setting, or failed")
        listing_of(add("list", "the waiting messages, with the missing setting", _setup_list, setup))
        words = "one of them with its raw content, which is patient data; audited"
        acting(identified(add("show", words, _setup_show, setup)))
        again = acting(
            add("replay", "process a message again, after the setting is made", partial(_setup_replay, replay), setup)
        )
        again.add_argument("id", type=UUID, nargs="?", help="the message, as listed")
        again.add_argument("--all", action="store_true", help="all waiting messages, oldest first")
        journal = group(commands, "journal", "every received HL7 message, with its outcome")
        listed = listing_of(add("list", "the newest, without content", _journal_list, journal))
        listed.add_argument("--state", choices=STATES, help="only these")

    return add_to


async def _setup_list(_d: Any, settings: "ServiceSettings", options: argparse.Namespace) -> int:
    async with opened(settings) as store:
        rows = await list_journal(store, states=("needs_setup", "failed"), limit=options.limit)
    return show(rows, _journal_line, options, one="message waits", many="messages wait")


async def _journal_list(_d: Any, settings: "ServiceSettings", options: argparse.Namespace) -> int:
    async with opened(settings) as store:
        states = [options.state] if options.state else None
        rows = await list_journal(store, states=states, limit=options.limit)
    return show(rows, _journal_line, options, one="message", many="messages")


async def _setup_show(_d: Any, settings: "ServiceSettings", options: argparse.Namespace) -> int:
    async with opened(settings) as store:
        kept = await kept_message(store, options.id)
        if kept is None:
            return missing("message", options.id)
        await audited(store, options, "hl7.show")
    print(kept.raw.replace(b"\r", b"\n").decode("utf-8", "replace"))
    print(f"message {options.id}: {kept.state}: {kept.reason or '–'}; set {kept.setting or '–'}")
    return 0


async def _setup_replay(
    replay: Replay, definition: Any, settings: "ServiceSettings", options: argparse.Namespace
) -> int:
    if (options.id is None) == (not options.all):
        print("name one message, or --all", file=sys.stderr)
        return 2
    failed = 0
    async with opened(settings) as store:
        wanted = [options.id]
        if options.all:
            rows = await list_journal(store, states=("needs_setup", "failed"), limit=1_000_000)
            wanted = [row.id for row in reversed(rows)]
        for identifier in wanted:
            try:
                replayed = await replay(settings, store, identifier, options.actor)
            except KeyError:
                return missing("waiting message", identifier)
            failed += not replayed.is_processed
            print(f"{identifier} {replayed}")
    print(f"{definition.name}: {len(wanted) - failed} processed, {failed} still wait")
    return 1 if failed else 0


def _journal_line(row: JournalRow) -> listing.Line:
    why = "; ".join(words for words in (row.reason, row.setting and f"set {row.setting}") if words)
    return listing.Line(row.id, row.received_at, row.state, f"{row.type} {row.control_id}", why)
