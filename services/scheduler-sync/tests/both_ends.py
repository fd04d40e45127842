"""The suite between two small models of its partners, without a process, socket or store: for tests by the thousand.

The suite's part is its own code (HL7 reader and writer, FHIR reader and writer, senders, feeds, handlers, domain, and
the chassis' batch executor with its savepoints) on a store in memory.
"""

from bisect import insort
from collections import defaultdict
from collections.abc import Collection, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Self
from uuid import UUID

from both_ends_partners import Clock, OmegaAI, PowerServer
from sync_samples import directory, site_file

from chassis.deliveries import Accepted, Delivery, Receipt
from chassis.errors import NeedsSetup, Permanent, Transient
from chassis.hl7 import InboundHl7
from chassis.hl7.journal import JournalIntake
from chassis.messaging import BatchExecutor, Failed
from chassis.store import Transaction
from scheduler_sync.adapters.omegaai import reader
from scheduler_sync.adapters.omegaai.askers import Askers
from scheduler_sync.adapters.omegaai.sender import KnownIds, OmegaAISender
from scheduler_sync.adapters.omegaai.tasks import TaskItem
from scheduler_sync.adapters.powerserver.sender import PowerServerSender, Shown
from scheduler_sync.adapters.powerserver.writer import Hl7StatusWriter
from scheduler_sync.domain.appointment import AppointmentLink, Outcome, System
from scheduler_sync.domain.patient import Patient, PatientIdentifier
from scheduler_sync.domain.slots import Slot
from scheduler_sync.handlers.effects import Effects
from scheduler_sync.inbound import PowerServerInbound, TaskInbound
from scheduler_sync.ports import Conflict, HistoryEntry, Offer, ParkedTask, Work
from scheduler_sync.settlement import Settlement
from scheduler_sync.snapshots import APPOINTMENT_UPSERT, PATIENT_UPSERT, AppointmentSnapshot, PatientSnapshot
from scheduler_sync.store.repositories import LinkRepository, PatientRepository

SITE = site_file()


