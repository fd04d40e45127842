"""Names of time zones: IANA's, and those of Windows, which RamSoft's products write."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

_LOOKED_AHEAD: Final = timedelta(days=730)
_STEP: Final = timedelta(days=5)


class UnknownZoneError(ValueError):
    """A name that is neither IANA's nor one of Windows. ``name`` is the name as it stood."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name!r} is no time zone; write an IANA name such as America/Toronto, or Windows' name such as "
            "Eastern Standard Time"
        )
        self.name = name


def iana_name(name: str) -> str:
    """IANA's name of a zone. UnknownZoneError.

    Windows' names are exact but for their case; a name of summer time (Eastern Daylight Time) is that of its zone.
    """
    written = " ".join(name.split())
    if written in _iana():
        return written
    found = _windows().get(written.replace(" Daylight ", " Standard ").casefold())
    found = found or _windows().get(written.casefold().replace(" daylight ", " standard "))
    if found is None:
        raise UnknownZoneError(name)
    return found


def zone_of(name: str) -> ZoneInfo:
    """The zone of an IANA or Windows name. UnknownZoneError."""
    return ZoneInfo(iana_name(name))


def are_alike(one: str, other: str, *, at: datetime) -> bool:
    """Whether two zones show the same wall clock from ``at`` on for two years.

    Windows has one name for several zones of IANA: Toronto's and New York's are both Eastern Standard Time.
    """
    zones = zone_of(one), zone_of(other)
    steps = range(_LOOKED_AHEAD // _STEP)
    return zones[0] == zones[1] or all(
        (moment := at + step * _STEP).astimezone(zones[0]).utcoffset() == moment.astimezone(zones[1]).utcoffset()
        for step in steps
    )


@lru_cache(maxsize=1)
def _iana() -> frozenset[str]:
    return frozenset(available_timezones())


@lru_cache(maxsize=1)
def _windows() -> Mapping[str, str]:
    """IANA's names by Windows' names without case."""
    from babel.core import get_global  # noqa: PLC0415 - its tables are read where a Windows name is met, and not before

    table: Mapping[str, str] = get_global("windows_zone_mapping")
    return {name.casefold(): zone for name, zone in table.items()}
