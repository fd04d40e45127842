"""``reconcile run | list | show | approve | decline``. Exit codes are in its help."""

# ruff: noqa: T201 - a command line speaks on standard output

import argparse
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import fields
from datetime import date
from typing import Final

from chassis.operate import ExtraCommand, listing, logged_in_user
from chassis.store import Store
from scheduler_sync.settings import SchedulerSyncSettings
from scheduler_sync.store.reconciliation import DifferenceFilter, DifferenceRow, Reports, RunRow

SETTLED, LEFT, FAILED, ASKS = 0, 1, 2, 3
MOST: Final = 1_000_000
Perform = Callable[[SchedulerSyncSettings, int, float], Awaitable[None]]
"""Has a run performed, here or by a running service, and returns when it has ended, asks, or the seconds are over."""


def command(perform: Perform) -> ExtraCommand:
    async def run(settings: SchedulerSyncSettings, options: argparse.Namespace) -> int:
        store = await Store.open(settings.store)
        try:
            return await _ACTS[options.act](settings, Reports(store), options, perform)
        finally:
            await store.close()

    return ExtraCommand("compare all appointments with OmegaAI and PowerServer, and correct them", _arguments, run)


def _arguments(parser: argparse.ArgumentParser) -> None:
    acts = parser.add_subparsers(dest="act", required=True)
    run = acts.add_parser("run", help="compare now; correct what a second look confirms")
    run.add_argument("--day", type=date.fromisoformat, help="only this day, such as 2026-12-01")
    run.add_argument("--dry-run", action="store_true", help="compare only, correct nothing")
    run.add_argument("--wait-seconds", type=float, default=600.0, help="how long the end is waited for (600)")
    acts.add_parser("list", help="the latest runs").add_argument("--limit", type=int, default=20)
    acts.add_parser("show", help="a run's differences with both values").add_argument("number", type=int, metavar="RUN")
    acts.add_parser("approve", help="have a run that asks correct what it found").add_argument(
        "number", type=int, metavar="RUN"
    )
    acts.add_parser("decline", help="leave what a run that asks found to a person").add_argument(
        "number", type=int, metavar="RUN"
    )
    for name, one in acts.choices.items():
        one.add_argument("--json", action="store_true", help="every column, a JSON object a line")
        if name in {"run", "approve", "decline"}:
            one.add_argument("--actor", default=logged_in_user(), help="who does it, for the audit")
    parser.epilog = (
        "Exit codes: 0 nothing is left for a person; 1 differences are left for a person; 2 the run failed, or there "
        "is no such run; 3 a run asks for approval."
    )


async def _run(settings: SchedulerSyncSettings, reports: Reports, options: argparse.Namespace, perform: Perform) -> int:
    number = await reports.wish(actor=options.actor, day=options.day, dry_run=options.dry_run)
    await perform(settings, number, options.wait_seconds)
    return await _told(reports, number, as_json=options.json)


async def _list(_: SchedulerSyncSettings, reports: Reports, options: argparse.Namespace, __: Perform) -> int:
    return listing.show(
        await reports.runs(options.limit), _run_line, one="run", many="runs", limit=options.limit, as_json=options.json
    )


async def _show(_: SchedulerSyncSettings, reports: Reports, options: argparse.Namespace, __: Perform) -> int:
    if await reports.run(options.number) is None:
        return _none(options.number)
    rows = await reports.differences(options.number, DifferenceFilter(), limit=MOST)
    return listing.show(rows, _difference_line, one="difference", many="differences", as_json=options.json)


async def _approve(
    settings: SchedulerSyncSettings, reports: Reports, options: argparse.Namespace, perform: Perform
) -> int:
    if not await reports.answer(options.number, "approved", actor=options.actor):
        return _none(options.number, "that asks")
    await perform(settings, options.number, 600.0)
    return await _told(reports, options.number, as_json=options.json)


async def _decline(_: SchedulerSyncSettings, reports: Reports, options: argparse.Namespace, __: Perform) -> int:
    if not await reports.answer(options.number, "declined", actor=options.actor):
        return _none(options.number, "that asks")
    print(f"run {options.number} corrects nothing; its differences are listed")
    return SETTLED


_ACTS: Final = {"run": _run, "list": _list, "show": _show, "approve": _approve, "decline": _decline}


async def _told(reports: Reports, number: int, *, as_json: bool) -> int:
    row = await reports.run(number)
    if row is None:
        return _none(number)
    if as_json:
        shown = {one.name: listing.plain(getattr(row, one.name)) for one in fields(row)}
        print(json.dumps(shown, ensure_ascii=False))
    else:
        print(f"run {row.id}: {row.state}" + (f": {row.reason}" if row.reason else ""))
        print(words_of(row))
    if row.state == "asks":
        print(f"reconcile approve {row.id}, or reconcile decline {row.id}", file=sys.stderr)
        return ASKS
    if row.state != "done":
        return FAILED
    return LEFT if await reports.still_open(number) else SETTLED


def _none(number: int, which: str = "") -> int:
    print(f"there is no run {number}{f' {which}' if which else ''}", file=sys.stderr)
    return FAILED


def words_of(row: RunRow) -> str:
    """The counts of a run in one sentence."""
    counts = row.counts
    said = [f"{counts.get('compared', 0)} compared", f"{counts.get('differences', 0)} differ"]
    said += [f"{counts.get(name, 0)} {name}" for name in ("healed", "listed", "moving", "gone")]
    unreadable = sum(counts.get(side, {}).get("unreadable", 0) for side in ("omegaai", "worklist"))
    return ", ".join([*said, f"{unreadable} unreadable"])


def _run_line(row: RunRow) -> listing.Line:
    what = "dry run" if row.dry_run else "run"
    return listing.Line(
        row.id, row.wanted_at, row.state, f"{what} of {row.wanted_by}: {words_of(row)}", row.reason or ""
    )


def _difference_line(row: DifferenceRow) -> listing.Line:
    what = f"{row.side} {row.kind} {row.placer_number or row.key or ''} {', '.join(row.fields)}".rstrip()
    both = f"ours {json.dumps(row.ours)}, theirs {json.dumps(row.theirs)}"
    return listing.Line(
        row.link_id or row.key, row.noted_at, row.settled, what, f"{both}. {row.why or ''}".rstrip(" .")
    )
