"""``python -m scheduler_sync resources …``: import, list, show, match, alias, drift, apply, history."""

# ruff: noqa: T201 - a command line speaks on standard output

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from chassis.operate import ExtraCommand, listing, logged_in_user
from chassis.store import Store, asking
from scheduler_sync.domain.resource import Nearness, PairState
from scheduler_sync.resources import csv_files, statements
from scheduler_sync.resources.decisions import Decisions, Fix, NotDecidedError
from scheduler_sync.resources.stored import StoredResources
from scheduler_sync.resources.views import PairRow, ResourceLine, ResourceViews, Shown, SideValues
from scheduler_sync.settings import SchedulerSyncSettings
from scheduler_sync.site import Site

NAME: Final = "scheduler-sync"
_LOOK_SECONDS: Final = 0.2
_CODES: Final = "Exit codes: 0 {done}; 1 {not_done}; 2 misused, or a setting is wrong."
Run = Callable[["_Opened", argparse.Namespace], Awaitable[int]]


class _Opened:
    """The store and the site, for one command."""

    def __init__(self, store: Store, site: Site) -> None:
        self.store = store
        self.site = site
        self.views = ResourceViews(store)
        self.decisions = Decisions(store, site.file)


@asynccontextmanager
async def _opened(settings: SchedulerSyncSettings) -> AsyncIterator[_Opened]:
    site = Site(settings.site_file)
    store = await Store.open(settings.store)
    try:
        yield _Opened(store, site)
    finally:
        await store.close()


def _arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", required=True)

    def add(name: str, words: str, run: Run, *, done: str, not_done: str, as_json: bool = True) -> Any:
        epilog = _CODES.format(done=done, not_done=not_done)
        command = commands.add_parser(name, help=words, description=words, epilog=epilog)
        command.set_defaults(act=run)
        if as_json:
            command.add_argument("--json", action="store_true", help="everything as JSON")
        return command

    words = "take PowerServer's resource grid over from a CSV export"
    command = add("import", words, _import, done="all rows are taken", not_done="some rows are not, or the file is bad")
    command.add_argument("file", help="the export; - for standard input")
    command.add_argument("--facility", help="the facility of rows without a column Facility")
    command.add_argument(
        "--complete", action="store_true", help="switch off the known resources that the file does not name"
    )
    command.add_argument("--dry-run", action="store_true", help="read the file only")
    _acting(command)

    command = add("list", "all resources, and how they stand on both sides", _list, done="shown", not_done="–")
    command.add_argument("--state", choices=[one.value for one in PairState], help="only these")
    command.add_argument("--facility", help="only of this facility")
    command.add_argument("--limit", type=int, default=5000, help="how many at most (5000)")

    command = add("show", "one resource: both sides, drift, fixes, history", _show, done="shown", not_done="not found")
    _naming(command)

    words = "compare both sides now, and propose aliases for names that are nearly the same"
    add("match", words, _match, done="every resource has its counterpart", not_done="some have none")

    words = "decide that a name in PowerServer means a service of OmegaAI"
    command = add("alias", words, _alias, done="done", not_done="not done", as_json=False)
    command.add_argument("name", help="the name in PowerServer, exactly")
    command.add_argument("--facility", required=True, help="the facility's code")
    meaning = command.add_mutually_exclusive_group(required=True)
    meaning.add_argument("--means", metavar="SERVICE", help="OmegaAI's service, by its exact name or its id")
    meaning.add_argument("--remove", action="store_true", help="take the alias away")
    _acting(command)

    add("drift", "the fields in which both sides differ", _drift, done="nothing differs", not_done="something differs")

    words = "write the fix of a drift to OmegaAI, and wait until OmegaAI shows it"
    command = add("apply", words, _apply, done="OmegaAI shows the fix", not_done="refused, or not seen in time")
    _naming(command)
    command.add_argument("--field", action="append", default=[], help="only this field; may be repeated")
    command.add_argument("--wait", type=float, default=30.0, metavar="SECONDS", help="how long to wait (30)")
    _acting(command)

    command = add("history", "every change and decision, the newest first", _history, done="shown", not_done="–")
    command.add_argument("name", nargs="?", help="only of the resource of this name")
    command.add_argument("--facility", help="only of this facility")
    command.add_argument("--limit", type=int, default=50, help="how many at most (50)")


def _acting(command: argparse.ArgumentParser) -> None:
    command.add_argument("--actor", default=logged_in_user(), help="who does it, for the audit (the logged-in user)")


def _naming(command: argparse.ArgumentParser) -> None:
    command.add_argument("resource", help="its id, or its exact name")
    command.add_argument("--facility", help="the facility's code, where two have a resource of this name")


