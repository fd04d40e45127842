"""The order sets of the development site (docs/architecture/wire.md §4)."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class StudyType:
    """An order set: what a patient books."""

    code: str
    display: str
    modality: str
    minutes: int


STUDY_TYPES: Final = tuple(
    StudyType(*one)
    for one in (
        ("CT-HEAD", "CT Head", "CT", 30),
        ("CT-CHEST", "CT Chest", "CT", 30),
        ("MR-KNEE", "MR Knee", "MR", 45),
        ("MR-BRAIN", "MR Brain", "MR", 45),
        ("XR-CHEST", "X-ray Chest", "DX", 10),
        ("US-ABDOMEN", "Ultrasound Abdomen", "US", 30),
    )
)


def study_type(code: str) -> StudyType | None:
    return next((one for one in STUDY_TYPES if one.code == code), None)
