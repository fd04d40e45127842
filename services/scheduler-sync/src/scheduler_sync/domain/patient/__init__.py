"""The patient of an appointment."""

from scheduler_sync.domain.patient.patient import (
    DETAILS,
    UNSAID,
    Address,
    Guardian,
    Patient,
    PatientFacts,
    PatientIdentifier,
    Sex,
    Unsaid,
)

__all__ = ["DETAILS", "UNSAID", "Address", "Guardian", "Patient", "PatientFacts", "PatientIdentifier", "Sex", "Unsaid"]
