"""The organisations of the development site (docs/architecture/wire.md §4), with the same ids every time."""

from typing import Any, Final

from omegaai_sim.fhir import records
from simulator_kit.store import Work

RAMSOFT: Final = "http://www.ramsoft.com/fhir/StructureDefinition/"
AUTHORITIES: Final = {"http://northside.example/patient-id": "NORTHSIDE"}
_ORGANIZATIONS: Final = (
    ("1", "Northside Health", None, ("America/Toronto", "Eastern Standard Time"), None),
    ("2", "Northside Imaging", "1", ("America/Toronto", "Eastern Standard Time"),
     ("12 King St W, Toronto, ON", "+1 416 555 0111")),
    ("3", "Lakeshore Imaging", "1", ("America/Vancouver", "Pacific Standard Time"),
     ("40 Water St, Vancouver, BC", "+1 604 555 0122")),
)  # fmt: skip


def prepare(work: Work) -> None:
    """Fill an empty store."""
    for system, issuer in AUTHORITIES.items():
        work.run("INSERT OR IGNORE INTO assigning_authority VALUES (?, ?)", system, issuer)
    if work.one("SELECT 1 FROM resource WHERE type = 'Organization'") is None:
        for row in _ORGANIZATIONS:
            records.save(work, "Organization", _organization(*row), 1)
    if work.one("SELECT 1 FROM resource WHERE type = 'AssigningAuthority'") is None:
        for number, (system, issuer) in enumerate(AUTHORITIES.items(), 1):
            owner = {"reference": f"Organization/{_ORGANIZATIONS[0][0]}"}
            body = {"id": str(number), "name": issuer, "system": system, "managingOrganization": owner}
            records.save(work, "AssigningAuthority", body, 1)


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
