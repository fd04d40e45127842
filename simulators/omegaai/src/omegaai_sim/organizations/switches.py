"""An organisation's switches for its patients; a switch that is not stored is on, as with the premium licence."""

from collections.abc import Mapping
from typing import Any, Final

from omegaai_sim.fhir import records
from omegaai_sim.fhir.outcome import Refused
from omegaai_sim.fhir.ramsoft import extended, value
from simulator_kit.store import Work

BOOKING: Final = "enablePublicBooking"
RESCHEDULE: Final = "IsRescheduleAllowed"
CANCEL: Final = "IsCancelledAllowed"
SWITCHES: Final = (BOOKING, RESCHEDULE, CANCEL)
MODALITIES: Final = "selfSchedulingModalities"
"""The modalities that patients may book, between commas; where it is absent, all."""
RADIUS: Final = "selfSchedulingRadius"
USUAL_RADIUS_KM: Final = 500


def is_on(organization: Mapping[str, Any], switch: str) -> bool:
    """Whether patients of the organisation may do it."""
    return value(organization, switch) is not False


def is_open(organization: Mapping[str, Any], modality: str) -> bool:
    """Whether patients may book exams of the modality."""
    found = value(organization, MODALITIES)
    return found is None or modality in str(found).split(",")


def radius_km(organization: Mapping[str, Any]) -> int:
    """The distance from which patients may book."""
    return int(value(organization, RADIUS, USUAL_RADIUS_KM))


def turn(work: Work, identifier: str, given: Mapping[str, Any]) -> None:
    """Sets switches by name. Raises ``Refused``: 404 without the organisation, 400 for another name or value."""
    stored = records.read(work, "Organization", identifier)
    for name, wanted in given.items():
        if name not in SWITCHES or not isinstance(wanted, bool):
            raise Refused(400, "invalid", f"the switches are {', '.join(SWITCHES)}, each true or false")
    body = extended(stored.body, {name: [("valueBoolean", wanted)] for name, wanted in given.items()})
    records.update(work, "Organization", identifier, body, by="control", expected=stored.version)
    work.record("effect", "Organization.switched", identifier, dict(given))
