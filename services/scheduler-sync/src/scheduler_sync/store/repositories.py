"""The aggregates of one batch: loaded in one go under lock, changed in memory, written in one go.

Each repository is a participant of the chassis' transaction: ``mark`` and ``rollback_to`` undo a failed message's
changes in memory, ``flush`` writes the rest. Locks are taken in a fixed order (patients, then links, each by id), so
that two batches cannot deadlock.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from chassis.store import Transaction
from chassis.store.aggregates import Undoable, lists_of
from omegaai.tasks import ParkedTask
from scheduler_sync.domain.appointment import AppointmentLink, FhirStatus, System
from scheduler_sync.domain.patient import Patient, PatientIdentifier
from scheduler_sync.domain.replaced import replaced
from scheduler_sync.ports import Conflict, HistoryEntry
from scheduler_sync.snapshots import AppointmentSnapshot
from scheduler_sync.store import columns, statements


class PatientRepository:
    """The patients of a batch."""

    def __init__(self, transaction: Transaction, site: str) -> None:
        self._transaction = transaction
        self._connection = transaction.connection
        self._site = site
        self._patients: Undoable[UUID, Patient] = Undoable()
        self._stored: dict[UUID, Patient] = {}
        self._by_identifier: dict[tuple[str, str], UUID] = {}
        self._owners: dict[tuple[str, str], UUID] = {}
        """The patients that have the identifiers in the store."""
        self._doubts: dict[tuple[UUID, UUID], set[UUID]] = {}
        """The messages that named the numbers of both patients. No rollback undoes them."""

    async def load(self, identifiers: Iterable[PatientIdentifier]) -> None:
        """Loads and locks the patients that have one of these identifiers."""
        wanted = {(one.issuer, one.value) for one in identifiers} - self._by_identifier.keys()
        if wanted:
            issuers, values = zip(*wanted, strict=True)
            await self._take(await self._connection.fetch(statements.LOCK_IDENTIFIED, self._site, issuers, values))

    async def load_by_id(self, patient_ids: Iterable[UUID], *, lock: bool = True) -> None:
        """Loads these patients; without ``lock`` only for reading."""
        wanted = list(set(patient_ids) - self._patients.now.keys())
        if wanted:
            statement = statements.LOCK_PATIENTS if lock else statements.READ_PATIENTS
            await self._take(await self._connection.fetch(statement, wanted))

    def all_identified_by(self, identifiers: Sequence[PatientIdentifier]) -> list[Patient]:
        """The patients with these identifiers; one entry for each known identifier."""
        found = [self._by_identifier.get((one.issuer, one.value)) for one in identifiers]
        return [self._patients.now[patient_id] for patient_id in found if patient_id is not None]

    def by_id(self, patient_id: UUID) -> Patient | None:
        return self._patients.now.get(patient_id)

    def save(self, patient: Patient) -> None:
        self._patients.put(patient.id, patient)
        for one in patient.identifiers:
            self._by_identifier[one.issuer, one.value] = patient.id

    def mark(self) -> object:
        return self._patients.mark()

    def rollback_to(self, mark: object) -> None:
        assert isinstance(mark, int)  # noqa: S101 - what mark() gave
        self._patients.rollback_to(mark)
        self._by_identifier = {
            (one.issuer, one.value): patient.id
            for patient in self._patients.now.values()
            for one in patient.identifiers
        }

    def doubt(self, patients: Sequence[Patient], cause_id: UUID) -> None:
        first, *others = sorted(one.id for one in patients)
        for other in others:
            self._doubts.setdefault((first, other), set()).add(cause_id)

    async def flush(self, connection: asyncpg.Connection) -> None:
        del connection  # staged, to go out with all the rest
        if self._doubts:
            named = [(*pair, cause) for pair, causes in self._doubts.items() for cause in causes]
            self._transaction.write(statements.NOTE_DOUBTS, *lists_of(named))
        patients: list[Patient] = []
        heard_again: list[tuple[UUID, datetime]] = []
        for one in self._patients.take_changed():
            if self._is_only_heard_again(one):
                heard_again.append((one.id, one.heard_at))
            else:
                patients.append(one)
            self._stored[one.id] = one
        if heard_again:
            self._transaction.write(statements.MOVE_HEARD_AT, *lists_of(heard_again))
        if not patients:
            return
        self._transaction.write(statements.WRITE_PATIENTS, *lists_of([columns.patient_row(one) for one in patients]))
        self._write_identifiers(patients)

    def _write_identifiers(self, patients: Sequence[Patient]) -> None:
        """Inserts new identifiers, and moves those of records that have ended."""
        new, moved = list[tuple[Any, ...]](), list[tuple[Any, ...]]()
        for patient in patients:
            for position, one in enumerate(patient.identifiers):
                key = one.issuer, one.value
                if self._by_identifier.get(key) != patient.id or self._owners.get(key) == patient.id:
                    continue
                (moved if key in self._owners else new).append((self._site, *key, patient.id, position))
                self._owners[key] = patient.id
        if new:
            self._transaction.write(statements.WRITE_IDENTIFIERS, *lists_of(new))
        if moved:
            self._transaction.write(statements.MOVE_IDENTIFIERS, *lists_of(moved))

    def _is_only_heard_again(self, patient: Patient) -> bool:
        stored = self._stored.get(patient.id)
        return stored is not None and replaced(stored, heard_at=patient.heard_at) == patient

    async def _take(self, rows: Sequence[Mapping[str, Any]]) -> None:
        if not rows:
            return
        identifiers: dict[UUID, list[PatientIdentifier]] = {}
        for row in await self._connection.fetch(statements.IDENTIFIERS, [row["id"] for row in rows]):
            identifiers.setdefault(row["patient_id"], []).append(PatientIdentifier(row["issuer"], row["value"]))
        for row in rows:
            known = tuple(identifiers.get(row["id"], ()))
            patient = columns.patient(row, known)
            self._patients.load(row["id"], patient)
            self._stored.setdefault(row["id"], patient)
            for one in known:
                self._by_identifier[(one.issuer, one.value)] = row["id"]
                self._owners[one.issuer, one.value] = row["id"]


class LinkRepository:
    """The appointment links of a batch, with their history and conflicts."""

    def __init__(self, transaction: Transaction, site: str) -> None:
        self._transaction = transaction
        self._connection = transaction.connection
        self._site = site
        self._links: Undoable[UUID, AppointmentLink] = Undoable()
        self._stored: dict[UUID, AppointmentLink] = {}
        self._by_placer: dict[str, UUID] = {}
        self._history: list[HistoryEntry] = []
        self._written: list[HistoryEntry] = []
        self._conflicts: list[Conflict] = []
        self._parked: list[ParkedTask] = []
        self._under_way: set[tuple[UUID, str]] = set()

    async def load(self, placer_numbers: Iterable[str], patient_ids: Collection[UUID] = ()) -> None:
        """Loads and locks the links of these placer numbers, and all links of these patients."""
        wanted = list(set(placer_numbers) - self._by_placer.keys())
        if patient_ids:
            asked = self._site, wanted, list(patient_ids)
            self._take(await self._connection.fetch(statements.LOCK_LINKS_OF_PATIENTS, *asked))
        elif wanted:
            self._take(await self._connection.fetch(statements.LOCK_LINKS_BY_PLACER, self._site, wanted))

    async def load_by_id(
        self, link_ids: Iterable[UUID], placer_numbers: Iterable[str] = (), omegaai_ids: Iterable[str] = ()
    ) -> None:
        """Loads and locks the links of these ids, placer numbers or ids of OmegaAI's Appointments."""
        ids, placers = list(set(link_ids) - self._links.now.keys()), list(set(placer_numbers) - self._by_placer.keys())
        theirs = list(set(omegaai_ids))
        if ids or placers or theirs:
            self._take(await self._connection.fetch(statements.LOCK_LINKS, ids, self._site, placers, theirs))

    async def take_over(self, link_ids: Iterable[UUID]) -> bool:
        """Loads and locks these links without waiting. False when another transaction has one of them.

        For a transaction that holds the locks of resources already: to wait for a link could be a deadlock.
        """
        wanted = list(set(link_ids) - self._links.now.keys())
        rows = await self._connection.fetch(statements.LOCK_FREE_LINKS, wanted) if wanted else []
        self._take(rows)
        return len(rows) == len(wanted)

    def changes(self) -> list[tuple[AppointmentLink | None, AppointmentLink]]:
        """The changed links, each with its stored form; None for a new one."""
        return [(self._stored.get(link.id), link) for link in self._links.changed()]

    def last_entry(self, link_id: UUID) -> HistoryEntry | None:
        """The newest line of history that this transaction writes about the link."""
        return next((one for one in reversed([*self._written, *self._history]) if one.link_id == link_id), None)

    async def load_writes_under_way(self) -> None:
        """Loads the loaded links' deliveries to OmegaAI that may have been taken there and are not settled here.

        The links' locks are held: a settlement that begins now waits for us, and an earlier one is visible after the
        lock.
        """
        keys = list(self.patient_ids())
        for row in await self._connection.fetch(statements.WRITES_UNDER_WAY, System.OMEGAAI, keys):
            snapshot = AppointmentSnapshot.from_bytes(row["payload"])
            self._under_way.add((snapshot.link_id, snapshot.status))

    def is_being_written(self, link_id: UUID, status: FhirStatus) -> bool:
        """Whether a write of ours with this status may be what OmegaAI shows."""
        return (link_id, status.value) in self._under_way

    def patient_ids(self) -> set[UUID]:
        return {link.patient_id for link in self._links.now.values()}

    def by_placer_number(self, placer_number: str) -> AppointmentLink | None:
        link_id = self._by_placer.get(placer_number)
        return None if link_id is None else self._links.now[link_id]

    def by_id(self, link_id: UUID) -> AppointmentLink | None:
        return self._links.now.get(link_id)

    def of_patient(self, patient_id: UUID) -> list[AppointmentLink]:
        """The loaded links of the patient, in a fixed order."""
        found = [one for one in self._links.now.values() if one.patient_id == patient_id]
        return sorted(found, key=lambda one: one.id)

    def by_omegaai_id(self, appointment_id: str) -> AppointmentLink | None:
        return next((one for one in self._links.now.values() if one.omegaai_id == appointment_id), None)

    def save(self, link: AppointmentLink) -> None:
        self._links.put(link.id, link)
        self._by_placer[link.placer_number] = link.id

    def note(self, entry: HistoryEntry) -> None:
        self._history.append(entry)

    def note_conflict(self, conflict: Conflict) -> None:
        self._conflicts.append(conflict)

    def park(self, task: ParkedTask) -> None:
        self._parked.append(task)

    def mark(self) -> object:
        return self._links.mark(), len(self._history), len(self._conflicts), len(self._parked)

    def rollback_to(self, mark: object) -> None:
        assert isinstance(mark, tuple)  # noqa: S101 - what mark() gave
        links, history, conflicts, parked = mark
        gone = set(self._links.rollback_to(links))
        self._by_placer = {placer: link_id for placer, link_id in self._by_placer.items() if link_id not in gone}
        del self._history[history:], self._conflicts[conflicts:], self._parked[parked:]

    async def flush(self, connection: asyncpg.Connection) -> None:
        del connection  # staged, to go out with all the rest
        links = self._links.take_changed()
        self._stored.update((one.id, one) for one in links)
        if links:
            self._transaction.write(statements.WRITE_LINKS, *lists_of([columns.link_row(one) for one in links]))
        if self._history:
            rows = [
                (
                    one.link_id, one.at, one.source, one.message, one.cause_id, one.trigger, one.outcome,
                    one.state_before, one.state_after, one.revision, columns.encoded(one.changed),
                    columns.encoded(one.delivery_ids),
                )
                for one in self._history
            ]  # fmt: skip
            self._transaction.write(statements.WRITE_HISTORY, *lists_of(rows))
        if self._conflicts:
            noted = [(one.link_id, one.at, one.source, one.cause_id, one.why) for one in self._conflicts]
            self._transaction.write(statements.WRITE_CONFLICTS, *lists_of(noted))
        if self._parked:
            parked = {one.task_id: one for one in self._parked}
            tasks = [(one.task_id, one.focus, one.expression, one.reason, one.at) for one in parked.values()]
            self._transaction.write(statements.PARK, *lists_of(tasks))
        self._written, self._history, self._conflicts, self._parked = self._history, [], [], []

    def _take(self, rows: Sequence[Mapping[str, Any]]) -> None:
        for row in rows:
            link = columns.link(row)
            self._links.load(row["id"], link)
            self._stored.setdefault(row["id"], link)
            self._by_placer[row["placer_number"]] = row["id"]
