"""The suite between two small models of its partners, without a process, socket or store: for tests by the thousand.

The suite's part is its own code (HL7 reader and writer, FHIR reader and writer, senders, feeds, handlers, domain) on a
store in memory. The partners are written from what their vendors document, not from the suite: PowerServer's schedule,
which pushes each of its changes, and OmegaAI with the patient's buttons, which makes a Task of each change.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from sync_samples import PID, directory, orm, site_file, siu

from chassis.deliveries import Delivery, Taken
from chassis.errors import Transient
from chassis.hl7_inbound import InboundHl7
from chassis.transaction import Transaction
from hl7v2 import Ack, Message
from scheduler_sync.adapters.omegaai import reader
from scheduler_sync.adapters.omegaai.client import Found, NotFoundError, VersionMovedError
from scheduler_sync.adapters.omegaai.sender import KnownIds, OmegaAISender
from scheduler_sync.adapters.omegaai.tasks import TaskItem
from scheduler_sync.adapters.powerserver.sender import PowerServerSender
from scheduler_sync.adapters.powerserver.writer import Hl7StatusWriter
from scheduler_sync.domain.appointment import AppointmentLink
from scheduler_sync.domain.patient import Patient, PatientIdentifier
from scheduler_sync.feeds import PowerServerFeed, Settlement, TaskFeed
from scheduler_sync.handlers import Handlers
from scheduler_sync.messages import AppointmentSnapshot
from scheduler_sync.ports import Conflict, HistoryEntry, Work

BEGIN = datetime(2026, 11, 25, 14, 30, tzinfo=UTC)
SITE = site_file()
Json = dict[str, Any]

ORDERED, SCHEDULED, CONFIRMED, ARRIVED, CANCELLED, NO_SHOW, READY, COMPLETED = 20, 30, 50, 70, 80, 85, 90, 120
NAMES = {
    ORDERED: "ORDERED", SCHEDULED: "SCHEDULED", CONFIRMED: "CONFIRMED", ARRIVED: "ARRIVED", CANCELLED: "CANCELLED",
    NO_SHOW: "NO SHOW", READY: "READY FOR SCAN", COMPLETED: "COMPLETED",
}  # fmt: skip
CLOSED = {CANCELLED, NO_SHOW, COMPLETED}


def at_once(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that has nothing to wait for."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("waited for something outside")


@dataclass
class Clock:
    """Moves when a test says so."""

    now: datetime = BEGIN

    def pass_by(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


# ---- PowerServer


@dataclass
class Booking:
    """An appointment in PowerServer's schedule."""

    placer: str
    patient: str
    status: int
    start: datetime
    has_no_time: bool = False
    """It was taken off the calendar: the time that its messages still give counts no more."""
    acts: int = 0
    is_told_by_order: bool = False


@dataclass
class Said:
    """A message on its way to the suite."""

    raw: bytes
    made: str
    text: str
    patient: str


