"""The second look at each difference, by id and on both sides; what it confirms is corrected in the ordinary way.

A correction and its mark are one transaction, under the run's row: a process that lost the run changes nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

import contracts
from chassis import failpoints
from chassis.errors import Malformed, NeedsSetup, Permanent, Transient
from chassis.store import Store, Transaction
from scheduler_sync.adapters.omegaai.appointments import AppointmentThere
from scheduler_sync.adapters.omegaai.askers import Askers
from scheduler_sync.adapters.omegaai.tasks import TaskItem
from scheduler_sync.adapters.omegaai.view import AppointmentView
from scheduler_sync.adapters.worklist.worklist import Worklist
from scheduler_sync.domain.appointment import AppointmentLink, FhirStatus, State, Trigger
from scheduler_sync.domain.patient import Patient
from scheduler_sync.domain.reconciliation import (
    Judgement,
    Kind,
    Settled,
    Shown,
    Side,
    differing,
    is_shown,
    judge,
    may_tell_powerserver,
    noted,
    status_there,
)
from scheduler_sync.failpoints import RECONCILE_AFTER_CORRECTION, RECONCILE_BEFORE_CORRECTION
from scheduler_sync.handlers.effects import Effects
from scheduler_sync.inbound import TaskInbound
from scheduler_sync.ports import Conflict, HistoryEntry
from scheduler_sync.reconciliation.reading import seen_of
from scheduler_sync.store.reconciliation import Difference, Run, Runs, Verdict, settle
from scheduler_sync.store.recovery import RecoveryQueries
from scheduler_sync.store.work import OpenWork, StoredWork

AT_ONCE: Final = 50
_LOOKS_AT_ONCE: Final = 8
SOURCE: Final = "reconciliation"
_OWNED: Final = "PowerServer owns this step: it has to send the appointment again"
_NO_APPOINTMENT: Final = "PowerServer has sent no such appointment: cancel it in OmegaAI, or have it sent"
_ACTS: Final = {State.MOVE_REQUESTED: Trigger.PATIENT_ASKED_TO_MOVE}
"""Acts of the patient that PowerServer hears as a wish; it hears the others as a status."""
_CHANGED: Final = "it changed while the run looked"


@dataclass(frozen=True, slots=True)
class Looked:
    """A difference after the second look. A ``link`` and no verdict: it is to be corrected, by ``tells`` or ``hears``.

    ``after``: the link that the correction saves.
    """

    difference: Difference
    verdict: Verdict | None = None
    link: AppointmentLink | None = None
    after: AppointmentLink | None = None
    tells: Side | None = None
    hears: AppointmentThere | None = None
    conflict: str | None = None


class Correcting:
    """The corrections of one run. ``run`` raises LostRunError, StoreUnavailable, Transient."""

    def __init__(
        self,
        store: Store,
        site: str,
        *,
        runs: Runs,
        view: AppointmentView,
        askers: Askers,
        worklist: Worklist | None,
        open_work: OpenWork,
        effects: Effects,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._links = RecoveryQueries(store, site)
        self._runs = runs
        self._view = view
        self._askers = askers
        self._worklist = worklist
        self._open_work = open_work
        self._effects = effects
        self._now = now
        self._inbound = TaskInbound(store, open_work, effects)

    async def run(self, run: Run, between: Callable[[], Awaitable[None]]) -> None:
        """Settles every difference of the run that is still open. ``between`` is awaited after each lot."""
        after = 0
        while lot := await self._runs.next_found(run, after, AT_ONCE):
            after = lot[-1].id
            known = await self._links.links([one.link_id for one in lot if one.link_id is not None], [])
            links = {link.id: link for link in known}
            looks = asyncio.Semaphore(_LOOKS_AT_ONCE)
            looked = await asyncio.gather(*(self._look(one, links, looks) for one in lot))
            failpoints.hit(RECONCILE_BEFORE_CORRECTION)
            await self._correct(run, looked)
            for one in looked:
                if one.verdict is None and one.hears is not None:
                    await self._hear(run, one.difference, one.hears)
            failpoints.hit(RECONCILE_AFTER_CORRECTION)
            await between()

    async def _look(
        self, difference: Difference, links: Mapping[UUID, AppointmentLink], looks: asyncio.Semaphore
    ) -> Looked:
        link = None if difference.link_id is None else links.get(difference.link_id)
        async with looks:
            try:
                if difference.side is Side.OMEGAAI:
                    return await self._look_at_omegaai(difference, link)
                if difference.side is Side.WORKLIST:
                    return await self._look_at_worklist(difference, link)
            except Malformed as error:
                return listed(difference, f"OmegaAI's Appointment cannot be read: {error.location}")
            except NeedsSetup as error:
                return listed(difference, error.reason)
        return look_at_powerserver(difference, link)

    async def _look_at_omegaai(self, difference: Difference, link: AppointmentLink | None) -> Looked:
        there = None if difference.key is None else await self._view.one(difference.key)
        if link is None:
            return self._look_at_unknown(difference, there)
        if there is None and link.omegaai_id not in {None, difference.key}:
            there = await self._view.one(str(link.omegaai_id))
        if there is None:
            found = await self._view.of_link(link.id)
            if len(found) > 1:
                return listed(difference, "OmegaAI has several Appointments of it: remove all but one there")
            there = found[0] if found else None
        if there is not None:
            return _judged(difference, link, there, differing(await self._shown(link), seen_of(there).shown))
        return Looked(difference, link=link, tells=Side.OMEGAAI) if is_shown(link) else gone(difference)

    def _look_at_unknown(self, difference: Difference, there: AppointmentThere | None) -> Looked:
        if there is None or there.command.facts.status in {FhirStatus.CANCELLED, FhirStatus.ENTERED_IN_ERROR}:
            return gone(difference)
        command = there.command
        is_ours = command.service_id is not None and self._effects.resources.of_service(command.service_id) is not None
        if not is_ours and command.placer_number is None:
            return gone(difference)
        if command.facts.status is FhirStatus.PROPOSED and is_ours:
            return Looked(difference, hears=there)
        return listed(difference, _NO_APPOINTMENT)

    async def _shown(self, link: AppointmentLink) -> Shown:
        """The link as OmegaAI has to show it. The patient's id there is compared only where it is known."""
        slot = link.slot
        service = self._effects.resources.named(link.facility, link.resource).healthcare_service_id
        fhir_id = await self._links.fhir_id_of_patient(link.patient_id)
        return Shown(
            link.fhir_status.value,
            None if slot is None else slot.start,
            None if slot is None else slot.end,
            service,
            fhir_id,
        )

    async def _look_at_worklist(self, difference: Difference, link: AppointmentLink | None) -> Looked:
        if link is None or self._worklist is None or not may_tell_powerserver_again(link):
            return listed(difference, _OWNED)
        shown = await self._worklist.shows(link.order_numbers)
        if all(one.placer not in {None, link.placer_number} for one in shown):
            return gone(difference)
        return Looked(difference, link=link, tells=Side.POWERSERVER)

    async def _correct(self, run: Run, looked: Sequence[Looked]) -> None:
        """One transaction: the verdicts, and the deliveries of what is confirmed."""
        todo = [one for one in looked if one.verdict is None and one.tells is not None]
        links = [one.link for one in todo if one.link is not None]
        async with self._store.pool.acquire() as connection, connection.transaction():
            await self._runs.hold(connection, run)
            transaction = Transaction(connection)
            work = self._open_work(transaction)
            await work.patients.load_by_id({link.patient_id for link in links})
            await work.links.load_by_id(link.id for link in links)
            verdicts = [one.verdict for one in looked if one.verdict is not None]
            verdicts += [self._tell(run, one, work) for one in todo]
            if verdicts:
                settle(transaction, verdicts)
            await transaction.flush()

    def _tell(self, run: Run, looked: Looked, work: StoredWork) -> Verdict:
        difference, link = looked.difference, looked.link
        assert link is not None  # noqa: S101 - it was looked at
        patient = work.patients.by_id(link.patient_id)
        if work.links.by_id(link.id) != link or patient is None:
            return Verdict(difference.id, Settled.MOVING, _CHANGED)
        after = looked.after or link
        try:
            sent = self._sent(difference, after, patient, looked.tells, work)
        except NeedsSetup as error:
            return Verdict(difference.id, Settled.LISTED, error.reason)
        if after != link:
            work.links.save(after)
        work.links.note(_entry(run, difference, after, sent, self._now()))
        if looked.conflict is not None:
            work.links.note_conflict(Conflict(link.id, self._now(), SOURCE, contracts.uuid7(), looked.conflict))
        return Verdict(difference.id, Settled.HEALED)

    def _sent(
        self, difference: Difference, link: AppointmentLink, patient: Patient, tells: Side | None, work: StoredWork
    ) -> list[UUID]:
        """Stages the deliveries. NeedsSetup where OmegaAI has no such resource, or the site no word for the status."""
        if tells is not Side.OMEGAAI:
            return [self._effects.tell_powerserver(link, patient, work, _ACTS.get(link.state))]
        self._effects.resources.named(link.facility, link.resource)
        first = [self._effects.tell_omegaai_of_patient(patient, work)] if difference.kind is Kind.MISSING else []
        return [*first, self._effects.tell_omegaai(link, work)]

    async def _hear(self, run: Run, difference: Difference, there: AppointmentThere) -> None:
        """An act of the patient that nobody heard: through the usual intake, which claims it once."""
        facts = there.command.facts
        task_id = f"{SOURCE}-{run.id}-{facts.fhir_id}-{facts.version}"
        try:
            command = await self._askers.complete(replace(there.command, task_id=task_id))
            [failed] = await self._inbound.apply([TaskItem(task_id, self._now(), command=command)])
            if failed is not None:
                raise failed
            verdict = Verdict(difference.id, Settled.HEALED)
        except Permanent as error:
            verdict = Verdict(difference.id, Settled.LISTED, error.reason)
        except Transient as error:
            verdict = Verdict(difference.id, Settled.MOVING, error.reason)
        await self._settle(run, verdict)

    async def _settle(self, run: Run, verdict: Verdict) -> None:
        async with self._store.pool.acquire() as connection, connection.transaction():
            await self._runs.hold(connection, run)
            transaction = Transaction(connection)
            settle(transaction, [verdict])
            await transaction.flush()


