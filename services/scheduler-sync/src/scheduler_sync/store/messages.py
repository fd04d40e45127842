"""The search of messages: HL7 in and out, FHIR writes and Tasks, newest first, page by page in both directions.

Each kind is read by an index of its own and in its own order; the pages merge the kinds. The ids of deliveries are
UUIDs of version 7, which ascend with time, so their primary key is the index by time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from chassis.observe import masking
from chassis.store import Store
from chassis.store.lazily import lazily
from chassis.store.rows import fixed, is_any, sql
from chassis.store.rows import tables as chassis_tables
from scheduler_sync.adapters.powerserver.terms import LONGEST_TERM, ORDER, PATIENT
from scheduler_sync.commands import cause_of_task
from scheduler_sync.domain.appointment import System

if TYPE_CHECKING:
    from scheduler_sync.store import tables
else:
    (tables,) = lazily("scheduler_sync.store.tables")

ROWS: Final = 50
KINDS: Final[Mapping[str, str]] = {
    "hl7-in": "HL7 from PowerServer",
    "hl7-out": "HL7 to PowerServer",
    "fhir": "FHIR write to OmegaAI",
    "task": "Task of OmegaAI",
    "parked-task": "parked Task of OmegaAI",
}
OUTCOMES: Final[Mapping[str, str]] = {
    "done": "had its effect",
    "waits": "waits",
    "refused": "refused for good",
    "dropped": "given up",
}
_RANKS: Final = {kind: rank for rank, kind in enumerate(KINDS)}
_DESTINATIONS: Final = {"hl7-out": System.POWERSERVER, "fhir": System.OMEGAAI}
_JOURNAL_STATES: Final = {
    "done": ("accepted", "replayed"),
    "waits": ("needs_setup", "failed"),
    "refused": ("rejected",),
    "dropped": ("dropped",),
}
_DELIVERY_STATES: Final = {"done": "done", "waits": "pending", "refused": "dead", "dropped": "dropped"}
_OUTCOMES_OF: Final = {
    **{state: outcome for outcome, states in _JOURNAL_STATES.items() for state in states},
    **{state: outcome for outcome, state in _DELIVERY_STATES.items()},
}
_MOST_SENDERS: Final = 1000
_MILLISECOND: Final = timedelta(milliseconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A search. ``control_id``: MSH-10, a delivery's idempotency key or id, or a Task's id."""

    kind: str = ""
    outcome: str = ""
    order: str = ""
    patient: str = ""
    control_id: str = ""
    since: datetime | None = None
    until: datetime | None = None


class Place(NamedTuple):
    """A row's place among all rows: pages go on from it."""

    at: datetime
    kind: str
    id: str


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A message in the list: no content, and only codes of the sender's header. ``outcome`` is one of ``OUTCOMES``."""

    kind: str
    id: str
    at: datetime
    name: str
    number: str
    outcome: str
    state: str
    why: str | None
    link_id: UUID | None

    @property
    def place(self) -> Place:
        return Place(self.at, self.kind, self.id)


@dataclass(frozen=True, slots=True)
class Found:
    """A page of rows, newest first. ``has_older`` and ``has_newer``: whether there are pages beyond."""

    rows: Sequence[MessageRow]
    has_older: bool
    has_newer: bool


@dataclass(frozen=True, slots=True)
class _Scope:
    """The appointments and patients that a search is about. ``terms``: those of messages without an effect."""

    links: Sequence[UUID]
    patients: Sequence[UUID]
    resources: Sequence[str]
    terms: Sequence[str]


