"""The domain's aggregates as contract messages; the one place that knows the contracts' shape."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Literal
from uuid import UUID

import contracts
from scheduler_sync.domain.appointment import (
    Announcement,
    AppointmentLink,
    Physician,
    Study,
    WorkflowStep,
    study_times,
)
from scheduler_sync.domain.patient import Guardian, Patient
from scheduler_sync.domain.resource import Pair
from scheduler_sync.domain.slots import Slot
from scheduler_sync.ports import Offer
from scheduler_sync.site import SiteFacility

PRODUCER: Final = "scheduler-sync"
_MOST_REMEMBERED: Final = 500
"""A site's facilities and referring physicians are few, and every event has one of each."""


def patient_event(patient: Patient, *, is_new: bool, occurred_at: datetime, cause_id: UUID) -> contracts.Message:
    """``patient.registered``, or ``patient.updated``. ``cause_id`` is the input that caused it."""
    return contracts.new_message(
        contracts.PatientRegistered if is_new else contracts.PatientUpdated,
        aggregate_id=patient.id,
        revision=patient.revision,
        data=_patient_data(patient),
        producer=PRODUCER,
        occurred_at=occurred_at,
        correlation_id=cause_id,
    )


def merge_event(
    patient: Patient, merged_patient_id: UUID, *, occurred_at: datetime, cause_id: UUID
) -> contracts.Message:
    """``patient.merged``: the record of ``merged_patient_id`` ended in the patient's."""
    return contracts.new_message(
        contracts.PatientMerged,
        aggregate_id=patient.id,
        revision=patient.revision,
        data=contracts.MergedPatientData(**dict(_patient_data(patient)), merged_patient_id=merged_patient_id),
        producer=PRODUCER,
        occurred_at=occurred_at,
        correlation_id=cause_id,
    )


def appointment_event(
    kind: Announcement,
    before: AppointmentLink,
    link: AppointmentLink,
    facilities: Mapping[str, SiteFacility],
    *,
    by: str,
    occurred_at: datetime,
    cause_id: UUID,
    lost: Slot | None = None,
    declined: Slot | None = None,
    offers: Sequence[Offer] = (),
) -> contracts.Message:
    """The event for the link's new state. ``before`` is the link before, ``by`` the actor: staff or patient.

    ``lost`` is the time that a patient's request has lost, ``declined`` one that staff declined; ``offers`` is what is
    free instead.
    """
    assert link.slot is not None  # noqa: S101 - only an appointment with a time is announced
    facility = facilities[link.facility]
    values: dict[str, Any] = {
        "patient_id": link.patient_id,
        "site": link.site,
        "facility": _facility(link.facility, facility),
        "resource": link.resource,
        "modality": link.modality,
        "start": link.slot.start.astimezone(facility.zone),
        "end": link.slot.end.astimezone(facility.zone),
        "studies": tuple(_study(one, link, facility) for one in link.studies),
        "status": link.step.value,
        "who_acts_next": link.who_acts_next.value,
        "placer_number": link.placer_number,
        "filler_id": link.filler_id,
        "accession_numbers": link.order_numbers,
        "by": by,
        "organization": facility.organization,
        "referring_physician": _physician(link.referring_physician),
    }
    alternatives = tuple(
        contracts.Alternative(
            resource=one.resource,
            start=one.slot.start.astimezone(facility.zone),
            end=one.slot.end.astimezone(facility.zone),
        )
        for one in offers
    )
    requested = link.requested_slot or (None if lost == link.slot else lost)
    message_class: type[contracts.Message]
    data: contracts.Payload
    if kind in {Announcement.SCHEDULED, Announcement.CONFIRMED}:
        is_scheduled, refused = kind is Announcement.SCHEDULED, lost or declined
        message_class = contracts.AppointmentScheduled if is_scheduled else contracts.AppointmentConfirmed
        data = contracts.AnsweredAppointmentData(
            **values,
            refused_start=None if refused is None else refused.start.astimezone(facility.zone),
            refused_end=None if refused is None else refused.end.astimezone(facility.zone),
            alternatives=alternatives,
        )
    elif kind is Announcement.PROGRESSED:
        message_class, data = contracts.AppointmentProgressed, contracts.AppointmentData(**values)
    elif kind is Announcement.RESCHEDULED:
        message_class = contracts.AppointmentRescheduled
        data = contracts.RescheduledAppointmentData(**values, **_former(before, link, facilities))
    elif kind is Announcement.REQUESTED:
        message_class = contracts.AppointmentRequested
        data = contracts.RequestedAppointmentData(
            **values,
            requested_start=None if requested is None else requested.start.astimezone(facility.zone),
            requested_end=None if requested is None else requested.end.astimezone(facility.zone),
            displaced=lost is not None,
            alternatives=alternatives,
        )
    else:
        message_class = contracts.AppointmentCancelled
        data = contracts.CancelledAppointmentData(
            **values,
            reason=link.reason or None,
            no_show=link.step is WorkflowStep.NO_SHOW,
            displaced=lost is not None,
            alternatives=alternatives,
        )
    return contracts.new_message(
        message_class,
        aggregate_id=link.id,
        revision=link.revision,
        data=data,
        producer=PRODUCER,
        occurred_at=occurred_at,
        correlation_id=cause_id,
    )


