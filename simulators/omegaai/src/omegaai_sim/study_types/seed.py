"""The development site's study types and procedure codes, with the same ids every time."""

from typing import Any, Final

from omegaai_sim.fhir import records
from simulator_kit.store import Work

_STUDY_TYPES: Final = (
    ("CT-HEAD", "CT Head", "CT", 30, "70450", "Head"),
    ("CT-CHEST", "CT Chest", "CT", 30, "71250", "Chest"),
    ("MR-KNEE", "MR Knee", "MR", 45, "73721", "Knee"),
    ("MR-BRAIN", "MR Brain", "MR", 45, "70551", "Brain"),
    ("XR-CHEST", "X-ray Chest", "DX", 10, "71045", "Chest"),
    ("US-ABDOMEN", "Ultrasound Abdomen", "US", 30, "76700", "Abdomen"),
    ("GENERAL", "General study", None, None, None, None),
)
"""The study types of PowerServer's simulator, with the procedure code and the body part of each."""


def prepare(work: Work) -> None:
    """Fill an empty store."""
    if work.one("SELECT 1 FROM resource WHERE type = 'StudyType'") is not None:
        return
    for number, (code, description, modality, minutes, procedure, body_part) in enumerate(_STUDY_TYPES, 1):
        study_type: dict[str, Any] = {"id": str(number), "code": code, "description": description}
        if modality is not None:
            study_type |= {"modality": modality, "duration": minutes, "bodyPart": body_part}
        if procedure is not None:
            records.save(work, "ProcedureCode", {"id": str(number), "code": procedure, "display": description}, 1)
            study_type["procedureCode"] = [{"reference": f"ProcedureCode/{number}"}]
        records.save(work, "StudyType", study_type, 1)
