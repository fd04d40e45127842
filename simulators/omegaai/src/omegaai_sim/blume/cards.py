"""Appointments as a patient sees them: label, study, facility and times, read from the stored resources.

An appointment belongs to an account when its patient's primary e-mail (the one of lowest rank) is the account's.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from omegaai_sim.fhir.ramsoft import value
from omegaai_sim.organizations import switches
from simulator_kit.store import Work

Resource = dict[str, Any]
PLACER_SYSTEM: Final = "urn:powerserver:placer"
AWAITS_PATIENT: Final = frozenset({"pending", "waitlist"})
OFF: Final = frozenset({"cancelled", "noshow"})

_LABELS: Final[Mapping[str, str]] = {
    "proposed": "Requested",
    "pending": "Pending",
    "waitlist": "Pending",
    "booked": "Scheduled",
    "arrived": "Scheduled",
    "checked-in": "Scheduled",
    "fulfilled": "Completed",
    "cancelled": "Cancelled",
    "noshow": "Cancelled",
}
_MOVABLE: Final = frozenset({"pending", "booked"})
_CANCELLABLE: Final = frozenset({"proposed", "pending", "waitlist", "booked"})


@dataclass(frozen=True, slots=True)
class Facility:
    """The place of an appointment; all times are shown in its zone."""

    name: str
    zone: str
    address: str
    phone: str
    position: tuple[float, float] | None = None
    """Degrees north and east."""


@dataclass(frozen=True, slots=True)
class Card:
    """One appointment as the patient sees it. ``start`` and ``end`` are in the facility's zone."""

    id: str
    placer_number: str
    status: str
    label: str
    study: str
    patient: str
    facility: Facility
    start: datetime | None
    end: datetime | None
    reason: str
    wanted: datetime | None = None
    """The start that the patient asks for instead, in the facility's zone."""
    may_be_moved: bool = True
    may_be_cancelled: bool = True
    """The organisation's switches for its patients."""

    @property
    def is_open(self) -> bool:
        """Whether the appointment is among the upcoming ones."""
        return self.label in {"Requested", "Pending", "Scheduled"}

    @property
    def can_be_confirmed(self) -> bool:
        return self.is_open and self.status in AWAITS_PATIENT

    @property
    def can_be_cancelled(self) -> bool:
        return self.is_open and self.status in _CANCELLABLE and self.may_be_cancelled

    @property
    def can_be_moved(self) -> bool:
        return self.is_open and self.status in _MOVABLE and self.may_be_moved and self.start is not None

    @property
    def must_call_to_move(self) -> bool:
        """The facility does not let patients move this appointment online."""
        return self.is_open and self.status in _MOVABLE and not self.may_be_moved

    @property
    def must_call_to_cancel(self) -> bool:
        """The facility does not let patients cancel this appointment online."""
        return self.is_open and self.status in _CANCELLABLE and not self.may_be_cancelled

    @property
    def when(self) -> str:
        """Day and time with the zone, in one line."""
        return "no date yet" if self.start is None else f"{day(self.start)} at {clock(self.start)}"


def day(moment: datetime) -> str:
    """The day in a calendar's form: Tuesday, December 1, 2026."""
    return moment.strftime("%A, %B %-d, %Y")


def clock(moment: datetime, *, with_zone: bool = True) -> str:
    """The time in a clock's form: 2:30 PM EST."""
    return moment.strftime("%-I:%M %p %Z" if with_zone else "%-I:%M %p")


def label_of(status: str, end: datetime | None, now: datetime) -> str:
    """The card's word for an appointment that ends at ``end`` (docs/architecture/wire.md §2)."""
    label = _LABELS.get(status, status)
    is_settled = label in {"Completed", "Cancelled"}
    return "Past" if end is not None and end < now and not is_settled else label


def primary_email(patient: Mapping[str, Any]) -> str | None:
    """The patient's e-mail of lowest rank, in lower case."""
    found = [one for one in patient.get("telecom", []) if one.get("system") == "email" and one.get("value")]
    return min(found, key=lambda one: one.get("rank", 1_000_000))["value"].strip().lower() if found else None


def actor(appointment: Mapping[str, Any], kind: str) -> str | None:
    """The id of the first participant of a kind, e.g. ``Patient``."""
    for participant in appointment.get("participant", []):
        found, _, identifier = participant.get("actor", {}).get("reference", "").partition("/")
        if found == kind:
            return str(identifier)
    return None


def body_of(work: Work, kind: str, identifier: str | None) -> Resource | None:
    """A resource as it is stored, or None."""
    row = work.one("SELECT body FROM resource WHERE type = ? AND id = ?", kind, identifier)
    return None if row is None else json.loads(row["body"])


