"""The messages of this release. A new message or version is entered here, in ``topics`` and in ``examples``."""

from contracts.appointment import (
    AppointmentCancelled,
    AppointmentConfirmed,
    AppointmentProgressed,
    AppointmentRequested,
    AppointmentRescheduled,
    AppointmentScheduled,
)
from contracts.patient import (
    PatientMerged,
    PatientRegistered,
    PatientRegisteredV1,
    PatientUpdated,
    PatientUpdatedV1,
    to_patient_registered_2,
    to_patient_updated_2,
)
from contracts.registry import Registry
from contracts.resource import ResourceDrifted, ResourceLinked

REGISTRY = Registry(
    [
        PatientRegisteredV1,
        PatientRegistered,
        PatientUpdatedV1,
        PatientUpdated,
        PatientMerged,
        AppointmentScheduled,
        AppointmentRequested,
        AppointmentConfirmed,
        AppointmentRescheduled,
        AppointmentProgressed,
        AppointmentCancelled,
        ResourceLinked,
        ResourceDrifted,
    ],
    upcasters={PatientRegisteredV1: to_patient_registered_2, PatientUpdatedV1: to_patient_updated_2},
)

parse = REGISTRY.parse
