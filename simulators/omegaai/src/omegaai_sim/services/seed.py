"""The development site's HealthcareServices, study types and procedure codes, with the same ids every time.

docs/architecture/wire.md §4 lists the services.
"""

from typing import Any, Final

from omegaai_sim.fhir import records
from simulator_kit.store import Work

RAMSOFT: Final = "http://www.ramsoft.com/fhir/StructureDefinition/"
_SERVICES: Final = (
    ("11", "2", "BLUME CT", "CT", ("08:00:00", "23:00:00"), 30),
    ("12", "2", "BLUME MR", "MR", ("08:00:00", "23:00:00"), 45),
    ("13", "2", "BLUME XR", "DX", ("08:00:00", "23:00:00"), 15),
    ("14", "2", "BLUME US", "US", ("08:00:00", "23:00:00"), 30),
    ("15", "3", "LAKE CT", "CT", ("07:00:00", "22:00:00"), 30),
    ("16", "3", "LAKE MR", "MR", ("07:00:00", "22:00:00"), 45),
)
_STUDY_TYPES: Final = (
    ("CT-HEAD", "CT Head", "CT", 30, "70450"),
    ("CT-CHEST", "CT Chest", "CT", 30, "71250"),
    ("MR-KNEE", "MR Knee", "MR", 45, "73721"),
    ("MR-BRAIN", "MR Brain", "MR", 45, "70551"),
    ("XR-CHEST", "X-ray Chest", "DX", 10, "71045"),
    ("US-ABDOMEN", "Ultrasound Abdomen", "US", 30, "76700"),
    ("GENERAL", "General study", None, None, None),
)
"""The study types of PowerServer's simulator, with the procedure code of each."""
_DAYS: Final = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def prepare(work: Work) -> None:
    """Fill an empty store."""
    if work.one("SELECT 1 FROM resource WHERE type = 'HealthcareService'") is None:
        for service in _SERVICES:
            records.save(work, "HealthcareService", _service(service), 1)
    if work.one("SELECT 1 FROM resource WHERE type = 'StudyType'") is None:
        for number, (code, description, modality, minutes, procedure) in enumerate(_STUDY_TYPES, 1):
            study_type: dict[str, Any] = {"id": str(number), "code": code, "description": description}
            if modality is not None:
                study_type |= {"modality": modality, "duration": minutes}
            if procedure is not None:
                records.save(work, "ProcedureCode", {"id": str(number), "code": procedure, "display": description}, 1)
                study_type["procedureCode"] = [{"reference": f"ProcedureCode/{number}"}]
            records.save(work, "StudyType", study_type, 1)


def _service(row: tuple[str, str, str, str, tuple[str, str], int]) -> dict[str, Any]:
    identifier, organization, name, modality, (opens, closes), minutes = row
    return {
        "id": identifier,
        "extension": [
            {"url": RAMSOFT + "modality", "valueCode": modality},
            {"url": RAMSOFT + "Duration", "valueInteger": minutes},
            {"url": RAMSOFT + "overBooking", "valueBoolean": False},
            {"url": RAMSOFT + "selfScheduling", "valueBoolean": True},
        ],
        "active": True,
        "providedBy": {"reference": f"Organization/{organization}"},
        "name": name,
        "availableTime": [{"daysOfWeek": _DAYS, "availableStartTime": opens, "availableEndTime": closes}],
    }
