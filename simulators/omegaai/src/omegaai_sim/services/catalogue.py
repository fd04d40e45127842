"""HealthcareServices as people know them: name, modality, length, hours of each weekday, colour, assignment."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from omegaai_sim.fhir.ramsoft import value, values
from omegaai_sim.fhir.records import Resource
from simulator_kit.store import Work

DAYS: Final = {
    "mon": "Monday", "tue": "Tuesday", "wed": "Wednesday", "thu": "Thursday", "fri": "Friday", "sat": "Saturday",
    "sun": "Sunday",
}  # fmt: skip
DEPARTMENTS: Final = ("Radiology", "Ultrasound", "Nuclear medicine", "Emergency")
USERS: Final = ("admin", "frontdesk", "technologist")
USUAL_COLOUR: Final = "#2b7de0"
USUAL_MINUTES: Final = 60
SHORTEST_MINUTES: Final = 10
"""OmegaAI's shortest exam; PowerServer's is 15 minutes."""
_ALL_DAY: Final = ("00:00", "24:00")


@dataclass(frozen=True, slots=True)
class HealthcareService:
    """A resource on which appointments are booked. `hours` has the windows (`HH:MM`) of each day on which it works."""

    id: str
    name: str
    is_active: bool
    organization_id: str
    organization: str
    zone: str
    modality: str
    minutes: int
    hours: Mapping[str, tuple[tuple[str, str], ...]]
    colour: str
    is_overbooked: bool
    is_self_scheduled: bool
    departments: tuple[str, ...]
    users: tuple[str, ...]

    @property
    def hours_words(self) -> str:
        """The hours, days with the same ones together: `Mon–Fri 08:00–17:00, Sat 09:00–12:00`."""
        groups: list[tuple[list[str], str]] = []
        for day in DAYS:
            spans = " and ".join(span_words(*one) for one in self.hours.get(day, ()))
            if groups and groups[-1][1] == spans:
                groups[-1][0].append(day)
            else:
                groups.append(([day], spans))
        if len(groups) == 1:
            return groups[0][1] or "never"
        return ", ".join(f"{_days_words(days)} {spans}" for days, spans in groups if spans)


def span_words(opens: str, closes: str) -> str:
    return "all day" if (opens, closes) == _ALL_DAY else f"{opens}–{closes}"


def length_words(minutes: int) -> str:
    """A length as HH:MM."""
    return f"{minutes // 60:02}:{minutes % 60:02}"


def services(work: Work) -> list[HealthcareService]:
    """All services, in the order in which they were made."""
    rows = work.all("SELECT body FROM resource WHERE type = 'HealthcareService' ORDER BY CAST(id AS INTEGER)")
    owners = work.all("SELECT id, body FROM resource WHERE type = 'Organization'")
    organizations = {row["id"]: json.loads(row["body"]) for row in owners}
    return [service(json.loads(row["body"]), organizations) for row in rows]


def service(body: Resource, organizations: Mapping[str, Resource]) -> HealthcareService:
    _, _, owner = body["providedBy"]["reference"].partition("/")
    organization = organizations.get(owner, {})
    return HealthcareService(
        id=body["id"],
        name=body["name"],
        is_active=body.get("active", True),
        organization_id=owner,
        organization=organization.get("name", ""),
        zone=value(organization, "timezoneIANA", "UTC"),
        modality=value(body, "modality", ""),
        minutes=value(body, "Duration", USUAL_MINUTES),
        hours=hours_of(body),
        colour=value(body, "healthcareservice/color", USUAL_COLOUR),
        is_overbooked=value(body, "overBooking", default=False),
        is_self_scheduled=value(body, "selfScheduling", default=True),
        departments=tuple(values(body, "department")),
        users=tuple(values(body, "assignedUser")),
    )


def hours_of(body: Mapping[str, Any]) -> dict[str, tuple[tuple[str, str], ...]]:
    """The windows of each day, `HH:MM`, in order of time. A window without days holds on all."""
    found: dict[str, list[tuple[str, str]]] = {}
    for one in body.get("availableTime", []):
        span = (str(one.get("availableStartTime", "00:00"))[:5], str(one.get("availableEndTime", "24:00"))[:5])
        for day in one.get("daysOfWeek", DAYS):
            found.setdefault(day, []).append(_ALL_DAY if one.get("allDay") else span)
    return {day: tuple(sorted(found[day])) for day in DAYS if day in found}


def _days_words(days: list[str]) -> str:
    first, last = DAYS[days[0]][:3], DAYS[days[-1]][:3]
    return first if first == last else f"{first}–{last}"
