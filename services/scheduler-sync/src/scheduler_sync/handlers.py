"""The use cases. Each takes a message and a unit of work, decides through the domain, and leaves its effects in the
work: aggregates, history, events and deliveries, which the transaction around it commits together or not at all.

All are idempotent: a link's own versions and times tell a repeat, an echo or a stale message from news.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid5

import contracts
from chassis.errors import NeedsSetup, Permanent, Transient
from omegaai.tasks import ParkedTask
from scheduler_sync.arrivals import Arrivals
from scheduler_sync.domain.appointment import (
    CLOCKS_DIFFER,
    Announcement,
    AppointmentLink,
    Decision,
    FhirStatus,
    Outcome,
    StaffFacts,
    State,
    System,
    WorkflowStep,
    step_for_powerserver,
    unknown_removals,
)
from scheduler_sync.domain.patient import Patient
from scheduler_sync.messages import (
    AppointmentSnapshot,
    ChangeAppointmentByStaff,
    Origin,
    PatientSnapshot,
    TakeOverOmegaAIAppointment,
)
from scheduler_sync.ports import Conflict, Counter, HistoryEntry, PowerServerWriter, Resources, Work
from scheduler_sync.site import SiteFile

PRODUCER: Final = "scheduler-sync"
LARGEST_LEAD: Final = CLOCKS_DIFFER
"""So far may PowerServer's clock be ahead of ours. A message from farther ahead would make all true ones look older."""
MOST_BACK: Final = LARGEST_LEAD + timedelta(seconds=5)
"""So far back goes the time of a sender whose clock was ahead and is set right, to a few seconds."""