def at_once(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that has nothing to wait for."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("waited for something outside")


# ---- the store


@dataclass(eq=False)
class Pending:
    """A delivery in its line, or dead. ``lease`` names the worker that has it now."""

    number: int
    delivery: Delivery
    attempts: int = 0
    lease: int = 0

    @property
    def line(self) -> tuple[str, UUID]:
        return self.delivery.destination, self.delivery.key


@dataclass
class Memory:
    """What the store holds."""

    patients: dict[UUID, Patient] = field(default_factory=dict)
    links: dict[UUID, AppointmentLink] = field(default_factory=dict)
    events: list[tuple[str, UUID, int]] = field(default_factory=list)
    history: list[HistoryEntry] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    lines: dict[tuple[str, UUID], list[Pending]] = field(default_factory=lambda: defaultdict(list))
    dead: list[Pending] = field(default_factory=list)
    parked: dict[str, ParkedTask] = field(default_factory=dict)
    done: dict[tuple[str, UUID], list[Pending]] = field(default_factory=lambda: defaultdict(list))
    journal: dict[tuple[str, str, bytes], tuple[UUID, str]] = field(default_factory=dict)
    inbox: set[UUID] = field(default_factory=set)
    deliveries: int = 0

    async def of_patient(self, patient_id: UUID) -> KnownIds:
        patient = self.patients.get(patient_id)
        return KnownIds(patient and patient.fhir_id, patient_version=patient and patient.fhir_version)

    async def of_link(self, link_id: UUID, patient_id: UUID) -> KnownIds:
        link = self.links[link_id]
        fhir_id = self.patients[patient_id].fhir_id
        return KnownIds(fhir_id, link.omegaai_id, link.omegaai_written_version, status=link.fhir_status)

    async def later(self, delivery: Delivery) -> str | None:
        line = delivery.destination, delivery.key
        number = next(one.number for one in self.lines[line] if one.delivery.id == delivery.id)
        behind = [one for one in self.done[line] if one.number > number]
        return "done" if any(one.delivery.subject == delivery.subject for one in behind) else None

    async def newest_told(self, patient_id: UUID) -> PatientSnapshot | None:
        told = [one.delivery for one in self.done["omegaai", patient_id] if one.delivery.kind == PATIENT_UPSERT]
        return PatientSnapshot.from_bytes(told[-1].payload) if told else None

    async def other_in_omegaai(self, *_: object) -> tuple[int, str]:
        raise AssertionError("nobody but the suite writes a Patient here")


class Steps:
    """Where appointments stand."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def of_link(self, link_id: UUID) -> Shown:
        link = self._memory.links[link_id]
        return Shown(link.step, link.powerserver_step)


class Connection:
    """A connection, its pool and its transaction: answers what the intakes ask, by what the statement speaks of."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory

    def acquire(self) -> Self:
        return self

    transaction = acquire

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def fetch(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        if "INSERT INTO inbox" in statement:
            new = [one for one in values[1] if one not in self.memory.inbox]
            self.memory.inbox.update(new)
            return [{"message_id": one} for one in new]
        assert "INSERT INTO hl7_journal" in statement, statement
        return [self._claim(*given) for given in zip(*values[:4], strict=True)]

    def _claim(self, number: UUID, sender: str, control_id: str, digest: bytes) -> dict[str, Any]:
        identity = sender, control_id, digest
        known = identity in self.memory.journal
        number, state = self.memory.journal.setdefault(identity, (number, "accepted"))
        return {
            "id": number, "sender": sender, "control_id": control_id, "digest": digest, "state": state,
            "known": known, "other_content": False,
        }  # fmt: skip

    async def execute(self, statement: str, *values: Any) -> None:
        if "DELETE FROM inbox" in statement:
            self.memory.inbox.difference_update(values[1])
        elif "UPDATE hl7_journal" in statement:
            kept = dict(zip(values[0], values[1], strict=True))
            for identity, (number, state) in self.memory.journal.items():
                self.memory.journal[identity] = number, kept.get(number, state)
        else:
            assert "DELETE FROM hl7_journal" not in statement


class Patients(PatientRepository):
    """The service's own, but for where it loads from and writes to."""

    def __init__(self, transaction: Transaction, memory: Memory) -> None:
        super().__init__(transaction, SITE.site)
        self._memory = memory

    async def load(self, identifiers: Iterable[PatientIdentifier]) -> None:
        wanted = set(identifiers)
        self._hold(one for one in self._memory.patients.values() if wanted & set(one.identifiers))

    async def load_by_id(self, patient_ids: Iterable[UUID], *, lock: bool = True) -> None:
        del lock
        self._hold(self._memory.patients[one] for one in patient_ids)

    async def flush(self, connection: Any) -> None:
        del connection
        self._memory.patients.update((one.id, one) for one in self._patients.take_changed())

    def _hold(self, patients: Iterable[Patient]) -> None:
        for one in patients:
            self._patients.load(one.id, one)
            self._by_identifier.update(((known.issuer, known.value), one.id) for known in one.identifiers)


class Links(LinkRepository):
    """The service's own, but for where it loads from and writes to."""

    def __init__(self, transaction: Transaction, memory: Memory) -> None:
        super().__init__(transaction, SITE.site)
        self._memory = memory

    async def load(self, placer_numbers: Iterable[str], patient_ids: Collection[UUID] = ()) -> None:
        of_patients = [one.id for one in self._memory.links.values() if one.patient_id in patient_ids]
        await self.load_by_id(of_patients, placer_numbers)

    async def load_by_id(
        self, link_ids: Iterable[UUID], placer_numbers: Iterable[str] = (), omegaai_ids: Iterable[str] = ()
    ) -> None:
        ids, placers, theirs = set(link_ids), set(placer_numbers), set(omegaai_ids)
        for one in self._memory.links.values():
            if one.id in ids or one.placer_number in placers or one.omegaai_id in theirs:
                self._links.load(one.id, one)
                self._by_placer[one.placer_number] = one.id

    async def load_writes_under_way(self) -> None:
        for key in self.patient_ids():
            for one in self._memory.lines["omegaai", key]:
                if one.attempts and one.delivery.kind == APPOINTMENT_UPSERT:
                    snapshot = AppointmentSnapshot.from_bytes(one.delivery.payload)
                    self._under_way.add((snapshot.link_id, snapshot.status))

    async def flush(self, connection: Any) -> None:
        del connection
        self._memory.parked.update((one.focus, one) for one in self._parked)
        self._memory.links.update((one.id, one) for one in self._links.take_changed())
        self._memory.history += self._history
        self._memory.conflicts += self._conflicts


class Leaving:
    """What a transaction sends: events to Kafka, deliveries to their lines."""

    def __init__(self, transaction: Transaction, memory: Memory, clock: Clock) -> None:
        self._transaction, self._memory, self._clock = transaction, memory, clock

    def mark(self) -> object: ...

    def rollback_to(self, mark: object) -> None: ...

    async def flush(self, connection: Any) -> None:
        del connection
        memory, transaction = self._memory, self._transaction
        memory.events += [(row.topic, row.aggregate_id, row.revision) for row in transaction._outbox]
        joined = transaction.joined_lines()
        for (destination, former), key in joined.items():
            memory.lines[destination, key] += memory.lines.pop((destination, former), [])
            memory.lines[destination, key].sort(key=lambda one: one.number)
            for one in (*memory.lines[destination, key], *memory.dead):
                if one.line in {(destination, former), (destination, key)}:
                    one.delivery = replace(one.delivery, key=key)
        for row in transaction._deliveries:
            memory.deliveries += 1
            row = row._replace(key=joined.get((row.destination, row.key), row.key))  # noqa: PLW2901 - re-keyed
            delivery = Delivery(
                row.id,
                row.destination,
                row.key,
                row.kind,
                row.payload,
                row.idempotency_key,
                {},
                1,
                self._clock.now,
                subject=row.subject,
            )
            memory.lines[row.destination, row.key].append(Pending(memory.deliveries, delivery))


class EverythingFree:
    """No resource is ever short of time here."""

    async def has_room(self, link: AppointmentLink) -> bool:
        return bool(link)

    async def alternatives(self, link: AppointmentLink, asked: Slot) -> Sequence[Offer]:
        del link, asked
        return ()


@dataclass(slots=True)
class MemoryWork(Work):
    """One unit of work on memory; ``commands`` as the feeds want it."""

    commands: dict[UUID, Any] = field(default_factory=dict)


# ---- the suite


class Certain:
    """The story's clock, of which nothing is in doubt."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def now(self) -> datetime:
        return self._clock.now

    def doubt(self) -> timedelta:
        return timedelta()


class NoMeters:
    """Counts nothing."""

    def outcome(self, source: str, outcome: Outcome) -> None: ...

    def conflict(self, source: str, outcome: Outcome) -> None: ...

    def clock_ahead(self, lead: timedelta) -> None: ...

    def not_permitted(self, station: str) -> None: ...

    def not_read(self, fields: Iterable[tuple[str, str]], repairs: int) -> None: ...


@dataclass(eq=False)
class Sending:
    """A worker with a delivery under its lease, perhaps standing still in the midst of it."""

    pending: Pending
    lease: int
    work: Coroutine[Any, Any, Receipt]
    is_killed_before_the_mark: bool


class Suite:
    """The service's own code between the two partners."""

    def __init__(self, clock: Clock, powerserver: PowerServer, omegaai: OmegaAI) -> None:
        self.clock, self.powerserver, self.omegaai, self.memory = clock, powerserver, omegaai, Memory()
        effects = Effects(
            site=lambda: SITE,
            resources=directory(SITE),
            powerserver=Hl7StatusWriter(lambda: SITE),
            clock=Certain(clock),
            meters=NoMeters(),
        )
        self._connection = Connection(self.memory)
        store: Any = type("Store", (), {"pool": self._connection})()
        site: Any = type("Held", (), {"file": SITE})()
        metrics: Any = type("Metrics", (), {"count": lambda *_, **__: None})()
        inbound: Any = PowerServerInbound(site, effects)
        self._listener: BatchExecutor[InboundHl7, MemoryWork, None] = BatchExecutor(
            store, intake=JournalIntake(metrics), open_work=self._open, prefetch=inbound.prefetch, handle=inbound.handle
        )
        self._tasks = TaskInbound(store, self._open, effects)  # type: ignore[arg-type]
        self._settlement = Settlement(self._open, lambda: clock.now)  # type: ignore[arg-type]
        self._askers = Askers(omegaai, lambda: SITE.issuer_of_system)  # type: ignore[arg-type]
        self._to_omegaai = OmegaAISender(omegaai, self.memory)  # type: ignore[arg-type]
        self._to_powerserver = PowerServerSender([powerserver], Steps(self.memory))

    def hear(self, *raw: bytes, connection: int | None = None) -> list[Exception | None]:
        """Messages over MLLP, in one batch; what each that was not answered AA waits for. A repeat has no effect."""
        items = [InboundHl7.of(one, self.clock.now) for one in raw]
        for item in items:
            item.connection = connection
        outcomes = at_once(self._listener.run(items))
        errors = [one.error if isinstance(one, Failed) else None for one in outcomes]
        for error in errors:
            if error is not None and not isinstance(error, NeedsSetup):
                raise error
        return errors

    def read_task(self, task_id: str) -> TaskItem:
        """Look at what a Task speaks of, as it is now."""
        found = at_once(self.omegaai.read("Appointment", self.omegaai.tasks[task_id]))
        command = at_once(self._askers.complete(reader.appointment(found, task_id)))
        return TaskItem(task_id, self.clock.now, command=command)

    def apply_tasks(self, items: Sequence[TaskItem]) -> list[bool]:
        """Commit what was read, in one batch; False for each that has to come again. What never will is parked."""
        errors = at_once(self._tasks.apply(items))
        for item, error in zip(items, errors, strict=True):
            if isinstance(error, Permanent):
                assert item.command is not None
                focus = f"Appointment/{item.command.facts.fhir_id}"
                parked = ParkedTask(item.task_id, focus, None, error.reason, item.received_at)
                assert at_once(self._tasks.apply([replace(item, command=None, parked=parked)])) == [None]
            elif error is not None and not isinstance(error, Transient):
                raise error
        return [not isinstance(error, Transient) for error in errors]

    def heads(self) -> list[Pending]:
        """What may be sent now: the first of each line."""
        return [line[0] for line in self.memory.lines.values() if line]

    def send(self, pending: Pending, *, fate: str = "done", stalls: bool = False) -> Sending | None:
        """Claim a delivery and send it; the sending when its worker stands still in the midst of it.

        ``never arrived`` and ``killed``: before it was sent, and between the partner's answer and the mark. Other fates
        are the partner's.
        """
        pending.attempts += 1
        pending.lease += 1
        if fate == "never arrived":
            return None
        lease = pending.lease

        async def still_ours() -> bool:
            return self._holds(pending, lease)

        delivery = replace(pending.delivery, attempt=pending.attempts, still_ours=still_ours)
        is_omegaais = delivery.destination == System.OMEGAAI
        wire = (self.omegaai if is_omegaais else self.powerserver).wire
        wire.fate, wire.stalls = fate, stalls
        sender = self._to_omegaai if is_omegaais else self._to_powerserver
        sending = Sending(pending, lease, sender.send(delivery), fate == "killed")
        is_through = self.go_on(sending)
        wire.fate, wire.stalls = "taken", False
        return None if is_through else sending

    def go_on(self, sending: Sending) -> bool:
        """Let a worker go on with what it sends; False when it stands still again."""
        try:
            sending.work.send(None)
        except StopIteration as done:
            if not sending.is_killed_before_the_mark and self._holds(sending.pending, sending.lease):
                self._mark_done(sending.pending, done.value)
        except Transient:
            pass  # it comes again
        except Permanent:
            if self._holds(sending.pending, sending.lease):
                self.memory.lines[sending.pending.line].remove(sending.pending)
                self.memory.dead.append(sending.pending)
        else:
            return False
        return True

    def operator_sends_again(self, pending: Pending) -> None:
        """A dead delivery is back in its line, where it stood."""
        self.memory.dead.remove(pending)
        insort(self.memory.lines[pending.line], pending, key=lambda one: one.number)

    def operator_drops(self, pending: Pending) -> None:
        """A dead delivery is given up."""
        self.memory.dead.remove(pending)

    def _holds(self, pending: Pending, lease: int) -> bool:
        return pending.lease == lease and pending in self.memory.lines[pending.line]

    def _mark_done(self, pending: Pending, receipt: Receipt) -> None:
        self.memory.lines[pending.line].remove(pending)
        self.memory.done[pending.line].append(pending)
        at_once(self._settle(Accepted(pending.delivery, receipt)))

    async def _settle(self, accepted: Accepted) -> None:
        transaction = Transaction(self._connection)  # type: ignore[arg-type]
        is_omegaais = accepted.delivery.destination == System.OMEGAAI
        await (self._settlement.omegaai if is_omegaais else self._settlement.powerserver)(transaction, [accepted])
        await transaction.flush()

    def _open(self, transaction: Transaction) -> MemoryWork:
        patients, links = Patients(transaction, self.memory), Links(transaction, self.memory)
        for one in (patients, links, Leaving(transaction, self.memory, self.clock)):
            transaction.join(one)
        return MemoryWork(transaction, patients, links, EverythingFree())
