"""A month's days with their free times, and one day's times by the hour."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import Final
from zoneinfo import ZoneInfo

from omegaai_sim.blume.scheduling.slots import FARTHEST

_MONTH: Final = re.compile(r"2\d{3}-(0[1-9]|1[0-2])")


@dataclass(frozen=True, slots=True)
class Day:
    """A day of the calendar. `free` counts its times."""

    date: date
    free: int
    is_of_month: bool


@dataclass(frozen=True, slots=True)
class Hour:
    """The free starts that begin in one hour; `key` says their day and hour."""

    key: str
    words: str
    starts: Sequence[datetime]


@dataclass(frozen=True, slots=True)
class Calendar:
    """A month, its weeks from Sunday on, the chosen day and its free times, all in the facility's zone."""

    month: date
    weeks: Sequence[Sequence[Day]]
    chosen: date | None
    hours: Sequence[Hour]
    zone: str
    zone_word: str
    today: date
    farthest: date

    @property
    def previous_month(self) -> date | None:
        found = (self.month - timedelta(days=1)).replace(day=1)
        return found if found >= self.today.replace(day=1) else None

    @property
    def next_month(self) -> date | None:
        found = (self.month + timedelta(days=32)).replace(day=1)
        return found if found <= self.farthest else None

    @property
    def has_free(self) -> bool:
        return any(day.free for week in self.weeks for day in week)


def month_of(given: Mapping[str, str], zone: ZoneInfo, usual: date | None = None) -> date:
    """The first day of `?month=`, else of `?day=`, else of `usual`; of this month for what is not within a year."""
    today = datetime.now(zone).date()
    text = given.get("month") or given.get("day", "")[:7]
    found = date.fromisoformat(f"{text}-01") if _MONTH.fullmatch(text) and text.isascii() else (usual or today)
    first = found.replace(day=1)
    return first if today.replace(day=1) <= first <= today + FARTHEST else today.replace(day=1)


def days_in(month: date) -> int:
    return ((month + timedelta(days=32)).replace(day=1) - month).days


def calendar(month: date, free: Sequence[datetime], wanted: str, zone: ZoneInfo) -> Calendar:
    """The month with `free`, its free starts in the zone. `wanted` is the chosen day; else it is the first free one."""
    counts: dict[date, int] = {}
    for start in free:
        counts[start.date()] = counts.get(start.date(), 0) + 1
    chosen = next((day for day in counts if day.isoformat() == wanted), None)
    if chosen is None and not wanted.startswith(f"{month:%Y-%m}"):
        chosen = min(counts, default=None)
    begin = month - timedelta(days=(month.weekday() + 1) % 7)
    length = -(-((month - begin).days + days_in(month)) // 7)
    weeks = [
        [
            Day(day, counts.get(day, 0) if day.month == month.month else 0, day.month == month.month)
            for day in (begin + timedelta(days=7 * week + number) for number in range(7))
        ]
        for week in range(length)
    ]
    of_day = [start for start in free if start.date() == chosen]
    hours = [
        Hour(f"{found[0]:%Y-%m-%dT%H%z}", f"{found[0]:%-I %p}", found)
        for _, each in groupby(of_day, key=lambda start: (start.hour, start.utcoffset()))
        if (found := list(each))
    ]
    today = datetime.now(zone).date()
    word = (of_day[0] if of_day else datetime.now(UTC).astimezone(zone)).strftime("%Z")
    return Calendar(month, weeks, chosen, hours, zone.key, word, today, today + FARTHEST)
