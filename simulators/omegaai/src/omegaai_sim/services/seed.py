"""The HealthcareServices of the development site (docs/architecture/wire.md §4), with the same ids every time."""

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
_DAYS: Final = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def prepare(work: Work) -> None:
    """Fill an empty store."""
    if work.one("SELECT 1 FROM resource WHERE type = 'HealthcareService'") is None:
        for service in _SERVICES:
            records.save(work, "HealthcareService", _service(service), 1)


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
