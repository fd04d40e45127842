"""One store transaction of one batch: handlers stage in memory, and the flush writes it in few statements.

Publishing inside a handler stages an outbox row. Nothing here commits: the batch executor commits once, after
everything of the batch is written. A savepoint is a tuple of list lengths, so setting it and rolling back cost nothing.
"""

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final, NamedTuple, Protocol, TypeAlias
from uuid import UUID

import asyncpg
import orjson

import contracts
from chassis.clock import utc_now
from chassis.errors import Permanent
from chassis.observe import current_traceparent
from chassis.store import statements


class Participant(Protocol):
    """A repository of the service: aggregates loaded for the batch, changed in memory, written set-wise at the end."""

    def mark(self) -> object:
        """The mark to roll back to."""

    def rollback_to(self, mark: object) -> None:
        """Undoes every change since ``mark``."""

    async def flush(self, connection: "asyncpg.Connection") -> None:
        """Writes the changes, or stages them with ``Transaction.write``.

        Called once, before the chassis' own rows are written.
        """


Then: TypeAlias = Callable[[Sequence[Mapping[str, Any]]], Awaitable[None]]
"""Takes the rows of a staged query."""


class _OutboxRow(NamedTuple):
    topic: str
    aggregate_id: UUID
    revision: int
    message_id: UUID
    value: bytes
    headers: str
    traceparent: str | None


class _DeliveryRow(NamedTuple):
    id: UUID
    destination: str
    key: UUID
    kind: str
    payload: bytes
    headers: str
    idempotency_key: str
    traceparent: str | None
    subject: UUID


class _AuditRow(NamedTuple):
    actor: str
    action: str
    subject: str
    detail: str


class TimerWord(NamedTuple):
    """Sets the timer (kind, key, name) for ``due_at``; None cancels it."""

    kind: str
    key: UUID
    name: str
    revision: int
    due_at: datetime | None
    payload: str
    traceparent: str | None


def timer_word(
    kind: str,
    key: UUID,
    name: str,
    revision: int,
    *,
    due_at: datetime | None = None,
    payload: Mapping[str, object] | None = None,
) -> TimerWord:
    """A word in the current trace. Raises ``ValueError`` for a word that cannot be stored."""
    if _CODE.fullmatch(kind) is None or _CODE.fullmatch(name) is None:
        raise ValueError("a timer's kind and name are codes: small letters, digits, and . _ : -, at most 100")
    if due_at is not None and due_at.tzinfo is None:
        raise ValueError(f"timer {kind}: due_at has no time zone")
    text = json.dumps(dict(payload)) if payload else "{}"
    if len(text) > LARGEST_TIMER_BYTES:
        raise ValueError(f"timer {kind}: {len(text)} bytes of payload, of at most {LARGEST_TIMER_BYTES}")
    return TimerWord(kind, key, name, revision, due_at, text, current_traceparent())


def newest_of(words: Sequence[TimerWord]) -> list[TimerWord]:
    """For each timer the word of the newest revision; of equal revisions the last. Ordered by kind, key and name."""
    newest: dict[tuple[object, ...], TimerWord] = {}
    for word in words:
        known = newest.get(word[:3])
        if known is None or known.revision <= word.revision:
            newest[word[:3]] = word
    return sorted(newest.values(), key=lambda word: word[:3])


class _Mark(NamedTuple):
    outbox: int
    deliveries: int
    audit: int
    timers: int
    joined: int
    participants: tuple[object, ...]


_PARAMETER = re.compile(r"\$(\d+)")

LARGEST_EVENT_BYTES = 256 * 1024
OUTBOX_CHANNEL = "outbox"
DELIVERIES_CHANNEL = "deliveries"
TIMERS_CHANNEL = "timers"
LARGEST_TIMER_BYTES: Final = 8 * 1024
SOON: Final = timedelta(seconds=2)
"""A worker looks every second. It is woken only for a timer that is due earlier."""
_CODE: Final = re.compile(r"[a-z0-9-][a-z0-9._:-]{0,99}")


