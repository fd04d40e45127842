"""A resource's hours per weekday, and the instants that they are in its facility's zone."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_MINUTES: Final = 24 * 60
_TIME_PARTS: Final = 2


@dataclass(frozen=True, slots=True)
class Opening:
    """Open on a weekday (0: Monday) from ``opens`` until ``closes``, in minutes since midnight by the wall clock.

    1440 is 24:00; more is a time of the next day.
    """

    weekday: int
    opens: int
    closes: int


@dataclass(frozen=True, slots=True)
class Hours:
    """When a resource is open: its openings in its facility's zone, without the facility's closed dates."""

    openings: tuple[Opening, ...]
    zone: ZoneInfo
    closed: frozenset[date] = frozenset()

    def spans(self, begin: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
        """The open spans that touch ``begin`` until ``end``, in UTC; they may overlap. Closed dates are in them."""
        first = begin.astimezone(self.zone).date() - timedelta(days=1)  # yesterday's may end today
        last = end.astimezone(self.zone).date()
        by_weekday: dict[int, list[Opening]] = {}
        for opening in self.openings:
            by_weekday.setdefault(opening.weekday, []).append(opening)
        for number in range((last - first).days + 1):
            day = first + timedelta(days=number)
            for opening in by_weekday.get(day.weekday(), ()):
                opens, closes = self._instant(day, opening.opens), self._instant(day, opening.closes)
                if opens < closes and closes > begin and opens < end:
                    yield opens, closes

    def closed_spans(self, begin: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
        """The closed dates that touch ``begin`` until ``end``, in UTC: 23 or 25 hours where the clocks change."""
        for day in self.closed:
            opens, closes = self._instant(day, 0), self._instant(day, _DAY_MINUTES)
            if closes > begin and opens < end:
                yield opens, closes

    def _instant(self, day: date, minutes: int) -> datetime:
        days, minute = divmod(minutes, _DAY_MINUTES)
        return instant(day + timedelta(days=days), minute, self.zone)


def instant(day: date, minute: int, zone: ZoneInfo) -> datetime:
    """The instant of a wall clock's time, in UTC.

    A time that the clocks skip is the end of the gap. Of a time that they show twice, it is the first.
    """
    wall = datetime.combine(day, time(minute // 60, minute % 60), zone)
    found = wall.astimezone(UTC)
    if found.astimezone(zone).replace(tzinfo=None) == wall.replace(tzinfo=None):
        return found
    # In the gap fold=0 counts with the offset before it, fold=1 with the one after: their difference is the gap's
    # length, and the time's distance from its begin is what fold=0 is too late.
    earlier = wall.replace(fold=1).astimezone(UTC)
    low, high = earlier, found
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) / 2
        if middle.astimezone(zone).utcoffset() == low.astimezone(zone).utcoffset():
            low = middle
        else:
            high = middle
    return high.replace(microsecond=0)


def openings_of(available_time: Sequence[Mapping[str, Any]]) -> tuple[Opening, ...]:
    """The openings in FHIR's ``HealthcareService.availableTime``; an unreadable element opens nothing."""
    found: list[Opening] = []
    for one in available_time:
        span = _span(one) if isinstance(one, Mapping) else None
        if span is not None:
            found += [Opening(day, *span) for day in _days(one.get("daysOfWeek"))]
    return tuple(dict.fromkeys(found))


def _span(one: Mapping[str, Any]) -> tuple[int, int] | None:
    if one.get("allDay") is True:
        return 0, _DAY_MINUTES
    opens, closes = _minutes(one.get("availableStartTime")), _minutes(one.get("availableEndTime"))
    if opens is None or closes is None or opens == _DAY_MINUTES:
        return None
    if closes > opens:
        return opens, closes
    if closes == opens and opens != 0:
        return None  # neither a moment nor a whole day can be told from it
    return opens, closes + _DAY_MINUTES


def _days(given: Any) -> Collection[int]:
    """Every day where none is named, as FHIR has it."""
    if not given:
        return range(len(_DAYS))
    names = given if isinstance(given, list) else [given]
    return [_DAYS.index(name) for name in dict.fromkeys(str(name) for name in names) if name in _DAYS]


def _minutes(given: Any) -> int | None:
    """``08:00`` or ``08:00:00`` in minutes; 24:00 ends a day."""
    parts = given.split(":") if isinstance(given, str) else []
    if len(parts) < _TIME_PARTS or not all(
        part.isascii() and part.isdigit() and len(part) == _TIME_PARTS for part in parts[:_TIME_PARTS]
    ):
        return None
    hour, minute = int(parts[0]), int(parts[1])
    total = hour * 60 + minute
    return total if minute < 60 and total <= _DAY_MINUTES else None
