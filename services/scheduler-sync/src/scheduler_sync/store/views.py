"""The queries of the pages and commands: opaque ids, order numbers and reasons; of a patient only the FHIR id."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple
from uuid import UUID

from chassis.store import Store
from chassis.store.lazily import lazily
from chassis.store.rows import columns as columns_of
from chassis.store.rows import fixed, is_any, rows, sql
from chassis.store.rows import tables as chassis_tables
from scheduler_sync.domain.appointment import AppointmentLink, State
from scheduler_sync.receipts import NOT_ACKNOWLEDGED
from scheduler_sync.store import columns

if TYPE_CHECKING:
    from scheduler_sync.store import tables
else:
    (tables,) = lazily("scheduler_sync.store.tables")

_MOST_WAITING = 500
_FARTHEST_ZONE: Final = timedelta(hours=14)


class LinkPlace(NamedTuple):
    """A row's place: the next page goes on behind it. ``at``: the change, or the start in a day's list."""

    at: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class LinkFilter:
    """The filter of the list of links; it stands in the page's address.

    ``day``: in the zone of each appointment. ``attention_only``: a delivery was refused for good, or a message waits.
    """

    state: str = ""
    facility: str = ""
    resource: str = ""
    day: date | None = None
    who_acts_next: str = ""
    placer_number: str = ""
    conflicts_only: bool = False
    attention_only: bool = False
    after: "LinkPlace | None" = None
    ROWS: ClassVar[int] = 50


@dataclass(frozen=True, slots=True)
class LinkRow:
    """A link in the list.

    ``has_dead``: a delivery about it or its patient was refused for good. ``waits``: a message that it has heard waits
    for a setting as well.
    """

    id: UUID
    placer_number: str
    facility: str
    resource: str
    slot_start: datetime | None
    slot_zone: str | None
    state: str
    who_acts_next: str
    updated_at: datetime
    has_conflicts: bool
    has_dead: bool
    waits: bool


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """A line of a link's history.

    ``cause_id``: a message of the journal, a Task, or a delivery. ``control_id`` and ``journal_state`` are those of the
    HL7 message that caused it, if any.
    """

    at: datetime
    source: str
    message: str
    cause_id: UUID
    outcome: str
    state_before: str
    state_after: str
    changed: list[str]
    delivery_ids: list[UUID]
    control_id: str | None
    journal_state: str | None


@dataclass(frozen=True, slots=True)
class DeliveryOfLink:
    """A delivery that an input caused, and the partner's answer."""

    id: UUID
    destination: str
    kind: str
    state: str
    attempts: int
    last_error: str | None
    idempotency_key: str
    receipt: str | None
    created_at: datetime
    done_at: datetime | None

    @property
    def is_unacknowledged(self) -> bool:
        """Whether it was written to a station that sends no acknowledgement."""
        return NOT_ACKNOWLEDGED in (self.receipt or "")


@dataclass(frozen=True, slots=True)
class ConflictRow:
    """A refused or overruled input, with the reason. ``is_message``: an HL7 message of the journal caused it."""

    id: int
    at: datetime
    source: str
    cause_id: UUID
    why: str
    link_id: UUID
    placer_number: str
    is_message: bool


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event about a link, and when Kafka took it."""

    topic: str
    revision: int
    created_at: datetime
    sent_at: datetime | None


@dataclass(frozen=True, slots=True)
class SeenRow:
    """What OmegaAI showed of a link when the reconciliation last read the day."""

    status: str
    starts: datetime | None
    resource: str | None
    read_at: datetime


@dataclass(frozen=True, slots=True)
class WaitingMessage:
    """An HL7 message that waits for a setting."""

    id: UUID
    sender: str
    control_id: str
    type: str
    reason: str | None
    setting: str | None
    repeats: int
    received_at: datetime


@dataclass(frozen=True, slots=True)
class ParkedTaskRow:
    """A Task that could not be processed."""

    task_id: str
    focus: str
    expression: str | None
    reason: str
    parked_at: datetime
    replayed_at: datetime | None


@dataclass(frozen=True, slots=True)
class RefusedRequest:
    """A patient's request that PowerServer did not take; ``reason`` names the setting that is missing there."""

    delivery_id: UUID
    link_id: UUID
    placer_number: str
    reason: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class CursorRow:
    """How far the Task queue has been read."""

    feed: str
    last_task_id: str
    last_authored_on: str | None
    read_at: datetime


