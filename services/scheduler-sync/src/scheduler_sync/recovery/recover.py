"""Recovery: reads the missed events from the store's own topics, compares the store with OmegaAI, and reports.

Nothing is sent meanwhile. The effects wait as deliveries for the next start, and each delivery changes nothing where
the partner has it already. Each step is committed in small parts and is idempotent, so a recovery that was killed is
run again; until one has ended, no start is let through.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, TypeVar
from uuid import UUID

import contracts
from chassis.errors import Malformed, Permanent
from chassis.messaging import Published, TopicReader
from chassis.store import Store, Transaction
from chassis.store.identity import ROOM_OF_AN_EPOCH
from omegaai import elements
from omegaai.client import FhirClient, NotFoundError
from scheduler_sync.adapters.omegaai.appointments import AppointmentThere
from scheduler_sync.adapters.omegaai.tasks import TaskItem
from scheduler_sync.domain.appointment import AppointmentLink, State, Trigger
from scheduler_sync.domain.patient import Patient
from scheduler_sync.domain.reconciliation import Announced, Judgement, adopted, judge, noted
from scheduler_sync.domain.resource import Resource
from scheduler_sync.events import PRODUCER
from scheduler_sync.handlers.effects import Effects
from scheduler_sync.inbound import TaskInbound
from scheduler_sync.ports import HistoryEntry
from scheduler_sync.recovery.events import (
    AppointmentEvent,
    Missed,
    PatientEvent,
    ResourceEvent,
    link_of,
    patient_of,
    status_by_staff,
)
from scheduler_sync.recovery.report import Report
from scheduler_sync.site import SiteFile
from scheduler_sync.snapshots import PATIENT_UPSERT, AppointmentSnapshot
from scheduler_sync.store.queries import revisions
from scheduler_sync.store.recovery import SOURCE, RecoveryQueries, Unsent, let_go, never_written, pending_to_omegaai
from scheduler_sync.store.work import OpenWork, StoredWork

AT_ONCE: Final = 200
_KEPT: Final = PatientEvent | AppointmentEvent
LOOK_BACK: Final = timedelta(days=7)
_REQUESTS: Final = {
    State.PATIENT_BOOKED: Trigger.PATIENT_BOOKED, State.MOVE_REQUESTED: Trigger.PATIENT_ASKED_TO_MOVE,
}  # fmt: skip
"""The patient's act of each state that waits for staff."""
T = TypeVar("T")


