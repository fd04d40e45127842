"""The development site (docs/architecture/wire.md §4), with the same ids every time."""

import secrets
from typing import Any, Final

from omegaai_sim.fhir import records
from omegaai_sim.store import Work

RAMSOFT: Final = "http://www.ramsoft.com/fhir/StructureDefinition/"
AUTHORITIES: Final = {"http://northside.example/patient-id": "NORTHSIDE"}
_ORGANIZATIONS: Final = (
    ("1", "Northside Health", None, ("America/Toronto", "Eastern Standard Time"), None),
    ("2", "Northside Imaging", "1", ("America/Toronto", "Eastern Standard Time"),
     ("12 King St W, Toronto, ON", "+1 416 555 0111")),
    ("3", "Lakeshore Imaging", "1", ("America/Vancouver", "Pacific Standard Time"),
     ("40 Water St, Vancouver, BC", "+1 604 555 0122")),
)  # fmt: skip
_SERVICES: Final = (
    ("11", "2", "BLUME CT", "CT", ("08:00:00", "23:00:00"), 30),
    ("12", "2", "BLUME MR", "MR", ("08:00:00", "23:00:00"), 45),
    ("13", "2", "BLUME XR", "DX", ("08:00:00", "23:00:00"), 15),
    ("14", "2", "BLUME US", "US", ("08:00:00", "23:00:00"), 30),
    ("15", "3", "LAKE CT", "CT", ("07:00:00", "22:00:00"), 30),
    ("16", "3", "LAKE MR", "MR", ("07:00:00", "22:00:00"), 45),
)
_DAYS: Final = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def prepare(work: Work) -> str:
    """Seeds an empty store. Returns the key that sessions are signed with."""
    for system, issuer in AUTHORITIES.items():
        work.run("INSERT OR IGNORE INTO assigning_authority VALUES (?, ?)", system, issuer)
    if work.one("SELECT 1 FROM resource WHERE type = 'Organization'") is None:
        for row in _ORGANIZATIONS:
            records.save(work, "Organization", _organization(*row), 1)
        for service in _SERVICES:
            records.save(work, "HealthcareService", _service(service), 1)
    work.run("INSERT OR IGNORE INTO setting VALUES ('session_key', ?)", secrets.token_urlsafe(32))
    key = work.one("SELECT value FROM setting WHERE name = 'session_key'")
    return str(key["value"]) if key else ""


def _organization(
    identifier: str, name: str, part_of: str | None, zones: tuple[str, str], contact: tuple[str, str] | None
) -> dict[str, Any]:
    zone, windows_zone = zones
    body: dict[str, Any] = {
        "id": identifier,
        "extension": [
            {"url": RAMSOFT + "timezone", "valueString": windows_zone},
            {"url": RAMSOFT + "timezoneIANA", "valueString": zone},
        ],
        "active": True,
        "name": name,
    }
    if contact:
        address, phone = contact
        body["telecom"] = [{"system": "phone", "value": phone}]
        body["address"] = [{"text": address}]
    if part_of:
        body["partOf"] = {"reference": f"Organization/{part_of}"}
    return body


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
