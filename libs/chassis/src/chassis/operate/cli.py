"""The command line of a service: `python -m <service> run|migrate|topics|dead-letters|parked|deliveries|timers|…`.

Every command says in its last line what happened. Exit codes: 0 done; 1 not done; 2 misused, or a setting is wrong.
"""

import argparse
import getpass
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from uuid import UUID

import structlog
import uvloop
from aiokafka.errors import KafkaError

from chassis import deliveries, failpoints
from chassis.clock import moment
from chassis.errors import StoreUnavailable
from chassis.hl7 import JournalRow, kept_message, list_journal
from chassis.hl7.journal import STATES
from chassis.messaging import Replayed, ReplayOutcome, dead_letters, missed, parking, topics
from chassis.observe import telemetry
from chassis.operate import listing
from chassis.operate import resend as cli_resend
from chassis.operate import retry as cli_retry
from chassis.operate import store as cli_store
from chassis.operate import timers as cli_timers
from chassis.settings import EXIT_BAD_SETTING, ServiceSettings, SettingsError, load_or_exit
from chassis.store import Store, is_passing, no_answer
from chassis.store.rows import audit
from chassis.store.store import ERRORS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from chassis.host import Service, StoreGuard

S = TypeVar("S", bound=ServiceSettings)
log = structlog.get_logger(__name__)
Command = Callable[[Any, argparse.Namespace], Awaitable[int]]
MOST_LISTED = 100_000


def logged_in_user() -> str:
    """For the audit. A container may run under a uid that no one has a name for: then the number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # OSError since Python 3.13
        return f"uid {os.getuid()}"


@dataclass(frozen=True)
class ExtraCommand:
    """A command of the service's own: its words for --help, its arguments, and what it does."""

    help: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Command


@dataclass(frozen=True)
class ServiceDefinition(Generic[S]):
    """What the command line needs to know of a service."""

    name: str
    settings_type: type[S]
    build: Callable[[S], Awaitable["Service"]]
    migrations: Path
    destinations: Sequence[str] = ()
    """The partners that it delivers to."""
    replay_hl7: Callable[[S, Store, UUID, str], Awaitable[Replayed]] | None = None
    """Processes a kept HL7 message again; only of a service that hears HL7."""
    guard: Callable[[S, Store], "StoreGuard"] | None = None
    """Compares the store with the topics; of every service that has a store of its own to lose."""
    extra: Mapping[str, ExtraCommand] = field(default_factory=dict)
    tables: str | None = None
    """The module with the service's own models, whose ``Base`` has them all; only of one that has tables."""


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
        "--check", action="store_true", help="change nothing: say where the store's tables are not the models'"
    )
    add("topics", "create the Kafka topics that are missing", _topics)

    letters = _group(commands, "dead-letters", "messages that could not be handled")
    listed = _listing(add("list", "the open ones, newest first", _letters_list, letters))
    listed.add_argument("--state", choices=("open", "replayed", "dropped"), default="open", help="which (open)")
    showing = _acting(_identified(add("show", "one of them, without its content unless asked", _letters_show, letters)))
    showing.add_argument(
        "--content", action="store_true", help="with the message itself: it may hold a patient's data; audited"
    )
    for name, words, run in (
        ("replay", "handle it again, after the cause is mended", _letters_replay),
        ("drop", "give it up", _letters_drop),
    ):
        _acting(_identified(add(name, words, run, letters)))

    parked = _group(commands, "parked", "aggregates whose messages wait behind one that failed for a passing reason")
    _listing(add("list", "the parked keys, longest first", _parked_list, parked))
    release = _acting(add("release", "try a key again at once", _parked_release, parked))
    release.add_argument("consumer", help="the consumer, as listed")
    release.add_argument("key", type=UUID, help="the key, as listed")

    outgoing = _group(commands, "deliveries", "messages to partners")
    listed = _listing(add("list", "the newest", _deliveries_list, outgoing))
    listed.add_argument("--state", choices=("pending", "done", "dead", "dropped"), help="only these")
    listed.add_argument("--destination", help="only to this partner")
    words = "send a dead or waiting one now, or all dead ones to a partner; with the same idempotency keys"
    cli_retry.arguments(_acting(add("retry", words, cli_retry.run, outgoing)))
    _acting(_identified(add("drop", "give it up", _deliveries_drop, outgoing)))

    words = "what becomes due in the future, and what of it failed"
    cli_timers.commands(_group(commands, "timers", words), add, _listing, _acting)

    outbox = _group(commands, "outbox", "events on their way to Kafka")
    words = "send events again that Kafka has lost; readers drop what they know"
    cli_resend.arguments(_acting(add("resend", words, cli_resend.run, outbox)))

    gone = _group(commands, "missed", "records and revisions that a consumer did not get")
    _listing(add("list", "what nobody has acknowledged, newest first", _missed_list, gone))
    settle = _acting(add("acknowledge", "end the alarm, after what is missing was sent again", _acknowledge, gone))
    settle.add_argument("id", type=UUID, nargs="?", help="its id, as listed")
    settle.add_argument("--all", action="store_true", help="all that are listed")

    if definition.replay_hl7 is not None:
        _hl7_commands(commands, add)

    if definition.guard is not None:
        store = _group(commands, "store", "which site and partners the store belongs to")
        _acting(add("show", "what it belongs to, and whether it fits", cli_store.show, store))
        words = "accept site, partners and topics as they are now; audited"
        cli_store.arguments(_acting(add("adopt", words, cli_store.adopt, store)))

    for name, extra in definition.extra.items():
        command = add(name, extra.help, _extra(extra))
        extra.arguments(command)
    return parser


