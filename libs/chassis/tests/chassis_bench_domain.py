"""A tiny service for the chassis' tests: things that are counted, one event and one delivery per change."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

import contracts
from chassis.errors import Permanent, StoreUnavailable, Transient
from chassis.hl7 import InboundHl7
from chassis.settings import KafkaSettings, StoreSettings
from chassis.store import Store, Transaction, schema
from contracts.examples import EXAMPLES

EXAMPLE: Any = EXAMPLES[contracts.AppointmentScheduled]
CREATE = """
CREATE TABLE things (
    id uuid PRIMARY KEY, revision int NOT NULL, applied int[] NOT NULL CHECK (cardinality(applied) < 1000)
)
"""


async def open_store(url: str, *, pool_size: int = 10) -> Store:
    """A store with the chassis' tables and one of the service's own."""
    store = await Store.open(StoreSettings(url=url, pool_size=pool_size))
    async with store.pool.acquire() as connection:
        await connection.execute(schema.whole())
        await connection.execute(CREATE)
    return store


def event(aggregate_id: UUID, revision: int) -> contracts.Message:
    """A valid message of the aggregate."""
    return contracts.new_message(
        contracts.AppointmentScheduled,
        aggregate_id=aggregate_id,
        revision=revision,
        data=EXAMPLE.data,
        producer="scheduler-sync",
        occurred_at=datetime.now(UTC),
    )


class Things:
    """The repository: loaded and locked set-wise, written set-wise."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self.rows: dict[UUID, tuple[int, ...]] = {}
        self._changed: dict[UUID, None] = {}

    def mark(self) -> Any:
        return dict(self.rows), dict(self._changed)

    def rollback_to(self, mark: Any) -> None:
        self.rows, self._changed = dict(mark[0]), dict(mark[1])

    async def load(self, ids: Sequence[UUID]) -> None:
        statement = "SELECT id, applied FROM things WHERE id = ANY($1) ORDER BY id FOR UPDATE"
        for row in await self._transaction.connection.fetch(statement, list(set(ids))):
            self.rows[row["id"]] = tuple(row["applied"])

    def apply(self, identifier: UUID, revision: int) -> None:
        self.rows[identifier] = (*self.rows.get(identifier, ()), revision)
        self._changed[identifier] = None

    async def flush(self, connection: Any) -> None:
        rows = [(identifier, len(self.rows[identifier]), list(self.rows[identifier])) for identifier in self._changed]
        self._changed.clear()
        statement = "INSERT INTO things VALUES ($1, $2, $3) ON CONFLICT (id) DO UPDATE SET revision = $2, applied = $3"
        await connection.executemany(statement, rows)


@dataclass
class Work:
    transaction: Transaction
    things: Things


@dataclass
class Behaviour:
    """What the handler does to a message of an aggregate: nothing set means that it works."""

    permanent: set[UUID] = field(default_factory=set)
    bug: set[UUID] = field(default_factory=set)
    transient: dict[UUID, int] = field(default_factory=dict)
    retry_after_seconds: float | None = None
    """How long a transient failure asks to be left alone; None for the chassis' own pauses."""
    breaks_the_write: set[UUID] = field(default_factory=set)
    store_away: bool = False
    seen: list[tuple[UUID, int]] = field(default_factory=list)
    met: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once a batch has found the store away."""

    def open_work(self, transaction: Transaction) -> Work:
        things = Things(transaction)
        transaction.join(things)
        return Work(transaction, things)

    async def prefetch(self, work: Work, messages: Sequence[contracts.Message]) -> None:
        if self.store_away:
            self.met.set()
            raise StoreUnavailable("told so")
        await work.things.load([message.aggregate_id for message in messages])

    async def handle(self, work: Work, message: contracts.Message) -> None:
        aggregate = message.aggregate_id
        self.seen.append((aggregate, message.revision))
        work.things.apply(aggregate, message.revision)
        work.transaction.publish(event(aggregate, message.revision))
        work.transaction.deliver(
            "partner", key=aggregate, kind="k", payload=b"p", idempotency_key=message.message_id.hex
        )
        if aggregate in self.permanent:
            raise Permanent("told so")
        if aggregate in self.bug:
            raise ZeroDivisionError("Roe^Jane mrn 4711 jane@example.org")
        if self.transient.get(aggregate, 0) > 0:
            self.transient[aggregate] -= 1
            raise Transient("told so", retry_after_seconds=self.retry_after_seconds)
        if aggregate in self.breaks_the_write:
            work.things.rows[aggregate] = tuple(range(1000))


async def applied(store: Store) -> dict[UUID, list[int]]:
    return {row["id"]: list(row["applied"]) for row in await store.pool.fetch("SELECT id, applied FROM things")}


def kafka_settings(bootstrap: str, prefix: str) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=bootstrap, topic_prefix=prefix)


SPACE = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")


def siu(control_id: str, placer: str, note: str = "") -> bytes:
    return (
        f"MSH|^~\\&|RAMSOFT|FAC01|SUITE|NORTHSIDE|20261125093000-0500||SIU^S12|{control_id}|P|2.3.1\r"
        f"SCH|{placer}^RAMSOFT|A1\rPID|1||4711^^^NORTHSIDE||Roe^Jane\rNTE|1||{note}\r"
    ).encode()


@dataclass
class Desk:
    """A handler that does what it was told about a placer number."""

    raises: dict[str, Exception] = field(default_factory=dict)

    def open_work(self, transaction: Transaction) -> Any:
        things = Things(transaction)
        transaction.join(things)
        return transaction, things

    async def prefetch(self, work: Any, items: list[InboundHl7]) -> None:
        await work[1].load([uuid5(SPACE, item.message.get("SCH-1") or "") for item in items])

    async def handle(self, work: Any, item: InboundHl7) -> None:
        placer = item.message.get("SCH-1") or ""
        identifier = uuid5(SPACE, placer)
        revision = len(work[1].rows.get(identifier, ())) + 1
        work[1].apply(identifier, revision)
        work[0].publish(event(identifier, revision))
        if placer in self.raises:
            raise self.raises[placer]