@dataclass
class Recovery:
    """One run. ``tell`` receives a line for each step."""

    store: Store
    site: SiteFile
    resources: Sequence[Resource]
    omegaai: FhirClient
    open_work: OpenWork
    effects: Effects
    tell: Callable[[str], None]
    now: datetime
    report: Report = field(default_factory=Report)
    _missed: dict[UUID, Missed] = field(default_factory=dict)
    _overtaken: dict[UUID, Missed] = field(default_factory=dict)
    _rebuilt: dict[UUID, AppointmentLink] = field(default_factory=dict)
    _to_write: set[UUID] = field(default_factory=set)
    _settled: set[UUID] = field(default_factory=set)

    async def run(self, reader: TopicReader, *, epoch: int, dry_run: bool = False) -> Report:
        """``epoch``: the one that the store is in. KafkaError, StoreUnavailable, Transient, Permanent."""
        self.report.began_at = self.now
        queries = RecoveryQueries(self.store, self.site.site)
        self.report.last_moment = await queries.last_moment()
        unsent = await queries.unsent()
        aggregates = {one.aggregate_id for one in unsent}
        published = await self._read_topics(reader, aggregates, await queries.made_here(list(aggregates)))
        floor = (epoch + 1) * ROOM_OF_AN_EPOCH
        is_incomplete = await self._is_incomplete(reader)
        if not dry_run:
            await self._renumber(queries, unsent, published)
        await self._rebuild(queries, dry_run=dry_run)
        if is_incomplete and self.report.last_moment is not None:
            self.report.floor = floor
            if not dry_run:
                await queries.raise_all(floor)
        heard = await self._compare(queries, floor=floor, dry_run=dry_run)
        if not dry_run:
            await self._write_again()
            await self._hear(heard)
        return self.report

    # What the topics hold

    async def _read_topics(
        self, reader: TopicReader, unsent: set[UUID], made_here: set[UUID]
    ) -> dict[UUID, dict[UUID, int]]:
        """Keeps the records that the store does not know. Returns the published ones of the aggregates in ``unsent``.

        For those aggregates the store may have newer messages since it was set back. ``made_here`` tells their events
        from the former store's: the events published in between are overtaken.
        """
        published: dict[UUID, dict[UUID, int]] = {one: {} for one in unsent}
        async for lot in reader.read(reader.first):
            self.report.records += len(lot)
            self.report.unreadable += sum(one.message is None for one in lot)
            ours = [one.message for one in lot if isinstance(one.message, _KEPT) and one.message.producer == PRODUCER]
            known = await revisions(self.store.pool, list({message.aggregate_id for message in ours}))
            for message in ours:
                if message.aggregate_id in published:
                    published[message.aggregate_id][message.message_id] = message.revision
                    if message.message_id not in made_here:
                        self._overtaken.setdefault(message.aggregate_id, Missed(message)).add(message)
                if message.revision > known.get(message.aggregate_id, 0):
                    missed = self._missed.setdefault(message.aggregate_id, Missed(message))
                    missed.add(message)
            self.tell(f"{self.report.records} records read, {len(self._missed)} patients and appointments are behind")
        return published

    async def _is_incomplete(self, reader: TopicReader) -> bool:
        """Whether records younger than the store may have expired."""
        last_moment = self.report.last_moment
        if last_moment is None:
            return any(reader.first.values())
        expired = {spot: offset for spot, offset in reader.first.items() if offset > 0}
        if not expired:
            return False
        oldest: list[Published] = []
        stops = {spot: offset + 1 for spot, offset in expired.items()}
        async for lot in reader.read(expired, stops):
            oldest += lot
        reaching = {one.spot for one in oldest if one.message is not None and one.message.occurred_at <= last_moment}
        return bool(expired.keys() - reaching)

    async def _renumber(
        self, queries: RecoveryQueries, unsent: Sequence[Unsent], published: Mapping[UUID, Mapping[UUID, int]]
    ) -> None:
        """Gives new revisions to events that the store made since it was set back, after the taken ones."""
        following: dict[UUID, int] = {}
        rows = []
        for one in unsent:
            taken = published[one.aggregate_id]
            newest = max(taken.values(), default=0)
            message = contracts.parse(one.value)
            if one.message_id in taken or (message.revision > newest and one.aggregate_id not in following):
                continue
            revision = following[one.aggregate_id] = following.get(one.aggregate_id, newest) + 1
            value = message.model_copy(update={"revision": revision}).to_bytes()
            rows.append((one.row_id, one.aggregate_id, revision, value))
        await queries.renumber(rows)
        self.report.renumbered = len(rows)
        for aggregate_id in following:
            self._missed.pop(aggregate_id, None)  # the messages since the set-back are newer than the missed ones

    # Patients and links

    async def _rebuild(self, queries: RecoveryQueries, *, dry_run: bool) -> None:
        patients = {key: one for key, one in self._missed.items() if isinstance(one.newest, PatientEvent)}
        links = {key: one for key, one in self._missed.items() if isinstance(one.newest, AppointmentEvent)}
        if not dry_run:
            said = [(key, one.newest) for key, one in self._missed.items()]
            resources = [
                (key, event.data.facility, event.data.name, event.revision)
                for key, event in said
                if isinstance(event, ResourceEvent)
            ]
            await queries.keep_pairs(resources, self.now)
        if dry_run:
            self.report.patients, self.report.links = len(patients), len(links)
            known = {link.id: link for link in await queries.links(list(links), [])}
            self._rebuilt = {key: link_of(one, known.get(key)) for key, one in links.items()}
            return
        for some in _lots(list(patients.items())):
            owners = await queries.owners(
                [
                    (one.issuer, one.value)
                    for _, missed in some
                    for one in patient_of(missed, None, self.site).identifiers
                ]
            )
            await self._in_transaction(partial(self._rebuild_patients, some, owners))
            self.tell(f"{self.report.patients} of {len(patients)} patients rebuilt")
        for lot in _lots(list(links.items())):
            await self._in_transaction(partial(self._rebuild_links, lot))
            self.tell(f"{self.report.links} of {len(links)} appointments rebuilt")

    async def _rebuild_patients(
        self, some: Sequence[tuple[UUID, Missed]], owners: Mapping[tuple[str, str], UUID], work: StoredWork
    ) -> None:
        await work.patients.load_by_id([key for key, _ in some])
        for key, missed in some:
            patient = patient_of(missed, work.patients.by_id(key), self.site)
            others = {owners.get((one.issuer, one.value), key) for one in patient.identifiers} - {key}
            if others:
                self.report.open_differences.append(
                    f"patient {key} of the topics has an identifier of patient {min(others)} in the store"
                )
                continue
            work.patients.save(patient)
            self.effects.tell_omegaai_of_patient(patient, work)
            self.report.patients += 1

    async def _rebuild_links(self, some: Sequence[tuple[UUID, Missed]], work: StoredWork) -> None:
        events = {key: missed.newest for key, missed in some}
        placers = [event.data.placer_number for event in events.values() if isinstance(event, AppointmentEvent)]
        await work.patients.load_by_id(
            event.data.patient_id for event in events.values() if isinstance(event, AppointmentEvent)
        )
        await work.links.load_by_id(events, placers)
        for key, missed in some:
            known = work.links.by_id(key)
            link = link_of(missed, known)
            namesake = work.links.by_placer_number(link.placer_number)
            patient = work.patients.by_id(link.patient_id)
            if namesake is not None and namesake.id != key:
                self.report.open_differences.append(f"appointment {key} of the topics is {namesake.id} in the store")
            elif patient is None:
                self.report.open_differences.append(f"appointment {key}: neither store nor topics know its patient")
            else:
                work.links.save(link)
                for entry in _rebuilt(known, link, missed):
                    work.links.note(entry)
                self._rebuilt[key] = link
                self.report.links += 1
                self._tell_powerserver_again(link, missed, patient, work)

    def _tell_powerserver_again(
        self, link: AppointmentLink, missed: Missed, patient: Patient, work: StoredWork
    ) -> None:
        """No topic says whether the patient's act reached PowerServer."""
        event = missed.newest
        if isinstance(event, AppointmentEvent) and event.data.by == "patient" and link.state is not State.UNSCHEDULED:
            self.effects.tell_powerserver(link, patient, work, _REQUESTS.get(link.state))
            self.report.told_powerserver += 1

    # OmegaAI

    async def _compare(self, queries: RecoveryQueries, *, floor: int, dry_run: bool) -> list[AppointmentThere]:
        """Compares every Appointment of ours with its link. Returns the links on which the patient has acted."""
        heard: list[AppointmentThere] = []
        async for lot in self._appointments(await self._since()):
            ids = [one.command.link_id for one in lot if one.command.link_id is not None]
            placers = [one.command.placer_number for one in lot if one.command.placer_number is not None]
            links = await queries.links(ids, placers)
            by_id = {link.id: link for link in links}
            if dry_run:
                by_id |= {key: link for key, link in self._rebuilt.items() if key in ids}
            by_placer = {link.placer_number: link for link in by_id.values()}
            known: list[tuple[AppointmentLink, AppointmentThere]] = []
            unknown: list[AppointmentThere] = []
            for one in lot:
                command = one.command
                link = by_id.get(command.link_id) if command.link_id is not None else None
                if link is None and command.placer_number is not None:
                    link = by_placer.get(command.placer_number)
                if link is not None:
                    known.append((link, one))
                elif command.link_id is not None and command.placer_number is not None and self._is_ours(one):
                    unknown.append(one)
                else:
                    self.report.foreign += 1
            heard += await self._settle(queries, known, dry_run=dry_run)
            await self._rebuild_from_omegaai(queries, unknown, floor=floor, dry_run=dry_run)
            self.tell(f"{self.report.appointments} Appointments compared")
        return heard

    async def _appointments(self, since: datetime | None) -> AsyncIterator[list[AppointmentThere]]:
        query = {"_count": str(AT_ONCE)}
        if since is not None:
            query["date"] = f"ge{since.astimezone(UTC):%Y-%m-%d}"
        lot: list[AppointmentThere] = []
        async for found in self.omegaai.search("Appointment", query):
            try:
                lot.append(AppointmentThere.of(found))
            except Malformed as error:
                self.report.open_differences.append(f"Appointment/{found.id} cannot be read: {error.location}")
            if len(lot) >= AT_ONCE:
                yield lot
                lot = []
        if lot:
            yield lot

    async def _since(self) -> datetime | None:
        """Appointments long past that did not change in the lost time need not be compared."""
        last_moment = self.report.last_moment
        if last_moment is None:
            return None
        slots = [link.slot.start for link in self._rebuilt.values() if link.slot is not None]
        async with self.store.pool.acquire() as connection, connection.transaction():
            waiting = [
                AppointmentSnapshot.from_bytes(row["payload"]).start
                for row in await pending_to_omegaai(connection)
                if row["kind"] != PATIENT_UPSERT
            ]
        return min([last_moment - LOOK_BACK, *slots, *waiting])

    def _is_ours(self, one: AppointmentThere) -> bool:
        return any(resource.healthcare_service_id == one.command.service_id for resource in self.resources)

    async def _settle(
        self, queries: RecoveryQueries, known: Sequence[tuple[AppointmentLink, AppointmentThere]], *, dry_run: bool
    ) -> list[AppointmentThere]:
        heard: list[AppointmentThere] = []
        announced = await queries.announced([link.id for link, _ in known])
        if dry_run:
            announced = {key: _announced(missed) for key, missed in self._missed.items()}
        changed: list[tuple[AppointmentLink, Judgement, AppointmentThere]] = []
        for link, there in known:
            overtaken = self._overtaken.get(link.id) if link.id not in self._missed else None
            judgement = judge(
                link,
                there.remote,
                announced.get(link.id, Announced()),
                overtaken=None if overtaken is None else status_by_staff(overtaken),
            )
            self.report.appointments += 1
            self.report.judged[judgement] += 1
            if judgement is Judgement.WRITTEN:
                self._to_write.add(link.id)
            else:
                self._settled.add(link.id)
            if judgement is Judgement.HEARD:
                heard.append(there)
            elif judgement is not Judgement.EQUAL:
                changed.append((link, judgement, there))
        if not dry_run and (changed or known):
            await self._in_transaction(partial(self._keep, changed, known))
        return heard

    async def _keep(
        self,
        changed: Sequence[tuple[AppointmentLink, Judgement, AppointmentThere]],
        known: Sequence[tuple[AppointmentLink, AppointmentThere]],
        work: StoredWork,
    ) -> None:
        """OmegaAI's ids, versions and statuses of links and of their patients."""
        fhir_ids = {link.patient_id: there.patient_fhir_id for link, there in known}
        await work.patients.load_by_id(fhir_ids)
        await work.links.load_by_id([link.id for link, _, _ in changed])
        for patient_id, fhir_id in fhir_ids.items():
            patient = work.patients.by_id(patient_id)
            if patient is not None and patient.fhir_id is None and fhir_id is not None:
                work.patients.save(replace(patient, fhir_id=fhir_id))
        for link, judgement, there in changed:
            facts = there.command.facts
            before = work.links.by_id(link.id) or link
            after = (adopted if judgement is Judgement.ADOPTED else noted)(before, facts)
            work.links.save(after)
            if judgement is Judgement.ADOPTED:
                what = f"Appointment version {facts.version}: {facts.status}"
                work.links.note(_entry(before, after, what, link.id, self.now))

    async def _rebuild_from_omegaai(
        self, queries: RecoveryQueries, unknown: Sequence[AppointmentThere], *, floor: int, dry_run: bool
    ) -> None:
        """Appointments of ours that are on no topic any more."""
        fhir_ids = [one.patient_fhir_id for one in unknown if one.patient_fhir_id is not None]
        patients = dict(await queries.patients_of_fhir_ids(fhir_ids)) if fhir_ids else {}
        links = []
        for one in unknown:
            patient_id = patients.get(one.patient_fhir_id or "") or await self._patient_of(queries, one.patient_fhir_id)
            link = None if patient_id is None else one.link(patient_id, self.site, self.resources, revision=floor)
            if link is None:
                why = (
                    "is of a patient whom neither store nor topics know"
                    if patient_id is None
                    else "lacks what a link needs"
                )
                self.report.open_differences.append(f"Appointment/{one.command.facts.fhir_id} {why}")
            else:
                links.append(link)
        self.report.from_omegaai += len(links)
        if links and not dry_run:
            await self._in_transaction(partial(self._save_links, links))

    async def _save_links(self, links: Sequence[AppointmentLink], work: StoredWork) -> None:
        for link in links:
            work.links.save(link)
            message = f"Appointment version {link.omegaai_version}: {link.fhir_status}"
            work.links.note(_entry(None, link, message, link.id, self.now))
            self._settled.add(link.id)

    async def _patient_of(self, queries: RecoveryQueries, fhir_id: str | None) -> UUID | None:
        """Finds the patient by the identifiers of OmegaAI's Patient."""
        if fhir_id is None:
            return None
        try:
            found = await self.omegaai.read("Patient", fhir_id)
        except NotFoundError:
            return None
        issuers = {system: issuer for issuer, system in self.site.issuers.items()}
        identifiers = [
            (issuers[system], value)
            for one in elements.items(found.resource, "identifier")
            if (system := elements.text(one, "system")) in issuers and (value := elements.text(one, "value"))
        ]
        return next(iter((await queries.owners(identifiers)).values()), None)

    async def _write_again(self) -> None:
        """Waiting deliveries are older than the comparison: remaining differences are delivered as they are now."""
        async with self.store.pool.acquire() as connection, connection.transaction():
            waiting = await pending_to_omegaai(connection)
            patients = {row["key"] for row in waiting if row["kind"] == PATIENT_UPSERT}
            links = {
                AppointmentSnapshot.from_bytes(row["payload"]).link_id
                for row in waiting
                if row["kind"] != PATIENT_UPSERT
            }
            transaction = Transaction(connection)
            work = self.open_work(transaction)
            links |= set(await never_written(connection))
            wanted = (links | self._to_write | set(self._rebuilt)) - self._settled
            await work.links.load_by_id(wanted)
            patients |= work.links.patient_ids()
            await work.patients.load_by_id(patients)
            for patient_id in sorted(patients):
                patient = work.patients.by_id(patient_id)
                if patient is not None:
                    self.effects.tell_omegaai_of_patient(patient, work)
            for link_id in sorted(wanted):
                link = work.links.by_id(link_id)
                if link is not None and link.slot is not None and _is_shown(link):
                    self.effects.tell_omegaai(link, work)
            await let_go(connection, [row["id"] for row in waiting])
            self.report.deliveries_let_go = len(waiting)
            await transaction.flush()

    async def _hear(self, heard: Sequence[AppointmentThere]) -> None:
        """Applies it as a change of OmegaAI's, through the usual handler."""
        inbound = TaskInbound(self.store, self.open_work, self.effects)
        for some in _lots(heard):
            items = []
            for one in some:
                task_id = f"recovery-{one.command.facts.fhir_id}-{one.command.facts.version}"
                items.append(TaskItem(task_id, self.now, command=replace(one.command, task_id=task_id)))
            for one, error in zip(some, await inbound.apply(items), strict=True):
                if error is not None:
                    reason = error.reason if isinstance(error, Permanent) else type(error).__name__
                    self.report.open_differences.append(f"Appointment/{one.command.facts.fhir_id}: {reason}")

    async def _in_transaction(self, act: Callable[[StoredWork], Awaitable[None]]) -> None:
        async with self.store.pool.acquire() as connection, connection.transaction():
            transaction = Transaction(connection)
            await act(self.open_work(transaction))
            await transaction.flush()


