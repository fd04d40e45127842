"""Transport into the handlers: each feed loads what a batch touches, then calls one handler per message.

The HL7 feed and the Task feed run on the same batch executor of the chassis; nothing here decides anything.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from chassis.deliveries import Taken
from chassis.errors import NeedsSetup, Permanent, Transient
from chassis.hl7 import InboundHl7
from chassis.messaging import BatchExecutor, Duplicate, Failed, Held, Outcome
from chassis.observe import tracing
from chassis.store import Store, Transaction
from scheduler_sync.adapters.omegaai.sender import PATIENT_UPSERT
from scheduler_sync.adapters.omegaai.tasks import TaskItem
from scheduler_sync.adapters.powerserver import reader
from scheduler_sync.adapters.powerserver.sender import NOT_SENT, step_of
from scheduler_sync.domain.appointment import System
from scheduler_sync.handlers import Handlers, cause_of_task
from scheduler_sync.messages import AppointmentSnapshot, ChangeAppointmentByStaff, Origin
from scheduler_sync.ports import Resources, Work
from scheduler_sync.site import Site
from scheduler_sync.store.repositories import LinkRepository, PatientRepository

ReadingCounter = Callable[[Iterable[tuple[str, str]], int], None]
TASK_CONSUMER: Final = "omegaai.tasks"
_MOVE_CURSOR: Final = """
INSERT INTO feed_cursor (feed, last_task_id, last_authored_on, read_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (feed) DO UPDATE SET last_task_id = excluded.last_task_id, last_authored_on = excluded.last_authored_on,
    read_at = excluded.read_at"""


@dataclass(slots=True)
class StoredWork(Work):
    """A unit of work on the store; ``commands`` holds what the messages of the batch were read as."""

    patients: PatientRepository
    links: LinkRepository
    commands: dict[UUID, ChangeAppointmentByStaff | Exception] = field(default_factory=dict)


class OpenWork:
    """Opens a unit of work in a transaction. Patients join first: they are locked and written before links."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def __call__(self, transaction: Transaction) -> StoredWork:
        name = self._site.file.site
        patients = PatientRepository(transaction, name)
        links = LinkRepository(transaction, name)
        transaction.join(patients)
        transaction.join(links)
        return StoredWork(transaction, patients, links)


class PowerServerFeed:
    """HL7 messages to the handler of staff's changes."""

    def __init__(
        self, handlers: Handlers, site: Site, resources: Resources, count: ReadingCounter = lambda _keys, _repairs: None
    ) -> None:
        """``count`` hears of each batch what of it was not read, and how many of its texts were repaired."""
        self._handlers = handlers
        self._site = site
        self._resources = resources
        self._count = count

    async def prefetch(self, work: StoredWork, items: Sequence[InboundHl7]) -> None:
        """Read all messages, then load their patients and links in one go."""
        passed_over = reader.PassedOver()
        for item in items:
            work.commands[item.journal_id] = self._read(item, passed_over)
        self._count(passed_over.keys, passed_over.repairs)
        commands = [one for one in work.commands.values() if isinstance(one, ChangeAppointmentByStaff)]
        await work.patients.load(one for command in commands for one in command.patient.identifiers)
        await work.links.load(command.placer_number for command in commands)

    async def handle(self, work: StoredWork, item: InboundHl7) -> NeedsSetup | None:
        """The setting that a word of the message waits for, which had its effect without that word."""
        command = work.commands[item.journal_id]
        if isinstance(command, Exception):
            raise command
        origin = Origin(System.POWERSERVER, command.name, item.journal_id, item.received_at, item.connection)
        await self._handlers.staff_changed_appointment(command, work=work, origin=origin)
        return command.waits_for

    def _read(self, item: InboundHl7, passed_over: reader.PassedOver) -> ChangeAppointmentByStaff | Exception:
        try:
            return reader.read(
                item.message, self._site.file, self._resources, received_at=item.received_at, passed_over=passed_over
            )
        except (Permanent, Transient) as error:
            return error


class TaskFeed:
    """Tasks of OmegaAI's queue to the handlers, committed under a claim on each Task."""

    def __init__(self, store: Store, open_work: OpenWork, handlers: Handlers) -> None:
        self._handlers = handlers
        self._executor = BatchExecutor(
            store, intake=TaskIntake(), open_work=open_work, prefetch=self._prefetch, handle=self._handle
        )

    async def apply(self, items: Sequence[TaskItem]) -> list[Exception | None]:
        """Commit the items; an error for each one that failed, in order."""
        outcomes = await self._executor.run(items)
        return [_error(outcome) for outcome in outcomes]

    async def _prefetch(self, work: StoredWork, items: Sequence[TaskItem]) -> None:
        commands = [item.command for item in items if item.command is not None]
        link_ids = [command.link_id for command in commands if command.link_id is not None]
        placers = [one.placer_number for one in commands if one.link_id is None and one.placer_number is not None]
        if commands:
            await work.links.load_by_id(link_ids, placers)
            await work.links.load_writes_under_way()
            await work.patients.load_by_id(work.links.patient_ids(), lock=False)

    async def _handle(self, work: StoredWork, item: TaskItem) -> None:
        if item.parked is not None:
            await self._handlers.park_task(item.parked, work=work)
        elif item.command is not None:
            origin = Origin(
                System.OMEGAAI,
                f"Appointment version {item.command.facts.version}: {item.command.facts.status}",
                cause_of_task(item.task_id),
                item.received_at,
            )
            await self._handlers.omegaai_changed_appointment(item.command, work=work, origin=origin)


class TaskIntake:
    """Claims Tasks in the inbox; a failed one gives its claim back, so that it can come again."""

    async def claim(
        self, connection: "asyncpg.Connection", items: Sequence[TaskItem]
    ) -> Sequence[Duplicate | Held | None]:
        ids = [cause_of_task(item.task_id) for item in items]
        rows = await connection.fetch(
            "INSERT INTO inbox (consumer, message_id) SELECT $1, id FROM unnest($2::uuid[]) AS asked (id) "
            "ON CONFLICT DO NOTHING RETURNING message_id",
            TASK_CONSUMER,
            ids,
        )
        ours = {row["message_id"] for row in rows}
        claims: list[Duplicate | Held | None] = []
        for one in ids:
            claims.append(None if one in ours else Duplicate())
            ours.discard(one)
        return claims

    async def settle(
        self, transaction: Transaction, items: Sequence[TaskItem], outcomes: Sequence[Outcome[object]]
    ) -> None:
        failed = [
            cause_of_task(item.task_id)
            for item, outcome in zip(items, outcomes, strict=True)
            if isinstance(outcome, Failed)
        ]
        if failed:
            transaction.write(
                "DELETE FROM inbox WHERE consumer = $1 AND message_id = ANY($2::uuid[])", TASK_CONSUMER, failed
            )
        last = items[-1]
        transaction.write(_MOVE_CURSOR, TASK_CONSUMER, last.task_id, last.authored_on, last.received_at)

    def key(self, item: TaskItem) -> None:
        """Tasks carry the present state of their focus, so none has to wait for another."""
        del item

    def traced(self, item: TaskItem) -> AbstractContextManager[None]:
        """A trace begins here: OmegaAI's Tasks carry none."""
        return tracing.span("process omegaai task", tracing.SpanKind.CONSUMER, {"omegaai.task.id": item.task_id})


class Settlement:
    """What the success of deliveries changes here, in the transaction that marks them done."""

    def __init__(self, open_work: OpenWork, handlers: Handlers, now: Callable[[], datetime]) -> None:
        self._open_work = open_work
        self._handlers = handlers
        self._now = now

    async def omegaai(self, transaction: Transaction, all_taken: Sequence[Taken]) -> None:
        """Keep the FHIR ids and versions that OmegaAI gave."""
        work = self._open_work(transaction)
        patients = [taken for taken in all_taken if taken.delivery.kind == PATIENT_UPSERT]
        appointments = [
            (AppointmentSnapshot.from_bytes(taken.delivery.payload), taken)
            for taken in all_taken
            if taken.delivery.kind != PATIENT_UPSERT
        ]
        await work.patients.load_by_id(taken.delivery.key for taken in patients)
        await work.links.load_by_id(snapshot.link_id for snapshot, _ in appointments)
        for delivery, receipt in patients:
            given = receipt.detail
            await self._handlers.omegaai_took_patient(delivery.key, given["id"], given["version_id"], work=work)
        for snapshot, (delivery, receipt) in appointments:
            given = receipt.detail
            message = f"Appointment version {given['version_id']}: {given['status']}"
            await self._handlers.omegaai_took_appointment(
                snapshot.link_id,
                given["id"],
                given["version_id"],
                as_sent=given["status"] == snapshot.status,
                over=given.get("over"),
                work=work,
                origin=Origin("delivery", message, delivery.id, self._now()),
            )

    async def powerserver(self, transaction: Transaction, all_taken: Sequence[Taken]) -> None:
        """Keep that PowerServer has taken our statuses."""
        work = self._open_work(transaction)
        await work.links.load_by_id(taken.delivery.key for taken in all_taken)
        for delivery, receipt in all_taken:
            ack = receipt.detail["ack"]
            answer = "not sent: it shows what came later" if ack == NOT_SENT else f"PowerServer answered {ack}"
            origin = Origin("delivery", answer, delivery.id, self._now())
            await self._handlers.powerserver_took_status(delivery.key, step_of(delivery), work=work, origin=origin)


def _error(outcome: Outcome[None]) -> Exception | None:
    if isinstance(outcome, Failed):
        error = outcome.error
        return error if isinstance(error, Exception) else Transient("the batch was cut short")
    return Transient("held back") if isinstance(outcome, Held) else None