class Views:
    """Each method is one session."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def links(self, wanted: LinkFilter) -> list[LinkRow]:
        """The newest changes first, or a day in the order of its starts; a page at a time."""
        links = tables.AppointmentLinks
        async with self._store.session() as session:
            has_conflicts = sql.exists().where(sql.col(tables.Conflicts.link_id) == links.id)
            shown = [
                links.id, links.placer_number, links.facility, links.resource, links.slot_start, links.slot_zone,
                links.state, links.who_acts_next, links.updated_at, has_conflicts, _has_dead(links), _waits(links),
            ]  # fmt: skip
            found = sql.select(*shown)
            for condition in _conditions(links, wanted, has_conflicts):
                found = found.where(condition)
            by = [sql.col(links.updated_at if wanted.day is None else links.slot_start), sql.col(links.id)]
            if wanted.after is not None:
                end = sql.tuple_(*wanted.after)
                found = found.where(sql.tuple_(*by) < end if wanted.day is None else sql.tuple_(*by) > end)
            order = [one.desc() if wanted.day is None else one.asc() for one in by]
            return await rows(session, LinkRow, found.order_by(*order).limit(wanted.ROWS))

    async def link(self, link_id: UUID) -> AppointmentLink | None:
        async with self._store.session() as session:
            links = tables.AppointmentLinks
            found = (await session.exec(sql.select(links).where(links.id == link_id))).first()
            return None if found is None else columns.link(found.model_dump())

    async def fhir_id(self, patient_id: UUID) -> str | None:
        """OmegaAI's id of the patient; None while the patient is not known there."""
        async with self._store.session() as session:
            patients = tables.Patients
            fhir_id: str | None = (
                await session.exec(sql.select(patients.fhir_id).where(patients.id == patient_id))
            ).first()
            return fhir_id

    async def history(self, link_id: UUID) -> list[HistoryRow]:
        async with self._store.session() as session:
            history, journal = tables.LinkHistory, chassis_tables.Hl7Journal
            shown = [
                history.at, history.source, history.message, history.cause_id, history.outcome, history.state_before,
                history.state_after, history.changed, history.delivery_ids, journal.control_id, journal.state,
            ]  # fmt: skip
            found = sql.select(*shown).select_from(history).outerjoin(journal, journal.id == history.cause_id)
            return await rows(session, HistoryRow, found.where(history.link_id == link_id).order_by(history.id))

    async def deliveries(self, delivery_ids: Sequence[UUID]) -> dict[UUID, DeliveryOfLink]:
        async with self._store.session() as session:
            deliveries = chassis_tables.Deliveries
            found = sql.select(*columns_of(deliveries, DeliveryOfLink)).where(is_any(deliveries.id, delivery_ids))
            return {row.id: row for row in await rows(session, DeliveryOfLink, found)}

    async def conflicts(self, link_id: UUID | None = None, *, before: int | None = None) -> list[ConflictRow]:
        """Those of a link, or the newest of all before the one of this number; the newest first."""
        async with self._store.session() as session:
            conflicts, links, journal = tables.Conflicts, tables.AppointmentLinks, chassis_tables.Hl7Journal
            shown = [
                conflicts.id, conflicts.at, conflicts.source, conflicts.cause_id, conflicts.why, conflicts.link_id,
                links.placer_number, sql.col(journal.id).is_not(None),
            ]  # fmt: skip
            found = sql.select(*shown).join(links, links.id == conflicts.link_id)
            found = found.outerjoin(journal, journal.id == conflicts.cause_id)
            if link_id is not None:
                found = found.where(conflicts.link_id == link_id)
            if before is not None:
                found = found.where(sql.col(conflicts.id) < before)
            return await rows(session, ConflictRow, found.order_by(sql.col(conflicts.id).desc()).limit(LinkFilter.ROWS))

    async def events(self, link_id: UUID) -> list[EventRow]:
        """The events about a link that are not yet past their retention."""
        async with self._store.session() as session:
            outbox = chassis_tables.Outbox
            found = sql.select(*columns_of(outbox, EventRow)).where(outbox.aggregate_id == link_id)
            return await rows(session, EventRow, found.order_by(outbox.revision))

    async def seen(self, link_id: UUID) -> list[SeenRow]:
        """What OmegaAI showed of a link, where a reconciliation has read its day."""
        async with self._store.session() as session:
            seen, days, links = tables.ReconcileSeen, tables.ReconcileDays, tables.AppointmentLinks
            key = sql.select(links.omegaai_id).where(links.id == link_id).scalar_subquery()
            found = sql.select(seen.status, seen.starts, seen.resource, days.read_at).join(
                days, sql.and_(days.side == seen.side, days.day == seen.day)
            )
            is_it = sql.and_(seen.side == fixed("omegaai"), seen.key == key)
            return await rows(session, SeenRow, found.where(is_it).order_by(days.read_at).limit(10))

    async def needs_setup(self) -> list[WaitingMessage]:
        async with self._store.session() as session:
            journal = chassis_tables.Hl7Journal
            found = sql.select(*columns_of(journal, WaitingMessage)).where(journal.state == fixed("needs_setup"))
            return await rows(session, WaitingMessage, found.order_by(journal.received_at).limit(_MOST_WAITING))

    async def parked_tasks(self) -> list[ParkedTaskRow]:
        async with self._store.session() as session:
            parked = tables.ParkedTasks
            found = sql.select(*columns_of(parked, ParkedTaskRow)).where(sql.col(parked.replayed_at).is_(None))
            return await rows(session, ParkedTaskRow, found.order_by(parked.parked_at).limit(_MOST_WAITING))

    async def refused_requests(self) -> list[RefusedRequest]:
        """The patients' requests that PowerServer did not take, the oldest first."""
        async with self._store.session() as session:
            deliveries, links = chassis_tables.Deliveries, tables.AppointmentLinks
            shown = [deliveries.id, links.id, links.placer_number, deliveries.last_error, deliveries.created_at]
            found = sql.select(*shown).join(links, links.id == deliveries.key).where(
                deliveries.state == fixed("dead"), sql.col(deliveries.kind).startswith("request.")
            )  # fmt: skip
            return await rows(session, RefusedRequest, found.order_by(deliveries.created_at).limit(_MOST_WAITING))

    async def version(self) -> str:
        """A value that changes whenever a page may change."""
        async with self._store.session() as session:
            journal, dead, parked = chassis_tables.Hl7Journal.state, chassis_tables.Deliveries.state, tables.ParkedTasks
            counted = [
                sql.select(sql.func.max(tables.LinkHistory.id)),
                _number(sql.or_(journal == fixed("needs_setup"), journal == fixed("failed"))),
                _number(dead == fixed("dead")),
                _number(sql.col(parked.replayed_at).is_(None)),
            ]
            found = (await session.exec(sql.select(*(one.scalar_subquery() for one in counted)))).one()
        return "-".join(str(value or 0) for value in found)

    async def cursors(self) -> list[CursorRow]:
        async with self._store.session() as session:
            cursors = tables.FeedCursor
            found = sql.select(*columns_of(cursors, CursorRow)).order_by(cursors.feed)
            return await rows(session, CursorRow, found)

    async def counts(self) -> Mapping[str, int]:
        """The number of links in each state."""
        async with self._store.session() as session:
            state = tables.AppointmentLinks.state
            counts: Counter[str] = Counter()
            for spelling, number in await session.exec(sql.select(state, sql.func.count()).group_by(state)):
                counts[State(spelling)] += number
            return counts