def _is_shown(link: AppointmentLink) -> bool:
    """Whether OmegaAI has to know of the link. An appointment cancelled before its first event is unknown there."""
    return not (link.state in {State.CANCELLED, State.UNSCHEDULED} and link.revision == 0)


def _announced(missed: Missed) -> Announced:
    statuses = frozenset(status for one in missed.said.values() if (status := one.status) is not None)
    return Announced(missed.newest.occurred_at, statuses)


def _rebuilt(known: AppointmentLink | None, link: AppointmentLink, missed: Missed) -> Iterator[HistoryEntry]:
    """A line for each event, at its time: a run that was killed before it had compared reads them again."""
    for message_id, said in sorted(missed.said.items(), key=lambda item: item[1].revision):
        is_newest = message_id == missed.newest.message_id
        entry = _entry(
            known, link if is_newest else known or link, f"revision {said.revision} of its topic", message_id, said.at
        )
        who = "staff" if said.by_staff else "patient"
        yield replace(entry, trigger=f"{who}: {said.status}", revision=said.revision)


def _entry(
    before: AppointmentLink | None, after: AppointmentLink, message: str, cause_id: UUID, at: datetime
) -> HistoryEntry:
    return HistoryEntry(
        link_id=after.id,
        at=at,
        source=SOURCE,
        message=message,
        cause_id=cause_id,
        trigger=None,
        outcome="rebuilt",
        state_before=(State.NEW if before is None else before.state).value,
        state_after=after.state.value,
        revision=after.revision,
        changed=(),
        delivery_ids=(),
    )


def _lots(items: Sequence[T]) -> list[Sequence[T]]:
    return [items[start : start + AT_ONCE] for start in range(0, len(items), AT_ONCE)]
