"""`outbox resend` sends events again that Kafka has lost.

The command shows their number, and waits until the relay has sent them.
"""

import argparse
import asyncio
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from chassis.clock import moment, since_of
from chassis.messaging import resend
from chassis.store import Store
from contracts.topics import TOPICS

if TYPE_CHECKING:
    from chassis.settings import ServiceSettings

MISUSED: Final = 2
RESEND_PATIENCE_SECONDS: Final = 60.0


def arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--since", required=True, help="events sent since: 2h, 30m, 3d, or 2026-05-31T14:00 (UTC)")
    command.add_argument("--topic", choices=sorted(TOPICS), help="only this topic, without the installation's prefix")
    command.add_argument("--yes", action="store_true", help="do not ask")


async def run(definition: Any, settings: "ServiceSettings", options: argparse.Namespace) -> int:
    """0: sent again. 1: nothing was sent, or some still wait. 2: misused."""
    store = await Store.open(settings.store)
    try:
        now = await store.now()
        try:
            since = since_of(options.since, now)
        except ValueError as error:
            print(f"--since: {error}", file=sys.stderr)
            return MISUSED
        if now - since > timedelta(days=settings.retention.outbox_days):
            print(f"the outbox keeps {settings.retention.outbox_days:g} days: what is older cannot be sent again")
        found = await resend.count(store, since, options.topic)
        for topic, number in found.items():
            print(f"{number:9} {topic}")
        total = sum(found.values())
        if not total:
            print(f"{definition.name}: no event was sent since {moment(since)} UTC", file=sys.stderr)
            return 1
        if not options.yes and not _agreed(f"send {total} events since {moment(since)} UTC again? [y/N] "):
            print(f"{definition.name}: nothing was sent again")
            return 1
        marked = await resend.resend(store, since, options.topic, actor=options.actor)
        unsent = await _until_sent(store, marked)
    finally:
        await store.close()
    if unsent:
        print(f"{definition.name}: {unsent} events still wait: does the service run, is Kafka there?", file=sys.stderr)
        return 1
    print(f"{definition.name}: {marked.number} events sent again")
    return 0


def _agreed(question: str) -> bool:
    try:
        return input(question).strip().lower() in {"y", "yes"}
    except EOFError:
        print("nobody to ask: --yes", file=sys.stderr)
        return False


async def _until_sent(store: Store, marked: resend.Marked) -> int:
    """Shows the relay's progress.

    Returns how many events are left after ``RESEND_PATIENCE_SECONDS`` without progress.
    """
    before, moved_at = marked.number, time.monotonic()
    while (unsent := await resend.left(store, marked)) and time.monotonic() - moved_at < RESEND_PATIENCE_SECONDS:
        if unsent != before:
            before, moved_at = unsent, time.monotonic()
            print(f"{unsent:9} left")
        await asyncio.sleep(1)
    return unsent