class Handlers:
    """The use cases with what they need that is not of one message."""

    def __init__(
        self,
        *,
        site: Callable[[], SiteFile],
        resources: Resources,
        powerserver: PowerServerWriter,
        count: Counter,
        now: Callable[[], datetime],
        doubt: Callable[[], timedelta] = timedelta,
        clock_ahead: Callable[[timedelta], None] = lambda _lead: None,
        count_conflict: Counter = lambda _source, _outcome: None,
    ) -> None:
        """``doubt``: by how much it may be later than ``now``, because clocks of ours differ.

        ``clock_ahead`` hears of each message of PowerServer that was made later than may be, and by how much.
        ``count_conflict`` hears of each line of the conflict log.
        """
        self._site = site
        self._resources = resources
        self._powerserver = powerserver
        self._count = count
        self._now = now
        self._doubt = doubt
        self._clock_ahead = clock_ahead
        self._count_conflict = count_conflict
        self._arrivals = Arrivals()

    async def staff_changed_appointment(
        self, command: ChangeAppointmentByStaff, *, work: Work, origin: Origin
    ) -> Decision:
        """Staff booked or changed an appointment in PowerServer.

        Idempotent by PowerServer's time of the message against the link's and the patient's, and because a message that
        changes nothing publishes and tells nothing. Raises NeedsSetup, also for what a person has to settle.
        """
        site = self._site()
        command = self._not_of_the_future(command, origin)
        patient, patient_is_news = self._patient(command, work, site, origin)
        link = work.links.by_placer_number(command.placer_number)
        facts = command.appointment
        if link is None:
            link = _new_link(site.site, command, patient)
        elif link.patient_id != patient.id:
            raise NeedsSetup(
                "PID-3: the placer number belongs to an appointment of a patient with other numbers",
                setting="PowerServer: send the patient's new number together with the one before (PID-3 repeats)",
            )
        elif facts.is_of_orders and _takes_off_what_is_not_of(link, facts):
            raise NeedsSetup(
                "ORC-3: the order that is cancelled is not known of this appointment",
                setting="PowerServer: send the appointment's orders as they are now",
            )
        said_at = self._in_order(("link", link.id), link.powerserver_heard_at, command.said_at, origin)
        decision = link.hear_powerserver(facts, said_at=said_at, latest=_latest(command, said_at))
        if decision.outcome is Outcome.APPLIED and decision.link.slot is not None and not decision.link.resource:
            raise NeedsSetup(
                "the message names no resource, and none is known of this appointment",
                setting="hl7.orm_resource_field",
            )
        deliveries = [self._tell_patient(patient, work, site)] if patient_is_news else []
        await self._follow_up(link, decision, patient, by="staff", deliveries=deliveries, work=work, origin=origin)
        if decision.outcome is not Outcome.STALE:
            self._arrivals.note(("link", link.id), origin.connection, decision.link.powerserver_heard_at)
        return decision

    async def omegaai_changed_appointment(
        self, command: TakeOverOmegaAIAppointment, *, work: Work, origin: Origin
    ) -> Decision | None:
        """OmegaAI's Appointment is different: the patient acted, or it is the echo of our own write.

        Idempotent by the Appointment's version and content against the link's. None when it is no appointment of ours;
        Permanent for a request that began in Blume on a resource of ours, so that a person books it in PowerServer.
        Transient while a write of ours with this very status is under way: only its settlement tells whose act it is.
        """
        link = None if command.link_id is None else work.links.by_id(command.link_id)
        if link is None and command.placer_number is not None:
            link = work.links.by_placer_number(command.placer_number)
        if link is None:
            if self._is_asked_for_in_blume(command):
                raise Permanent(
                    "asked for in Blume on a resource of PowerServer's, and not taken over: "
                    "book it in PowerServer and cancel this one in OmegaAI"
                )
            return None
        patient = work.patients.by_id(link.patient_id)
        if patient is None:
            raise Permanent("the appointment's patient is not in the store")
        decision = link.hear_omegaai(command.facts)
        is_known = decision.outcome in {Outcome.ECHO, Outcome.STALE}
        if not is_known and work.links.is_being_written(link.id, command.facts.status):
            raise Transient(
                "OmegaAI shows what a delivery of ours is writing; it is looked at again when that is settled",
                retry_after_seconds=0.5,
            )
        await self._follow_up(link, decision, patient, by="patient", deliveries=[], work=work, origin=origin)
        return decision

    def _is_asked_for_in_blume(self, command: TakeOverOmegaAIAppointment) -> bool:
        service_id = command.service_id
        return (
            command.facts.status is FhirStatus.PROPOSED
            and service_id is not None
            and self._resources.has_service(service_id)
        )

    async def park_task(self, task: ParkedTask, *, work: Work) -> None:
        """Keep a Task that could not be taken over, with the element that is wrong, for a person to replay.

        Idempotent by the Task's id: the row is replaced.
        """
        work.links.park(task)

    async def omegaai_took_patient(self, patient_id: UUID, fhir_id: str, version: str, *, work: Work) -> None:
        """A delivery put the patient into OmegaAI. Idempotent: the same id and version again change nothing."""
        patient = work.patients.by_id(patient_id)
        if patient is not None and (patient.fhir_id, patient.fhir_version) != (fhir_id, version):
            work.patients.save(patient.told_omegaai(fhir_id, version))

    async def omegaai_took_appointment(
        self,
        link_id: UUID,
        fhir_id: str,
        version: str,
        *,
        as_sent: bool,
        over: str | None = None,
        work: Work,
        origin: Origin,
    ) -> None:
        """A delivery put the appointment into OmegaAI; not ``as_sent`` when an act of the patient was left standing.

        Then the version is not taken for known, so that the act's own event is not mistaken for an echo; unless the
        act was, in the version that the write replaced (``over``).
        Idempotent: the same version again changes nothing.
        """
        link = work.links.by_id(link_id)
        if link is None:
            return
        after = link.told_omegaai(fhir_id, version, as_sent=as_sent, over=over)
        if after != link:
            work.links.save(after)
            work.links.note(_entry(link, Decision(after, Outcome.APPLIED), (), origin, "taken over"))

    async def powerserver_took_status(self, link_id: UUID, step: WorkflowStep, *, work: Work, origin: Origin) -> None:
        """PowerServer acknowledged a status. Idempotent: the step is set to what it is already."""
        link = work.links.by_id(link_id)
        if link is None:
            return
        after = link.told_powerserver(step, origin.received_at)
        work.links.save(after)
        work.links.note(_entry(link, Decision(after, Outcome.APPLIED), (), origin, "acknowledged"))

    def _not_of_the_future(self, command: ChangeAppointmentByStaff, origin: Origin) -> ChangeAppointmentByStaff:
        """The message as made no later than it can have been.

        At the limit and not at its reception: of two messages whose lead lies on both sides of the limit the later one
        stays the later, and once the clock is set right nothing is frozen for longer than the limit. A clock of ours
        that is behind must not make a true message old: what is in doubt counts for the message.
        """
        latest = origin.received_at + LARGEST_LEAD
        if command.said_at <= latest or command.said_at <= (latest := latest + self._doubt()):
            return command
        self._clock_ahead(command.said_at - origin.received_at)
        return replace(command, said_at=latest, said_until=None)

    def _in_order(
        self, key: tuple[str, UUID], heard_at: datetime | None, said_at: datetime, origin: Origin
    ) -> datetime:
        """``said_at``, or the time of what came before over the same connection.

        A connection keeps its order. A sender whose clock was set right goes back by no more than its lead was, and
        that counts as ``LARGEST_LEAD`` at most.
        """
        if heard_at is None or not heard_at - MOST_BACK <= said_at < heard_at:
            return said_at
        return heard_at if self._arrivals.was_last(key, origin.connection, heard_at) else said_at

    def _patient(
        self, command: ChangeAppointmentByStaff, work: Work, site: SiteFile, origin: Origin
    ) -> tuple[Patient, bool]:
        """The message's patient, registered or updated; whether others have to hear of it."""
        known = _one_patient(work, command)
        if known is None:
            patient = Patient.register(
                contracts.uuid7(),
                site.site,
                command.patient,
                organization=site.organization.master,
                said_at=command.said_at,
            )
        else:
            said_at = self._in_order(("patient", known.id), known.heard_at, command.said_at, origin)
            patient = known.hear(command.patient, said_at=said_at, latest=_latest(command, said_at))
        if known is None or _latest(command, said_at) >= known.heard_at:
            self._arrivals.note(("patient", patient.id), origin.connection, patient.heard_at)
        if patient is not known:
            work.patients.save(patient)
        if known is not None and patient.revision == known.revision:
            return patient, False
        work.outgoing.publish(
            contracts.new_message(
                contracts.PatientRegistered if known is None else contracts.PatientUpdated,
                aggregate_id=patient.id,
                revision=patient.revision,
                data=_patient_data(patient),
                producer=PRODUCER,
                occurred_at=self._now(),
                correlation_id=origin.journal_id,
            )
        )
        return patient, True

    async def _follow_up(
        self,
        before: AppointmentLink,
        decision: Decision,
        patient: Patient,
        *,
        by: str,
        deliveries: list[UUID],
        work: Work,
        origin: Origin,
    ) -> None:
        """Save the decision and everything that follows from it."""
        after = decision.link
        if after != before and after.state is not State.NEW:
            work.links.save(after)
        if decision.announces is not None:
            work.outgoing.publish(self._event(decision.announces, after, by, origin))
        if System.OMEGAAI in decision.tells and after.slot is not None:
            deliveries.append(self._tell_omegaai(after, work))
        if System.POWERSERVER in decision.tells:
            deliveries.append(self._tell_powerserver(after, patient, work))
        if after.state is not State.NEW:
            work.links.note(_entry(before, decision, tuple(deliveries), origin))
        if decision.conflict is not None and after.state is not State.NEW:
            self._count_conflict(origin.source, decision.outcome)
            work.links.note_conflict(
                Conflict(after.id, self._now(), origin.source, origin.journal_id, decision.conflict)
            )
        self._count(origin.source, decision.outcome)

    def _tell_patient(self, patient: Patient, work: Work, site: SiteFile) -> UUID:
        snapshot = PatientSnapshot.of(patient, site.issuers)
        return work.outgoing.deliver(
            System.OMEGAAI,
            key=patient.id,
            kind="patient.upsert",
            payload=snapshot.to_bytes(),
            idempotency_key=f"patient:{patient.id}:{patient.revision}",
        )

    def _tell_omegaai(self, link: AppointmentLink, work: Work) -> UUID:
        """Under the patient's key: the patient's own delivery goes first."""
        site = self._site()
        zone = site.facilities[link.facility].zone
        assert link.slot is not None  # noqa: S101 - the caller asked
        service_id = self._resources.named(link.facility, link.resource).healthcare_service_id
        snapshot = AppointmentSnapshot.of(
            link, link.slot.start.astimezone(zone), link.slot.end.astimezone(zone), service_id
        )
        delivery_id = contracts.uuid7()
        return work.outgoing.deliver(
            System.OMEGAAI,
            key=link.patient_id,
            kind="appointment.upsert",
            payload=snapshot.to_bytes(),
            idempotency_key=f"appointment:{link.id}:{delivery_id}",
            delivery_id=delivery_id,
        )

    def _tell_powerserver(self, link: AppointmentLink, patient: Patient, work: Work) -> UUID:
        delivery_id = contracts.uuid7()
        step = step_for_powerserver(link.step)
        control_id = self._powerserver.control_id(delivery_id)
        return work.outgoing.deliver(
            System.POWERSERVER,
            key=link.id,
            kind=f"status.{step}",
            payload=self._powerserver.status_message(link, patient, step, control_id=control_id, made_at=self._now()),
            idempotency_key=control_id,
            delivery_id=delivery_id,
        )

    def _event(self, kind: Announcement, link: AppointmentLink, by: str, origin: Origin) -> contracts.Message:
        site = self._site()
        facility = site.facilities[link.facility]
        assert link.slot is not None  # noqa: S101 - only an appointment with a time is announced
        values: dict[str, Any] = {
            "patient_id": link.patient_id,
            "site": link.site,
            "facility": contracts.Facility(
                code=link.facility,
                name=facility.name,
                time_zone=facility.time_zone,
                phone=facility.phone,
                address=facility.address,
            ),
            "resource": link.resource,
            "modality": link.modality,
            "start": link.slot.start.astimezone(facility.zone),
            "end": link.slot.end.astimezone(facility.zone),
            "studies": tuple(contracts.Study(code=one.code, description=one.description) for one in link.studies),
            "status": link.step.value,
            "who_acts_next": link.who_acts_next.value,
            "placer_number": link.placer_number,
            "filler_id": link.filler_id,
            "accession_numbers": link.order_numbers,
            "by": by,
        }
        requested = link.requested_slot
        message_class: type[contracts.Message]
        data: contracts.Payload
        if kind is Announcement.SCHEDULED:
            message_class, data = contracts.AppointmentScheduled, contracts.AppointmentData(**values)
        elif kind is Announcement.CONFIRMED:
            message_class, data = contracts.AppointmentConfirmed, contracts.AppointmentData(**values)
        elif kind is Announcement.REQUESTED:
            message_class = contracts.AppointmentRequested
            data = contracts.RequestedAppointmentData(
                **values,
                requested_start=None if requested is None else requested.start.astimezone(facility.zone),
                requested_end=None if requested is None else requested.end.astimezone(facility.zone),
            )
        else:
            message_class = contracts.AppointmentCancelled
            data = contracts.CancelledAppointmentData(
                **values, reason=link.reason or None, no_show=link.step is WorkflowStep.NO_SHOW
            )
        return contracts.new_message(
            message_class,
            aggregate_id=link.id,
            revision=link.revision,
            data=data,
            producer=PRODUCER,
            occurred_at=self._now(),
            correlation_id=origin.journal_id,
        )


