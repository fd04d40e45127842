"""Rebuilds patients and appointment links from the events of a former store. Each event carries the whole aggregate."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, TypeAlias
from uuid import UUID

import contracts
from scheduler_sync.domain.appointment import (
    FHIR_STATUS_OF_STEP,
    AppointmentLink,
    FhirStatus,
    Physician,
    State,
    Study,
    WorkflowStep,
)
from scheduler_sync.domain.patient import Address, Guardian, Patient, PatientIdentifier
from scheduler_sync.domain.slots import Slot
from scheduler_sync.site import SiteFile

PatientEvent: TypeAlias = contracts.PatientRegistered | contracts.PatientUpdated | contracts.PatientMerged
AppointmentEvent: TypeAlias = (
    contracts.AppointmentScheduled
    | contracts.AppointmentRequested
    | contracts.AppointmentConfirmed
    | contracts.AppointmentRescheduled
    | contracts.AppointmentProgressed
    | contracts.AppointmentCancelled
)
ResourceEvent: TypeAlias = contracts.ResourceLinked | contracts.ResourceDrifted
_BEFORE_THE_FIRST: Final = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Said:
    """One event in short."""

    revision: int
    at: datetime
    step: WorkflowStep | None
    by_staff: bool

    @property
    def status(self) -> FhirStatus | None:
        """The status that was written to OmegaAI then. An appointment that lost its time is cancelled there."""
        if self.step is None:
            return None
        return FhirStatus.CANCELLED if self.step is WorkflowStep.ORDERED else FHIR_STATUS_OF_STEP[self.step]


@dataclass(slots=True)
class Missed:
    """The events of one aggregate that a store lacks: the newest in full, and all of them in short."""

    newest: contracts.Message
    said: dict[UUID, Said] = field(default_factory=dict)

    def add(self, message: contracts.Message) -> None:
        """Events of different topics come in any order, and a record may stand on its topic twice."""
        if message.revision > self.newest.revision:
            self.newest = message
        if isinstance(message, AppointmentEvent):
            said = Said(
                message.revision, message.occurred_at, WorkflowStep(message.data.status), message.data.by == "staff"
            )
        else:
            said = Said(message.revision, message.occurred_at, None, by_staff=True)
        self.said[message.message_id] = said

    @property
    def by_staff(self) -> list[Said]:
        """The statuses of staff, oldest first."""
        return sorted((one for one in self.said.values() if one.by_staff), key=lambda one: one.revision)

    @property
    def heard_at(self) -> datetime | None:
        """The newest time up to which PowerServer's messages count as known; None when no event tells.

        An event has the time of its making here, not PowerServer's time of the message. Messages before the last event
        but one are certainly known; the message of the last event may come again, and changes nothing then.
        """
        staff = self.by_staff
        return staff[-2].at if len(staff) > 1 else None


def patient_of(missed: Missed, known: Patient | None, site: SiteFile) -> Patient:
    """The patient as in the newest event; facts that no event carries keep their known values."""
    event = missed.newest
    assert isinstance(event, PatientEvent)  # noqa: S101 - of a patient's topic
    data, name = event.data, event.data.name
    address = None if data.address is None else Address(**data.address.model_dump())
    identifiers = tuple(PatientIdentifier(one.issuer, one.value) for one in data.identifiers)
    values: Mapping[str, object] = {
        "identifiers": identifiers,
        "family": name.family,
        "given": name.given,
        "middle": name.middle,
        "birth_date": data.birth_date,
        "sex": data.sex,
        "email": data.email,
        "phone": data.phone,
        "language": data.language or ("en" if known is None else known.language),
        "address": address,
        "guardian": _guardian(data.guardian),
        "revision": event.revision,
    }
    if known is not None:
        newer = missed.heard_at
        heard_at = known.heard_at if newer is None else max(known.heard_at, newer)
        return replace(known, **values, heard_at=heard_at)  # type: ignore[arg-type]  # the names are the class's
    return Patient(
        id=event.aggregate_id,
        site=site.site,
        organization=site.organization.master,
        heard_at=missed.heard_at or event.occurred_at - _BEFORE_THE_FIRST,
        **values,  # type: ignore[arg-type]  # as above
    )


def link_of(missed: Missed, known: AppointmentLink | None) -> AppointmentLink:
    """The link as in the newest event; OmegaAI's id and versions keep their known values."""
    event = missed.newest
    assert isinstance(event, AppointmentEvent)  # noqa: S101 - of an appointment's topic
    data = event.data
    zone = data.facility.time_zone
    requested = None
    if isinstance(data, contracts.RequestedAppointmentData) and data.requested_start is not None:
        length = data.end - data.start
        requested = Slot(data.requested_start, data.requested_end or data.requested_start + length, zone)
    base = known or AppointmentLink(
        id=event.aggregate_id,
        site=data.site,
        placer_number=data.placer_number,
        patient_id=data.patient_id,
        facility=data.facility.code,
        resource=data.resource,
        modality=data.modality,
        slot=None,
        studies=(),
    )
    staff = missed.by_staff
    return replace(
        base,
        facility=data.facility.code,
        resource=data.resource,
        modality=data.modality,
        slot=Slot(data.start, data.end, zone),
        studies=tuple(map(_study, data.studies)),
        state=_state(event, missed, known),
        step=WorkflowStep(data.status),
        filler_id=data.filler_id,
        accession_numbers=data.accession_numbers,
        requested_slot=requested,
        reason=data.reason if isinstance(data, contracts.CancelledAppointmentData) else base.reason,
        # PowerServer may not know of the patient's act yet: it is sent again, and PowerServer's answer will tell.
        powerserver_step=staff[-1].step if staff else base.powerserver_step or WorkflowStep.SCHEDULED,
        powerserver_heard_at=_later(base.powerserver_heard_at, missed.heard_at),
        powerserver_told_at=None if staff else base.powerserver_told_at,
        revision=event.revision,
        referring_physician=_physician(data.referring_physician),
    )


