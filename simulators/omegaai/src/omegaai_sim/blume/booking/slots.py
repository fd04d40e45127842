"""A patient's choice of a time: ahead, and within the hours of the service."""

from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from omegaai_sim.blume import cards
from omegaai_sim.fhir.outcome import Refused
from simulator_kit.store import Work

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FARTHEST: Final = timedelta(days=366)
SHORTEST_MINUTES: Final = 10


def moment(text: str, field: str) -> datetime:
    """An instant with its offset. Raises ``Refused`` (422)."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise Refused(422, "value", "Please choose a day and a time.", f"Appointment.{field}")
    return at.replace(second=0, microsecond=0)


def check(work: Work, service: Mapping[str, Any], start: datetime, minutes: int) -> None:
    """Raises ``Refused`` (422) for a time that the service does not offer."""
    if not work.now < start < work.now + _FARTHEST:
        raise Refused(422, "value", "Please choose a time within the next year.", "Appointment.start")
    facility = cards.facility_of(work, service)
    local, until = (at.astimezone(ZoneInfo(facility.zone)) for at in (start, start + timedelta(minutes=minutes)))
    for hours in service.get("availableTime", []):
        opens, closes = (_clock(hours[name]) for name in ("availableStartTime", "availableEndTime"))
        is_day = _DAYS[local.weekday()] in hours.get("daysOfWeek", _DAYS)
        if is_day and opens <= local.time() and local.date() == until.date() and until.time() <= closes:
            return
    raise Refused(422, "value", "The facility is not open at that time.", "Appointment.start")


def _clock(text: str) -> time:
    return time.max if text.startswith("24") else time.fromisoformat(text)


def in_utc(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds")