def cause_of_task(task_id: str) -> UUID:
    """A UUID for a Task of OmegaAI's queue, the same each time: what the inbox claims and the history points to."""
    return uuid5(_TASKS, task_id)


_TASKS: Final = UUID("5d1f3a52-6f0c-5a0e-9d7f-3c1f0d6b2a11")


def _one_patient(work: Work, command: ChangeAppointmentByStaff) -> Patient | None:
    """The patient of the message's numbers; NeedsSetup when they are known as those of several patients."""
    known = {one.id: one for one in work.patients.all_identified_by(command.patient.identifiers)}
    if len(known) > 1:
        raise NeedsSetup(
            "PID-3: its numbers belong to different patients of the site",
            setting="PowerServer and OmegaAI: find out whether they are one person, and merge them in both",
        )
    return next(iter(known.values()), None)


def _takes_off_what_is_not_of(link: AppointmentLink, facts: StaffFacts) -> bool:
    """Whether an order is cancelled that is not of this appointment, which is not closed."""
    if link.state in {State.CANCELLED, State.DONE}:
        return False
    return unknown_removals(link.studies, link.accession_numbers, facts.study_changes)


def _latest(command: ChangeAppointmentByStaff, said_at: datetime) -> datetime:
    return max(said_at, command.said_until or said_at)