def _former(before: AppointmentLink, link: AppointmentLink, facilities: Mapping[str, SiteFacility]) -> dict[str, Any]:
    """The place that ``before`` had; its facility where that is another one that the site still has."""
    assert before.slot is not None  # noqa: S101 - only an appointment with a time can be moved
    facility = facilities.get(before.facility)
    zone = (facility or facilities[link.facility]).zone
    has_moved_house = facility is not None and before.facility != link.facility
    return {
        "former_start": before.slot.start.astimezone(zone),
        "former_end": before.slot.end.astimezone(zone),
        "former_resource": before.resource or link.resource,
        "former_facility": _facility(before.facility, facility) if facility is not None and has_moved_house else None,
    }


def _facility(code: str, facility: SiteFacility) -> contracts.Facility:
    return _facility_of(code, facility.name, facility.time_zone, facility.phone, facility.address)


@lru_cache(maxsize=_MOST_REMEMBERED)
def _facility_of(code: str, name: str, time_zone: str, phone: str | None, address: str | None) -> contracts.Facility:
    return contracts.Facility(code=code, name=name, time_zone=time_zone, phone=phone, address=address)


def _study(study: Study, link: AppointmentLink, facility: SiteFacility) -> contracts.Study:
    start, end = study_times(study, link)
    return contracts.Study(
        code=study.code,
        description=study.description,
        start=start and start.astimezone(facility.zone),
        end=end and end.astimezone(facility.zone),
        modality=link.modality,
        procedure_codes=study.procedure_codes,
        accession_number=study.order_number,
        study_uid=study.study_uid,
    )


@lru_cache(maxsize=_MOST_REMEMBERED)
def _physician(physician: Physician | None) -> contracts.Physician | None:
    if physician is None:
        return None
    name = contracts.PersonName(family=physician.family, given=physician.given, middle=physician.middle)
    return contracts.Physician(identifier=physician.number, issuer=physician.issuer, name=name)


def resource_event(
    kind: Literal["linked", "drifted"],
    pair: Pair,
    healthcare_service_id: str | None,
    *,
    site: str,
    revision: int,
    occurred_at: datetime,
    cause_id: UUID,
) -> contracts.Message:
    """``resource.linked`` or ``resource.drifted``. Without a service id the two sides are one no longer."""
    side = pair.powerserver or pair.omegaai
    return contracts.new_message(
        contracts.ResourceLinked if kind == "linked" else contracts.ResourceDrifted,
        aggregate_id=pair.id,
        revision=revision,
        data=contracts.ResourceData(
            site=site,
            facility=pair.facility,
            name=pair.name if side is None else side.description.name,
            modality=None if side is None else side.description.modality,
            healthcare_service_id=healthcare_service_id,
            drift=tuple(
                contracts.Difference(field=one.field, powerserver=one.powerserver, omegaai=one.omegaai)
                for one in pair.drift
            ),
        ),
        producer=PRODUCER,
        occurred_at=occurred_at,
        correlation_id=cause_id,
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
        language=patient.language if patient.is_said("language") else None,
        organization=patient.organization,
        guardian=_guardian(patient.guardian),
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


def _guardian(guardian: Guardian | None) -> contracts.Guardian | None:
    if guardian is None:
        return None
    return contracts.Guardian(
        name=contracts.PersonName(family=guardian.family, given=guardian.given, middle=guardian.middle),
        relationship=guardian.relationship,
        email=guardian.email,
        phone=guardian.phone,
    )
