"""The effects of a decision: events, deliveries, a line of history, a line of the conflict log."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import contracts
from chassis.errors import NeedsSetup
from scheduler_sync.commands import Origin
from scheduler_sync.domain.appointment import (
    AppointmentLink,
    Decision,
    Outcome,
    State,
    System,
    Trigger,
    step_for_powerserver,
)
from scheduler_sync.domain.patient import Patient
from scheduler_sync.domain.slots import Slot
from scheduler_sync.events import appointment_event, merge_event, patient_event
from scheduler_sync.ports import Clock, Conflict, HistoryEntry, Meters, Offer, PowerServerWriter, Resources, Work
from scheduler_sync.site import SiteFile
from scheduler_sync.snapshots import (
    APPOINTMENT_UPSERT,
    PATIENT_MERGE,
    PATIENT_UPSERT,
    AppointmentSnapshot,
    PatientMergeOrder,
    PatientSnapshot,
)

REQUEST_NEW: Final = "request.new"
REQUEST_MOVE: Final = "request.move"
"""The kinds of deliveries that bring a patient's request to PowerServer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """Turns decisions into effects of the transaction."""

    site: Callable[[], SiteFile]
    resources: Resources
    powerserver: PowerServerWriter
    clock: Clock
    meters: Meters

    def of_decision(
        self,
        before: AppointmentLink,
        decision: Decision,
        patient: Patient,
        *,
        by: str,
        work: Work,
        origin: Origin,
        deliveries: Sequence[UUID] = (),
        lost: Slot | None = None,
        declined: Slot | None = None,
        offers: Sequence[Offer] = (),
    ) -> None:
        """Saves the link and stages its effects. ``deliveries`` are those that the input has caused already.

        ``lost``: the time that a patient asks for and that is taken; ``declined``: the one that staff declined;
        ``offers``: what is free instead.
        """
        after, sent = decision.link, [*deliveries]
        is_kept = after.state is not State.NEW
        if is_kept and after != before:
            work.links.save(after)
        if decision.announces is not None:
            work.outgoing.publish(
                appointment_event(
                    decision.announces,
                    before,
                    after,
                    self.site().facilities,
                    by=by,
                    occurred_at=self.clock.now(),
                    cause_id=origin.journal_id,
                    lost=lost,
                    declined=declined,
                    offers=offers,
                )
            )
        if System.OMEGAAI in decision.tells and after.slot is not None:
            sent.append(self.tell_omegaai(after, work, decision.answer))
        if System.POWERSERVER in decision.tells:
            sent.append(self.tell_powerserver(after, patient, work, decision.trigger))
        if is_kept:
            work.links.note(history_entry(before, decision, origin, deliveries=tuple(sent)))
        if is_kept and decision.conflict is not None:
            self.meters.conflict(origin.source, decision.outcome)
            conflict = Conflict(after.id, self.clock.now(), origin.source, origin.journal_id, decision.conflict)
            work.links.note_conflict(conflict)
        self.meters.outcome(origin.source, decision.outcome)

    def of_patient(self, patient: Patient, *, is_new: bool, work: Work, origin: Origin) -> UUID:
        """Publishes the patient, and delivers it to OmegaAI. Returns the delivery's id."""
        work.outgoing.publish(
            patient_event(patient, is_new=is_new, occurred_at=self.clock.now(), cause_id=origin.journal_id)
        )
        return self.tell_omegaai_of_patient(patient, work, about=str(patient.revision))

    def of_merge(self, patient: Patient, ended_id: UUID, *, work: Work, origin: Origin) -> UUID:
        """Publishes that a record ended in the patient's, and has OmegaAI merge the two. Returns the delivery's id."""
        work.outgoing.publish(merge_event(patient, ended_id, occurred_at=self.clock.now(), cause_id=origin.journal_id))
        work.outgoing.join_lines(System.OMEGAAI, former=ended_id, key=patient.id)
        return work.outgoing.deliver(
            System.OMEGAAI,
            key=patient.id,
            kind=PATIENT_MERGE,
            payload=PatientMergeOrder(patient.id, ended_id).to_bytes(),
            idempotency_key=f"patient-merge:{ended_id}",
            subject=ended_id,
        )

    def tell_omegaai_of_patient(self, patient: Patient, work: Work, *, about: str | None = None) -> UUID:
        """``about`` names the cause: the patient is delivered once for it. Without it, the patient goes again."""
        delivery_id = contracts.uuid7()
        return work.outgoing.deliver(
            System.OMEGAAI,
            key=patient.id,
            kind=PATIENT_UPSERT,
            payload=PatientSnapshot.of(patient, self.site().issuers).to_bytes(),
            idempotency_key=f"patient:{patient.id}:{about or delivery_id}",
            delivery_id=delivery_id,
        )

    def tell_omegaai(self, link: AppointmentLink, work: Work, answer: str | None = None) -> UUID:
        """Under the patient's key: the patient's own delivery goes first. The link has a slot.

        ``answer`` is a sentence for the patient.
        """
        zone = self.site().facilities[link.facility].zone
        assert link.slot is not None  # noqa: S101 - the caller asked
        service_id = self.resources.named(link.facility, link.resource).healthcare_service_id
        start, end = link.slot.start.astimezone(zone), link.slot.end.astimezone(zone)
        delivery_id = contracts.uuid7()
        return work.outgoing.deliver(
            System.OMEGAAI,
            key=link.patient_id,
            kind=APPOINTMENT_UPSERT,
            payload=AppointmentSnapshot.of(link, start, end, service_id, answer).to_bytes(),
            idempotency_key=f"appointment:{link.id}:{delivery_id}",
            subject=link.id,
            delivery_id=delivery_id,
        )

    def tell_powerserver(self, link: AppointmentLink, patient: Patient, work: Work, trigger: Trigger | None) -> UUID:
        """The link's step, in a message that is made once: a repeat is the same bytes under the same control id."""
        delivery_id = contracts.uuid7()
        control_id, made_at = self.powerserver.control_id(delivery_id), self.clock.now()
        is_new, is_move = trigger is Trigger.PATIENT_BOOKED, trigger is Trigger.PATIENT_ASKED_TO_MOVE
        if is_new or (is_move and link.requested_slot is not None):
            kind = REQUEST_NEW if is_new else REQUEST_MOVE
            write = self.powerserver.request_message if is_new else self.powerserver.move_message
            payload = write(link, patient, control_id=control_id, made_at=made_at)
        else:
            step = step_for_powerserver(link.step)
            if step not in self.site().status_of_step:
                raise NeedsSetup(f"the site file has no status of PowerServer's for {step}", setting="statuses")
            kind = f"status.{step}"
            payload = self.powerserver.status_message(link, patient, step, control_id=control_id, made_at=made_at)
        return work.outgoing.deliver(
            System.POWERSERVER,
            key=link.id,
            kind=kind,
            payload=payload,
            idempotency_key=control_id,
            delivery_id=delivery_id,
        )


def history_entry(
    before: AppointmentLink,
    decision: Decision,
    origin: Origin,
    *,
    deliveries: tuple[UUID, ...] = (),
    outcome: str | None = None,
) -> HistoryEntry:
    """The line of history of a decision; ``outcome`` replaces the decision's own word."""
    after = decision.link
    return HistoryEntry(
        link_id=after.id,
        at=origin.received_at,
        source=origin.source,
        message=origin.message,
        cause_id=origin.journal_id,
        trigger=decision.trigger,
        outcome=outcome or decision.outcome,
        state_before=before.state,
        state_after=after.state,
        revision=after.revision,
        changed=decision.changed,
        delivery_ids=deliveries,
    )


def note_answer(before: AppointmentLink, after: AppointmentLink, outcome: str, *, work: Work, origin: Origin) -> None:
    """Saves the change that a partner's answer makes to the link, with its line of history."""
    work.links.save(after)
    work.links.note(history_entry(before, Decision(after, Outcome.APPLIED), origin, outcome=outcome))
