"""Translates contract messages into the notifier's own words; the one place that knows their shape."""

from contracts import (
    AppointmentCancelled,
    AppointmentConfirmed,
    AppointmentRequested,
    AppointmentScheduled,
    PatientRegistered,
    PatientUpdated,
)
from notifier.domain.appointment import Appointment, Facility
from notifier.domain.recipient import Recipient

PatientMessage = PatientRegistered | PatientUpdated
AppointmentMessage = AppointmentScheduled | AppointmentRequested | AppointmentConfirmed | AppointmentCancelled

TOPICS = (
    "patient.registered",
    "patient.updated",
    "appointment.scheduled",
    "appointment.requested",
    "appointment.confirmed",
    "appointment.cancelled",
)


def recipient_of(message: PatientMessage) -> Recipient:
    data = message.data
    return Recipient(
        patient_id=message.aggregate_id,
        revision=message.revision,
        given_name=data.name.given,
        email=data.email,
        language=data.language,
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
        facility=Facility(
            name=data.facility.name,
            time_zone=data.facility.time_zone,
            phone=data.facility.phone,
            address=data.facility.address,
        ),
    )