class Messages:
    """Each method is one session."""

    def __init__(self, store: Store, site: str) -> None:
        self._store = store
        self._site = site

    async def search(self, wanted: Wanted, place: Place | None = None, *, newer: bool = False) -> Found:
        """The rows behind ``place``, or before it where ``newer``; the newest of all without a place."""
        found: list[MessageRow] = []
        async with self._store.session() as session:
            for kind, statement in await self.statements(session, wanted, place, newer=newer):
                found += [_ROW_OF[kind](kind, row) for row in await session.exec(statement)]
            found.sort(key=_order, reverse=not newer)
            shown, has_more = found[:ROWS], len(found) > ROWS
            if newer:
                shown.reverse()
            links = await self._links_of(session, shown)
        rows = [row if row.link_id is not None else _with_link(row, links) for row in shown]
        return Found(
            rows,
            has_older=bool(rows) if newer else has_more,
            has_newer=has_more if newer else place is not None and bool(rows),
        )

    async def statements(
        self, session: Any, wanted: Wanted, place: Place | None, *, newer: bool = False
    ) -> list[tuple[str, Any]]:
        """The query of each kind that the search includes."""
        scope = await self._scope(session, wanted)
        made = []
        for kind in KINDS:
            if wanted.kind not in {"", kind, *(["task"] if kind == "parked-task" else [])}:
                continue
            query = _QUERIES[kind](kind, wanted, scope)
            if query is not None:
                statement, at, identifier = query
                made.append((kind, _paged(kind, statement, at, identifier, place, newer=newer)))
        return made

    async def keep(self, wanted: Mapping[str, str], *, actor: str, search_id: UUID) -> None:
        """Keeps the terms of a search for its pages. Searches older than a day are forgotten."""
        searches = tables.MessageSearches
        async with self._store.session() as session:
            age = sql.func.clock_timestamp() - sql.literal(timedelta(days=1))
            await session.exec(sql.delete(searches).where(searches.made_at < age))
            await session.exec(sql.insert(searches).values(id=search_id, actor=actor, wanted=dict(wanted)))
            await session.commit()

    async def kept(self, search_id: UUID, *, actor: str) -> Mapping[str, str] | None:
        """The terms of a search; None when it is forgotten, or another person's."""
        searches = tables.MessageSearches
        async with self._store.session() as session:
            asked = sql.select(searches.wanted).where(searches.id == search_id, searches.actor == actor)
            found: Mapping[str, str] | None = (await session.exec(asked)).first()
            return found

    async def _scope(self, session: Any, wanted: Wanted) -> _Scope | None:
        if not (wanted.order or wanted.patient):
            return None
        links, identifiers = tables.AppointmentLinks, tables.PatientIdentifiers
        asked = sql.select(links.id, links.patient_id, links.omegaai_id).where(links.site == self._site)
        patients: list[UUID] = []
        if wanted.patient:
            issuers = _distinct(identifiers.issuer, identifiers.site == self._site)
            numbered = sql.select(identifiers.patient_id).where(
                identifiers.site == self._site,
                sql.col(identifiers.issuer).in_(sql.select(issuers.c.value)),
                identifiers.value == wanted.patient,
            )
            patients = list((await session.exec(numbered)).all())
            asked = asked.where(is_any(links.patient_id, patients))
        if wanted.order:
            asked = asked.where(sql.or_(links.placer_number == wanted.order, links.omegaai_id == wanted.order))
        found = (await session.exec(asked)).all()
        terms = [(ORDER, wanted.order), (PATIENT, wanted.patient)]
        return _Scope(
            links=[row.id for row in found],
            patients=patients if wanted.patient and not wanted.order else list({row.patient_id for row in found}),
            resources=[f"Appointment/{row.omegaai_id}" for row in found if row.omegaai_id],
            terms=[prefix + value[:LONGEST_TERM] for prefix, value in terms if value],
        )

    async def _links_of(self, session: Any, shown: Sequence[MessageRow]) -> Mapping[str, UUID]:
        """The appointments of messages and deliveries, by the rows' ids."""
        journal = [UUID(row.id) for row in shown if row.kind == "hl7-in"]
        sent = [UUID(row.id) for row in shown if row.kind in _DESTINATIONS]
        history, deliveries, links = tables.LinkHistory, chassis_tables.Deliveries, tables.AppointmentLinks
        found: dict[str, UUID] = {}
        if journal:
            caused = sql.select(history.cause_id, history.link_id).where(is_any(history.cause_id, journal))
            found |= {str(cause): link for cause, link in await session.exec(caused)}
        if sent:
            about = (
                sql.select(deliveries.id, links.id)
                .select_from(deliveries)
                .join(links, sql.or_(links.id == deliveries.subject, links.id == deliveries.key))
            )
            found |= {
                str(delivery): link for delivery, link in await session.exec(about.where(is_any(deliveries.id, sent)))
            }
        return found


def outcome_of(state: str) -> str:
    """One of ``OUTCOMES`` for a state of a received message or a delivery."""
    return _OUTCOMES_OF[state]


def _with_link(row: MessageRow, links: Mapping[str, UUID]) -> MessageRow:
    return MessageRow(
        row.kind, row.id, row.at, row.name, row.number, row.outcome, row.state, row.why, links.get(row.id)
    )


