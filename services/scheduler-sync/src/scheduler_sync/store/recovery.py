"""A recovery's queries, and its writes outside the repositories."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import asyncpg

from chassis.store import Store
from chassis.store.lazily import lazily
from chassis.store.rows import is_any, rows, sql
from chassis.store.rows import tables as chassis_tables
from scheduler_sync.domain.appointment import AppointmentLink, FhirStatus, System
from scheduler_sync.domain.reconciliation import Announced
from scheduler_sync.store import columns, statements

if TYPE_CHECKING:
    from scheduler_sync.store import tables
else:
    (tables,) = lazily("scheduler_sync.store.tables")

SOURCE: Final = "recovery"
"""Marks a line of history that a recovery wrote. The line has the time of the event that it stands for."""


LONGEST_SECONDS: Final = 600.0
"""Allows renumbering every aggregate of a large store in one statement."""
_TOO_OLD: Final = "older than a recovery, which compared with OmegaAI and wrote what differs"


@dataclass(frozen=True, slots=True)
class Unsent:
    """An event that waits for the relay."""

    row_id: int
    aggregate_id: UUID
    message_id: UUID
    value: bytes


class RecoveryQueries:
    """Each method is one session."""

    def __init__(self, store: Store, site: str) -> None:
        self._store = store
        self._site = site

    async def last_moment(self) -> datetime | None:
        """The time of the store's last input; None for an empty store."""
        journal, outbox, history = chassis_tables.Hl7Journal, chassis_tables.Outbox, tables.LinkHistory
        async with self._store.session() as session:
            newest_event = sql.select(outbox.created_at).order_by(sql.col(outbox.id).desc()).limit(1)
            newest_line = sql.select(history.at).where(history.source != SOURCE).order_by(sql.col(history.id).desc())
            asked = [
                sql.select(sql.func.max(journal.received_at)),
                newest_event,
                newest_line.limit(1),
                sql.select(sql.func.max(tables.FeedCursor.read_at)),
            ]
            greatest = sql.func.greatest(*(one.scalar_subquery() for one in asked))
            found: datetime | None = (await session.exec(sql.select(greatest))).one()
        return found

    async def unsent(self) -> list[Unsent]:
        async with self._store.session() as session:
            outbox = chassis_tables.Outbox
            waiting = sql.select(outbox.id, outbox.aggregate_id, outbox.message_id, outbox.value)
            return await rows(session, Unsent, waiting.where(sql.col(outbox.sent_at).is_(None)).order_by(outbox.id))

    async def made_here(self, aggregate_ids: Sequence[UUID]) -> set[UUID]:
        """The events of these aggregates that stand in the outbox."""
        async with self._store.session() as session:
            outbox = chassis_tables.Outbox
            found = sql.select(outbox.message_id).where(is_any(outbox.aggregate_id, aggregate_ids))
            return set((await session.exec(found)).all())

    async def renumber(self, changes: Sequence[tuple[int, UUID, int, bytes]]) -> None:
        """Gives unsent events (row, aggregate, revision, bytes) other revisions, and their aggregates with them."""
        async with self._store.session() as session:
            outbox = chassis_tables.Outbox
            # From the last one on: a revision may be that of a later row until the later row has moved.
            for row_id, aggregate_id, revision, value in sorted(changes, key=lambda row: -row[2]):
                row = sql.update(outbox).where(outbox.id == row_id)
                await session.exec(row.values(revision=revision, value=value))
                for model in (tables.Patients, tables.AppointmentLinks, tables.ResourcePairs):
                    behind = sql.update(model).where(model.id == aggregate_id, model.revision < revision)
                    await session.exec(behind.values(revision=revision))
            await session.commit()

    async def raise_all(self, floor: int) -> None:
        """Raises the revision of every announced aggregate to at least ``floor``."""
        patients = tables.Patients
        async with self._store.session(statement_seconds=LONGEST_SECONDS) as session:
            await session.exec(sql.update(patients).where(patients.revision < floor).values(revision=floor))
            for model in (tables.AppointmentLinks, tables.ResourcePairs):
                announced = sql.col(model.revision).between(1, floor - 1)
                await session.exec(sql.update(model).where(announced).values(revision=floor))
            await session.commit()

    async def keep_pairs(self, pairs: Sequence[tuple[UUID, str, str, int]], at: datetime) -> None:
        """Keeps the revisions of resources (id, facility, name, revision). The next comparison fills in the rest."""
        async with self._store.session() as session:
            model = tables.ResourcePairs
            for pair_id, facility, name, revision in pairs:
                behind = sql.update(model).where(model.id == pair_id, model.revision < revision)
                await session.exec(behind.values(revision=revision))
                if (await session.exec(sql.select(model.id).where(model.id == pair_id))).first() is None:
                    session.add(
                        model(
                            id=pair_id, facility=facility, name=name, state="inactive", drift=[], near=[],
                            revision=revision, changed_at=at,
                        )
                    )  # fmt: skip
            await session.commit()

    async def links(self, ids: Sequence[UUID], placer_numbers: Sequence[str]) -> list[AppointmentLink]:
        async with self._store.session() as session:
            links = tables.AppointmentLinks
            is_placer = sql.and_(links.site == self._site, is_any(links.placer_number, placer_numbers))
            found = sql.select(links).where(sql.or_(is_any(links.id, ids), is_placer))
            return [columns.link(row.model_dump()) for row in await session.exec(found)]

    async def announced(self, link_ids: Sequence[UUID]) -> Mapping[UUID, Announced]:
        """The events from which recoveries have rebuilt these links: a run that was killed has recorded them."""
        found: dict[UUID, list[tuple[datetime, FhirStatus]]] = {}
        async with self._store.session() as session:
            history = tables.LinkHistory
            is_noted = sql.and_(history.source == SOURCE, sql.col(history.trigger).is_not(None))
            noted = sql.select(history.link_id, history.at, history.trigger)
            for link_id, at, trigger in await session.exec(noted.where(is_any(history.link_id, link_ids), is_noted)):
                found.setdefault(link_id, []).append((at, FhirStatus(trigger.rpartition(" ")[2])))
        return {
            link_id: Announced(max(at for at, _ in events), frozenset(status for _, status in events))
            for link_id, events in found.items()
        }

    async def fhir_id_of_patient(self, patient_id: UUID) -> str | None:
        async with self._store.session() as session:
            asked = sql.select(tables.Patients.fhir_id).where(tables.Patients.id == patient_id)
            found: str | None = (await session.exec(asked)).first()
            return found

    async def patients_of_fhir_ids(self, fhir_ids: Sequence[str]) -> Mapping[str, UUID]:
        async with self._store.session() as session:
            patients = tables.Patients
            found = sql.select(patients.fhir_id, patients.id).where(is_any(patients.fhir_id, fhir_ids))
            return dict((await session.exec(found)).all())

    async def owners(self, identifiers: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], UUID]:
        """The patients of these identifiers (issuer, value)."""
        if not identifiers:
            return {}
        async with self._store.session() as session:
            known = tables.PatientIdentifiers
            issuers, values = zip(*identifiers, strict=True)
            # The two lists match every issuer with every value; pairs that were not asked for are left out below.
            fits = sql.and_(known.site == self._site, is_any(known.issuer, issuers), is_any(known.value, values))
            found = await session.exec(sql.select(known.issuer, known.value, known.patient_id).where(fits))
            asked = set(identifiers)
            return {(issuer, value): owner for issuer, value, owner in found if (issuer, value) in asked}


async def pending_to_omegaai(connection: asyncpg.Connection) -> Sequence[Mapping[str, Any]]:
    """Deliveries that wait, under lock."""
    rows: Sequence[Mapping[str, Any]] = await connection.fetch(statements.PENDING, System.OMEGAAI)
    return rows


async def never_written(connection: asyncpg.Connection) -> list[UUID]:
    """Links that OmegaAI is not known to have taken."""
    return [row["id"] for row in await connection.fetch(statements.NEVER_WRITTEN)]


async def let_go(connection: asyncpg.Connection, delivery_ids: Sequence[UUID]) -> None:
    """Marks these as not to be sent."""
    await connection.execute(statements.LET_GO, delivery_ids, _TOO_OLD)
