"""One message or delivery for its page: what came of it, its edited copies, its content, and the audit of each look."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from chassis.store import Store
from chassis.store.lazily import lazily
from chassis.store.rows import audit, columns, rows, sql
from chassis.store.rows import tables as chassis_tables

if TYPE_CHECKING:
    from scheduler_sync.store import tables
else:
    (tables,) = lazily("scheduler_sync.store.tables")


@dataclass(frozen=True, slots=True)
class EffectRow:
    """A line of an appointment's history that a message caused."""

    link_id: UUID
    outcome: str
    state_before: str
    state_after: str
    changed: list[str]
    delivery_ids: list[UUID]


class MessageDetails:
    """Each method is one session."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def version(self) -> Hashable:
        """A value that changes whenever the newest messages may change."""
        journal, deliveries = chassis_tables.Hl7Journal, chassis_tables.Deliveries
        newest = sql.select(journal.received_at, journal.processed_at, journal.repeats)
        few = newest.order_by(sql.col(journal.received_at).desc()).limit(100).subquery().c
        sent = (
            sql.select(deliveries.id, deliveries.state).order_by(sql.col(deliveries.id).desc()).limit(100).subquery().c
        )
        counted = [
            sql.select(sql.func.max(few.received_at)),
            sql.select(sql.func.max(few.processed_at)),
            sql.select(sql.func.sum(few.repeats)),
            sql.select(sql.func.string_agg(sql.cast(sent.id, sql.String) + sent.state, "")),
            sql.select(sql.func.max(tables.LinkHistory.id)),
        ]
        async with self._store.session() as session:
            return tuple((await session.exec(sql.select(*(one.scalar_subquery() for one in counted)))).one())

    async def effects_of(self, cause_id: UUID) -> list[EffectRow]:
        history = tables.LinkHistory
        async with self._store.session() as session:
            found = sql.select(*columns(history, EffectRow)).where(history.cause_id == cause_id)
            return await rows(session, EffectRow, found.order_by(history.id))

    async def copies_of(self, message_id: UUID) -> list[tuple[UUID, str]]:
        """The ids and states of the messages that a person edited from this one."""
        journal = chassis_tables.Hl7Journal
        async with self._store.session() as session:
            found = sql.select(journal.id, journal.state).where(
                sql.col(journal.edited_from).is_not(None), journal.edited_from == message_id
            )
            return [tuple(row) for row in await session.exec(found.order_by(journal.id))]

    async def payload_of(self, delivery_id: UUID) -> bytes | None:
        deliveries = chassis_tables.Deliveries
        async with self._store.session() as session:
            asked = sql.select(deliveries.payload).where(deliveries.id == delivery_id)
            payload: bytes | None = (await session.exec(asked)).first()
            return payload

    async def link_of(self, delivery_id: UUID) -> UUID | None:
        """The appointment that a delivery is about; None for a patient's own."""
        deliveries, links = chassis_tables.Deliveries, tables.AppointmentLinks
        async with self._store.session() as session:
            asked = (
                sql.select(links.id)
                .select_from(deliveries)
                .join(links, sql.or_(links.id == deliveries.subject, links.id == deliveries.key))
            )
            found: UUID | None = (await session.exec(asked.where(deliveries.id == delivery_id))).first()
            return found

    async def note_look(self, action: str, subject: UUID, *, actor: str) -> None:
        """Writes a person's look at a content into the audit."""
        async with self._store.session() as session:
            await audit(session, actor=actor, action=action, subject=str(subject))
            await session.commit()
