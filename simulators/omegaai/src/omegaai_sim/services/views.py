"""HealthcareServices as the staff's page shows them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from omegaai_sim.fhir import records
from simulator_kit.store import Work

RAMSOFT: Final = "http://www.ramsoft.com/fhir/StructureDefinition/"
_ZONE: Final = RAMSOFT + "timezoneIANA"


@dataclass(frozen=True, slots=True)
class HealthcareService:
    """A resource on which appointments are booked."""

    id: str
    name: str
    is_active: bool
    organization: str
    zone: str
    modality: str
    minutes: int
    hours: str


def services(work: Work) -> list[HealthcareService]:
    bodies = [
        json.loads(row["body"])
        for row in work.all("SELECT body FROM resource WHERE type = 'HealthcareService' ORDER BY id")
    ]
    return [_service(work, body) for body in bodies]


def _service(work: Work, body: Mapping[str, Any]) -> HealthcareService:
    extensions = {
        one["url"].removeprefix(RAMSOFT): next(value for name, value in one.items() if name.startswith("value"))
        for one in body.get("extension", [])
    }
    _, _, owner = body["providedBy"]["reference"].partition("/")
    organization = records.read(work, "Organization", owner).body
    zones = [one["valueString"] for one in organization.get("extension", []) if one["url"] == _ZONE]
    spans = [_span(one) for one in body.get("availableTime", [])]
    return HealthcareService(
        id=body["id"],
        name=body["name"],
        is_active=body.get("active", True),
        organization=organization["name"],
        zone="".join(zones[:1]),
        modality=extensions.get("modality", ""),
        minutes=extensions.get("Duration", 0),
        hours=", ".join(spans),
    )


def _span(one: Mapping[str, Any]) -> str:
    return "all day" if one.get("allDay") else f"{one['availableStartTime'][:5]}–{one['availableEndTime'][:5]}"