class PowerServer:
    """Staff's schedule. Each change is queued for the suite, whoever made it; what is closed does not change."""

    def __init__(self, clock: Clock, *, profile: str, skew_seconds: float) -> None:
        self._clock, self._profile, self._skew_seconds = clock, profile, skew_seconds
        self.bookings: dict[str, Booking] = {}
        self.emails = {"4711": "jane@example.org", "4712": "joan@example.org"}
        self.queue: list[Said] = []
        self.answered: list[Said] = []
        self.taken: set[str] = set()
        self._number = 0

    def book(self, patient: str, start: datetime) -> Booking:
        booking = Booking(f"P{100 + len(self.bookings)}", patient, SCHEDULED, start)
        self.bookings[booking.placer] = booking
        self._announce(booking, "S12", "NW")
        return booking

    def move(self, booking: Booking, start: datetime) -> None:
        booking.start = start
        self._announce(booking, "S13", "XO")

    def set_status(self, booking: Booking, status: int) -> None:
        if status != booking.status:
            booking.status = status
            booking.has_no_time = status == ORDERED or (booking.has_no_time and status == CANCELLED)
            self._tell(booking)

    def change_email(self, booking: Booking, email: str) -> None:
        self.emails[booking.patient] = email
        self._announce(booking, "S14", "SC")

    async def send(self, message: bytes, *, control_id: str) -> Ack:
        """Take a message of the suite: once, whatever comes how often."""
        said = Message.parse(message)
        booking = self.bookings[said.get("SCH-1.1") or ""]
        status = int(said.get("SCH-25.1") or "")
        if control_id not in self.taken:
            self.taken.add(control_id)
            if booking.status in CLOSED and booking.status != status:
                self._tell(booking)
            elif booking.status not in CLOSED:
                self.set_status(booking, status)
        return Ack("AA", control_id)

    async def close(self) -> None:
        """Nothing is open."""

    def _tell(self, booking: Booking) -> None:
        event = {CANCELLED: ("S15", "CA"), NO_SHOW: ("S26", "SC")}.get(booking.status, ("S14", "SC"))
        self._announce(booking, *event)

    def _announce(self, booking: Booking, trigger: str, control: str) -> None:
        booking.acts += 1
        made = (self._clock.now + timedelta(seconds=self._skew_seconds)).strftime("%Y%m%d%H%M%S+0000")
        values = {
            "made": made, "placer": booking.placer, "status": f"{booking.status}^{NAMES[booking.status]}^99PS",
            "start": booking.start.strftime("%Y%m%d%H%M%S+0000"),
            "end": (booking.start + timedelta(minutes=30)).strftime("%Y%m%d%H%M%S+0000"),
            "pid": PID.replace("4711", booking.patient).replace("jane.roe@example.org", self.emails[booking.patient]),
        }  # fmt: skip
        if self._profile in ("siu", "both"):
            self._say(siu(trigger, control_id=self._control_id(), **values), f"SIU^{trigger}", booking, made)
        if self._profile in ("orm", "both"):
            control = control if booking.is_told_by_order else "NW"
            booking.is_told_by_order = True
            self._say(orm(control, control_id=self._control_id(), **values), f"ORM {control}", booking, made)

    def _say(self, raw: bytes, kind: str, booking: Booking, made: str) -> None:
        text = f"{kind} {booking.placer} {NAMES[booking.status]} at {booking.start:%d %H:%M}, made {made[8:14]}"
        self.queue.append(Said(raw, made, text, booking.patient))

    def _control_id(self) -> str:
        self._number += 1
        return f"PS{self._number:010d}"


# ---- OmegaAI


def _copied(body: Json) -> Json:
    """As over the wire: nobody holds what another may change."""
    copied: Json = orjson.loads(orjson.dumps(body))
    return copied


class OmegaAI:
    """Patients and Appointments with versions, and a Task for each change of an Appointment."""

    def __init__(self) -> None:
        self.resources: dict[tuple[str, str], Json] = {}
        self.tasks: dict[str, str] = {}
        self.acts: Counter[str] = Counter()
        self.acted: dict[str, tuple[int, str]] = {}
        """Version and status of the patient's last act on each appointment."""
        self.before_write: Callable[[Json, Json], None] | None = None
        self.before_update: Callable[[str], None] | None = None
        self._number = 0

    def all(self, kind: str) -> list[Json]:
        return [body for (found, _), body in self.resources.items() if found == kind]

    def patient_sets(self, body: Json, status: str, **more: Any) -> None:
        self.acts[body["id"]] += 1
        stored = self._put("Appointment", {**body, "status": status, **more})
        self.acted[body["id"]] = int(stored["meta"]["versionId"]), status

    def staff_edit(self, body: Json, **more: Any) -> None:
        self._put("Appointment", {**body, **more})

    async def read(self, kind: str, identifier: str) -> Found:
        body = self.resources.get((kind, identifier))
        if body is None:
            raise NotFoundError
        return self._found(body)

    async def create(self, kind: str, body: Json, *, if_none_exist: str) -> Found:
        wanted = {one["value"] for one in body["identifier"]}
        assert if_none_exist.startswith("identifier=")
        same = [one for one in self.all(kind) if wanted & {known["value"] for known in one["identifier"]}]
        assert len(same) <= 1, f"{kind} is there twice"
        if same:
            return self._found(same[0])
        self._number += 1
        return self._found(self._put(kind, {**body, "id": f"{kind[0].lower()}{self._number}"}), was_created=True)

    async def update(self, kind: str, identifier: str, body: Json, *, version: str) -> Found:
        if self.before_update is not None and kind == "Appointment":
            meddle, self.before_update = self.before_update, None
            meddle(identifier)
        if self.resources[kind, identifier]["meta"]["versionId"] != version:
            raise VersionMovedError
        if self.before_write is not None and kind == "Appointment":
            self.before_write(self.resources[kind, identifier], body)
        return self._found(self._put(kind, {**body, "id": identifier}))

    def _put(self, kind: str, body: Json) -> Json:
        before = self.resources.get((kind, body["id"]), {"meta": {"versionId": "0"}})
        stored = _copied({**body, "meta": {"versionId": str(int(before["meta"]["versionId"]) + 1)}})
        self.resources[kind, body["id"]] = stored
        if kind == "Appointment":
            self._number += 1
            self.tasks[f"t{self._number}"] = body["id"]
        return stored

    def _found(self, body: Json, *, was_created: bool = False) -> Found:
        return Found(_copied(body), body["meta"]["versionId"], was_created)


