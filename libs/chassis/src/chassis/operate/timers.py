"""`timers list|retry|cancel`: timers that are due later or failed, and the acts to retry or cancel one."""

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from chassis import timers
from chassis.clock import moment
from chassis.operate import listing
from chassis.store import Store

if TYPE_CHECKING:
    from chassis.settings import ServiceSettings

MISUSED: Final = 2
Add = Callable[..., argparse.ArgumentParser]


def commands(group: Any, add: Add, listed: Add, acting: Add) -> None:
    """Adds the commands to ``group``. ``listed`` and ``acting`` add the arguments of every list and every act."""
    listing_ = listed(add("list", "failed timers by their due time; or others", show, group))
    listing_.add_argument("--state", choices=timers.STATES, default="troubled", help="which (troubled: failed ones)")
    listing_.add_argument("--kind", help="only of this kind")
    retry = acting(add("retry", "try a failed timer at once, or all dead ones", again, group))
    cancel = acting(add("cancel", "cancel a waiting or dead timer", give_up, group))
    for command, number in ((retry, "?"), (cancel, None)):
        command.add_argument("kind", nargs=number, help="its kind, as listed")
        command.add_argument("key", nargs=number, type=UUID, help="its key, as listed")
        command.add_argument("name", nargs="?", default="-", help="its name, as listed (-)")
    retry.add_argument("--all", action="store_true", help="all dead ones, or those of the kind")


async def show(_definition: Any, settings: "ServiceSettings", options: argparse.Namespace) -> int:
    store = await Store.open(settings.store)
    try:
        rows = await timers.list_timers(store, state=options.state, kind=options.kind, limit=options.limit)
    finally:
        await store.close()
    return listing.show(rows, _line, one="timer", many="timers", limit=options.limit, as_json=options.json)


async def again(_definition: Any, settings: "ServiceSettings", options: argparse.Namespace) -> int:
    """0: done, or nothing to do. 1: there is no such timer. 2: misused."""
    if options.all == (options.key is not None):
        print("timers retry: name the kind and key of one, or --all", file=sys.stderr)
        return MISUSED
    store = await Store.open(settings.store)
    try:
        if options.all:
            number = await timers.retry_timers(store, options.kind, actor=options.actor)
            print(f"{number} dead {'timer is' if number == 1 else 'timers are'} tried now")
            return 0
        named = options.kind, options.key, options.name
        done = await timers.retry_timer(store, *named, actor=options.actor)
    finally:
        await store.close()
    return _did(done, named, "is tried now", "that failed")


async def give_up(_definition: Any, settings: "ServiceSettings", options: argparse.Namespace) -> int:
    named = options.kind, options.key, options.name
    store = await Store.open(settings.store)
    try:
        done = await timers.cancel_timer(store, *named, actor=options.actor)
    finally:
        await store.close()
    return _did(done, named, "is cancelled", "that waits or is dead")


def _did(done: bool, named: tuple[str, UUID, str], words: str, other: str) -> int:  # noqa: FBT001 (an answer)
    kind, key, name = named
    if not done:
        print(f"there is no timer {kind} {key} {name} {other}", file=sys.stderr)
        return 1
    print(f"timer {kind} {key} {name} {words}")
    return 0


def _line(row: timers.TimerRow) -> listing.Line:
    why = row.last_error or ""
    if row.state == "waiting" and row.attempts:
        why = f"{why}; tried {row.attempts} times, next {moment(row.next_attempt_at)} UTC"
    return listing.Line(row.key, row.due_at, row.state, f"{row.kind} {row.name}", why)
