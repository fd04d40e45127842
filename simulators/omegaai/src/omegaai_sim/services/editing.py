"""The form of a HealthcareService, and what is looked at after it was saved."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from omegaai_sim.fhir.ramsoft import extended
from omegaai_sim.fhir.records import Resource
from omegaai_sim.organizations.editing import MODALITIES, organization_named, organizations
from omegaai_sim.services import catalogue
from omegaai_sim.services.catalogue import DAYS, DEPARTMENTS, USERS, HealthcareService, length_words
from omegaai_sim.staff.editor import Editor
from omegaai_sim.staff.forms import Entries
from simulator_kit.store import Work

_CLOCK: Final = re.compile(r"([01]\d|2[0-3]):[0-5]\d|24:00")
_LENGTH: Final = re.compile(r"(\d\d):([0-5]\d)")
_COLOUR: Final = re.compile(r"#[0-9a-f]{6}")
_LONGEST_MINUTES: Final = 12 * 60
_SHORTEST_AT_POWERSERVER: Final = 15


@dataclass(frozen=True, slots=True)
class Finding:
    """A line of what was looked at after a save. A note is no fault, but worth a look."""

    words: str
    is_note: bool = False


def _values(work: Work, body: Resource | None) -> dict[str, Any]:
    if body is None:
        usual = {f"{day}_{end}": clock for day in DAYS for end, clock in (("opens", "08:00"), ("closes", "17:00"))}
        return {
            "organization": "", "active": True, "colour": catalogue.USUAL_COLOUR, "name": "", "modality": "",
            "duration": length_words(catalogue.USUAL_MINUTES), "overbooking": False, "self_scheduling": True,
            "departments": [], "users": [], **usual, **{day: day not in {"sat", "sun"} for day in DAYS},
        }  # fmt: skip
    found = catalogue.service(body, {one["id"]: one for one in organizations(work)})
    clocks: dict[str, str] = {}
    for day in DAYS:
        spans = found.hours.get(day, (("08:00", "17:00"),))
        clocks |= {f"{day}_opens": spans[0][0], f"{day}_closes": spans[-1][1]}
    return {
        "organization": found.organization, "active": found.is_active, "colour": found.colour, "name": found.name,
        "modality": found.modality, "duration": length_words(found.minutes), "overbooking": found.is_overbooked,
        "self_scheduling": found.is_self_scheduled, "departments": list(found.departments),
        "users": list(found.users), **clocks, **{day: day in found.hours for day in DAYS},
    }  # fmt: skip


def _body(work: Work, entries: Entries, stored: Resource | None) -> Resource:
    before = stored or {}
    owner = organization_named(work, entries, "organization")
    name = entries.text("name", "resource name", required=True)
    others = [one for one in catalogue.services(work) if one.id != before.get("id")]
    if any(one.name == name and one.organization_id == owner for one in others):
        entries.wrong("name", "This organisation has a resource of this name. Names are unique.")
    modality = entries.choice("modality", "modality", MODALITIES)
    colour = entries.text("colour", "colour").lower()
    if not _COLOUR.fullmatch(colour):
        entries.wrong("colour", "The colour is a # and six digits from 0 to f.")
    minutes = _minutes(entries)
    times = [one for day in DAYS if entries.is_ticked(day) and (one := _window(entries, day))]
    if not any(entries.is_ticked(day) for day in DAYS):
        entries.wrong("mon", "Choose at least one day of the week.")
    body = {
        **{kept: held for kept, held in before.items() if kept != "availableTime"},
        "active": entries.is_ticked("active"),
        "providedBy": {"reference": f"Organization/{owner}"},
        "name": name,
        "availableTime": _joined(times),
    }
    departments = [one for one in entries.several("departments") if one in DEPARTMENTS]
    users = [one for one in entries.several("users") if one in USERS]
    return extended(
        body,
        {
            "modality": [("valueCode", modality)],
            "Duration": [("valueInteger", minutes)],
            "overBooking": [("valueBoolean", entries.is_ticked("overbooking"))],
            "selfScheduling": [("valueBoolean", entries.is_ticked("self_scheduling"))],
            "healthcareservice/color": [("valueString", colour)],
            "department": [("valueString", one) for one in departments],
            "assignedUser": [("valueString", one) for one in users],
        },
    )


def _minutes(entries: Entries) -> int:
    found = _LENGTH.fullmatch(entries.text("duration", "duration", required=True))
    minutes = 0 if found is None else int(found[1]) * 60 + int(found[2])
    if not catalogue.SHORTEST_MINUTES <= minutes <= _LONGEST_MINUTES:
        entries.wrong("duration", "The duration is HH:MM, from 00:10 to 12:00.")
    return minutes


def _window(entries: Entries, day: str) -> dict[str, Any] | None:
    """The hours of one day, without its name; None where they are wrong."""
    opens, closes = (entries.text(f"{day}_{end}", "time") for end in ("opens", "closes"))
    for end, clock in (("opens", opens), ("closes", closes)):
        if not _CLOCK.fullmatch(clock):
            entries.wrong(f"{day}_{end}", f"{DAYS[day]}: a time is HH:MM, from 00:00 to 24:00.")
            return None
    if opens >= closes:
        entries.wrong(f"{day}_closes", f"{DAYS[day]}: the end is not after the start.")
        return None
    if closes == "24:00" and opens != "00:00":
        # FHIR's time ends at 23:59.
        entries.wrong(f"{day}_closes", f"{DAYS[day]}: 24:00 ends a whole day alone, from 00:00. Enter 23:59 at most.")
        return None
    if closes == "24:00":
        return {"day": day, "allDay": True}
    return {"day": day, "availableStartTime": f"{opens}:00", "availableEndTime": f"{closes}:00"}


def _joined(times: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Days with the same hours in one element, as OmegaAI writes them."""
    found: list[dict[str, Any]] = []
    for one in times:
        hours = {name: held for name, held in one.items() if name != "day"}
        same = next((it for it in found if {k: v for k, v in it.items() if k != "daysOfWeek"} == hours), None)
        if same is None:
            found.append({"daysOfWeek": [one["day"]], **hours})
        else:
            same["daysOfWeek"].append(one["day"])
    return found


