"""The appointment link: one appointment in both systems, with the decisions that keep them in step.

A link has no side effects: ``hear_powerserver`` and ``hear_omegaai`` return the new link and its effects; the caller
saves, publishes and delivers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from scheduler_sync.domain.appointment import studies as studies_of
from scheduler_sync.domain.appointment.facts import RemoteFacts, StaffFacts
from scheduler_sync.domain.appointment.physician import Physician
from scheduler_sync.domain.appointment.states import State, System, WhoActs
from scheduler_sync.domain.appointment.statuses import (
    FHIR_STATUS_OF_STEP,
    FhirStatus,
    WorkflowStep,
    step_for_powerserver,
)
from scheduler_sync.domain.appointment.studies import Study
from scheduler_sync.domain.appointment.transitions import Announcement, Refusal, Trigger, report_of, transition
from scheduler_sync.domain.appointment.versions import before, has_seen, is_older
from scheduler_sync.domain.replaced import replaced
from scheduler_sync.domain.slots import Slot


class Outcome(StrEnum):
    """The outcome of an input."""

    APPLIED = "applied"
    DETAIL = "detail"
    UNCHANGED = "unchanged"
    STALE = "stale"
    ECHO = "echo"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Decision:
    """The link after an input, and the effects. ``conflict`` is a sentence for the conflict log.

    A conflict means that the input was refused, or that one side was overruled. ``changed`` names the changed facts.
    ``answer`` is a sentence for the patient, on the card in Blume.
    """

    link: "AppointmentLink"
    outcome: Outcome
    trigger: Trigger | None = None
    announces: Announcement | None = None
    tells: frozenset[System] = frozenset()
    changed: tuple[str, ...] = ()
    conflict: str | None = None
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class AppointmentLink:
    """The suite's record of one appointment: it joins PowerServer's order and OmegaAI's Appointment.

    ``revision`` counts the published events.
    """

    id: UUID
    site: str
    placer_number: str
    patient_id: UUID
    facility: str
    resource: str
    modality: str | None
    slot: Slot | None
    studies: tuple[Study, ...]
    state: State = State.NEW
    step: WorkflowStep = WorkflowStep.ORDERED
    filler_id: str | None = None
    accession_numbers: tuple[str, ...] = ()
    requested_slot: Slot | None = None
    reason: str | None = None
    """The reason for the cancellation; empty when PowerServer deleted it."""
    powerserver_step: WorkflowStep | None = None
    """The status that PowerServer is known to show: from its message, or because it acknowledged ours."""
    powerserver_heard_at: datetime | None = None
    """PowerServer's own time (MSH-7) of the newest applied message."""
    powerserver_told_at: datetime | None = None
    """When PowerServer acknowledged a status of ours that it has not sent itself since."""
    omegaai_id: str | None = None
    omegaai_version: str | None = None
    """The newest known version, read or written."""
    omegaai_written_version: str | None = None
    """The newest version that is our own write."""
    revision: int = 0
    referring_physician: Physician | None = None

    @property
    def order_numbers(self) -> tuple[str, ...]:
        """The known accession numbers of its studies."""
        numbers = tuple(dict.fromkeys(one.order_number for one in self.studies if one.order_number))
        return numbers or self.accession_numbers

    @property
    def who_acts_next(self) -> WhoActs:
        """Staff act next for a patient on the waiting list, though Blume calls that Pending as well."""
        return WhoActs.STAFF if self.step is WorkflowStep.WAITLIST else self.state.who_acts_next

    @property
    def fhir_status(self) -> FhirStatus:
        """The status that OmegaAI should show. An appointment that lost its time is cancelled, not a request."""
        return fhir_status_of(self.state, self.step)

    def hear_powerserver(self, facts: StaffFacts, *, said_at: datetime, latest: datetime | None = None) -> Decision:
        """Applies a message that PowerServer made at ``said_at`` (MSH-7), or between ``said_at`` and ``latest``.

        The message is old only when it is certainly older than the known facts. An old message whose facts patients
        would see is a conflict: a sender whose clock was corrected looks the same.
        """
        known_at = self.powerserver_heard_at
        if known_at is not None and (latest or said_at) < known_at:
            filled = self._with_missing_details(facts)
            return Decision(
                filled, Outcome.STALE, changed=_differences(self, filled), conflict=self._said_by_an_old(facts)
            )
        heard_at = said_at if known_at is None else max(said_at, known_at)
        step, studies = self._step_and_studies(facts)
        is_off = step in {WorkflowStep.CANCELLED, WorkflowStep.NO_SHOW}
        slot = self._slot_said(facts, studies)
        reason = facts.reason if is_off or not facts.is_of_orders else None
        resource = None if self._takes_off_some(facts) else facts.resource
        if not (step is facts.step and slot is facts.slot and reason is facts.reason and resource is facts.resource):
            facts = replace(facts, step=step, slot=slot, reason=reason, resource=resource)
        is_booked_again = self._is_booked_again(facts, said_at)
        trigger, overruled = self._staff_trigger(facts, latest or said_at, is_booked_again=is_booked_again)
        step_shown = self.powerserver_step if overruled else facts.step or self.powerserver_step
        # PowerServer's messages come in the order in which it made them. Once it sends a status itself, no message
        # older than its acknowledgement of our status can follow.
        told_at = self.powerserver_told_at if overruled or facts.step is None else None
        gone = {name: _EMPTY[name] for name in facts.deleted & _EMPTY.keys()}
        kept = replace(self, **gone) if gone else self
        heard = replaced(
            self,
            facility=facts.facility,
            resource=facts.resource or kept.resource,
            modality=facts.modality or kept.modality,
            slot=facts.slot or self.slot,
            studies=studies,
            filler_id=facts.filler_id or kept.filler_id,
            accession_numbers=_joined(self.accession_numbers, facts.accession_numbers),
            reason=None if is_booked_again else facts.reason or kept.reason,
            referring_physician=facts.referring_physician or kept.referring_physician,
            powerserver_step=step_shown,
            powerserver_heard_at=heard_at,
            powerserver_told_at=told_at,
        )
        changed = _differences(self, heard)
        decision = self._moved(heard, trigger, changed, state=State.NEW if is_booked_again else self.state)
        return replace(decision, conflict=overruled) if overruled and decision.conflict is None else decision

    def hear_omegaai(self, facts: RemoteFacts) -> Decision:
        """Applies the present state of OmegaAI's Appointment. Our own writes come back as events too, and end here."""
        no_news = self._no_news(facts)
        if no_news is not None:
            return no_news
        heard = self._with_remote(facts)
        if facts.status is self.fhir_status and heard.requested_slot == self.requested_slot:
            return self._same_status(heard, facts)
        trigger = _TRIGGER_OF_FHIR_STATUS.get(facts.status)
        if trigger is None:
            return self._not_a_patients_act(heard, facts.status)
        decision = self._moved(heard, trigger, _differences(self, heard))
        if decision.outcome is Outcome.REFUSED:
            return replace(decision, tells=_OMEGAAI)
        if trigger is not Trigger.PATIENT_ASKED_TO_MOVE and self._times_differ(facts):
            why = "the patient acted on a time that is not PowerServer's; PowerServer's time holds"
            return replace(decision, tells=decision.tells | _OMEGAAI, conflict=why)
        return decision

    def book_for_patient(self) -> Decision:
        """The patient asks for this appointment in Blume: it is new, and staff decide."""
        decision = self._moved(self, Trigger.PATIENT_BOOKED, ("slot", "resource", "studies"))
        # OmegaAI's Appointment gets the suite's identifiers, and the length that both products take.
        return replace(decision, tells=decision.tells | _OMEGAAI)

    def refuse_booking(self, why: str) -> Decision:
        """The patient asks for this appointment, and it is answered at once: ``why`` is for the patient."""
        off = WorkflowStep.CANCELLED
        after = replace(self, state=State.CANCELLED, step=off, reason=why, revision=self.revision + 1)
        told = Announcement.CANCELLED
        return Decision(after, Outcome.REFUSED, Trigger.PATIENT_BOOKED, told, _OMEGAAI, ("step", "reason"), why)

    def refuse_wish(self, wish: Decision, why: str) -> Decision:
        """``wish``, the decision that another time is asked for, is answered at once: all stays as it is."""
        heard = wish.link
        kept = replace(self, omegaai_id=heard.omegaai_id, omegaai_version=heard.omegaai_version)
        told = _ANSWER_OF_STATE[self.state]
        if told is not None:
            kept = replace(kept, revision=kept.revision + 1)
        return Decision(kept, Outcome.REFUSED, wish.trigger, told, _OMEGAAI, conflict=why, answer=why)

    def ask_to_move(self, wanted: Slot) -> Decision:
        """The patient asks for another time through the suite; staff decide. PowerServer and OmegaAI are told."""
        heard = replace(self, requested_slot=wanted)
        decision = self._moved(heard, Trigger.PATIENT_ASKED_TO_MOVE, _differences(self, heard))
        return decision if decision.outcome is Outcome.REFUSED else replace(decision, tells=decision.tells | _OMEGAAI)

    def confirm_by_rule(self) -> Decision:
        """The site's rules confirm the patient's request in the staff's place. PowerServer and OmegaAI are told."""
        decision = self._moved(self, Trigger.STAFF_CONFIRMED, ())
        return replace(decision, tells=frozenset(System))

    def cancel_for_patient(self, reason: str) -> Decision:
        """The patient cancels through the suite. PowerServer and OmegaAI are told."""
        heard = replace(self, reason=reason)
        decision = self._moved(heard, Trigger.PATIENT_CANCELLED, _differences(self, heard))
        return decision if decision.outcome is Outcome.REFUSED else replace(decision, tells=decision.tells | _OMEGAAI)

    def told_omegaai(
        self, fhir_id: str, version: str, *, as_sent: bool = True, over: str | None = None
    ) -> "AppointmentLink":
        """After OmegaAI took a write of ours; not ``as_sent`` when the write left an act of the patient standing.

        Then waiting writes must not build on its version: they would not see the act, and overwrite it. Older versions
        are known, though: one may be our own write, whose answer was lost. The act itself is known when it was read
        before the write replaced it: ``over`` is the act's version, None when nothing was written.
        """
        is_act_known = over is not None and has_seen(self.omegaai_version, over)
        if not as_sent and not is_act_known:
            former = before(over or version) or self.omegaai_version
            is_news = former is not None and not is_older(former, self.omegaai_version)
            return replace(self, omegaai_id=fhir_id, omegaai_version=former if is_news else self.omegaai_version)
        newest = self.omegaai_version if is_older(version, self.omegaai_version) else version
        return replace(self, omegaai_id=fhir_id, omegaai_version=newest, omegaai_written_version=version)

    def told_powerserver(self, step: WorkflowStep, at: datetime) -> "AppointmentLink":
        """After PowerServer acknowledged a status of ours.

        Ignored when PowerServer has sent that status itself by now, or when the appointment has moved on since: then
        its own messages count, and the acknowledgement's time must not make them look old.
        """
        if step is self.powerserver_step or step is not step_for_powerserver(self.step):
            return self
        return replace(self, powerserver_step=step, powerserver_told_at=at)

    def _step_and_studies(self, facts: StaffFacts) -> tuple[WorkflowStep | None, tuple[Study, ...]]:
        """The step after the message, and the studies after it.

        Cancelling the last order cancels the whole appointment.
        """
        if facts.studies:
            return facts.step, studies_of.whole(self.studies, facts.studies)
        if not facts.study_changes:
            has_moved = facts.slot is not None and facts.slot != self.slot
            return facts.step, tuple(map(_without_time, self.studies)) if has_moved else self.studies
        after = studies_of.changed(self.studies, facts.study_changes)
        if not facts.is_of_orders:
            return facts.step, after
        if not after:
            removed = tuple(one.study for one in facts.study_changes if one.study.code)
            return facts.step or WorkflowStep.CANCELLED, self.studies or removed
        are_all_done = all(study.is_done for study in after)
        if facts.step is None and self.state is not State.NEW and are_all_done:
            return WorkflowStep.COMPLETED, after
        # The end of one order of several does not end the appointment.
        ends_one = facts.step in {WorkflowStep.COMPLETED, WorkflowStep.CANCELLED, WorkflowStep.NO_SHOW}
        return None if ends_one and not are_all_done else facts.step, after

    def _takes_off_some(self, facts: StaffFacts) -> bool:
        """Whether the message takes orders off, and others stay: where those are booked, it does not say."""
        changes = facts.study_changes if facts.is_of_orders else ()
        takes_off_alone = bool(changes) and all(one.action in studies_of.TAKES_OFF for one in changes)
        return takes_off_alone and bool(studies_of.changed(self.studies, changes))

    def _slot_said(self, facts: StaffFacts, studies: tuple[Study, ...]) -> Slot | None:
        """The slot after the message: its own, or from the remaining studies; None when it has none."""
        said, known = facts.slot, self.slot
        takes_off_alone = facts.is_of_orders and all(one.action in studies_of.TAKES_OFF for one in facts.study_changes)
        if takes_off_alone and facts.study_changes:
            if not studies_of.changed(self.studies, facts.study_changes):
                return said  # every study is removed: the time that the appointment had
            said = None
        if said is not None and facts.has_no_end and known is not None:
            return replace(said, end=said.start + (known.end - known.start))
        if facts.has_times_of_studies and (found := studies_of.span(studies)) is not None:
            zone = said or known
            return None if zone is None else Slot(*found, zone.zone)
        return said

    def _said_by_an_old(self, facts: StaffFacts) -> str | None:
        """The facts that patients would see differently if the message were news; None when there is none."""
        if self.state in {State.DONE, State.CANCELLED}:
            return None
        step, studies = self._step_and_studies(facts)
        slot = self._slot_said(facts, studies)
        other = {
            "slot": slot is not None and slot != self.slot,
            "resource": facts.resource is not None and facts.resource != self.resource,
            "studies": _named(studies) != _named(self.studies),
            "status": step is not None and step is not self.powerserver_step,
        }
        names = ", ".join(name for name, is_other in other.items() if is_other)
        return f"an older message by PowerServer's time (MSH-7) says otherwise, and is left: {names}" if names else None

    def _staff_trigger(
        self, facts: StaffFacts, said_at: datetime, *, is_booked_again: bool
    ) -> tuple[Trigger, str | None]:
        step, slot = facts.step, facts.slot or (None if "slot" in facts.deleted else self.slot)
        if "slot" in facts.deleted and slot is None and step not in {WorkflowStep.CANCELLED, WorkflowStep.NO_SHOW}:
            return Trigger.STAFF_ORDERED, None
        if is_booked_again or self.state in {State.NEW, State.UNSCHEDULED}:
            if step is None:
                trigger = Trigger.STAFF_ORDERED if slot is None else Trigger.STAFF_SCHEDULED
            else:
                trigger = report_of(step)
            needs_a_time = trigger not in {Trigger.STAFF_CANCELLED, Trigger.STAFF_NO_SHOW}
            return (Trigger.STAFF_ORDERED if slot is None and needs_a_time else trigger), None
        if step is None or step is self.powerserver_step:
            return Trigger.STAFF_UPDATED, None
        trigger, told_at = report_of(step), self.powerserver_told_at
        is_before_the_wish = trigger is Trigger.STAFF_CONFIRMED and self.state is State.MOVE_REQUESTED
        if (trigger in _UNCONFIRMED or is_before_the_wish) and told_at is not None and said_at <= told_at:
            return Trigger.STAFF_UPDATED, f"PowerServer's {step} is older than the status that it took from us"
        return trigger, None

    def _is_booked_again(self, facts: StaffFacts, said_at: datetime) -> bool:
        """A booking after PowerServer's own cancellation; a booking that crossed a patient's cancellation is none.

        An acknowledged status has our clock's time, so a booking is later only beyond the difference that clocks may
        have.
        """
        if self.state is not State.CANCELLED or not facts.is_booking or facts.slot is None:
            return False
        if self.powerserver_told_at is not None and said_at <= self.powerserver_told_at + CLOCKS_DIFFER:
            return False
        return self._is_off_there() and facts.step not in {WorkflowStep.CANCELLED, WorkflowStep.NO_SHOW}

    def _is_off_there(self) -> bool:
        """Whether PowerServer has cancelled it. Its later messages, and refused ones, do not book it again."""
        return self.powerserver_step in {WorkflowStep.CANCELLED, WorkflowStep.NO_SHOW}

    def _no_news(self, facts: RemoteFacts) -> Decision | None:
        if facts.fhir_id == self.omegaai_id and facts.version == self.omegaai_version:
            return Decision(self, Outcome.ECHO)
        if facts.fhir_id == self.omegaai_id and is_older(facts.version, self.omegaai_version):
            return Decision(self, Outcome.STALE)
        own, version = facts.own_write, facts.version
        if own is None or self.omegaai_id not in {None, facts.fhir_id}:
            return None
        if own.left is not None and not has_seen(self.omegaai_version, own.left):
            return None  # the write left an act standing that is news
        after = replace(self, omegaai_id=facts.fhir_id, omegaai_version=version, omegaai_written_version=version)
        return Decision(after, Outcome.ECHO)

    def _not_a_patients_act(self, heard: "AppointmentLink", status: FhirStatus) -> Decision:
        """OmegaAI's staff may delete the Appointment: then its order has no time any more, in PowerServer too."""
        if status is not FhirStatus.ENTERED_IN_ERROR or self.state not in _GIVEN_BACK:
            why = f"OmegaAI shows {status}, which no act of a patient brings about; PowerServer owns the status"
            return Decision(heard, Outcome.REFUSED, tells=_OMEGAAI, conflict=why)
        ordered, told = WorkflowStep.ORDERED, frozenset({System.POWERSERVER})
        revision = heard.revision + 1
        after = replace(heard, state=State.UNSCHEDULED, step=ordered, requested_slot=None, revision=revision)
        return Decision(after, Outcome.APPLIED, Trigger.STAFF_ORDERED, Announcement.CANCELLED, told, ("step",))

    def _same_status(self, heard: "AppointmentLink", facts: RemoteFacts) -> Decision:
        is_request = facts.status is FhirStatus.PROPOSED
        if is_request or self.omegaai_id is None or not self._times_differ(facts):
            return Decision(heard, Outcome.ECHO)
        why = "OmegaAI shows another time; PowerServer owns the time"
        return Decision(heard, Outcome.REFUSED, tells=_OMEGAAI, conflict=why)

    def _times_differ(self, facts: RemoteFacts) -> bool:
        return self.slot is not None and facts.start is not None and facts.start != self.slot.start

    def _with_remote(self, facts: RemoteFacts) -> "AppointmentLink":
        heard = replace(self, omegaai_id=facts.fhir_id, omegaai_version=facts.version)
        if facts.status is FhirStatus.CANCELLED:
            return replace(heard, reason=facts.reason or self.reason)
        if facts.status is not FhirStatus.PROPOSED or self.slot is None:
            return heard
        start, end = facts.requested_start, facts.requested_end
        if start is None and self._times_differ(facts):
            start, end = facts.start, facts.end
        if start is None:
            return heard
        asked = Slot(start, end or start + (self.slot.end - self.slot.start), self.slot.zone)
        if self.state is State.PATIENT_BOOKED and asked.start == self.slot.start:
            return replace(heard, requested_slot=None)  # the appointment itself is what is asked for
        return replace(heard, requested_slot=asked)

    def _moved(
        self, heard: "AppointmentLink", trigger: Trigger, changed: tuple[str, ...], *, state: State | None = None
    ) -> Decision:
        """``state``: the state before the move; NEW for an appointment that is booked again after a cancellation."""
        move = transition(state or self.state, trigger)
        if isinstance(move, Refusal):
            # The versions and times of the input count, its facts do not.
            shows = self if self._is_off_there() else heard
            kept = replace(
                self,
                omegaai_id=heard.omegaai_id,
                omegaai_version=heard.omegaai_version,
                powerserver_step=shows.powerserver_step,
                powerserver_heard_at=heard.powerserver_heard_at,
                powerserver_told_at=shows.powerserver_told_at,
            )
            why = f"{trigger} refused in state {self.state}: {move.why}"
            return Decision(kept, Outcome.REFUSED, trigger, conflict=why)
        step = self.step if move.step is None else move.step
        if step is not self.step:
            changed = (*changed, "step")
        has_no_effect = move.only_if_changed and _SHOWN.isdisjoint(changed)
        is_moved = "step" not in changed and not _PLACE.isdisjoint(changed)
        announces = move.announces_when_moved or move.announces if is_moved else move.announces
        if heard.slot is None:
            announces = None  # an appointment that never had a time is nobody's news
        after = replaced(
            heard,
            state=move.to,
            step=step,
            requested_slot=heard.requested_slot if move.has_open_request else None,
            revision=heard.revision + (0 if has_no_effect or announces is None else 1),
        )
        if has_no_effect:
            outcome = Outcome.DETAIL if changed else Outcome.UNCHANGED
            return Decision(after, outcome, trigger, changed=changed)
        is_unheard_of = after.state is State.CANCELLED and after.revision == 0
        tells = frozenset[System]() if is_unheard_of else move.tells
        return Decision(after, Outcome.APPLIED, trigger, announces, tells, changed)

    def _with_missing_details(self, facts: StaffFacts) -> "AppointmentLink":
        return replace(
            self,
            filler_id=self.filler_id or facts.filler_id,
            accession_numbers=self.accession_numbers or facts.accession_numbers,
        )


