"""The times that a service offers: within its hours, and not taken by another appointment."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from omegaai_sim.blume import cards
from omegaai_sim.fhir.outcome import Refused
from omegaai_sim.fhir.ramsoft import value
from omegaai_sim.services.catalogue import DAYS, SHORTEST_MINUTES, hours_of
from omegaai_sim.study_types.catalogue import StudyType
from simulator_kit.store import Work, stamp

FARTHEST: Final = timedelta(days=366)
GRID_MINUTES: Final = 15
_ALTERNATIVE_DAYS: Final = 14
_ALTERNATIVES: Final = 3
_TAKES_NO_TIME: Final = frozenset({"cancelled", "noshow", "entered-in-error"})
_LONGEST: Final = timedelta(days=1)
"""No appointment is longer."""
Span = tuple[datetime, datetime]


class Declined(Refused):
    """A time that cannot be had. `alternatives` are starts that can, as `(start, name of the service)`."""

    def __init__(self, status: int, sentence: str, alternatives: list[tuple[datetime, str]]) -> None:
        super().__init__(status, "conflict", sentence, "Appointment.start")
        self.alternatives = alternatives


def moment(text: str, field: str) -> datetime:
    """An instant with its offset. Raises ``Refused`` (422)."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise Refused(422, "value", "Please choose a day and a time.", f"Appointment.{field}")
    return at.replace(second=0, microsecond=0)


def minutes_of(study: StudyType, service: Mapping[str, Any]) -> int:
    """The length of a study on a service: the study's own, else the service's, at least OmegaAI's shortest."""
    return max(study.minutes or int(value(service, "Duration", 60)), SHORTEST_MINUTES)


def check(work: Work, service: Mapping[str, Any], start: datetime, minutes: int) -> None:
    """Raises ``Refused`` (422) for a time that the service does not offer to anybody."""
    if not work.now < start < work.now + FARTHEST:
        raise Refused(422, "value", "Please choose a time within the next year.", "Appointment.start")
    zone = ZoneInfo(cards.facility_of(work, service).zone)
    day, end = start.astimezone(zone).date(), start + timedelta(minutes=minutes)
    if not any(opens <= start and end <= closes for opens, closes in _windows(service, day, zone)):
        raise Refused(422, "value", "The facility is not open at that time.", "Appointment.start")


def check_free(work: Work, service: Mapping[str, Any], start: datetime, minutes: int, moved: str = "") -> None:
    """As `check`, and raises ``Declined`` (409) for a time that another appointment has."""
    check(work, service, start, minutes)
    day = start.astimezone(ZoneInfo(cards.facility_of(work, service).zone)).date()
    if start.astimezone(UTC) in {one.astimezone(UTC) for one in free(work, service, minutes, (day, 1), moved)}:
        return
    others = free(work, service, minutes, (day, _ALTERNATIVE_DAYS), moved)
    nearest = sorted(sorted(others, key=lambda one: abs(one - start))[:_ALTERNATIVES])
    found = [(one, str(service["name"])) for one in nearest]
    raise Declined(409, "This time is taken by now. Please choose another one.", found)


def free(
    work: Work, service: Mapping[str, Any], minutes: int, span: tuple[date, int], moved: str = ""
) -> list[datetime]:
    """The free starts from a day on, for some days, in the facility's zone.

    `moved`: an appointment that is in nobody's way.
    """
    first, days = span
    zone = ZoneInfo(cards.facility_of(work, service).zone)
    length = timedelta(minutes=minutes)
    busy = [] if value(service, "overBooking") is True else _busy(work, service["id"], zone, span, moved)
    found: list[datetime] = []
    for day in (first + timedelta(days=number) for number in range(days)):
        for opens, closes in _windows(service, day, zone):
            here = [(begins, until) for begins, until in busy if begins < closes and opens < until]
            for start in _grid(opens, closes - length):
                is_ahead = work.now < start < work.now + FARTHEST
                if is_ahead and not any(start < until and begins < start + length for begins, until in here):
                    found.append(start)
    # In UTC: of an hour that comes twice the zone's own comparison sees one.
    return [start.astimezone(zone) for start in sorted(set(found))]


def _windows(service: Mapping[str, Any], day: date, zone: ZoneInfo) -> Iterator[Span]:
    for opens, closes in hours_of(service).get(tuple(DAYS)[day.weekday()], ()):
        yield _at(day, opens, zone), _at(day, closes, zone)


def _at(day: date, clock: str, zone: ZoneInfo) -> datetime:
    """A time on the wall of the facility, as an instant; 24:00 is the next day's beginning."""
    is_midnight = clock == "24:00"
    wall = datetime.combine(day + timedelta(days=is_midnight), time() if is_midnight else time.fromisoformat(clock))
    return wall.replace(tzinfo=zone).astimezone(UTC)


def _grid(first: datetime, last: datetime) -> Iterator[datetime]:
    while first <= last:
        yield first
        first += timedelta(minutes=GRID_MINUTES)


def _busy(work: Work, service: str, zone: ZoneInfo, span: tuple[date, int], moved: str) -> list[Span]:
    first, days = span
    begin, end = _at(first, "00:00", zone), _at(first + timedelta(days=days), "00:00", zone)
    found: list[Span] = []
    for body in standing(work, service, begin, end):
        if body["status"] in _TAKES_NO_TIME or body["id"] == moved:
            continue
        wanted = body.get("requestedPeriod", []) if body["status"] == "proposed" else []
        for one in (body, *wanted):
            if "start" in one and "end" in one:
                held = datetime.fromisoformat(one["start"]), datetime.fromisoformat(one["end"])
                found += [held] if held[0] < end and begin < held[1] else []
    return found


def standing(work: Work, service: str, begin: datetime, end: datetime) -> list[dict[str, Any]]:
    """The service's Appointments that may stand between two instants, by their dates, and every open request."""
    rows = work.all(
        "SELECT r.body FROM search_value a JOIN search_value s ON s.type = a.type AND s.id = a.id "
        "JOIN resource r ON r.type = a.type AND r.id = a.id "
        "WHERE a.type = 'Appointment' AND a.parameter = 'actor' AND a.value = ? AND "
        "(s.parameter = 'date' AND s.value >= ? AND s.value < ? OR s.parameter = 'status' AND s.value = 'proposed')",
        f"HealthcareService/{service}", stamp(begin - _LONGEST), stamp(end),
    )  # fmt: skip
    found = {body["id"]: body for body in (json.loads(row["body"]) for row in rows)}
    return list(found.values())
