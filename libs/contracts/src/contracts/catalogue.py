"""The messages of this release. A new message or version is entered here, in ``topics`` and in ``examples``."""

from contracts.appointment import AppointmentCancelled, AppointmentConfirmed, AppointmentRequested, AppointmentScheduled
from contracts.patient import PatientRegistered, PatientUpdated
from contracts.registry import Registry

REGISTRY = Registry(
    [
        PatientRegistered,
        PatientUpdated,
        AppointmentScheduled,
        AppointmentRequested,
        AppointmentConfirmed,
        AppointmentCancelled,
    ],
    # {PatientRegisteredV1: to_patient_registered_2, …}: one entry per old version that is kept.
    upcasters={},
)

parse = REGISTRY.parse