class Transaction:
    """A handler's access to the store, beside its own repositories."""

    def __init__(self, connection: "asyncpg.Connection") -> None:
        self.connection = connection
        self._participants: list[Participant] = []
        self._outbox: list[_OutboxRow] = []
        self._deliveries: list[_DeliveryRow] = []
        self._audit: list[_AuditRow] = []
        self._timers: list[TimerWord] = []
        self._joined: list[tuple[str, UUID, UUID]] = []
        self._writes: list[tuple[str, Sequence[object]]] = []
        self._query: tuple[str, Sequence[object], Then] | None = None

    def join(self, participant: Participant) -> None:
        """Adds a repository to savepoints and to the flush. Call before the first handler runs."""
        self._participants.append(participant)

    def publish(self, message: contracts.Message) -> None:
        """Stages ``message`` for its topic, as the exact bytes to send. The caller has locked its aggregate.

        Raises ``Permanent`` when the message is larger than a Kafka batch: events carry references, not documents.
        """
        value = message.to_bytes()
        if len(value) > LARGEST_EVENT_BYTES:
            raise Permanent(f"{message.type}: {len(value)} bytes are more than the {LARGEST_EVENT_BYTES} of an event")
        headers = orjson.dumps(contracts.header_values(message), default=str).decode()
        self._outbox.append(
            _OutboxRow(
                message.type,
                message.aggregate_id,
                message.revision,
                message.message_id,
                value,
                headers,
                current_traceparent(),
            )
        )

    def deliver(
        self,
        destination: str,
        *,
        key: UUID,
        kind: str,
        payload: bytes,
        idempotency_key: str,
        subject: UUID | None = None,
        delivery_id: UUID | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> UUID:
        """Stages a delivery to a partner. Deliveries of one (destination, key) arrive in the order of their staging.

        ``idempotency_key`` is shown to the partner; a second delivery with the same key to the same destination is not
        written. ``subject`` is the thing that the delivery is about, where the deliveries of one key are about several
        things. Returns the delivery's id.
        """
        identifier = delivery_id or contracts.uuid7()
        self._deliveries.append(
            _DeliveryRow(
                identifier,
                destination,
                key,
                kind,
                payload,
                json.dumps(dict(headers)) if headers else "{}",
                idempotency_key,
                current_traceparent(),
                subject or key,
            )
        )
        return identifier

    def join_lines(self, destination: str, *, former: UUID, key: UUID) -> None:
        """The deliveries of ``former`` that are not done go on in the line of ``key``, in the order of their staging.

        That holds for stored ones and for those that this transaction has staged. For two aggregates that become one.
        """
        self._joined.append((destination, former, key))

    def joined_lines(self) -> dict[tuple[str, UUID], UUID]:
        """For each (destination, former key) the key of its line now, where lines were joined one after another."""
        following = {(destination, former): key for destination, former, key in self._joined}
        found = {}
        for destination, former in following:
            key = former
            while (destination, key) in following:
                key = following[destination, key]
            found[destination, former] = key
        return found

    def set_timer(
        self,
        kind: str,
        *,
        key: UUID,
        due_at: datetime,
        revision: int,
        name: str = "-",
        payload: Mapping[str, object] | None = None,
    ) -> None:
        """Sets the timer (kind, key, name), or moves it. The service's handler of ``kind`` runs once the timer is due.

        ``revision`` is the revision of the state that the timer belongs to. A call without a newer revision than the
        store's has no effect, also when the timer has fired or was cancelled. ``name`` tells timers of one kind and key
        apart. ``payload`` is JSON without patient data.

        Raises ``ValueError`` for a kind or name that is no code, and for a time without zone.
        """
        self._timers.append(timer_word(kind, key, name, revision, due_at=due_at, payload=payload))

    def cancel_timer(self, kind: str, *, key: UUID, revision: int, name: str = "-") -> None:
        """Cancels the timer, set or not. A call with an older revision that arrives later does not set it.

        Raises ``ValueError`` for a kind or name that is no code.
        """
        self._timers.append(timer_word(kind, key, name, revision))

    @property
    def timer_words(self) -> Sequence[TimerWord]:
        """The staged words about timers, in order."""
        return self._timers

    def audit(self, *, actor: str, action: str, subject: str, detail: Mapping[str, object] | None = None) -> None:
        """Stages an audit row: opaque ids only, no patient data."""
        self._audit.append(_AuditRow(actor, action, subject, json.dumps(dict(detail or {}), default=str)))

    def mark(self) -> _Mark:
        """A savepoint: everything that is staged now."""
        participants = tuple([participant.mark() for participant in self._participants])
        return _Mark(
            len(self._outbox),
            len(self._deliveries),
            len(self._audit),
            len(self._timers),
            len(self._joined),
            participants,
        )

    def rollback_to(self, mark: _Mark) -> None:
        """Undoes what was staged since ``mark``, here and in every participant."""
        del self._outbox[mark.outbox :]
        del self._deliveries[mark.deliveries :]
        del self._audit[mark.audit :]
        del self._timers[mark.timers :]
        del self._joined[mark.joined :]
        for participant, inner in zip(self._participants, mark.participants, strict=True):
            participant.rollback_to(inner)

    def write(self, statement: str, *arguments: object) -> None:
        """Stages a participant's data-modifying statement. All staged statements go out in one round trip.

        They become parts of one statement: none sees the writes of another, and no two may touch one row. Foreign keys
        are checked when all have run.
        """
        self._writes.append((statement, arguments))

    def ask(self, query: str, *arguments: object, then: Then) -> None:
        """Stages the one query of a flush: a SELECT by functions that lock and write, whose rows the caller needs.

        The query goes out in the round trip of the staged statements, and runs before them: the locks that it takes
        are held when they write. ``then`` is called only when there are rows. What ``then`` stages is written in a
        second round trip. The query's first column is never null.
        """
        assert self._query is None  # noqa: S101 - the shape of the statement
        self._query = query, arguments, then

    async def flush(self) -> None:
        """Writes the participants' changes and the chassis' rows, staged statements in one.

        Call once, at the end: it removes the participants.
        """
        # Releases the participants: a repository that holds this transaction would form a cycle with its loaded
        # aggregates.
        participants, self._participants = self._participants, []
        for participant in participants:
            await participant.flush(self.connection)
        asked, self._query = self._query, None
        if asked is None:
            await self._write_staged()
            return
        query, arguments, then = asked
        if rows := await self._write_staged(query, arguments):
            await then(rows)
            await self._write_staged()

    async def _write_staged(self, query: str | None = None, asked: Sequence[object] = ()) -> "Sequence[asyncpg.Record]":
        """Writes everything that is staged in one statement. Returns the rows of the query."""
        channels = []
        if self._outbox:
            channels.append(OUTBOX_CHANNEL)
            self.write(statements.WRITE_OUTBOX, *zip(*self._outbox, strict=True))
        if self._joined:
            joined = self.joined_lines()
            self._deliveries = [
                row._replace(key=joined.get((row.destination, row.key), row.key)) for row in self._deliveries
            ]
            lines = [(destination, former, key) for (destination, former), key in joined.items()]
            self.write(statements.JOIN_LINES, *zip(*lines, strict=True))
        if self._deliveries:
            channels.append(DELIVERIES_CHANNEL)
            self.write(statements.WRITE_DELIVERIES, *zip(*self._deliveries, strict=True))
        if self._timers:
            self._write_timers(channels)
        if self._audit:
            self.write(statements.WRITE_AUDIT, *zip(*self._audit, strict=True))
        if not self._writes and query is None:
            return ()
        statement = _as_one(tuple([statement for statement, _ in self._writes]), query)
        arguments = [argument for _, given in self._writes for argument in given]
        rows: Sequence[asyncpg.Record] = ()
        if query is None:
            await self.connection.execute(statement, *arguments, channels)
        else:
            found = await self.connection.fetch(statement, *arguments, *asked, channels)
            rows = () if found[0][0] is None else found  # the row of no row, by the outer join
        self._outbox.clear()
        self._deliveries.clear()
        self._audit.clear()
        self._timers.clear()
        self._joined.clear()
        self._writes.clear()
        return rows

    def _write_timers(self, channels: list[str]) -> None:
        words = newest_of(self._timers)
        columns = list(zip(*words, strict=True))
        self.write(statements.WRITE_TIMERS, *columns)
        self.write(statements.FORGET_OLDER_TIMERS, *columns[:4])
        soon = utc_now() + SOON
        if any(word.due_at is not None and word.due_at <= soon for word in words):
            channels.append(TIMERS_CHANNEL)


@lru_cache(maxsize=256)
def _as_one(statements: tuple[str, ...], query: str | None) -> str:
    """The staged statements as common table expressions of one statement, with their parameters.

    Postgres runs the statement's own SELECT, which has the query, before expressions that it does not name.
    """
    parts, offset = [], 0
    for number, statement in enumerate(statements, 1):
        parts.append(f"write_{number} AS ({_counted_on(statement, offset)})")
        offset += _parameters_of(statement)
    with_parts = f"WITH {', '.join(parts)} " if parts else ""
    if query is None:
        # S608, here and below: the rest is a number, or a statement of the service's own.
        return f"{with_parts}SELECT pg_notify(channel, '') FROM unnest(${offset + 1}::text[]) AS channel"  # noqa: S608
    channels = f"unnest(${offset + _parameters_of(query) + 1}::text[]) AS channel"
    return (
        f"{with_parts}SELECT asked.* FROM (SELECT count(pg_notify(channel, '')) FROM {channels}) AS notified "  # noqa: S608
        f"LEFT JOIN ({_counted_on(query, offset)}) AS asked ON true"
    )


def _parameters_of(statement: str) -> int:
    return max((int(found) for found in _PARAMETER.findall(statement)), default=0)


def _counted_on(statement: str, offset: int) -> str:
    return _PARAMETER.sub(lambda found: f"${int(found[1]) + offset}", statement)
