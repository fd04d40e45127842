"""Where a patient may be, and which services are near: the choices of Book New Appointment."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import asin, cos, radians, sin, sqrt
from typing import Final

from omegaai_sim.blume import cards
from omegaai_sim.blume.scheduling import own
from omegaai_sim.fhir.records import Resource
from omegaai_sim.organizations import switches
from omegaai_sim.study_types.catalogue import StudyType
from simulator_kit.store import Work

Position = tuple[float, float]
PLACES: Final[Mapping[str, Position]] = {
    "Calgary, AB": (51.0447, -114.0719),
    "Hamilton, ON": (43.2557, -79.8711),
    "Kelowna, BC": (49.8880, -119.4960),
    "Kingston, ON": (44.2312, -76.4860),
    "London, ON": (42.9849, -81.2453),
    "Mississauga, ON": (43.5890, -79.6441),
    "Montréal, QC": (45.5019, -73.5674),
    "Oshawa, ON": (43.8971, -78.8658),
    "Ottawa, ON": (45.4215, -75.6972),
    "Sudbury, ON": (46.4917, -80.9930),
    "Toronto, ON": (43.6532, -79.3832),
    "Vancouver, BC": (49.2827, -123.1207),
    "Victoria, BC": (48.4284, -123.3656),
    "Whistler, BC": (50.1163, -122.9574),
}
"""Degrees north and east."""
_EARTH_KM: Final = 6371


@dataclass(frozen=True, slots=True)
class Provider:
    """A service that does the study. `why_not` says why it cannot be booked online; empty when it can."""

    id: str
    name: str
    facility: cards.Facility
    distance_km: int | None
    why_not: str


def place_of(city: str) -> str:
    """The place whose name begins with a city's; empty for an unknown one."""
    return next((name for name in PLACES if city and name.casefold().startswith(f"{city.casefold()},")), "")


def providers(work: Work, study: StudyType, place: str) -> list[Provider]:
    """The services of a study, the nearest first; those that take no bookings online last."""
    rows = work.all("SELECT body FROM resource WHERE type = 'HealthcareService' ORDER BY CAST(id AS INTEGER)")
    services = [json.loads(row["body"]) for row in rows]
    found = [
        _provider(work, service, PLACES.get(place))
        for service in services
        if service.get("active", True) and own.fits(service, study)
    ]
    return sorted(found, key=lambda one: (bool(one.why_not), one.distance_km or 0))


def _provider(work: Work, service: Resource, position: Position | None) -> Provider:
    facility, why_not = cards.facility_of(work, service), own.why_not(work, service)
    distance = None
    if position is not None and facility.position is not None:
        distance = round(distance_km(position, facility.position))
        _, _, owner = service["providedBy"]["reference"].partition("/")
        most = switches.radius_km(cards.body_of(work, "Organization", owner) or {})
        if distance > most:
            why_not = why_not or f"It takes online bookings from at most {most} km away."
    return Provider(service["id"], service["name"], facility, distance, why_not)


def distance_km(one: Position, other: Position) -> float:
    """Along the globe."""
    (north, east), (other_north, other_east) = ((radians(a), radians(b)) for a, b in (one, other))
    half = sin((other_north - north) / 2) ** 2 + cos(north) * cos(other_north) * sin((other_east - east) / 2) ** 2
    return 2 * _EARTH_KM * asin(sqrt(half))
