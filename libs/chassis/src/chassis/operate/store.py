"""`store show` and `store adopt`: the site and partners that the store belongs to, and whether it fits."""

import argparse
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from chassis.clock import moment
from chassis.host.store_guard import LONGEST_LOOK_SECONDS
from chassis.store import Store, identity
from chassis.store.rows import audit

if TYPE_CHECKING:
    from chassis.settings import ServiceSettings


def arguments(command: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``adopt``."""
    command.add_argument(
        "--yes",
        action="store_true",
        help="accept a store that does not fit; a store that was set back needs `recover` instead",
    )


@asynccontextmanager
async def _opened(settings: "ServiceSettings") -> AsyncIterator[Store]:
    store = await Store.open(settings.store)
    try:
        yield store
    finally:
        await store.close()


async def show(definition: Any, settings: "ServiceSettings", _options: argparse.Namespace) -> int:
    assert definition.guard is not None  # noqa: S101 - else the command is not there
    async with _opened(settings) as store:
        known = await identity.read(store.pool)
        verdict = await definition.guard(settings, store).look(within_seconds=LONGEST_LOOK_SECONDS)
    if known is None:
        print("no service has started on this store yet")
    else:
        print(f"{'service':14} {known.service}")
        for name, value in sorted(known.belongs_to.items()):
            print(f"{name:14} {value}")
        print(f"{'incarnation':14} {known.incarnation}, since {moment(known.created_at)} UTC")
        print(f"{'epoch':14} {known.epoch} (recoveries)")
    print(f"{definition.name}: {verdict.why or 'the store fits'}")
    return 0 if verdict.kind == "fits" else 1


async def adopt(definition: Any, settings: "ServiceSettings", options: argparse.Namespace) -> int:
    assert definition.guard is not None  # noqa: S101 - else the command is not there
    async with _opened(settings) as store:
        guard = definition.guard(settings, store)
        verdict = await guard.look(within_seconds=LONGEST_LOOK_SECONDS)
        if verdict.kind == "unsure":
            print(f"{definition.name}: not adopted: {verdict.why}", file=sys.stderr)
            return 1
        if verdict.is_refusal and not options.yes:
            print(f"{definition.name}: not adopted, say --yes: {verdict.why}", file=sys.stderr)
            return 2
        before = await identity.read(store.pool)
        after = await guard.adopt()
        detail = {"was": None if before is None else before.belongs_to, "is": after.belongs_to}
        async with store.session() as session:
            subject = str(after.incarnation)
            await audit(session, actor=options.actor, action="store.adopt", subject=subject, detail=detail)
            await session.commit()
    print(f"{definition.name}: the store belongs here from now on; a service that waits for it starts by itself")
    return 0
