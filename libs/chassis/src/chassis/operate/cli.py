"""The command line of a service: `python -m <service> run|migrate|topics|dead-letters|parked|deliveries|timers|…`.

Every command says in its last line what happened. Exit codes: 0 done; 1 not done; 2 misused, or a setting is wrong.
"""

import argparse
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import structlog
import uvloop
from aiokafka.errors import KafkaError

from chassis import deliveries, failpoints
from chassis.clock import moment
from chassis.errors import StoreUnavailable
from chassis.messaging import topics
from chassis.observe import telemetry
from chassis.operate import listing
from chassis.operate import resend as cli_resend
from chassis.operate import retry as cli_retry
from chassis.operate import store as cli_store
from chassis.operate import timers as cli_timers
from chassis.operate.common import (
    Commands,
    acting,
    did,
    group,
    identified,
    listing_of,
    opened,
    show,
    times,
)
from chassis.settings import EXIT_BAD_SETTING, ServiceSettings, SettingsError, load_or_exit
from chassis.store import Store, is_passing, no_answer
from chassis.store.store import ERRORS

if TYPE_CHECKING:
    from chassis.host import Service, StoreGuard

S = TypeVar("S", bound=ServiceSettings)
log = structlog.get_logger(__name__)
Command = Callable[[Any, argparse.Namespace], Awaitable[int]]
MOST_LISTED = 100_000


@dataclass(frozen=True)
class ExtraCommand:
    """A command of the service's own: its help text, its arguments, and its function."""

    help: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Command


@dataclass(frozen=True)
class ServiceDefinition(Generic[S]):
    """A service's definition for the command line."""

    name: str
    settings_type: type[S]
    build: Callable[[S], Awaitable["Service"]]
    migrations: Path
    destinations: Sequence[str] = ()
    """The service's destinations."""
    intakes: Sequence[Commands] = ()
    """The commands of the service's intakes, such as ``inbox.commands`` and ``hl7.commands(…)``."""
    guard: Callable[[S, Store], "StoreGuard"] | None = None
    """Compares the store with the topics; None without a store of its own."""
    extra: Mapping[str, ExtraCommand] = field(default_factory=dict)
    tables: str | None = None
    """The module with the service's own models, whose ``Base`` has them all; None without tables."""