def _hl7_commands(commands: Any, add: Callable[..., argparse.ArgumentParser]) -> None:
    setup = _group(commands, "needs-setup", "HL7 messages that wait for a setting, or failed")
    _listing(add("list", "what waits, with the setting that is missing", _setup_list, setup))
    words = "one of them with its raw content: it holds a patient's data; audited"
    _acting(_identified(add("show", words, _setup_show, setup)))
    replay = _acting(add("replay", "process again, after the setting is made", _setup_replay, setup))
    replay.add_argument("id", type=UUID, nargs="?", help="the message, as listed")
    replay.add_argument("--all", action="store_true", help="all that wait, oldest first")
    journal = _group(commands, "journal", "every HL7 message that came in, with what became of it")
    listed = _listing(add("list", "the newest, without content", _journal_list, journal))
    listed.add_argument("--state", choices=STATES, help="only these")


def _group(commands: Any, name: str, words: str) -> Any:
    return commands.add_parser(name, help=words, description=words).add_subparsers(dest="action", required=True)


def _listing(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    command.add_argument("--limit", type=_count, default=50, help="how many at most (50)")
    command.add_argument("--json", action="store_true", help="every column, a JSON object a line")
    return command


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_LISTED:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {MOST_LISTED}")
    return int(text)


def _identified(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    command.add_argument("id", type=UUID, help="its id, as listed")
    return command


def _acting(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    command.add_argument("--actor", default=logged_in_user(), help="who does it, for the audit (the logged-in user)")
    return command


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


@asynccontextmanager
async def _store(settings: ServiceSettings) -> "AsyncIterator[Store]":
    store = await Store.open(settings.store)
    try:
        yield store
    finally:
        await store.close()


async def _missed_list(_d: ServiceDefinition[Any], settings: ServiceSettings, options: argparse.Namespace) -> int:
    async with _store(settings) as store:
        rows = await missed.list_missed(store, limit=options.limit)
    return _list(rows, _missed_line, options, one="entry", many="entries")


async def _acknowledge(_d: ServiceDefinition[Any], settings: ServiceSettings, options: argparse.Namespace) -> int:
    if (options.id is None) == (not options.all):
        print("name one, or --all", file=sys.stderr)
        return EXIT_BAD_SETTING
    async with _store(settings) as store:
        settled = await missed.acknowledge(store, options.id, actor=options.actor)
    if not settled and options.id is not None:
        return _missing("open entry", options.id)
    print(f"{settled} acknowledged")
    return 0


async def _letters_list(_d: ServiceDefinition[Any], settings: ServiceSettings, options: argparse.Namespace) -> int:
    async with _store(settings) as store:
        rows = await dead_letters.list_dead_letters(store, state=options.state, limit=options.limit)
    return _list(rows, _letter_line, options, one="dead letter", many="dead letters")


async def _letters_show(_d: ServiceDefinition[Any], settings: ServiceSettings, options: argparse.Namespace) -> int:
    async with _store(settings) as store:
        row = await dead_letters.show_dead_letter(store, options.id)
        if row is None:
            return _missing("dead letter", options.id)
        if options.content:
            await _audit(store, options, "dead-letter.show")
    for name, value in row.model_dump(exclude={"key", "value"}).items():
        print(f"{name:14} {'–' if value is None else listing.plain(value)}")
    if options.content:
        print((row.value or b"").decode("utf-8", "replace"))
    print(f"dead letter {options.id}: {row.state}")
    return 0


async def _letters_replay(_d: ServiceDefinition[Any], settings: ServiceSettings, options: argparse.Namespace) -> int:
    async with _store(settings) as store:
        done = await dead_letters.replay_dead_letter(store, options.id, actor=options.actor)
    return _did(done, "dead letter", options.id, "is handled again by the running service")


async def _letters_drop(_d: ServiceDefinition[Any], settings: ServiceSettings, options: argparse.Namespace) -> int:
    async with _store(settings) as store:
        done = await dead_letters.drop_dead_letter(store, options.id, actor=options.actor)
    return _did(done, "dead letter", options.id, "dropped")


async def _parked_list(_d: ServiceDefinition[Any], settings: ServiceSettings, options: argparse.Namespace) -> int:
    async with _store(settings) as store:
        rows = await parking.list_parked(store, limit=options.limit)
    return _list(rows, _parked_line, options, one="parked key", many="parked keys")


async def _parked_release(_d: ServiceDefinition[Any], settings: ServiceSettings, options: argparse.Namespace) -> int:
    async with _store(settings) as store:
        done = await parking.release(store, options.consumer, options.key, actor=options.actor)
    return _did(done, "parked key", options.key, "is tried again now")


async def _deliveries_list(_d: ServiceDefinition[Any], settings: ServiceSettings, options: argparse.Namespace) -> int:
    async with _store(settings) as store:
        rows = await deliveries.list_deliveries(
            store, state=options.state, destination=options.destination, limit=options.limit
        )
    return _list(rows, _delivery_line, options, one="delivery", many="deliveries")


async def _deliveries_drop(_d: ServiceDefinition[Any], settings: ServiceSettings, options: argparse.Namespace) -> int:
    async with _store(settings) as store:
        done = await deliveries.drop_delivery(store, options.id, actor=options.actor)
    return _did(done, "delivery", options.id, "dropped")


async def _setup_list(_d: ServiceDefinition[Any], settings: ServiceSettings, options: argparse.Namespace) -> int:
    async with _store(settings) as store:
        rows = await list_journal(store, states=("needs_setup", "failed"), limit=options.limit)
    return _list(rows, _journal_line, options, one="message waits", many="messages wait")


async def _journal_list(_d: ServiceDefinition[Any], settings: ServiceSettings, options: argparse.Namespace) -> int:
    async with _store(settings) as store:
        states = [options.state] if options.state else None
        rows = await list_journal(store, states=states, limit=options.limit)
    return _list(rows, _journal_line, options, one="message", many="messages")


async def _setup_show(_d: ServiceDefinition[Any], settings: ServiceSettings, options: argparse.Namespace) -> int:
    async with _store(settings) as store:
        kept = await kept_message(store, options.id)
        if kept is None:
            return _missing("message", options.id)
        await _audit(store, options, "hl7.show")
    print(kept.raw.replace(b"\r", b"\n").decode("utf-8", "replace"))
    print(f"message {options.id}: {kept.state}: {kept.reason or '–'}; set {kept.setting or '–'}")
    return 0


_NOT_OFFERED = Replayed(ReplayOutcome.FAILED, "not offered")


async def _setup_replay(
    definition: ServiceDefinition[Any], settings: ServiceSettings, options: argparse.Namespace
) -> int:
    if (options.id is None) == (not options.all):
        print("name one message, or --all", file=sys.stderr)
        return 2
    replay = definition.replay_hl7
    failed = 0
    async with _store(settings) as store:
        wanted = [options.id]
        if options.all:
            rows = await list_journal(store, states=("needs_setup", "failed"), limit=1_000_000)
            wanted = [row.id for row in reversed(rows)]
        for identifier in wanted:
            try:
                replayed = await replay(settings, store, identifier, options.actor) if replay else _NOT_OFFERED
            except KeyError:
                return _missing("waiting message", identifier)
            failed += not replayed.is_processed
            print(f"{identifier} {replayed}")
    print(f"{definition.name}: {len(wanted) - failed} processed, {failed} still wait")
    return 1 if failed else 0


def _list(
    rows: Sequence[listing.R],
    line: Callable[[listing.R], listing.Line],
    options: argparse.Namespace,
    *,
    one: str,
    many: str,
) -> int:
    return listing.show(rows, line, one=one, many=many, limit=options.limit, as_json=options.json)


def _letter_line(row: dead_letters.LetterRow) -> listing.Line:
    at = "" if row.kafka_offset is None else f"@{row.kafka_offset}"
    where = row.topic if row.partition is None else f"{row.topic} {row.partition}{at}"
    return listing.Line(row.id, row.created_at, row.state, where, f"{row.kind}: {row.reason}")


def _missed_line(row: missed.MissedRow) -> listing.Line:
    why = f"{missed.place_of(row)}: {missed.words_of(row)}"
    return listing.Line(row.id, row.noticed_at, row.kind, row.consumer, why)


def _parked_line(row: parking.ParkedRow) -> listing.Line:
    what = f"{row.consumer}: {row.waiting} waiting"
    again = f"tried {_times(row.attempts)}, next {moment(row.next_attempt_at)} UTC"
    return listing.Line(row.key, row.since, "parked", what, f"{row.reason}; {again}")


def _delivery_line(row: deliveries.DeliveryRow) -> listing.Line:
    why = row.last_error or ""
    if row.state == "pending":
        again = f"next try {moment(row.next_attempt_at)} UTC"
        why = f"{why}; tried {_times(row.attempts)}, {again}" if why else again
    return listing.Line(row.id, row.created_at, row.state, f"{row.destination} {row.kind}", why)


def _journal_line(row: JournalRow) -> listing.Line:
    why = "; ".join(words for words in (row.reason, row.setting and f"set {row.setting}") if words)
    return listing.Line(row.id, row.received_at, row.state, f"{row.type} {row.control_id}", why)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


async def _audit(store: Store, options: argparse.Namespace, action: str) -> None:
    """Whoever looks at what is a patient's leaves a row."""
    async with store.session() as session:
        await audit(session, actor=options.actor, action=action, subject=str(options.id))
        await session.commit()


def _did(done: bool, what: str, identifier: object, words: str) -> int:  # noqa: FBT001 (an answer, not a switch)
    if not done:
        return _missing(f"open {what}", identifier)
    print(f"{what} {identifier} {words}")
    return 0


def _missing(what: str, identifier: object) -> int:
    print(f"there is no {what} {identifier}", file=sys.stderr)
    return 1