def fhir_status_of(state: State, step: WorkflowStep) -> FhirStatus:
    """The status that OmegaAI should show. An appointment that lost its time is cancelled, not a request."""
    return FhirStatus.CANCELLED if state is State.UNSCHEDULED else FHIR_STATUS_OF_STEP[step]


CLOCKS_DIFFER: Final = timedelta(minutes=2)
"""Most lead of PowerServer's clock over ours."""
_OMEGAAI = frozenset({System.OMEGAAI})
_TRIGGER_OF_FHIR_STATUS = {
    FhirStatus.BOOKED: Trigger.PATIENT_CONFIRMED,
    FhirStatus.PROPOSED: Trigger.PATIENT_ASKED_TO_MOVE,
    FhirStatus.CANCELLED: Trigger.PATIENT_CANCELLED,
}
_GIVEN_BACK: Final = frozenset({State.STAFF_BOOKED, State.CONFIRMED, State.MOVE_REQUESTED, State.PATIENT_BOOKED})
_ANSWER_OF_STATE: Final[Mapping[State, Announcement | None]] = {
    **dict.fromkeys(State),
    State.STAFF_BOOKED: Announcement.SCHEDULED,
    State.CONFIRMED: Announcement.CONFIRMED,
}
"""What tells the patient that a refused wish has changed nothing; None while an earlier wish is open."""
_UNCONFIRMED = frozenset({Trigger.STAFF_SCHEDULED, Trigger.STAFF_WAITLISTED})
_SHOWN = frozenset({
    "slot", "resource", "facility", "studies", "requested_slot", "step", "reason", "referring_physician",
})  # fmt: skip
"""The facts that others are told. A change of these is published and delivered; other changes are only stored."""
_PLACE = frozenset({"slot", "resource", "facility"})
"""The facts that a move changes."""
_COMPARED = (
    "facility", "resource", "modality", "slot", "filler_id", "accession_numbers", "requested_slot", "reason",
    "referring_physician",
)  # fmt: skip
_EMPTY: Final[dict[str, Any]] = {
    "resource": "", "modality": None, "filler_id": None, "reason": "", "referring_physician": None,
}  # fmt: skip
"""The value of a fact after its null. A deleted slot stays, for the card that is cancelled then."""