def _judged(difference: Difference, link: AppointmentLink, there: AppointmentThere, fields: tuple[str, ...]) -> Looked:
    """The two sides as they are now, by the rules of a recovery."""
    if not fields:
        return gone(difference)
    if "patient" in fields:
        return listed(difference, "OmegaAI shows it with another patient: look at both records")
    judgement = judge(link, there.remote)
    if judgement in {Judgement.HEARD, Judgement.ADOPTED} and "status" in fields:
        return Looked(difference, link=link, hears=there)
    is_known = there.command.facts.version == link.omegaai_version
    why = f"OmegaAI showed other values of {', '.join(fields)}; PowerServer's are written there"
    after = noted(link, there.command.facts)
    return Looked(difference, None, link, after, Side.OMEGAAI, conflict=None if is_known else why)


def look_at_powerserver(difference: Difference, link: AppointmentLink | None) -> Looked:
    """HL7 has no question by id; a status that PowerServer shows already changes nothing there."""
    if link is None or link.powerserver_step in {None, status_there(link)}:
        return gone(difference)
    if not may_tell_powerserver(link):
        return listed(difference, _OWNED)
    return Looked(difference, link=link, tells=Side.POWERSERVER)


def may_tell_powerserver_again(link: AppointmentLink) -> bool:
    """Whether the patient cancelled, PowerServer took the message, and its worklist still shows the appointment."""
    return link.powerserver_told_at is not None and link.powerserver_step is status_there(link)


def listed(difference: Difference, why: str) -> Looked:
    return Looked(difference, Verdict(difference.id, Settled.LISTED, why))


def gone(difference: Difference) -> Looked:
    return Looked(difference, Verdict(difference.id, Settled.GONE))


def _entry(
    run: Run, difference: Difference, after: AppointmentLink, sent: Sequence[UUID], at: datetime
) -> HistoryEntry:
    what = ", ".join(difference.fields) or difference.kind.value
    return HistoryEntry(
        link_id=after.id,
        at=at,
        source=SOURCE,
        message=f"run {run.id}: {difference.side} {what}",
        cause_id=contracts.uuid7(),
        trigger=None,
        outcome="corrected",
        state_before=after.state.value,
        state_after=after.state.value,
        revision=after.revision,
        changed=(),
        delivery_ids=tuple(sent),
    )
