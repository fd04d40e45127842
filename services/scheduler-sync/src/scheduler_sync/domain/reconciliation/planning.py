"""What a run reads: which days, in which slices; when it stops and asks; how a worklist's answer is doubted."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, time, timedelta
from typing import Final

_ROUND: Final = 50
_LIMITS: Final = frozenset({64, 128, 256, 512, 1024, 2048, 4096})
"""Usual limits of servers that are not multiples of 50."""
HOURS: Final = tuple((time(hour), time(hour, 59, 59)) for hour in range(24))


@dataclass(frozen=True, slots=True)
class Days:
    """The days from ``first`` up to ``end``, which is not among them."""

    first: date
    end: date

    def __iter__(self) -> Iterator[date]:
        return (self.first + timedelta(days=number) for number in range((self.end - self.first).days))

    def __len__(self) -> int:
        return max(0, (self.end - self.first).days)


@dataclass(frozen=True, slots=True)
class Horizon:
    """``back`` and ``near`` days around today are read by every run; the days up to ``ahead`` in the night's slices.

    ``night_begins`` and ``night_ends`` are hours of the site's clock; the same hour twice: every run reads all days.
    """

    back: int
    near: int
    ahead: int
    night_begins: int
    night_ends: int

    def near_days(self, today: date) -> Days:
        return Days(today - timedelta(days=self.back), today + timedelta(days=min(self.near, self.ahead)))

    def all_days(self, today: date) -> Days:
        return Days(today - timedelta(days=self.back), today + timedelta(days=self.ahead))

    def is_night(self, hour: int) -> bool:
        if self.night_begins == self.night_ends:
            return True
        if self.night_begins < self.night_ends:
            return self.night_begins <= hour < self.night_ends
        return hour >= self.night_begins or hour < self.night_ends

    def days(self, today: date, hour: int, *, read_until: date | None, interval_seconds: float) -> Days:
        """The days of a run that begins now. ``read_until``: where the slice before ended, None on the first one.

        By day the near days. By night a slice of all days, so large that the night's runs get through them.
        """
        near, whole = self.near_days(today), self.all_days(today)
        if self.night_begins == self.night_ends:
            return whole
        if not self.is_night(hour) or near.end >= whole.end:
            return near
        first = whole.first if read_until is None or not whole.first < read_until < whole.end else read_until
        runs = max(1, int(((self.night_ends - self.night_begins) % 24) * 3600 // interval_seconds) - 1)
        return Days(first, min(whole.end, first + timedelta(days=max(1, -(-len(whole) // runs)))))


def asks(*, to_heal: int, compared: int, share: float, fewest: int) -> bool:
    """Whether so many corrections are more likely a fault of the reading than of the appointments."""
    return to_heal >= fewest and to_heal > share * compared


def may_be_cut(found: int, *, has_failed: bool) -> bool:
    """Whether an answer of the worklist may be cut short: it failed, or its number is one at which servers stop."""
    return has_failed or found in _LIMITS or (found > 0 and found % _ROUND == 0)