def _study(study: contracts.Study) -> Study:
    start, end = study.start, study.end
    return Study(
        study.code,
        study.description,
        start=start,
        minutes=None if start is None or end is None else round((end - start).total_seconds() / 60),
        order_number=study.accession_number,
        procedure_codes=study.procedure_codes,
        study_uid=study.study_uid,
    )


def _guardian(guardian: contracts.Guardian | None) -> Guardian | None:
    if guardian is None:
        return None
    name, one = guardian.name, guardian
    return Guardian(name.family, name.given, name.middle, one.relationship, one.email, one.phone)


def _physician(physician: contracts.Physician | None) -> Physician | None:
    if physician is None:
        return None
    name = physician.name
    return Physician(name.family, name.given, name.middle, physician.identifier, physician.issuer)


def status_by_staff(missed: Missed) -> FhirStatus | None:
    """The status written to OmegaAI after the newest event, when staff caused that event."""
    newest = max(missed.said.values(), key=lambda one: one.revision)
    return newest.status if newest.by_staff else None


def _state(event: AppointmentEvent, missed: Missed, known: AppointmentLink | None) -> State:
    if not isinstance(event, contracts.AppointmentRequested):
        return _STATE_OF_STEP[WorkflowStep(event.data.status)]
    if known is not None and known.state is State.PATIENT_BOOKED:
        return State.PATIENT_BOOKED
    began_here = known is None and not missed.by_staff
    return State.PATIENT_BOOKED if began_here and event.data.requested_start is None else State.MOVE_REQUESTED


_STATE_OF_STEP: Final[Mapping[WorkflowStep, State]] = {
    WorkflowStep.ORDERED: State.UNSCHEDULED,
    WorkflowStep.SCHEDULED: State.STAFF_BOOKED,
    WorkflowStep.WAITLIST: State.STAFF_BOOKED,
    WorkflowStep.CONFIRMED: State.CONFIRMED,
    WorkflowStep.ARRIVED: State.ARRIVED,
    WorkflowStep.READY_FOR_SCAN: State.ARRIVED,
    WorkflowStep.COMPLETED: State.DONE,
    WorkflowStep.CANCELLED: State.CANCELLED,
    WorkflowStep.NO_SHOW: State.CANCELLED,
}
"""The state of each step, but for a request: two states have that."""


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return max((at for at in (one, other) if at is not None), default=None)
