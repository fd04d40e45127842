"""The queries of the page of messages: identifiers, states and reasons; no names, addresses or bodies."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from chassis.store import Store
from chassis.store.lazily import lazily
from chassis.store.rows import rows, sql
from chassis.store.rows import tables as chassis_tables
from notifier.domain.notification import STATES, TEMPLATES

if TYPE_CHECKING:
    from notifier.store import tables
else:
    (tables,) = lazily("notifier.store.tables")


@dataclass(frozen=True)
class Filter:
    """The filter in the address. ``before`` is the last row of the previous page: its time of change and its id."""

    appointment_id: UUID | None = None
    state: str | None = None
    template: str | None = None
    before: tuple[datetime, UUID] | None = None


@dataclass(frozen=True)
class MessageRow:
    """One message of the history. While it is queued, its reason is that of the last failed try."""

    notification_id: UUID
    appointment_id: UUID
    template: str
    revision: int
    state: str
    reason: str | None
    changed_at: datetime
    tries: int

    @property
    def cursor(self) -> str:
        return f"{self.changed_at.isoformat()}~{self.notification_id}"


class History:
    """Reads for the page; each call is one session."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def page(self, wanted: Filter, limit: int) -> Sequence[MessageRow]:
        async with self._store.session() as session:
            told, deliveries = tables.NotificationRow, chassis_tables.Deliveries
            reason = sql.case((told.state == "queued", deliveries.last_error), else_=told.reason)
            shown = [
                told.notification_id, told.appointment_id, told.template, told.revision, told.state, reason,
                told.changed_at, sql.func.coalesce(deliveries.attempts, 0),
            ]  # fmt: skip
            found = sql.select(*shown).select_from(told).outerjoin(deliveries, deliveries.id == told.notification_id)
            if wanted.appointment_id is not None:
                found = found.where(told.appointment_id == wanted.appointment_id)
            if wanted.state is not None:
                found = found.where(told.state == wanted.state)
            if wanted.template is not None:
                found = found.where(told.template == wanted.template)
            place = sql.tuple_(told.changed_at, told.notification_id)
            if wanted.before is not None:
                at, key = wanted.before
                columns = sql.col(told.changed_at).type, sql.col(told.notification_id).type
                found = found.where(place < sql.tuple_(sql.literal(at, columns[0]), sql.literal(key, columns[1])))
            newest = sql.col(told.changed_at).desc(), sql.col(told.notification_id).desc()
            return await rows(session, MessageRow, found.order_by(*newest).limit(limit))

    async def counts(self) -> dict[str, int]:
        """The number of messages in each state, including empty states."""
        async with self._store.session() as session:
            state = tables.NotificationRow.state
            found = await session.exec(sql.select(state, sql.func.count()).group_by(state))
            return {**dict.fromkeys(STATES, 0), **dict(found.all())}

    async def last_change(self) -> datetime | None:
        async with self._store.session() as session:
            newest = sql.select(sql.func.max(tables.NotificationRow.changed_at))
            found: datetime | None = (await session.exec(newest)).one()
        return found


def read_filter(query: dict[str, str]) -> tuple[Filter, list[str]]:
    """The filter, and a sentence for each part of the address that is not valid."""
    unknown: list[str] = []

    def one_of(name: str, known: Sequence[str]) -> str | None:
        value = query.get(name, "")
        if value and value not in known:
            unknown.append(f"{name} is one of {', '.join(known)}.")
            return None
        return value or None

    appointment_id: UUID | None = None
    if given := query.get("appointment", "").strip():
        try:
            appointment_id = UUID(given)
        except ValueError:
            unknown.append("appointment is a UUID, as the suite's pages and mails show it.")
    before: tuple[datetime, UUID] | None = None
    if given := query.get("before", ""):
        at, _, key = given.partition("~")
        try:
            before = datetime.fromisoformat(at), UUID(key)
        except ValueError:
            unknown.append("before is what the link to older messages carries.")
        else:
            if before[0].tzinfo is None:
                before = None
    return Filter(appointment_id, one_of("state", STATES), one_of("template", TEMPLATES), before), unknown
