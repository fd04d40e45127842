"""From inputs to handlers: each class loads what a batch touches, then calls one handler for each message.

HL7 messages and Tasks run on the same batch executor of the chassis; no decision is made here.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Final

import asyncpg

from chassis.errors import NeedsSetup, Permanent, Transient
from chassis.hl7 import InboundHl7
from chassis.messaging import BatchExecutor, Duplicate, Failed, Held, Outcome
from chassis.observe import tracing
from chassis.store import Store, Transaction
from scheduler_sync.adapters.omegaai.tasks import TaskItem
from scheduler_sync.adapters.powerserver import master_files, reader, stations
from scheduler_sync.arrivals import Arrivals
from scheduler_sync.commands import (
    AboutPatients,
    BlockTime,
    ChangeAppointmentByStaff,
    ChangePatientByStaff,
    DeletePatient,
    FromPowerServer,
    MergePatients,
    Origin,
    TakeGridRows,
    cause_of_task,
)
from scheduler_sync.domain.appointment import System
from scheduler_sync.domain.claims import block_id
from scheduler_sync.domain.patient import PatientIdentifier
from scheduler_sync.handlers.blocks import block_time
from scheduler_sync.handlers.effects import Effects
from scheduler_sync.handlers.merges import delete_patient, merge_patients
from scheduler_sync.handlers.patient_acts import park_task, receive_appointment
from scheduler_sync.handlers.patients import change_patient
from scheduler_sync.handlers.resources import take_grid_rows
from scheduler_sync.handlers.staff_changes import change_appointment
from scheduler_sync.resources.records import ResourceRecords
from scheduler_sync.site import Site
from scheduler_sync.store import statements
from scheduler_sync.store.blocks import BlockRepository
from scheduler_sync.store.work import OpenWork, StoredWork

TASK_CONSUMER: Final = "omegaai.tasks"


class PowerServerInbound:
    """HL7 messages, for the handler of staff's changes."""

    def __init__(self, site: Site, effects: Effects) -> None:
        self._site = site
        self._effects = effects
        self._arrivals = Arrivals()

    async def prefetch(self, work: StoredWork, items: Sequence[InboundHl7]) -> None:
        """Reads all messages, then loads their patients and links in one go."""
        passed_over = reader.PassedOver()
        for item in items:
            work.commands[item.journal_id] = self._read(item, passed_over)
        self._effects.meters.not_read(passed_over.keys, passed_over.repairs)
        commands = [one for one in work.commands.values() if not isinstance(one, Exception | TakeGridRows | BlockTime)]
        await work.patients.load(number for command in commands for number in _numbers(command))
        ending = [one for command in commands for one in _ending(command)]
        await work.links.load(
            (one.placer_number for one in commands if isinstance(one, ChangeAppointmentByStaff)),
            {patient.id for patient in work.patients.all_identified_by(ending)} if ending else (),
        )
        await _load_grid(work)
        await _load_blocks(work, self._site.file.site)

    async def handle(self, work: StoredWork, item: InboundHl7) -> NeedsSetup | None:
        """The setting that a message still waits for, after the rest of it has taken effect."""
        command = work.commands[item.journal_id]
        if isinstance(command, Exception):
            raise command
        effects, site = self._effects, self._site.file
        origin = Origin(System.POWERSERVER, command.name, item.journal_id, item.received_at, item.connection)
        if isinstance(command, TakeGridRows):
            assert work.grid is not None  # noqa: S101 - loaded for this command
            take_grid_rows(command, records=work.grid, origin=origin)
            return None
        if isinstance(command, BlockTime):
            assert work.claims.blocks is not None  # noqa: S101 - loaded for this command
            block_time(
                command,
                blocks=work.claims.blocks,
                origin=origin,
                site=site,
                arrivals=self._arrivals,
                effects=effects,
            )
            return None
        if isinstance(command, ChangePatientByStaff):
            await change_patient(command, work=work, origin=origin, site=site, arrivals=self._arrivals, effects=effects)
            return None
        if isinstance(command, MergePatients):
            await merge_patients(command, work=work, origin=origin, site=site, arrivals=self._arrivals, effects=effects)
            return None
        if isinstance(command, DeletePatient):
            await delete_patient(command, work=work, origin=origin, effects=effects)
            return None
        await change_appointment(
            command,
            work=work,
            origin=origin,
            site=site,
            clock=effects.clock,
            meters=effects.meters,
            arrivals=self._arrivals,
            effects=effects,
        )
        return command.waits_for

    def _read(self, item: InboundHl7, passed_over: reader.PassedOver) -> FromPowerServer | Exception:
        resources = self._effects.resources
        site = self._site.file
        if (not_permitted := stations.refused(item.message, site.mapping)) is not None:
            self._effects.meters.not_permitted(not_permitted[0])
            return not_permitted[1]
        try:
            if master_files.is_one(item.message):
                return master_files.read(item.message, self._site.file, received_at=item.received_at)
            return reader.read(
                item.message, self._site.file, resources, received_at=item.received_at, passed_over=passed_over
            )
        except (Permanent, Transient) as error:
            return error