# ---- the suite


@dataclass
class Pending:
    """A delivery in its line."""

    delivery: Delivery
    attempts: int = 0


@dataclass
class Memory:
    """What the store holds."""

    patients: dict[UUID, Patient] = field(default_factory=dict)
    links: dict[UUID, AppointmentLink] = field(default_factory=dict)
    events: list[tuple[str, UUID, int]] = field(default_factory=list)
    history: list[HistoryEntry] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    lines: dict[tuple[str, UUID], list[Pending]] = field(default_factory=lambda: defaultdict(list))
    delivered: Counter[tuple[str, UUID]] = field(default_factory=Counter)
    journal: set[tuple[str, str, bytes]] = field(default_factory=set)
    claimed_tasks: set[str] = field(default_factory=set)

    async def of_patient(self, patient_id: UUID) -> KnownIds:
        patient = self.patients.get(patient_id)
        return KnownIds(patient and patient.fhir_id)

    async def of_link(self, link_id: UUID) -> KnownIds:
        link = self.links[link_id]
        return KnownIds(self.patients[link.patient_id].fhir_id, link.omegaai_id, link.omegaai_written_version)


class Patients:
    """The patients of one unit of work."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.changed: dict[UUID, Patient] = {}

    async def load(self, _: Iterable[PatientIdentifier]) -> None: ...

    async def load_by_id(self, _: Iterable[UUID], *, lock: bool = True) -> None: ...

    def identified_by(self, identifiers: Iterable[PatientIdentifier]) -> Patient | None:
        wanted = set(identifiers)
        known = {**self._memory.patients, **self.changed}.values()
        return next((one for one in known if wanted & set(one.identifiers)), None)

    def by_id(self, patient_id: UUID) -> Patient | None:
        return self.changed.get(patient_id) or self._memory.patients.get(patient_id)

    def save(self, patient: Patient) -> None:
        self.changed[patient.id] = patient


class Links:
    """The links of one unit of work."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.changed: dict[UUID, AppointmentLink] = {}
        self.history: list[HistoryEntry] = []
        self.conflicts: list[Conflict] = []

    async def load(self, _: Iterable[str]) -> None: ...

    async def load_by_id(self, _: Iterable[UUID], __: Iterable[str] = ()) -> None: ...

    async def load_writes_under_way(self) -> None: ...

    def patient_ids(self) -> set[UUID]:
        return set()

    def is_being_written(self, link_id: UUID, status: str) -> bool:
        lines = (line for (destination, _), line in self._memory.lines.items() if destination == "omegaai")
        sent = (one.delivery for line in lines for one in line if one.attempts)
        snapshots = (AppointmentSnapshot.from_bytes(one.payload) for one in sent if one.kind == "appointment.upsert")
        return any((one.link_id, one.status) == (link_id, status) for one in snapshots)

    def by_placer_number(self, placer_number: str) -> AppointmentLink | None:
        known = {**self._memory.links, **self.changed}.values()
        return next((one for one in known if one.placer_number == placer_number), None)

    def by_id(self, link_id: UUID) -> AppointmentLink | None:
        return self.changed.get(link_id) or self._memory.links.get(link_id)

    def save(self, link: AppointmentLink) -> None:
        self.changed[link.id] = link

    def note(self, entry: HistoryEntry) -> None:
        self.history.append(entry)

    def note_conflict(self, conflict: Conflict) -> None:
        self.conflicts.append(conflict)

    def park(self, task: object) -> None:
        raise AssertionError(f"{task} was parked")


@dataclass(slots=True)
class MemoryWork(Work):
    """One unit of work on memory; ``commands`` as the feeds want it."""

    commands: dict[UUID, Any] = field(default_factory=dict)


