"""The organisations of the development site (docs/architecture/wire.md §4), with the same ids every time."""

from collections.abc import Mapping
from typing import Any, Final

from omegaai_sim.fhir import records
from omegaai_sim.fhir.ramsoft import extended
from simulator_kit.store import Work

AUTHORITIES: Final = {"http://northside.example/patient-id": "NORTHSIDE"}
_TORONTO: Final = ("America/Toronto", "Eastern Standard Time")
_VANCOUVER: Final = ("America/Vancouver", "Pacific Standard Time")
_ORGANIZATIONS: Final[tuple[dict[str, Any], ...]] = (
    {"id": "1", "name": "Northside Health", "zones": _TORONTO},
    {"id": "2", "name": "Northside Imaging", "zones": _TORONTO, "address": "12 King St W, Toronto, ON",
     "phone": "+1 416 555 0111", "position": (43.6487, -79.3796)},
    {"id": "3", "name": "Lakeshore Imaging", "zones": _VANCOUVER, "address": "40 Water St, Vancouver, BC",
     "phone": "+1 604 555 0122", "position": (49.2841, -123.1089)},
)  # fmt: skip
"""The master first; the others are part of it."""


def prepare(work: Work) -> None:
    """Fill an empty store."""
    for system, issuer in AUTHORITIES.items():
        work.run("INSERT OR IGNORE INTO assigning_authority VALUES (?, ?)", system, issuer)
    if work.one("SELECT 1 FROM resource WHERE type = 'Organization'") is None:
        for row in _ORGANIZATIONS:
            records.save(work, "Organization", _organization(row), 1)
    if work.one("SELECT 1 FROM resource WHERE type = 'AssigningAuthority'") is None:
        for number, (system, issuer) in enumerate(AUTHORITIES.items(), 1):
            owner = {"reference": f"Organization/{_ORGANIZATIONS[0]['id']}"}
            body = {"id": str(number), "name": issuer, "system": system, "managingOrganization": owner}
            records.save(work, "AssigningAuthority", body, 1)


def _organization(row: Mapping[str, Any]) -> dict[str, Any]:
    zone, windows_zone = row["zones"]
    body: dict[str, Any] = {"id": row["id"], "active": True, "name": row["name"]}
    found = {"timezone": [("valueString", windows_zone)], "timezoneIANA": [("valueString", zone)]}
    if "position" in row:
        latitude, longitude = row["position"]
        found |= {"latitude": [("valueDecimal", latitude)], "longitude": [("valueDecimal", longitude)]}
        body["telecom"] = [{"system": "phone", "value": row["phone"]}]
        body["address"] = [{"text": row["address"]}]
        body["partOf"] = {"reference": f"Organization/{_ORGANIZATIONS[0]['id']}"}
    return extended(body, found)
