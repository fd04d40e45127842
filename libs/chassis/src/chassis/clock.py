"""Time as a dependency: domain code and loops ask a clock, so that tests can set the time.

A service decides by its store's time, which all its processes share, and not by the clock of its machine. When the two
differ it cannot know which is wrong. So what cannot be undone is decided only when both agree: ``Span`` gives the
earliest and the latest time that it may be now.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The machine's clock: aware, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Span:
    """The earliest and the latest time that it may be now. Both are the same while the clocks agree."""

    earliest: datetime
    latest: datetime

    @property
    def width(self) -> timedelta:
        return self.latest - self.earliest


def moment(at: datetime) -> str:
    """A time as people compare it: to the second, in UTC."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


_AGO: Final = re.compile(r"(\d{1,6})\s*([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def since_of(text: str, now: datetime) -> datetime:
    """``2h``, ``30m``, ``90s``, ``3d`` before ``now``; or a time of ISO 8601, in UTC unless it names a zone.

    Raises ``ValueError`` with the fault.
    """
    ago = _AGO.fullmatch(text.strip())
    try:
        if ago is not None:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        at = datetime.fromisoformat(text.strip())
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
        at.astimezone(UTC)  # a time outside UTC's calendar fails here
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no time: write 2h, 30m, 3d, or 2026-05-31T14:00 (UTC)") from None
    else:
        return at
