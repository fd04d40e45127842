"""Start and end of a slot, shared by SIU and ORM."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from chassis.errors import Malformed, NeedsSetup
from scheduler_sync.adapters.powerserver import values
from scheduler_sync.adapters.powerserver.values import Reading
from scheduler_sync.domain.resource import Resource
from scheduler_sync.domain.slots import Slot
from scheduler_sync.site import SiteFacility


@dataclass(frozen=True, slots=True)
class Made:
    """When a message was made: at ``earliest``, or at some time from ``earliest`` until ``latest``."""

    earliest: datetime
    latest: datetime


def made(reading: Reading, facility: SiteFacility, received_at: datetime, named: ZoneInfo | None = None) -> Made:
    """MSH-7; the time of reception where it is missing. The zone of the other times follows from it.

    ``named`` is the zone that the message names: it holds for every time without an offset.

    Several instants are possible for a time in an hour that the clocks repeat or skip, and for a date alone.
    """
    reading.zone = zone = named or facility.zone
    found = values.code_at(reading.msh, 7)
    if found is None:
        return Made(received_at, received_at)
    given = values.parsed(found, zone, "MSH-7")
    earliest = latest = given.astimezone(UTC)
    if not values.has_time_of_day(found):
        latest = earliest + timedelta(days=1)
    elif given.tzinfo is zone:
        other = given.replace(fold=1).astimezone(UTC)
        earliest, latest = min(earliest, other), max(earliest, other)
    elif named is None:
        reading.made_at = given
    return Made(earliest, latest)


def slot(
    start: datetime, end: datetime | None, facility: SiteFacility, resource: Resource | None, where: str
) -> tuple[Slot, bool]:
    """The slot, and whether its length is the resource's because the message has none."""
    has_no_end = end is None
    if end is None:
        minutes = None if resource is None else resource.duration_minutes
        if minutes is None:
            raise NeedsSetup(
                f"{where}: the message gives neither an end nor a length, and the resource has no usual one",
                setting="OmegaAI: Scheduler > Edit Healthcare Services > duration",
            )
        end = start + timedelta(minutes=minutes)
    if end <= start:
        raise Malformed(f"{where}: the end is not after the start", location=where, code=values.DATA_TYPE_ERROR)
    return Slot(start, end, facility.time_zone), has_no_end


def whole_minutes(length: timedelta | None) -> int | None:
    """A length in minutes, where it is a whole number of minutes."""
    if length is None or length % timedelta(minutes=1):
        return None
    return length // timedelta(minutes=1)