def _numbers(command: ChangeAppointmentByStaff | AboutPatients) -> Sequence[PatientIdentifier]:
    return command.identifiers if isinstance(command, MergePatients) else command.patient.identifiers


def _ending(command: ChangeAppointmentByStaff | AboutPatients) -> Sequence[PatientIdentifier]:
    """The numbers of records whose appointments the message concerns: all that may end."""
    return () if isinstance(command, ChangeAppointmentByStaff | ChangePatientByStaff) else _numbers(command)


async def _load_grid(work: StoredWork) -> None:
    """Loads the resources that the batch's MFN messages name; other batches have none, and join nothing."""
    rows = [row for one in work.commands.values() if isinstance(one, TakeGridRows) for row in one.rows]
    if rows and isinstance(work.outgoing, Transaction):
        records = ResourceRecords(work.outgoing)
        work.outgoing.join(records)
        await records.load(rows)
        work.grid = records


async def _load_blocks(work: StoredWork, site: str) -> None:
    """Loads the blocked times that the batch's messages name; other batches have none, and join nothing."""
    asked = [block_id(site, one.number) for one in work.commands.values() if isinstance(one, BlockTime)]
    if asked and isinstance(work.outgoing, Transaction):
        blocks = BlockRepository(work.outgoing, site)
        work.outgoing.join(blocks)
        await blocks.load(asked)
        work.claims.blocks = blocks


class TaskInbound:
    """Tasks of OmegaAI's queue, for the handlers, committed under a claim on each Task."""

    def __init__(self, store: Store, open_work: OpenWork, effects: Effects) -> None:
        self._effects = effects
        self._executor = BatchExecutor(
            store, intake=TaskIntake(), open_work=open_work, prefetch=self._prefetch, handle=self._handle
        )

    async def apply(self, items: Sequence[TaskItem]) -> list[Exception | None]:
        """Commits the items; returns an error for each failed one, in order."""
        outcomes = await self._executor.run(items)
        return [_error(outcome) for outcome in outcomes]

    async def _prefetch(self, work: StoredWork, items: Sequence[TaskItem]) -> None:
        commands = [item.command for item in items if item.command is not None]
        link_ids = [command.link_id for command in commands if command.link_id is not None]
        placers = [one.placer_number for one in commands if one.link_id is None and one.placer_number is not None]
        numbers = [one for command in commands if command.about is not None for one in command.about.identifiers]
        if commands:
            await work.patients.load(numbers)
            await work.links.load_by_id(link_ids, placers, [command.facts.fhir_id for command in commands])
            await work.links.load_writes_under_way()
            await work.patients.load_by_id(work.links.patient_ids(), lock=False)

    async def _handle(self, work: StoredWork, item: TaskItem) -> None:
        if item.parked is not None:
            await park_task(item.parked, work=work)
        elif item.command is not None:
            origin = Origin(
                System.OMEGAAI,
                f"Appointment version {item.command.facts.version}: {item.command.facts.status}",
                cause_of_task(item.task_id),
                item.received_at,
            )
            effects = self._effects
            await receive_appointment(
                item.command,
                work=work,
                origin=origin,
                site=effects.site(),
                resources=effects.resources,
                effects=effects,
            )


class TaskIntake:
    """Claims Tasks in the inbox; a failed Task gives its claim back, so that it can come again."""

    async def claim(
        self, connection: "asyncpg.Connection", items: Sequence[TaskItem]
    ) -> Sequence[Duplicate | Held | None]:
        ids = [cause_of_task(item.task_id) for item in items]
        rows = await connection.fetch(
            statements.CLAIM_TASKS,
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
            transaction.write(statements.RELEASE_TASKS, TASK_CONSUMER, failed)
        last = items[-1]
        transaction.write(statements.MOVE_CURSOR, TASK_CONSUMER, last.task_id, last.authored_on, last.received_at)

    def key(self, item: TaskItem) -> None:
        """Tasks carry the present state of their focus, so no Task has to wait for another."""
        del item

    def traced(self, item: TaskItem) -> AbstractContextManager[None]:
        """A trace begins here: OmegaAI's Tasks carry none."""
        return tracing.span("process omegaai task", tracing.SpanKind.CONSUMER, {"omegaai.task.id": item.task_id})


def _error(outcome: Outcome[None]) -> Exception | None:
    if isinstance(outcome, Failed):
        error = outcome.error
        return error if isinstance(error, Exception) else Transient("the batch was cut short")
    return Transient("held back") if isinstance(outcome, Held) else None
