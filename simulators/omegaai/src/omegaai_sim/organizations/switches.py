"""An organisation's switches for its patients; a switch that is not stored is on, as with the premium licence."""

from collections.abc import Mapping
from typing import Any, Final

from omegaai_sim.fhir import records
from omegaai_sim.fhir.outcome import Refused
from simulator_kit.store import Work

RAMSOFT: Final = "http://www.ramsoft.com/fhir/StructureDefinition/"
BOOKING: Final = "enablePublicBooking"
RESCHEDULE: Final = "IsRescheduleAllowed"
CANCEL: Final = "IsCancelledAllowed"
SWITCHES: Final = (BOOKING, RESCHEDULE, CANCEL)


def is_on(organization: Mapping[str, Any], switch: str) -> bool:
    """Whether patients of the organisation may do it."""
    for one in organization.get("extension", []):
        if one.get("url") == RAMSOFT + switch:
            return one.get("valueBoolean") is not False
    return True


def turn(work: Work, identifier: str, given: Mapping[str, Any]) -> None:
    """Sets switches by name. Raises ``Refused``: 404 without the organisation, 400 for another name or value."""
    stored = records.read(work, "Organization", identifier)
    for name, value in given.items():
        if name not in SWITCHES or not isinstance(value, bool):
            raise Refused(400, "invalid", f"the switches are {', '.join(SWITCHES)}, each true or false")
    urls = {RAMSOFT + name for name in given}
    kept = [one for one in stored.body.get("extension", []) if one.get("url") not in urls]
    added = [{"url": RAMSOFT + name, "valueBoolean": value} for name, value in given.items()]
    records.save(work, "Organization", {**stored.body, "extension": [*kept, *added]}, stored.version + 1)
    work.record("effect", "Organization.switched", identifier, dict(given))
