"""A bookable device or room of a facility, on both sides."""

from scheduler_sync.domain.resource.hours import Hours, available_time_of, clock, hours_of_available_time
from scheduler_sync.domain.resource.names import NearMiss, NearNames, Nearness
from scheduler_sync.domain.resource.pairing import (
    FIELDS,
    FieldDrift,
    Pair,
    PairState,
    Side,
    drift_of,
    pair,
    wanted_hours,
)
from scheduler_sync.domain.resource.resource import Description, GridRow, PowerServerResource, Resource

__all__ = [
    "FIELDS",
    "Description",
    "FieldDrift",
    "GridRow",
    "Hours",
    "NearMiss",
    "NearNames",
    "Nearness",
    "Pair",
    "PairState",
    "PowerServerResource",
    "Resource",
    "Side",
    "available_time_of",
    "clock",
    "drift_of",
    "hours_of_available_time",
    "pair",
    "wanted_hours",
]
