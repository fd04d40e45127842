"""The patient of an appointment."""

from scheduler_sync.domain.patient.patient import (
    DETAILS,
    UNSAID,
    Address,
    Guardian,
    NumberRole,
    Patient,
    PatientFacts,
    PatientIdentifier,
    Sex,
    Unsaid,
    in_order,
)

__all__ = [
    "DETAILS",
    "UNSAID",
    "Address",
    "Guardian",
    "NumberRole",
    "Patient",
    "PatientFacts",
    "PatientIdentifier",
    "Sex",
    "Unsaid",
    "in_order",
]
