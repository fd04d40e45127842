"""A span of time on a resource."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True, slots=True)
class Slot:
    """A time span on a resource, and the IANA zone of its facility for display.

    Stored in UTC: Python compares and subtracts datetimes of one zone by the wall clock, which is an hour off where the
    clocks change.
    """

    start: datetime
    end: datetime
    zone: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", self.start.astimezone(UTC))
        object.__setattr__(self, "end", self.end.astimezone(UTC))

    @property
    def minutes(self) -> int:
        return int((self.end - self.start) / timedelta(minutes=1))