class Suite:
    """The service's own code between the two partners."""

    def __init__(self, clock: Clock, powerserver: PowerServer, omegaai: OmegaAI) -> None:
        self.clock, self.omegaai, self.memory = clock, omegaai, Memory()
        resources = directory(SITE)
        self.handlers = Handlers(
            site=lambda: SITE,
            resources=resources,
            powerserver=Hl7StatusWriter(lambda: SITE),
            count=lambda *_: None,
            now=lambda: clock.now,
        )
        site: Any = type("Held", (), {"file": SITE})()
        self._feed = PowerServerFeed(self.handlers, site, resources)
        self._tasks = TaskFeed(None, None, self.handlers)  # type: ignore[arg-type]
        self._settlement = Settlement(self._open, self.handlers, lambda: clock.now)  # type: ignore[arg-type]
        self._to_omegaai = OmegaAISender(omegaai, self.memory)  # type: ignore[arg-type]
        self._to_powerserver = PowerServerSender([powerserver])
        self._work: MemoryWork | None = None

    def hear(self, raw: bytes) -> None:
        """One message over MLLP, answered AA; a repeat is known by the journal."""
        item = InboundHl7.of(raw, self.clock.now)
        if item.identity in self.memory.journal:
            return
        self._in_transaction(lambda work: self._hear(work, item))
        self.memory.journal.add(item.identity)

    async def _hear(self, work: MemoryWork, item: InboundHl7) -> None:
        await self._feed.prefetch(work, [item])  # type: ignore[arg-type]
        await self._feed.handle(work, item)  # type: ignore[arg-type]

    def read_task(self, task_id: str) -> TaskItem:
        """Look at what a Task speaks of, as it is now."""
        found = at_once(self.omegaai.read("Appointment", self.omegaai.tasks[task_id]))
        return TaskItem(task_id, self.clock.now, command=reader.appointment(found, task_id))

    def apply_task(self, item: TaskItem) -> bool:
        """Commit what was read; False when it has to come again."""
        if item.task_id in self.memory.claimed_tasks:
            return True
        try:
            self._in_transaction(lambda work: self._tasks._handle(work, item))  # type: ignore[arg-type]
        except Transient:
            return False
        self.memory.claimed_tasks.add(item.task_id)
        return True

    def heads(self) -> list[Pending]:
        """What may be sent now: the first of each line."""
        return [line[0] for line in self.memory.lines.values() if line]

    def send(self, pending: Pending, *, fate: str = "done") -> None:
        """Claim a delivery and send it: ``never arrived``, ``answer lost`` (a kill before the mark), or done."""
        pending.attempts += 1
        if fate == "never arrived":
            return
        delivery = pending.delivery
        sender = self._to_omegaai if delivery.destination == "omegaai" else self._to_powerserver
        try:
            receipt = at_once(sender.send(delivery))
        except Transient:
            return
        if fate == "answer lost":
            return
        settled = self._settlement.omegaai if delivery.destination == "omegaai" else self._settlement.powerserver
        self._in_transaction(lambda work: self._settle(work, settled, delivery, receipt))
        self.memory.lines[delivery.destination, delivery.key].remove(pending)
        self.memory.delivered[delivery.destination, delivery.key] += 1

    async def _settle(self, work: MemoryWork, settled: Any, delivery: Delivery, receipt: Any) -> None:
        await settled(work.outgoing, [Taken(delivery, receipt)])

    def _open(self, _: Transaction) -> MemoryWork:
        assert self._work is not None
        return self._work

    def _in_transaction(self, run: Callable[[MemoryWork], Coroutine[Any, Any, None]]) -> None:
        """All of it or, when it raises, nothing."""
        memory, transaction = self.memory, Transaction(None)  # type: ignore[arg-type]
        patients, links = Patients(memory), Links(memory)
        self._work = work = MemoryWork(transaction, patients, links)
        at_once(run(work))
        memory.patients.update(patients.changed)
        memory.links.update(links.changed)
        memory.history += links.history
        memory.conflicts += links.conflicts
        memory.events += [(row.topic, row.aggregate_id, row.revision) for row in transaction._outbox]
        for row in transaction._deliveries:
            delivery = Delivery(
                row.id, row.destination, row.key, row.kind, row.payload, row.idempotency_key, {}, 1, self.clock.now
            )
            memory.lines[row.destination, row.key].append(Pending(delivery))