def findings(one: HealthcareService, others: Sequence[HealthcareService]) -> list[Finding]:
    """What the stored resource is, and what PowerServer's has to be."""
    spans = {span for found in one.hours.values() for span in found}
    found = [
        Finding(f"{one.organization} has the resource “{one.name}” ({one.modality}, {length_words(one.minutes)})."),
        Finding(f"It works {one.hours_words} ({one.zone})."),
        Finding(f"PowerServer's resource needs the name “{one.name}” letter by letter, and the same times and length."),
    ]
    if not one.is_active:
        found.append(Finding("It is not active: nobody can book it.", is_note=True))
    if len(spans) > 1:
        found.append(
            Finding("Its hours differ by weekday; PowerServer has one start and one end for all days.", is_note=True)
        )
    if any(len(windows) > 1 for windows in one.hours.values()):
        found.append(Finding("A day has several windows; saving this form makes them one.", is_note=True))
    if one.minutes < _SHORTEST_AT_POWERSERVER:
        found.append(Finding("It is shorter than 15 minutes; PowerServer books 15.", is_note=True))
    alike = [it.name for it in others if it.id != one.id and it.name.casefold() == one.name.casefold()]
    if alike:
        names = ", ".join(f"“{name}”" for name in alike)
        found.append(Finding(f"Another resource has nearly or exactly this name: {names}.", is_note=True))
    return found


def _more(work: Work, body: Resource | None) -> dict[str, Any]:
    known = {one["id"]: one for one in organizations(work)}
    one = None if body is None else catalogue.service(body, known)
    return {
        "organizations": [it["name"] for it in known.values()],
        "modalities": [(it, it) for it in MODALITIES],
        "days": DAYS,
        "all_departments": [(it, it) for it in DEPARTMENTS],
        "all_users": [(it, it) for it in USERS],
        "findings": [] if one is None else findings(one, catalogue.services(work)),
    }


EDITOR: Final = Editor(
    "HealthcareService", "services/one.html", _values, _body, _more,
    lists=("departments", "users"), ticks=("active", "overbooking", "self_scheduling", *DAYS),
)  # fmt: skip
