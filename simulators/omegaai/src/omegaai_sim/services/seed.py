"""The development site's HealthcareServices, with the same ids every time (docs/architecture/wire.md §4)."""

from typing import Any, Final

from omegaai_sim.fhir import records
from omegaai_sim.fhir.ramsoft import extended
from omegaai_sim.services.catalogue import DAYS
from simulator_kit.store import Work

_SERVICES: Final = (
    ("11", "2", "BLUME CT", "CT", ("08:00:00", "23:00:00"), 30, "#2b7de0"),
    ("12", "2", "BLUME MR", "MR", ("08:00:00", "23:00:00"), 45, "#8a4fd0"),
    ("13", "2", "BLUME XR", "DX", ("08:00:00", "23:00:00"), 15, "#c2641a"),
    ("14", "2", "BLUME US", "US", ("08:00:00", "23:00:00"), 30, "#1a8a5a"),
    ("15", "3", "LAKE CT", "CT", ("07:00:00", "22:00:00"), 30, "#2b7de0"),
    ("16", "3", "LAKE MR", "MR", ("07:00:00", "22:00:00"), 45, "#8a4fd0"),
)


def prepare(work: Work) -> None:
    """Fill an empty store."""
    if work.one("SELECT 1 FROM resource WHERE type = 'HealthcareService'") is None:
        for service in _SERVICES:
            records.save(work, "HealthcareService", _service(service), 1)


def _service(row: tuple[str, str, str, str, tuple[str, str], int, str]) -> dict[str, Any]:
    identifier, organization, name, modality, (opens, closes), minutes, colour = row
    body = {
        "id": identifier,
        "active": True,
        "providedBy": {"reference": f"Organization/{organization}"},
        "name": name,
        "availableTime": [{"daysOfWeek": list(DAYS), "availableStartTime": opens, "availableEndTime": closes}],
    }
    return extended(
        body,
        {
            "modality": [("valueCode", modality)],
            "Duration": [("valueInteger", minutes)],
            "overBooking": [("valueBoolean", False)],
            "selfScheduling": [("valueBoolean", True)],
            "healthcareservice/color": [("valueString", colour)],
        },
    )