def main(definition: ServiceDefinition[S], arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Returns the exit code."""
    options = _parser(definition).parse_args(arguments)
    settings = load_or_exit(definition.settings_type)
    try:
        return int(uvloop.run(options.run(definition, settings, options)))
    except StoreUnavailable as error:
        print(f"{definition.name}: {error}: is STORE__URL right, is Postgres up?", file=sys.stderr)
    except topics.TopicsError as error:
        print(f"{definition.name}: {error}", file=sys.stderr)
    except KafkaError as error:
        server = settings.kafka.bootstrap_servers
        print(f"{definition.name}: Kafka at {server}: {error}: is KAFKA__BOOTSTRAP_SERVERS right?", file=sys.stderr)
    except SettingsError as error:
        print("\n".join(error.problems), file=sys.stderr)
        return EXIT_BAD_SETTING
    except OSError as error:
        print(f"{definition.name}: {type(error).__name__}: {error.strerror or error}", file=sys.stderr)
    except ERRORS as error:
        if not is_passing(error):
            raise
        print(f"{definition.name}: {no_answer(error)}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 1


def _parser(definition: ServiceDefinition[Any]) -> argparse.ArgumentParser:
    module = definition.name.replace("-", "_")
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, words: str, run: Callable[..., Awaitable[int]], to: Any = commands) -> argparse.ArgumentParser:
        command: argparse.ArgumentParser = to.add_parser(name, help=words, description=words)
        command.set_defaults(run=run)
        return command

    add("run", "serve until SIGTERM", _run)
    migrate = add("migrate", "bring the store's tables up to date", _migrate)
    migrate.add_argument(
        "--phase",
        choices=("before", "after", "all"),
        default="all",
        help="only migrations that go before, or after, the code they belong to",
    )
    migrate.add_argument(
        "--check",
        action="store_true",
        help="change nothing: list the differences between the store's tables and the models",
    )
    add("topics", "create the Kafka topics that are missing", _topics)

    outgoing = group(commands, "deliveries", "messages to partners")
    listed = listing_of(add("list", "the newest", _deliveries_list, outgoing))
    listed.add_argument("--state", choices=("pending", "done", "dead", "dropped"), help="only these")
    listed.add_argument("--destination", help="only to this partner")
    words = "send a dead or waiting delivery now, or all dead ones to a partner; idempotency keys stay the same"
    cli_retry.arguments(acting(add("retry", words, cli_retry.run, outgoing)))
    acting(identified(add("drop", "give it up", _deliveries_drop, outgoing)))

    words = "timers that become due later, and failed ones"
    cli_timers.commands(group(commands, "timers", words), add, listing_of, acting)

    outbox = group(commands, "outbox", "events on their way to Kafka")
    words = "send events again that Kafka has lost; readers drop repeats"
    cli_resend.arguments(acting(add("resend", words, cli_resend.run, outbox)))

    for intake in definition.intakes:
        intake(commands, add)

    if definition.guard is not None:
        store = group(commands, "store", "the site and partners that the store belongs to")
        acting(add("show", "show what the store belongs to, and whether it fits", cli_store.show, store))
        words = "accept site, partners and topics as they are now; audited"
        cli_store.arguments(acting(add("adopt", words, cli_store.adopt, store)))

    for name, extra in definition.extra.items():
        command = add(name, extra.help, _extra(extra))
        extra.arguments(command)
    return parser


def _extra(extra: ExtraCommand) -> Callable[..., Awaitable[int]]:
    async def run(_definition: ServiceDefinition[Any], settings: Any, options: argparse.Namespace) -> int:
        return await extra.run(settings, options)

    return run


async def _run(definition: ServiceDefinition[Any], settings: ServiceSettings, _options: argparse.Namespace) -> int:
    telemetry.configure(definition.name, settings.telemetry)
    try:
        failpoints.check()
    except ValueError as error:
        raise SettingsError([str(error)]) from error
    for demand in settings.waived():
        log.warning("production.waived", setting=demand.setting, by=demand.waived_by)
    service = await definition.build(settings)
    code = await service.run()
    telemetry.shut_down()
    return code


async def _migrate(definition: ServiceDefinition[Any], settings: ServiceSettings, options: argparse.Namespace) -> int:
    from chassis.store import migrations  # noqa: PLC0415 (Alembic and SQLAlchemy are of no use to a running service)

    if options.check:
        models = [] if definition.tables is None else [import_module(definition.tables).Base.metadata]
        found = await migrations.differences(settings.store.url, *models)
        for line in found:
            print(line)
        print(f"{definition.name}: {len(found)} differences between the store's tables and the models")
        return 1 if found else 0
    phase = None if options.phase == "all" else options.phase
    applied = await migrations.run(definition.migrations, settings.store.url, phase)
    for name in applied:
        print(f"applied {name}")
    print(
        f"{definition.name}: {len(applied)} migrations applied"
        if applied
        else f"{definition.name}: the store is up to date"
    )
    return 0


async def _topics(definition: ServiceDefinition[Any], settings: ServiceSettings, _options: argparse.Namespace) -> int:
    kafka = settings.kafka
    is_production = settings.environment == "production"
    if is_production and kafka.replication_factor < topics.LEAST_COPIES:
        least = topics.LEAST_COPIES
        raise SettingsError(
            [f"kafka.replication_factor: production needs {least} or more for topics that are made here"]
        )
    made = await topics.ensure(
        kafka.client_keywords(), prefix=kafka.topic_prefix, replication_factor=kafka.replication_factor
    )
    for name in made:
        print(f"created {name}")
    if is_production:
        for line in await topics.weaknesses(kafka.client_keywords(), prefix=kafka.topic_prefix):
            print(f"warning: {line}: with one broker lost, acknowledged events may be lost", file=sys.stderr)
    print(f"{definition.name}: {len(made)} topics created" if made else f"{definition.name}: all topics are there")
    return 0


async def _deliveries_list(_d: ServiceDefinition[Any], settings: ServiceSettings, options: argparse.Namespace) -> int:
    async with opened(settings) as store:
        rows = await deliveries.list_deliveries(
            store, state=options.state, destination=options.destination, limit=options.limit
        )
    return show(rows, _delivery_line, options, one="delivery", many="deliveries")


async def _deliveries_drop(_d: ServiceDefinition[Any], settings: ServiceSettings, options: argparse.Namespace) -> int:
    async with opened(settings) as store:
        done = await deliveries.drop_delivery(store, options.id, actor=options.actor)
    return did(done, "delivery", options.id, "dropped")


def _delivery_line(row: deliveries.DeliveryRow) -> listing.Line:
    why = row.last_error or ""
    if row.state == "pending":
        again = f"next try {moment(row.next_attempt_at)} UTC"
        why = f"{why}; tried {times(row.attempts)}, {again}" if why else again
    return listing.Line(row.id, row.created_at, row.state, f"{row.destination} {row.kind}", why)