def _differences(before: AppointmentLink, after: AppointmentLink) -> tuple[str, ...]:
    found = [name for name in _COMPARED if getattr(before, name) != getattr(after, name)]
    if before.studies != after.studies:
        is_shown = len(before.studies) != len(after.studies) or _shown(before) != _shown(after)
        found.append("studies" if is_shown else "study details")
    return tuple(found)


def _named(studies: tuple[Study, ...]) -> list[tuple[str, str]]:
    """The facts of studies that patients see."""
    return [(study.code, study.description) for study in studies]


def _shown(link: AppointmentLink) -> list[tuple[object, ...]]:
    """The facts of its studies that others are told."""
    return [
        (one.code, one.description, *study_times(one, link), one.order_number, one.procedure_codes,
         one.study_uid)
        for one in link.studies
    ]  # fmt: skip


def study_times(study: Study, link: AppointmentLink) -> tuple[datetime | None, datetime | None]:
    """Start and end of ``study``. The only study of an appointment has the appointment's, unless it has its own."""
    if study.start is None and len(link.studies) == 1 and link.slot is not None:
        return link.slot.start, link.slot.end
    return study.start, study.end


def _without_time(study: Study) -> Study:
    """A study of an appointment that was moved as a whole: the study's new time within it is unknown."""
    return study if study.start is None else replace(study, start=None)


def _joined(known: tuple[str, ...], said: tuple[str, ...]) -> tuple[str, ...]:
    return known + tuple(one for one in said if one not in known)
