"""`deliveries retry`: one by its id, or with --all every dead one that fits, after showing their number."""

import argparse
import sys
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from chassis import deliveries
from chassis.clock import moment, since_of
from chassis.deliveries import Selection
from chassis.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chassis.settings import ServiceSettings

MISUSED: Final = 2


class MisuseError(Exception):
    """The arguments do not fit together; the text says what is wrong, in one line."""


def arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("id", type=UUID, nargs="?", help="its id, as listed")
    command.add_argument("--all", action="store_true", help="all dead ones to --destination, each at its place in line")
    command.add_argument("--destination", help="with --all: the partner")
    command.add_argument("--since", help="with --all: died since: 2h, 30m, 3d, or 2026-05-31T14:00 (UTC)")
    command.add_argument("--reason", help="with --all: the last answer contains this text")
    command.add_argument("--yes", action="store_true", help="with --all: do not ask")


async def run(definition: Any, settings: "ServiceSettings", options: argparse.Namespace) -> int:
    """0: done, or nothing to do. 1: not there, or not confirmed. 2: misused."""
    store = None
    try:
        _check(options, definition.destinations)
        store = await Store.open(settings.store)
        return await (_all(store, options) if options.all else _one(store, options))
    except MisuseError as error:
        print(f"deliveries retry: {error}", file=sys.stderr)
        return MISUSED
    finally:
        if store is not None:
            await store.close()


def _check(options: argparse.Namespace, destinations: "Sequence[str]") -> None:
    if options.all == (options.id is not None):
        raise MisuseError("name one delivery, or --all with --destination; not both")
    selecting = [name for name in ("destination", "since", "reason", "yes") if getattr(options, name)]
    if not options.all and selecting:
        raise MisuseError(f"--{selecting[0]} goes with --all, not with one delivery")
    if not options.all:
        return
    if options.destination not in destinations:
        given = (
            "--all needs --destination" if options.destination is None else f"no destination {options.destination!r}"
        )
        raise MisuseError(f"{given}: this service delivers to {', '.join(destinations) or 'nobody'}")
    if options.reason is not None and not options.reason.strip():
        raise MisuseError("--reason is empty: leave it out for any answer")


async def _one(store: Store, options: argparse.Namespace) -> int:
    if not await deliveries.retry_delivery(store, options.id, actor=options.actor):
        print(f"there is no open delivery {options.id}", file=sys.stderr)
        return 1
    print(f"delivery {options.id} is sent now")
    return 0


async def _all(store: Store, options: argparse.Namespace) -> int:
    now = await store.now()
    since = None
    if options.since is not None:
        try:
            since = since_of(options.since, now)
        except ValueError as error:
            raise MisuseError(f"--since: {error}") from error
        if since > now:
            raise MisuseError(f"--since: {options.since} is still to come: it is {moment(now)} UTC")
    # Deliveries that die after this look were not shown, and are not sent again.
    selection = Selection(options.destination, since, options.reason, until=now)
    found = await deliveries.count_dead(store, selection)
    what = f"{found.number} dead {_deliveries(found.number)} to {options.destination}"
    if found.oldest is None or found.newest is None:
        print(f"{what}: nothing to send again")
        return 0
    oldest, newest = moment(found.oldest), moment(found.newest)
    print(f"{what}, that died {f'at {newest}' if found.number == 1 else f'from {oldest} to {newest}'} UTC")
    if found.number > 1 and not options.yes and not _is_confirmed(found.number):
        print("nothing was changed")
        return 1
    steps = _say_progress if found.number > deliveries.ROWS_A_STEP else _say_nothing
    number = await deliveries.retry_selected(store, selection, actor=options.actor, told=steps)
    print(f"{number} {_deliveries(number)} to {options.destination} {'is' if number == 1 else 'are'} sent again")
    return 0


def _is_confirmed(number: int) -> bool:
    if not sys.stdin.isatty():
        raise MisuseError(f"say --yes to send {number} again: there is no terminal to ask at")
    return input(f"send these {number} again? [y/N] ").strip().lower() in {"y", "yes"}


def _say_progress(number: int) -> None:
    print(f"{number} …", flush=True)


def _say_nothing(_number: int) -> None:
    return


def _deliveries(number: int) -> str:
    return "delivery" if number == 1 else "deliveries"
