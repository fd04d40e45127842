"""Translates contract messages into the notifier's own words; the one place that knows their shape."""

import contracts
from contracts import (
    AppointmentCancelled,
    AppointmentConfirmed,
    AppointmentProgressed,
    AppointmentRequested,
    AppointmentRescheduled,
    AppointmentScheduled,
    PatientMerged,
    PatientRegistered,
    PatientUpdated,
)
from notifier.domain.appointment import Appointment, Facility, FormerPlace
from notifier.domain.recipient import Recipient

PatientMessage = PatientRegistered | PatientUpdated | PatientMerged
AppointmentMessage = (
    AppointmentScheduled
    | AppointmentRequested
    | AppointmentConfirmed
    | AppointmentRescheduled
    | AppointmentProgressed
    | AppointmentCancelled
)

TOPICS = (
    "patient.registered",
    "patient.updated",
    "patient.merged",
    "appointment.scheduled",
    "appointment.requested",
    "appointment.confirmed",
    "appointment.rescheduled",
    "appointment.progressed",
    "appointment.cancelled",
)


def recipient_of(message: PatientMessage) -> Recipient:
    data = message.data
    return Recipient(
        patient_id=message.aggregate_id,
        revision=message.revision,
        given_name=data.name.given,
        email=data.email,
        language=data.language or "",
    )


def appointment_of(message: AppointmentMessage) -> Appointment:
    data = message.data
    return Appointment(
        appointment_id=message.aggregate_id,
        patient_id=data.patient_id,
        revision=message.revision,
        event=message.type,
        status=data.status,
        who_acts_next=data.who_acts_next,
        start=data.start,
        end=data.end,
        facility=_facility(data.facility),
        former=_former(message) if isinstance(message, AppointmentRescheduled) else None,
    )


def _former(message: AppointmentRescheduled) -> FormerPlace:
    data = message.data
    return FormerPlace(
        start=data.former_start,
        end=data.former_end,
        facility_name=(data.former_facility or data.facility).name,
    )


def _facility(facility: contracts.Facility) -> Facility:
    return Facility(name=facility.name, time_zone=facility.time_zone, phone=facility.phone, address=facility.address)