def _new_link(site: str, command: ChangeAppointmentByStaff, patient: Patient) -> AppointmentLink:
    facts = command.appointment
    return AppointmentLink(
        id=contracts.uuid7(),
        site=site,
        placer_number=command.placer_number,
        patient_id=patient.id,
        facility=facts.facility,
        resource="",
        modality=None,
        slot=None,
        studies=(),
    )


def _entry(
    before: AppointmentLink,
    decision: Decision,
    deliveries: tuple[UUID, ...],
    origin: Origin,
    outcome: str | None = None,
) -> HistoryEntry:
    return HistoryEntry(
        link_id=decision.link.id,
        at=origin.received_at,
        source=origin.source,
        message=origin.message,
        cause_id=origin.journal_id,
        trigger=None if decision.trigger is None else decision.trigger.value,
        outcome=outcome or decision.outcome.value,
        state_before=before.state.value,
        state_after=decision.link.state.value,
        revision=decision.link.revision,
        changed=decision.changed,
        delivery_ids=deliveries,
    )


def _patient_data(patient: Patient) -> contracts.PatientData:
    address = patient.address
    return contracts.PatientData(
        identifiers=tuple(
            contracts.PatientIdentifier(issuer=one.issuer, value=one.value) for one in patient.identifiers
        ),
        name=contracts.PersonName(family=patient.family, given=patient.given, middle=patient.middle),
        birth_date=patient.birth_date,
        sex=patient.sex,
        email=patient.email,
        phone=patient.phone,
        language=patient.language,
        address=None
        if address is None
        else contracts.PostalAddress(
            line=address.line,
            city=address.city,
            state=address.state,
            postal_code=address.postal_code,
            country=address.country,
        ),
    )