async def _run(settings: SchedulerSyncSettings, options: argparse.Namespace) -> int:
    async with _opened(settings) as opened:
        try:
            code: int = await options.act(opened, options)
        except NotDecidedError as error:
            return _refused(str(error))
        return code


def _refused(why: str) -> int:
    print(f"{NAME}: {why}", file=sys.stderr)
    return 1


async def _import(opened: _Opened, options: argparse.Namespace) -> int:
    name = "standard input" if options.file == "-" else options.file
    try:
        content = await asyncio.to_thread(_content, options.file)
        read = csv_files.read(
            content,
            facilities=opened.site.file.facilities,
            default_facility=options.facility,
            at=await opened.store.now(),
        )
    except OSError as error:
        return _refused(f"{name}: {error.strerror or error}")
    except csv_files.UnreadableFileError as error:
        return _refused(f"{name}: {error}")
    taken = None
    if not options.dry_run:
        actor = f"{options.actor} (CSV)"
        taken = await opened.decisions.take(read, actor=actor, is_complete=options.complete)
    if options.json:
        found = {
            "rows": len(read.rows), "bad_rows": read.bad_rows, "problems": [asdict(one) for one in read.problems],
            "ignored_columns": read.ignored_columns, "taken": None if taken is None else asdict(taken),
        }  # fmt: skip
        print(json.dumps(found, ensure_ascii=False))
    else:
        for problem in read.problems:
            print(f"{name}: {problem.words()}", file=sys.stderr)
        if read.ignored_columns:
            print(f"columns that are not read: {', '.join(read.ignored_columns)}")
        if taken is None:
            print(f"{len(read.rows)} rows can be taken, {read.bad_rows} cannot; nothing was written (--dry-run)")
        else:
            print(f"{len(read.rows)} rows taken ({taken.changed} changed something), {read.bad_rows} left out")
            for missing in taken.missing:
                print(f"not in the file: {missing}{' (switched off)' if options.complete else ''}")
            if taken.missing and not options.complete:
                print("they stay as they are; --complete switches them off")
    return 1 if read.bad_rows or not read.rows else 0


def _content(file: str) -> bytes:
    return sys.stdin.buffer.read(csv_files.LARGEST_BYTES + 1) if file == "-" else Path(file).read_bytes()


async def _list(opened: _Opened, options: argparse.Namespace) -> int:
    found = await opened.views.pairs(facility=options.facility, state=options.state, limit=options.limit)
    return _print_pairs(found, options, one="resource", many="resources")


def _print_pairs(found: Sequence[PairRow], options: argparse.Namespace, *, one: str, many: str) -> int:
    if options.json:
        for row in found:
            print(json.dumps(asdict(row), default=str, ensure_ascii=False))
        print(f"{len(found)} {one if len(found) == 1 else many}", file=sys.stderr)
        return 0
    return listing.show(found, _line, one=one, many=many)


def _line(row: PairRow) -> listing.Line:
    why = "; ".join(
        [f"{one.field}: PowerServer {one.powerserver}, OmegaAI {one.omegaai}" for one in row.drift]
        + [f"nearly the same: {near.name!r} ({near.by})" for near in row.near]
        + (["a fix is under way"] if row.is_being_fixed else [])
    )
    return listing.Line(row.id, row.changed_at, row.state, f"{row.facility} {row.name!r}", why)


async def _the_pair(opened: _Opened, options: argparse.Namespace) -> Shown:
    try:
        pair_id: UUID | None = UUID(options.resource)
    except ValueError:
        named = await opened.views.pairs(facility=options.facility, name=options.resource, limit=3)
        if len({row.facility for row in named}) > 1:
            raise NotDecidedError("several facilities have a resource of this name: name one with --facility") from None
        if len(named) > 1:
            raise NotDecidedError("several resources have this name: name one by its id (resources list)") from None
        pair_id = named[0].id if named else None
    found = None if pair_id is None else await opened.views.pair(pair_id)
    if found is None:
        raise NotDecidedError("there is no such resource; resources list shows all")
    return found


