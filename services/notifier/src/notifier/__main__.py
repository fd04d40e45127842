"""``python -m notifier``: run, migrate, topics, and the operator's commands."""

# ruff: noqa: T201 - a command line speaks on standard output

import argparse
import sys

from chassis.host import RecoveryRefused
from chassis.operate import ExtraCommand, ServiceDefinition, inbox, logged_in_user, main
from notifier import bootstrap
from notifier.settings import NotifierSettings


def _recover_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="report what would be read, write nothing")
    parser.add_argument("--actor", default=logged_in_user(), help="who does it, for the audit")


async def _recover(settings: NotifierSettings, options: argparse.Namespace) -> int:
    def tell(words: str) -> None:
        print(words, file=sys.stderr, flush=True)

    try:
        report = await bootstrap.recover(settings, actor=options.actor, dry_run=options.dry_run, tell=tell)
    except RecoveryRefused as error:
        print(f"{bootstrap.NAME}: not recovered: {error}", file=sys.stderr)
        return 1
    for line in report.lines():
        print(line)
    what = "recovered; a waiting service starts by itself" if report.was_behind else "nothing was missed"
    what = "nothing was written (--dry-run)" if options.dry_run else what
    print(f"{bootstrap.NAME}: {what}; {len(report.failed)} records are left for a person")
    return 1 if report.failed else 0


DEFINITION = ServiceDefinition(
    name=bootstrap.NAME,
    settings_type=NotifierSettings,
    build=bootstrap.build,
    migrations=bootstrap.MIGRATIONS,
    tables="notifier.store.tables",
    destinations=bootstrap.DESTINATIONS,
    intakes=[inbox.commands],
    guard=bootstrap.store_guard,
    extra={
        "recover": ExtraCommand(
            "recover a store that was restored to an earlier time, or is empty: from the topics, without sending mails",
            _recover_arguments,
            _recover,
        ),
    },
)

if __name__ == "__main__":
    sys.exit(main(DEFINITION))
