"""Shared by the operator's commands: arguments, opening the store, exit codes."""

import argparse
import getpass
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol
from uuid import UUID

from chassis.operate import listing
from chassis.settings import ServiceSettings
from chassis.store import Store
from chassis.store.rows import audit

MOST_LISTED = 100_000
Add = Callable[..., argparse.ArgumentParser]
"""Adds a command: its name, its help text, its function, and its group."""
Run = Callable[..., Awaitable[int]]


class Commands(Protocol):
    """Adds the commands of an intake; ``commands`` is where groups are added."""

    def __call__(self, commands: Any, add: Add) -> None: ...


def logged_in_user() -> str:
    """The actor for the audit. A container may run under a uid without a name: then the number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # OSError since Python 3.13
        return f"uid {os.getuid()}"


def group(commands: Any, name: str, words: str) -> Any:
    return commands.add_parser(name, help=words, description=words).add_subparsers(dest="action", required=True)


def listing_of(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    command.add_argument("--limit", type=_count, default=50, help="how many at most (50)")
    command.add_argument("--json", action="store_true", help="every column, a JSON object a line")
    return command


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_LISTED:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {MOST_LISTED}")
    return int(text)


def identified(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    command.add_argument("id", type=UUID, help="its id, as listed")
    return command


def acting(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    command.add_argument("--actor", default=logged_in_user(), help="who does it, for the audit (the logged-in user)")
    return command


@asynccontextmanager
async def opened(settings: ServiceSettings) -> "AsyncIterator[Store]":
    store = await Store.open(settings.store)
    try:
        yield store
    finally:
        await store.close()


def show(
    rows: Sequence[listing.R],
    line: Callable[[listing.R], listing.Line],
    options: argparse.Namespace,
    *,
    one: str,
    many: str,
) -> int:
    return listing.show(rows, line, one=one, many=many, limit=options.limit, as_json=options.json)


def times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


async def audited(store: Store, options: argparse.Namespace, action: str) -> None:
    """Writes an audit row for each look at patient data."""
    async with store.session() as session:
        await audit(session, actor=options.actor, action=action, subject=str(options.id))
        await session.commit()


def did(done: bool, what: str, identifier: object, words: str) -> int:  # noqa: FBT001 (an answer, not a switch)
    if not done:
        return missing(f"open {what}", identifier)
    print(f"{what} {identifier} {words}")
    return 0


def missing(what: str, identifier: object) -> int:
    print(f"there is no {what} {identifier}", file=sys.stderr)
    return 1
