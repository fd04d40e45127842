"""``python -m scheduler_sync``: run, migrate, topics, and the operator's commands."""

# ruff: noqa: T201 - a command line speaks on standard output

import argparse
import json
import sys
from pathlib import Path

from chassis.clock import utc_now
from chassis.errors import Permanent, Transient, reason_of
from chassis.host import RecoveryRefused
from chassis.operate import ExtraCommand, ServiceDefinition, hl7, listing, logged_in_user, main
from chassis.store import Store
from hl7v2 import Hl7Error
from omegaai.tasks import UnclaimedTask
from scheduler_sync import bootstrap, explain
from scheduler_sync.preflight.command import command as preflight_command
from scheduler_sync.reconciliation.commands import command as reconcile_command
from scheduler_sync.resources.command import COMMAND as RESOURCES
from scheduler_sync.review_commands import COMMAND as REVIEWS
from scheduler_sync.settings import SchedulerSyncSettings
from scheduler_sync.site import SiteFileError, load
from scheduler_sync.store.views import ParkedTaskRow, Views


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("list", "replay"), help="list them, or read their resources again")
    parser.add_argument("id", nargs="*", help="Tasks to replay, as listed; all when none is named")
    parser.add_argument("--json", action="store_true", help="every column of the list, a JSON object a line")
    parser.add_argument("--actor", default=logged_in_user(), help="who does it, for the audit")


def _line(row: ParkedTaskRow) -> listing.Line:
    where = f"{row.expression}: " if row.expression else ""
    return listing.Line(row.task_id, row.parked_at, "parked", row.focus, f"{where}{row.reason}")


async def _parked_tasks(settings: SchedulerSyncSettings, options: argparse.Namespace) -> int:
    store = await Store.open(settings.store)
    try:
        rows = await Views(store).parked_tasks()
    finally:
        await store.close()
    if options.action == "list":
        return listing.show(rows, _line, one="parked Task", many="parked Tasks", as_json=options.json)
    outcomes = await bootstrap.replay_tasks(settings, options.id or [row.task_id for row in rows], options.actor)
    for task_id, replayed in outcomes.items():
        print(task_id, replayed)
    failed = sum(not replayed.is_processed for replayed in outcomes.values())
    print(f"{len(outcomes) - failed} processed, {failed} still parked")
    return 1 if failed else 0


def _unclaimed_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=int, default=100, help="the largest number to show")
    parser.add_argument("--json", action="store_true", help="every column of the list, a JSON object a line")
    parser.epilog = "Exit codes: 0 the list is shown; 1 OmegaAI does not answer. The Tasks stay as they are."


def _unclaimed_line(row: UnclaimedTask) -> listing.Line:
    return listing.Line(row.task_id, row.since, "unclaimed", row.focus or "names no resource")


async def _unclaimed_tasks(settings: SchedulerSyncSettings, options: argparse.Namespace) -> int:
    try:
        found = await bootstrap.unclaimed(settings, most=options.limit)
    except (Transient, Permanent) as error:
        print(f"{bootstrap.NAME}: {reason_of(error)}", file=sys.stderr)
        return 1
    return listing.show(
        found, _unclaimed_line, one="unclaimed Task", many="unclaimed Tasks", limit=options.limit, as_json=options.json
    )


def _recover_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="read and compare only, write nothing")
    parser.add_argument("--actor", default=logged_in_user(), help="who does it, for the audit")


async def _recover(settings: SchedulerSyncSettings, options: argparse.Namespace) -> int:
    def tell(words: str) -> None:
        print(words, file=sys.stderr, flush=True)

    try:
        report = await bootstrap.recover(settings, actor=options.actor, dry_run=options.dry_run, tell=tell)
    except (RecoveryRefused, Transient, Permanent) as error:
        print(f"{bootstrap.NAME}: not recovered: {error}", file=sys.stderr)
        return 1
    for line in report.lines():
        print(line)
    differing = len(report.open_differences)
    what = "recovered; a waiting service starts by itself" if report.has_found_something else "nothing was missed"
    what = "nothing was written (--dry-run)" if options.dry_run else what
    print(f"{bootstrap.NAME}: {what}; {differing} differences are left for a person")
    return 1 if differing else 0


def _explain_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="a file that holds one HL7 message; - for standard input")
    parser.add_argument("--json", action="store_true", help="everything as one JSON object")
    parser.epilog = (
        "The output shows the message's values, also the patient's data; nothing is logged. It has no effect. "
        "Exit codes: 0 the service would take the message; 1 it would refuse it, or the message would wait; 2 the file "
        "is missing or not HL7, or the site file is wrong."
    )


def _content(file: str) -> bytes:
    return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()


async def _explain(settings: SchedulerSyncSettings, options: argparse.Namespace) -> int:
    site = load(settings.site_file)
    name = "standard input" if options.file == "-" else options.file
    try:
        raw = _content(options.file)
    except OSError as error:
        print(f"{bootstrap.NAME}: {name}: {error.strerror or error}", file=sys.stderr)
        return 2
    resources = await bootstrap.known_resources(settings)
    try:
        found = explain.explain(raw, site, resources, received_at=utc_now())
    except Hl7Error as error:
        print(f"{bootstrap.NAME}: {name}: cannot be read, and would be answered AR: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found.as_json(), default=str) if options.json else "\n".join(explain.lines(found)))
    return 0 if found.is_taken else 1


DEFINITION = ServiceDefinition(
    name=bootstrap.NAME,
    settings_type=SchedulerSyncSettings,
    build=bootstrap.build,
    migrations=bootstrap.MIGRATIONS,
    tables="scheduler_sync.store.tables",
    destinations=bootstrap.DESTINATIONS,
    intakes=[hl7.commands(bootstrap.replay_hl7)],
    guard=bootstrap.store_guard,
    extra={
        "recover": ExtraCommand(
            "recover a store that was restored to an earlier time, or is empty: from its topics and OmegaAI",
            _recover_arguments,
            _recover,
        ),
        "reconcile": reconcile_command(bootstrap.perform_reconciliation),
        "explain": ExtraCommand(
            "explain the effect of an HL7 message in a file; the output shows the file's patient data",
            _explain_arguments,
            _explain,
        ),
        "unclaimed-tasks": ExtraCommand(
            "OmegaAI's open Tasks that no service of the suite handles", _unclaimed_arguments, _unclaimed_tasks
        ),
        "resources": RESOURCES,
        "reviews": REVIEWS,
        "preflight": preflight_command(bootstrap.opened_preflight),
        "parked-tasks": ExtraCommand("OmegaAI's changes that could not be processed", _arguments, _parked_tasks),
    },
)

if __name__ == "__main__":
    try:
        sys.exit(main(DEFINITION))
    except SiteFileError as error:
        print(f"{bootstrap.NAME}: {error}", file=sys.stderr)
        sys.exit(2)