def _dead(deliveries: Any) -> Any:
    return deliveries.state == fixed("dead")


def _has_dead(links: Any) -> Any:
    deliveries = chassis_tables.Deliveries
    return sql.exists().where(
        sql.or_(deliveries.key == links.id, deliveries.key == links.patient_id), _dead(deliveries)
    )


def _waits(links: Any) -> Any:
    history, journal = tables.LinkHistory, chassis_tables.Hl7Journal
    return sql.exists().where(history.link_id == links.id, history.cause_id == journal.id, _is_open(journal))


def _is_open(journal: Any) -> Any:
    return sql.or_(journal.state == fixed("needs_setup"), journal.state == fixed("failed"))


def _conditions(links: Any, wanted: LinkFilter, has_conflicts: Any) -> Iterator[Any]:
    if wanted.state:
        yield sql.col(links.state).in_(columns.spellings(wanted.state))
    for column, value in (
        (links.facility, wanted.facility),
        (links.resource, wanted.resource),
        (links.who_acts_next, wanted.who_acts_next),
        (links.placer_number, wanted.placer_number),
    ):
        if value:
            yield column == value
    if wanted.day is not None:
        midnight = datetime.combine(wanted.day, time(), UTC)
        yield sql.col(links.slot_start).between(
            midnight - _FARTHEST_ZONE, midnight + timedelta(days=1) + _FARTHEST_ZONE
        )
        yield sql.cast(sql.func.timezone(links.slot_zone, links.slot_start), sql.Date) == wanted.day
    if wanted.conflicts_only:
        yield has_conflicts
    if wanted.attention_only:
        # From what is in trouble, which is little, to the links, which are many.
        deliveries, history, journal = chassis_tables.Deliveries, tables.LinkHistory, chassis_tables.Hl7Journal
        keys = sql.select(deliveries.key).where(_dead(deliveries))
        heard = sql.select(history.link_id).join(journal, journal.id == history.cause_id).where(_is_open(journal))
        in_trouble = sql.union(
            sql.select(links.id).where(sql.col(links.id).in_(keys)),
            sql.select(links.id).where(sql.col(links.patient_id).in_(keys)),
            heard,
        )
        yield sql.col(links.id).in_(in_trouble)


def _number(condition: Any) -> Any:
    return sql.select(sql.func.count()).where(condition)
