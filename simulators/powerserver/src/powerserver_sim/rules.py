"""The guards of PowerServer as plain functions, with the texts of their refusals.

Rules compare order values, never status names: a site may rename every status.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

SHORTEST_MINUTES: Final = 15

ORDERED: Final = 20
SCHEDULED: Final = 30
CONFIRMED: Final = 50
ARRIVED: Final = 70
CANCELLED: Final = 80
NO_SHOW: Final = 85
READY_FOR_SCAN: Final = 90
COMPLETED: Final = 120

GIVES_SLOT_BACK: Final = frozenset({CANCELLED, NO_SHOW})

Reason = Literal[
    "facility", "privilege", "unknown", "invalid", "modality", "status", "hours", "overlap", "reserved", "closed",
    "duplicate",
]  # fmt: skip

HTTP_STATUS: Final[dict[Reason, int]] = {
    "facility": 403,
    "unknown": 404,
    "invalid": 422,
    "modality": 422,
    "status": 409,
    "hours": 422,
    "overlap": 409,
    "reserved": 409,
    "closed": 409,
    "duplicate": 409,
    "privilege": 403,
}


class Refused(Exception):  # noqa: N818 - the name is the decision
    """A guard refuses. `reason` is for programs, the text for the person at the page."""

    def __init__(self, reason: Reason, text: str, *, field: str = "") -> None:
        super().__init__(text)
        self.reason: Reason = reason
        self.text = text
        self.field = field


@dataclass(frozen=True, slots=True)
class WorkingHours:
    """One pair of wall-clock times a day (`HH:MM`, `24:00` allowed) in the facility's zone."""

    opens: str
    closes: str
    zone: ZoneInfo

    def on(self, day: datetime) -> tuple[datetime, datetime]:
        """Opening and closing of that local day."""
        return self._at(day, self.opens), self._at(day, self.closes)

    def _at(self, day: datetime, clock: str) -> datetime:
        return on_clock(day.astimezone(self.zone).date(), clock, self.zone)


def on_clock(day: date, clock: str, zone: ZoneInfo) -> datetime:
    """A wall-clock time `HH:MM` (`24:00` allowed) of a day in a zone."""
    # Wall-clock arithmetic in the zone: on a day with a clock change 08:00 is still 08:00.
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    return midnight + timedelta(hours=int(clock[:2]), minutes=int(clock[3:]))


def booked_minutes(study_minutes: Iterable[int | None], default_minutes: int) -> list[int]:
    """Length of each study: its study type's, else the resource's default, never under 15 minutes."""
    return [max(SHORTEST_MINUTES, default_minutes if minutes is None else minutes) for minutes in study_minutes]


def check_modality(resource_name: str, resource_modality: str, study_modalities: Iterable[str | None]) -> None:
    """A study without a modality may go on any resource."""
    for modality in study_modalities:
        if modality is not None and modality != resource_modality:
            raise Refused(
                "modality",
                f"{resource_name} is a {resource_modality} resource; the study's modality is {modality}.",
                field="resource",
            )


def check_can_be_scheduled(status: int, status_name: str) -> None:
    if status >= SCHEDULED:
        raise Refused("status", f"Only an order below SCHEDULED can be put on the calendar; this one is {status_name}.")


def check_hours(resource_name: str, hours: WorkingHours, start: datetime, end: datetime) -> None:
    opens, closes = hours.on(start)
    if start < opens or end > closes:
        raise Refused(
            "hours",
            f"{resource_name} works from {hours.opens} to {hours.closes} ({hours.zone.key}).",
            field="start",
        )


def check_reservations(
    resource_name: str, reservations: Iterable[tuple[datetime, datetime, str]], start: datetime, end: datetime
) -> None:
    """`reservations`: start, end and purpose of each reserved time."""
    for begins, ends, purpose in reservations:
        if start < ends and begins < end:
            raise Refused(
                "reserved",
                f"{resource_name} is reserved from {begins:%H:%M} to {ends:%H:%M}: {purpose}.",
                field="start",
            )


def check_open(status: int, status_name: str) -> None:
    if is_closed(status):
        raise Refused("closed", f"The appointment is {status_name} and takes no further change.")


def is_closed(status: int) -> bool:
    """Cancelled, no-show, or done: no change is possible any more."""
    return status in GIVES_SLOT_BACK or status >= COMPLETED


def check_clock(text: str, field: str) -> str:
    """A wall-clock time `HH:MM` between 00:00 and 24:00."""
    hours, separator, minutes = text.partition(":")
    if (
        separator
        and len(hours) == len(minutes) == 2
        and (hours + minutes).isdecimal()
        and int(minutes) < 60
        and int(hours) * 60 + int(minutes) <= 24 * 60
    ):
        return text
    raise Refused("invalid", "Times are written HH:MM.", field=field)


def local(seconds: int, zone: str) -> datetime:
    """A stored time on the facility's clock."""
    return datetime.fromtimestamp(seconds, UTC).astimezone(ZoneInfo(zone))