def _received(_kind: str, wanted: Wanted, scope: _Scope | None) -> Any:
    journal, history = chassis_tables.Hl7Journal, tables.LinkHistory
    asked = sql.select(
        journal.id, journal.received_at, journal.type, journal.control_id, journal.state, journal.reason, journal.sender
    )
    if scope is not None:
        caused = sql.select(history.cause_id).where(is_any(history.link_id, scope.links))
        named = sql.select(journal.id).where(
            sql.col(journal.terms).is_not(None), sql.col(journal.terms).contains(list(scope.terms))
        )
        asked = asked.where(sql.col(journal.id).in_(sql.union(caused, named)))
    if wanted.control_id:
        senders = _distinct(journal.sender)
        asked = asked.where(
            sql.col(journal.sender).in_(sql.select(senders.c.value)), journal.control_id == wanted.control_id
        )
    if wanted.outcome == "refused" or wanted.outcome == "dropped":  # noqa: PLR1714 (one index serves both)
        asked = asked.where(_either(journal.state, ("rejected", "dropped")))
    if wanted.outcome:
        asked = asked.where(_either(journal.state, _JOURNAL_STATES[wanted.outcome]))
    return _between(asked, journal.received_at, wanted), journal.received_at, journal.id


def _sent(kind: str, wanted: Wanted, scope: _Scope | None) -> Any:
    deliveries = chassis_tables.Deliveries
    asked = sql.select(
        deliveries.id, deliveries.kind, deliveries.idempotency_key, deliveries.state, deliveries.last_error
    ).where(deliveries.destination == fixed(_DESTINATIONS[kind]))
    if scope is not None:
        keys = [*scope.links, *scope.patients]
        asked = asked.where(
            is_any(deliveries.key, keys),
            sql.or_(sql.col(deliveries.subject).is_(None), is_any(deliveries.subject, keys)),
        )
    if wanted.control_id:
        is_it = deliveries.idempotency_key == wanted.control_id
        as_id = _uuid(wanted.control_id)
        asked = asked.where(is_it if as_id is None else deliveries.id == as_id)
    if wanted.outcome:
        asked = asked.where(deliveries.state == fixed(_DELIVERY_STATES[wanted.outcome]))
    if wanted.since is not None:
        asked = asked.where(deliveries.id >= _first_id(wanted.since))
    if wanted.until is not None:
        asked = asked.where(deliveries.id < _first_id(wanted.until))
    return asked, None, deliveries.id


def _tasks(_kind: str, wanted: Wanted, scope: _Scope | None) -> Any:
    history = tables.LinkHistory
    if wanted.outcome not in {"", "done"}:
        return None
    asked = sql.select(history.id, history.at, history.message, history.outcome, history.link_id).where(
        history.source == fixed(System.OMEGAAI)
    )
    if scope is not None:
        asked = asked.where(is_any(history.link_id, scope.links))
    if wanted.control_id:
        asked = asked.where(history.cause_id == cause_of_task(wanted.control_id))
    return _between(asked, history.at, wanted), history.at, history.id


def _parked(_kind: str, wanted: Wanted, scope: _Scope | None) -> Any:
    parked = tables.ParkedTasks
    if wanted.outcome not in {"", "waits"}:
        return None
    asked = sql.select(parked.task_id, parked.parked_at, parked.focus, parked.reason).where(
        sql.col(parked.replayed_at).is_(None)
    )
    if scope is not None:
        asked = asked.where(is_any(parked.focus, scope.resources))
    if wanted.control_id:
        asked = asked.where(parked.task_id == wanted.control_id)
    return _between(asked, parked.parked_at, wanted), parked.parked_at, parked.task_id


_QUERIES: Final = {"hl7-in": _received, "hl7-out": _sent, "fhir": _sent, "task": _tasks, "parked-task": _parked}


def _received_row(kind: str, row: Any) -> MessageRow:
    number = masking.message_id(row.control_id) if row.control_id else ""
    name = masking.message_type(row.type)
    return MessageRow(
        kind, str(row.id), row.received_at, name, number, _OUTCOMES_OF[row.state], row.state, row.reason, None
    )


