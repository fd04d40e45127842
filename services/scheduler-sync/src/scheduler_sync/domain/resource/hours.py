"""Opening hours of a resource, on wall clocks: spans of seconds of the day, per weekday."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_SECONDS: Final = 24 * 60 * 60
_CLOCK: Final = re.compile(r"(\d{1,2}):?([0-5]\d)(?::?([0-5]\d)(?:\.\d{1,9})?)?", re.ASCII)

Span = tuple[int, int]
"""Start and end in seconds of the day. An end that is not after the start lies on the next day; midnight is 24:00."""


def clock(text: str) -> int | None:
    """``08:00``, ``0800``, ``8:00``, ``23:59:59``, ``24:00`` as seconds of the day; None when it is no time of day."""
    match = _CLOCK.fullmatch(text.strip())
    if match is None:
        return None
    seconds = int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3] or 0)
    return seconds if seconds <= DAY_SECONDS else None


def span(start: int, end: int) -> Span:
    """The span, with the end of the day written as 24:00."""
    return start % DAY_SECONDS, end or DAY_SECONDS


def words(spans: Iterable[Span]) -> str:
    """``08:00–12:00, 13:00–23:00``."""
    return ", ".join(f"{written(start)}–{written(end)}" for start, end in spans) or "closed"


def written(seconds: int) -> str:
    """``22:59``, or ``22:59:30`` where there are seconds."""
    hours, rest = divmod(seconds, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours:02}:{minutes:02}" + (f":{left:02}" if left else "")


@dataclass(frozen=True, slots=True)
class Hours:
    """``spans`` by weekday, Monday first.

    ``has_weekdays`` is False for a side that has one window and no weekdays: each weekday holds that window.
    """

    spans: tuple[tuple[Span, ...], ...]
    has_weekdays: bool = True

    @classmethod
    def window(cls, start: int, end: int) -> "Hours":
        """One window without weekdays, as PowerServer's grid has it."""
        return cls(((span(start, end),),) * len(DAYS), has_weekdays=False)

    @classmethod
    def of_week(cls, week: Mapping[str, Sequence[Span]]) -> "Hours":
        """Spans by the names of ``DAYS``; a missing day is closed."""
        return cls(tuple(tuple(sorted(week.get(day, ()))) for day in DAYS))

    def words(self) -> str:
        """``08:00–23:00``; ``mon–fri 08:00–17:00; sat 09:00–12:00`` where weekdays differ or are said."""
        if not self.has_weekdays:
            return words(self.spans[0])
        groups: list[tuple[int, int, tuple[Span, ...]]] = []
        for number, spans in enumerate(self.spans):
            if groups and groups[-1][2] == spans and groups[-1][1] == number - 1:
                groups[-1] = (groups[-1][0], number, spans)
            elif spans:
                groups.append((number, number, spans))
        told = [f"{DAYS[a] if a == b else f'{DAYS[a]}–{DAYS[b]}'} {words(spans)}" for a, b, spans in groups]
        return "; ".join(told) or "closed on all weekdays"

    def agrees_with(self, other: "Hours") -> bool:
        """Whether both sides are open at the same times. A window without weekdays is compared on the open days."""
        if self.has_weekdays and other.has_weekdays:
            return self.spans == other.spans
        pairs = list(zip(self.spans, other.spans, strict=True))
        is_open_somewhere = any(mine and theirs for mine, theirs in pairs)
        return is_open_somewhere and all(mine == theirs for mine, theirs in pairs if mine and theirs)

    def applied_to(self, other: "Hours") -> "Hours | None":
        """``other`` with these hours. A window goes to the days on which ``other`` is open; None when it has none."""
        if self.has_weekdays:
            return self
        if not any(other.spans):
            return None
        given = zip(self.spans, other.spans, strict=True)
        return Hours(tuple(mine if theirs else () for mine, theirs in given))


def hours_of_available_time(available_time: Sequence[Mapping[str, Any]]) -> Hours | None:
    """FHIR's ``availableTime``; None when there is none, or a part of it cannot be read."""
    week: dict[str, list[Span]] = {}
    for one in available_time:
        days = one.get("daysOfWeek")
        named = [str(day).lower() for day in days] if isinstance(days, list) else []
        if not named or not set(named) <= set(DAYS):
            return None
        if one.get("allDay") is True:
            found: Span | None = (0, DAY_SECONDS)
        else:
            start, end = clock(str(one.get("availableStartTime", ""))), clock(str(one.get("availableEndTime", "")))
            found = None if start is None or end is None else span(start, end)
        if found is None:
            return None
        for day in dict.fromkeys(named):
            week.setdefault(day, []).append(found)
    return Hours.of_week(week) if week else None


def available_time_of(hours: Hours) -> list[dict[str, Any]]:
    """The hours as FHIR's ``availableTime``: days with the same spans share an entry."""
    by_span: dict[Span, list[str]] = {}
    for day, spans in zip(DAYS, hours.spans, strict=True):
        for one in spans:
            by_span.setdefault(one, []).append(day)
    found: list[dict[str, Any]] = []
    for (start, end), days in by_span.items():
        if (start, end) == (0, DAY_SECONDS):
            found.append({"daysOfWeek": days, "allDay": True})
        else:
            times = {"availableStartTime": _time(start), "availableEndTime": _time(end % DAY_SECONDS)}
            found.append({"daysOfWeek": days, **times})
    return found


def _time(seconds: int) -> str:
    """FHIR's time has no 24:00: the end of the day is 00:00:00."""
    hours, rest = divmod(seconds, 3600)
    return f"{hours:02}:{rest // 60:02}:{rest % 60:02}"