def email_of(work: Work, appointment: Mapping[str, Any]) -> str | None:
    """The account whose portal shows the appointment."""
    patient = body_of(work, "Patient", actor(appointment, "Patient"))
    return None if patient is None else primary_email(patient)


def card(work: Work, appointment: Mapping[str, Any], now: datetime | None = None) -> Card:
    """The card of one appointment."""
    service = body_of(work, "HealthcareService", actor(appointment, "HealthcareService")) or {}
    facility = facility_of(work, service)
    organization = body_of(work, "Organization", _owner(service)) or {}
    patient = body_of(work, "Patient", actor(appointment, "Patient")) or {}
    zone = ZoneInfo(facility.zone)
    start, end = (_moment(appointment.get(name), zone) for name in ("start", "end"))
    codings = [coding for kind in appointment.get("serviceType", []) for coding in kind.get("coding", [])]
    studies = [coding.get("display") or coding.get("code", "") for coding in codings]
    return Card(
        id=appointment["id"],
        placer_number=_placer_number(appointment),
        status=appointment["status"],
        label=label_of(appointment["status"], end or start, now or datetime.now(UTC)),
        study=" and ".join(studies) or appointment.get("description") or service.get("name", "Appointment"),
        patient=name_of(patient),
        facility=facility,
        start=start,
        end=end,
        reason=appointment.get("cancelationReason", {}).get("text", ""),
        wanted=_wanted(appointment, zone),
        may_be_moved=switches.is_on(organization, switches.RESCHEDULE),
        may_be_cancelled=switches.is_on(organization, switches.CANCEL),
    )


def _wanted(appointment: Mapping[str, Any], zone: ZoneInfo) -> datetime | None:
    periods = appointment.get("requestedPeriod", []) if appointment["status"] == "proposed" else []
    return next((_moment(one.get("start"), zone) for one in periods), None)


def instant_of(work: Work, service: str, day: str, clock: str) -> str:
    """The instant of a day and a time on the wall of the service's facility; empty when they are none."""
    zone = ZoneInfo(facility_of(work, body_of(work, "HealthcareService", service) or {}).zone)
    try:
        return datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=zone).isoformat()
    except ValueError:
        return ""


def cards_of(work: Work, email: str) -> list[Card]:
    """All cards of an account: upcoming ones first, by start; then the others, latest first."""
    patients = work.all(
        "SELECT id FROM search_value WHERE type = 'Patient' AND parameter = 'email' AND value = ?", email
    )
    found: list[Card] = []
    now = datetime.now(UTC)
    for row in patients:
        patient = body_of(work, "Patient", row["id"])
        if patient is None or primary_email(patient) != email:
            continue
        sql = (
            "SELECT r.body FROM search_value s JOIN resource r ON r.type = s.type AND r.id = s.id "
            "WHERE s.type = 'Appointment' AND s.parameter = 'patient' AND s.value = ?"
        )
        bodies = [json.loads(one["body"]) for one in work.all(sql, row["id"])]
        found += [card(work, body, now) for body in bodies if body["status"] != "entered-in-error"]
    latest = datetime.max.replace(tzinfo=UTC)
    to_come = sorted((one for one in found if one.is_open), key=lambda one: (one.start or latest, one.id))
    rest = sorted(
        (one for one in found if not one.is_open), key=lambda one: (one.start or latest, one.id), reverse=True
    )
    return to_come + rest


def facility_of(work: Work, service: Mapping[str, Any]) -> Facility:
    """The place of a HealthcareService."""
    organization = body_of(work, "Organization", _owner(service)) or {}
    latitude, longitude = value(organization, "latitude"), value(organization, "longitude")
    position = None if latitude is None or longitude is None else (float(latitude), float(longitude))
    phones = [one["value"] for one in organization.get("telecom", []) if one.get("system") == "phone"]
    addresses = [one["text"] for one in organization.get("address", []) if one.get("text")]
    zone = str(value(organization, "timezoneIANA", "UTC"))
    return Facility(organization.get("name", ""), zone, "".join(addresses[:1]), "".join(phones[:1]), position)


def _owner(service: Mapping[str, Any]) -> str:
    return str(service.get("providedBy", {}).get("reference", "")).partition("/")[2]


def _placer_number(appointment: Mapping[str, Any]) -> str:
    found = (one.get("value") for one in appointment.get("identifier", []) if one.get("system") == PLACER_SYSTEM)
    return next(found, None) or ""


def name_of(patient: Mapping[str, Any]) -> str:
    """The patient's first name and family name."""
    name: Mapping[str, Any] = next(iter(patient.get("name", [])), {})
    return " ".join([*name.get("given", [])[:1], name.get("family", "")]).strip()


def _moment(text: str | None, zone: ZoneInfo) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).astimezone(zone)
