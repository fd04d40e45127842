"""The domain's aggregates as contract messages; the one place that knows the contracts' shape."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import contracts
from scheduler_sync.domain.appointment import Announcement, AppointmentLink, WorkflowStep
from scheduler_sync.domain.patient import Patient
from scheduler_sync.domain.slots import Slot
from scheduler_sync.ports import Offer
from scheduler_sync.site import SiteFacility

PRODUCER: Final = "scheduler-sync"


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


def appointment_event(
    kind: Announcement,
    link: AppointmentLink,
    facility: SiteFacility,
    *,
    by: str,
    occurred_at: datetime,
    cause_id: UUID,
    lost: Slot | None = None,
    offers: Sequence[Offer] = (),
) -> contracts.Message:
    """The event for the link's new state. ``by`` is the actor: staff or patient.

    ``lost`` is the time that a patient's request has lost, ``offers`` what is free instead.
    """
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
            displaced=lost is not None,
            alternatives=_alternatives(offers, facility),
        )
    else:
        message_class = contracts.AppointmentCancelled
        data = contracts.CancelledAppointmentData(
            **values,
            reason=link.reason or None,
            no_show=link.step is WorkflowStep.NO_SHOW,
            displaced=lost is not None,
            alternatives=_alternatives(offers, facility),
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


def _alternatives(offers: Sequence[Offer], facility: SiteFacility) -> tuple[contracts.Alternative, ...]:
    return tuple(
        contracts.Alternative(
            resource=one.resource,
            start=one.slot.start.astimezone(facility.zone),
            end=one.slot.end.astimezone(facility.zone),
        )
        for one in offers
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
