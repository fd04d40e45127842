"""An appointment's time as the patient will read it on a clock at the facility.

A time without its zone sends travellers and border towns to the wrong hour, so the zone's name and its offset on that
very day are part of the text. The abbreviation is the zone's own for that day (EST in December, EDT in July).
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])(\d{2}):?(\d{2})")


class UnknownZoneError(Exception):
    """A facility's time zone is neither an IANA name nor a fixed offset such as +02:15."""


@lru_cache(maxsize=512)
def zone_of(name: str) -> tzinfo:
    """``America/Toronto`` or ``+02:15``; raises UnknownZoneError."""
    if fixed := _OFFSET.fullmatch(name):
        sign, hours, minutes = fixed.groups()
        offset = timedelta(hours=int(hours), minutes=int(minutes))
        if int(minutes) < 60 and offset < timedelta(hours=24):
            return timezone(offset if sign == "+" else -offset)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UnknownZoneError("facility.time_zone is neither an IANA name nor an offset") from error


def is_known_zone(name: str) -> bool:
    try:
        zone_of(name)
    except UnknownZoneError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class FacilityTime:
    """Start and end on the facility's clock. ``ends_in_other_offset``: the clocks change during the appointment."""

    start: datetime
    end: datetime
    zone_name: str

    @property
    def ends_in_other_offset(self) -> bool:
        return self.start.utcoffset() != self.end.utcoffset()

    @property
    def ends_on_other_day(self) -> bool:
        return self.start.date() != self.end.date()


def facility_time(start: datetime, end: datetime, zone_name: str) -> FacilityTime:
    """``start`` and ``end`` are aware, in any zone; raises UnknownZoneError."""
    zone = zone_of(zone_name)
    return FacilityTime(start.astimezone(zone), end.astimezone(zone), zone_name)


def offset_text(at: datetime) -> str:
    """``UTC−05:00``, with the real minus sign; ``UTC+02:15``."""
    offset = at.utcoffset() or timedelta()
    minutes = round(offset.total_seconds() / 60)
    return f"UTC{'−' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"


def abbreviation(at: datetime) -> str | None:
    """``EST`` where the zone has such a name; None where tzdata has only digits."""
    name = at.tzname() or ""
    return name if name.isalpha() else None