def _sent_row(kind: str, row: Any) -> MessageRow:
    number = row.idempotency_key if kind == "hl7-out" else str(row.id)
    why = None if row.state == "done" else row.last_error
    outcome = _OUTCOMES_OF[row.state]
    return MessageRow(kind, str(row.id), time_of(row.id), row.kind, number, outcome, row.state, why, None)


def _task_row(kind: str, row: Any) -> MessageRow:
    return MessageRow(kind, str(row.id), row.at, row.message, "", "done", row.outcome, None, row.link_id)


def _parked_row(kind: str, row: Any) -> MessageRow:
    return MessageRow(kind, row.task_id, row.parked_at, row.focus, row.task_id, "waits", "parked", row.reason, None)


_ROW_OF: Final = {
    "hl7-in": _received_row,
    "hl7-out": _sent_row,
    "fhir": _sent_row,
    "task": _task_row,
    "parked-task": _parked_row,
}


def _order(row: MessageRow) -> tuple[datetime, int, str]:
    identifier = row.id.rjust(20, "0") if row.kind == "task" else row.id
    return row.at, _RANKS[row.kind], identifier


def _paged(kind: str, statement: Any, at: Any, identifier: Any, place: Place | None, *, newer: bool) -> Any:
    """``statement`` in the order of ``at`` and ``identifier``, from ``place`` on; one row more than a page."""
    order = [sql.col(one) for one in (at, identifier) if one is not None]
    if place is not None:
        before, behind = _RANKS[kind] < _RANKS[place.kind], _RANKS[kind] > _RANKS[place.kind]
        if at is None:
            statement = statement.where(_id_beyond(identifier, kind, place, newer=newer))
        elif kind == place.kind:
            end = sql.tuple_(place.at, _TYPES[kind](place.id))
            statement = statement.where(sql.tuple_(*order) > end if newer else sql.tuple_(*order) < end)
        elif newer:
            statement = statement.where(at >= place.at if behind else at > place.at)
        else:
            statement = statement.where(at <= place.at if before else at < place.at)
    by = [one.asc() if newer else one.desc() for one in order]
    return statement.order_by(*by).limit(ROWS + 1)


_TYPES: Final[Mapping[str, Any]] = {"hl7-in": UUID, "task": int, "parked-task": str}


def _id_beyond(identifier: Any, kind: str, place: Place, *, newer: bool) -> Any:
    """As ``_paged`` compares times, on ids that hold their times in whole milliseconds."""
    if place.kind in _DESTINATIONS and kind == place.kind:
        return identifier > UUID(place.id) if newer else identifier < UUID(place.id)
    same = _first_id(place.at)
    is_whole = place.at == time_of(same)
    after = _first_id(place.at + _MILLISECOND)
    before, behind = _RANKS[kind] < _RANKS[place.kind], _RANKS[kind] > _RANKS[place.kind]
    if newer:
        return identifier >= (same if is_whole and behind else after)
    return identifier < (after if not is_whole or before else same)


def _between(asked: Any, at: Any, wanted: Wanted) -> Any:
    if wanted.since is not None:
        asked = asked.where(at >= wanted.since)
    return asked if wanted.until is None else asked.where(at < wanted.until)


def _either(column: Any, values: Sequence[str]) -> Any:
    return sql.or_(*(column == fixed(one) for one in values))


def _distinct(column: Any, condition: Any = None) -> Any:
    """The different values of an index's first free column, one look-up each: Postgres 15 has no skip scan."""
    where = [] if condition is None else [condition]
    first = sql.select(column.label("value")).where(*where).order_by(column).limit(1).subquery()
    values = sql.select(first.c.value).cte(recursive=True)
    following = sql.select(column).where(*where, column > values.c.value).order_by(column).limit(1).scalar_subquery()
    values = values.union_all(sql.select(following).where(values.c.value.is_not(None)))
    return sql.select(values.c.value).where(values.c.value.is_not(None)).limit(_MOST_SENDERS).subquery()


def _first_id(at: datetime) -> UUID:
    """The smallest UUID of version 7 of this millisecond."""
    milliseconds = max((at - _EPOCH) // _MILLISECOND, 0)
    return UUID(int=min(milliseconds, 2**48 - 1) << 80)


def time_of(identifier: UUID) -> datetime:
    """The time in a UUID of version 7, in whole milliseconds."""
    try:
        return _EPOCH + (identifier.int >> 80) * _MILLISECOND
    except OverflowError:  # an id of another kind
        return datetime.max.replace(tzinfo=UTC)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