async def _show(opened: _Opened, options: argparse.Namespace) -> int:
    found = await _the_pair(opened, options)
    if options.json:
        print(json.dumps(asdict(found), default=str, ensure_ascii=False))
        return 0
    pair = found.pair
    print(f"{pair.facility} {pair.name!r}: {pair.state} ({pair.id})")
    fields = dict.fromkeys([*_values(found.powerserver), *_values(found.omegaai)])
    print(f"  {'':14} {'PowerServer':32} OmegaAI {found.healthcare_service_id or ''}".rstrip())
    for field in fields:
        ours, theirs = _values(found.powerserver).get(field), _values(found.omegaai).get(field)
        print(f"  {field:14} {ours or '–':32} {theirs or '–'}")
    for side, words in ((found.powerserver, "PowerServer's by"), (found.omegaai, "seen in")):
        if side is not None:
            print(f"  {words} {side.source} at {side.seen_at:%Y-%m-%d %H:%M:%S} UTC")
    for drift in pair.drift:
        fix = f"resources apply {pair.id} --field {drift.field}" if drift.can_apply else "set it by hand in OmegaAI"
        print(f"  differs: {drift.field}: PowerServer {drift.powerserver}, OmegaAI {drift.omegaai}; {fix}")
    for near in pair.near:
        print(f"  nearly the same: {near.name!r} ({near.by})")
    for alias in found.aliases:
        print(f"  alias: {alias!r}")
    for sent in found.fixes:
        print(f"  fix {sent.id}: {sent.state}{f', {sent.last_error}' if sent.last_error else ''}")
    for told in found.history[:20]:
        print(f"  {_told(told)}")
    return 0


def _values(side: SideValues | None) -> dict[str, str | None]:
    return {} if side is None else side.values


async def _match(opened: _Opened, options: argparse.Namespace) -> int:
    await StoredResources(opened.store, opened.site).compare(opened.site.file)
    found = await opened.views.pairs()
    alone = [row for row in found if row.state in {PairState.ONLY_OAI, PairState.ONLY_PS}]
    _print_pairs(alone, options, one="resource without counterpart", many="resources without counterpart")
    if not options.json:
        for row in alone:
            for near in row.near:
                if row.state == PairState.ONLY_PS and near.by is not Nearness.FACILITY:
                    print(f"proposed: resources alias {row.name!r} --facility {row.facility} --means {near.name!r}")
    return 1 if alone else 0


async def _alias(opened: _Opened, options: argparse.Namespace) -> int:
    service = None if options.remove else options.means
    await opened.decisions.alias(options.facility, options.name, service, actor=options.actor)
    words = "is no alias any more" if service is None else f"means {service!r}"
    print(f"{options.facility} {options.name!r} {words}; messages follow within seconds")
    return 0


async def _drift(opened: _Opened, options: argparse.Namespace) -> int:
    found = await opened.views.pairs(state=PairState.DRIFTED.value)
    _print_pairs(found, options, one="resource differs", many="resources differ")
    return 1 if found else 0


async def _apply(opened: _Opened, options: argparse.Namespace) -> int:
    shown = await _the_pair(opened, options)
    fix = await opened.decisions.fix(shown.pair.id, options.field, actor=options.actor)
    state, why = await _outcome(opened, fix, options.wait)
    if options.json:
        print(json.dumps({**asdict(fix), "state": state, "why": why}, default=str, ensure_ascii=False))
    else:
        print(f"{fix.name!r}: {', '.join(fix.fields)}: {_OUTCOMES[state]}{f': {why}' if why else ''}")
    return 0 if state == "seen" else 1


_OUTCOMES: Final = {
    "seen": "OmegaAI shows the fix",
    "written": "OmegaAI has taken the fix; the next import will say whether it shows it",
    "queued": "queued; the running service sends it (deliveries list)",
    "refused": "OmegaAI refused the fix",
}


async def _outcome(opened: _Opened, fix: Fix, seconds: float) -> tuple[str, str | None]:
    """What came of a fix within that time: seen, written, queued or refused; and the reason."""
    until = time.monotonic() + seconds
    while True:
        with asking():
            row = await opened.store.pool.fetchrow(statements.DELIVERY_STATE, fix.delivery_id)
        if row is not None and row["state"] in {"dead", "dropped"}:
            return "refused", row["last_error"]
        is_written = row is None or row["state"] == "done"
        if is_written:
            shown = await opened.views.pair(fix.pair_id)
            left = () if shown is None else shown.pair.drift
            if not any(one.field in fix.fields for one in left):
                return "seen", None
        if time.monotonic() >= until:
            return "written" if is_written else "queued", None
        await asyncio.sleep(_LOOK_SECONDS)


async def _history(opened: _Opened, options: argparse.Namespace) -> int:
    found = await opened.views.history(facility=options.facility, name=options.name, limit=options.limit)
    for row in found:
        print(json.dumps(asdict(row), default=str, ensure_ascii=False) if options.json else _told(row))
    print(f"{len(found)} lines", file=sys.stderr if options.json else sys.stdout)
    return 0


def _told(row: ResourceLine) -> str:
    said = f"{row.at:%Y-%m-%d %H:%M:%S} {row.facility} {row.name!r} {row.what} by {row.actor}"
    return f"{said}: {row.words}" if row.words else said


COMMAND: Final = ExtraCommand("bookable resources on both sides: import, compare, mend", _arguments, _run)
