"""What the staff's pages show, read from what the store keeps: the newest first, a page at a time."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from sqlite3 import Row
from typing import Any, Final

from omegaai_sim.blume import cards
from omegaai_sim.fhir import records
from omegaai_sim.store import Work

PAGE: Final = 50
RAMSOFT: Final = "http://www.ramsoft.com/fhir/StructureDefinition/"
INVITE_STATES: Final = ("Unknown", "Invite Sent", "Active")


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of a list. ``counts`` says how many there are by status."""

    rows: list[Any]
    page: int
    total: int
    counts: Mapping[str, int]

    @property
    def has_more(self) -> bool:
        return self.page * PAGE < self.total


@dataclass(frozen=True, slots=True)
class Booking:
    """An appointment with the names of what it refers to."""

    card: cards.Card
    service: str
    version: int
    updated: datetime
    patient_id: str


@dataclass(frozen=True, slots=True)
class Person:
    """A patient, and how far the invitation to the portal got."""

    id: str
    name: str
    identifiers: str
    birth_date: str
    email: str
    invite_state: str
    appointments: int


@dataclass(frozen=True, slots=True)
class Message:
    """A Task of the outbound queue."""

    id: str
    status: str
    reason: str
    focus: str
    authored: datetime
    updated: datetime


@dataclass(frozen=True, slots=True)
class HealthcareService:
    """A resource that appointments are booked at."""

    id: str
    name: str
    is_active: bool
    organization: str
    zone: str
    modality: str
    minutes: int
    hours: str


@dataclass(frozen=True, slots=True)
class Step:
    """A line of an appointment's history."""

    at: datetime
    words: str


def appointments(work: Work, status: str, page: int) -> Listing:
    rows, total = _newest(work, "Appointment", status, page)
    return Listing([_booking(work, row) for row in rows], page, total, _counts(work, "Appointment"))


def tasks(work: Work, status: str, page: int) -> Listing:
    rows, total = _newest(work, "Task", status, page)
    return Listing([_message(row) for row in rows], page, total, _counts(work, "Task"))


def patients(work: Work, page: int) -> Listing:
    rows, total = _newest(work, "Patient", "", page)
    return Listing([_person(work, json.loads(row["body"])) for row in rows], page, total, {})


def services(work: Work) -> list[HealthcareService]:
    bodies = [
        json.loads(row["body"])
        for row in work.all("SELECT body FROM resource WHERE type = 'HealthcareService' ORDER BY id")
    ]
    return [_service(work, body) for body in bodies]


def appointment(work: Work, identifier: str) -> tuple[Booking, str, list[Step], list[Message]] | None:
    """The appointment, its JSON, its history (oldest first) and its Tasks."""
    row = work.one("SELECT * FROM resource WHERE type = 'Appointment' AND id = ?", identifier)
    if row is None:
        return None
    effects = work.all(
        "SELECT at, kind, detail FROM ledger WHERE direction = 'effect' AND subject = ? AND kind LIKE 'Appointment.%' "
        "ORDER BY seq",
        identifier,
    )
    about = work.all(
        "SELECT r.* FROM search_value s JOIN resource r ON r.type = s.type AND r.id = s.id "
        "WHERE s.type = 'Task' AND s.parameter = 'focus' AND s.value = ? ORDER BY s.number",
        f"Appointment/{identifier}",
    )
    history = [Step(_moment(one["at"]), _step(one["kind"], json.loads(one["detail"]))) for one in effects]
    text = json.dumps(json.loads(row["body"]), indent=2, ensure_ascii=False)
    return _booking(work, row), text, history, [_message(one) for one in about]


def _step(kind: str, detail: Mapping[str, Any]) -> str:
    verb = "Created" if kind.endswith("created") else "Changed"
    return f"{verb} as {detail['status']} by {detail['by']}, version {detail['versionId']}"


def _newest(work: Work, kind: str, status: str, page: int) -> tuple[list[Any], int]:
    parameter, value = ("status", status) if status else ("_any", "")
    total = work.one(
        "SELECT count(*) AS n FROM search_value WHERE type = ? AND parameter = ? AND value = ?", kind, parameter, value
    )
    rows = work.all(
        "SELECT r.* FROM search_value s JOIN resource r ON r.type = s.type AND r.id = s.id "
        "WHERE s.type = ? AND s.parameter = ? AND s.value = ? ORDER BY s.number DESC LIMIT ? OFFSET ?",
        kind, parameter, value, PAGE, (page - 1) * PAGE,
    )  # fmt: skip
    return rows, int(total["n"]) if total else 0


def _counts(work: Work, kind: str) -> dict[str, int]:
    rows = work.all(
        "SELECT value, count(*) AS n FROM search_value WHERE type = ? AND parameter = 'status' GROUP BY value", kind
    )
    return {row["value"]: row["n"] for row in rows}


def _booking(work: Work, row: Row) -> Booking:
    body = json.loads(row["body"])
    service = cards.body_of(work, "HealthcareService", cards.actor(body, "HealthcareService")) or {}
    return Booking(
        card=cards.card(work, body),
        service=service.get("name", ""),
        version=row["version"],
        updated=_moment(row["updated"]),
        patient_id=cards.actor(body, "Patient") or "",
    )


def _message(row: Row) -> Message:
    body = json.loads(row["body"])
    codings = body.get("reasonCode", {}).get("coding", [])
    return Message(
        id=body["id"],
        status=body["status"],
        reason=", ".join(coding.get("code", "") for coding in codings),
        focus=body.get("focus", {}).get("reference", ""),
        authored=_moment(body.get("authoredOn", row["updated"])),
        updated=_moment(row["updated"]),
    )


def _person(work: Work, body: Mapping[str, Any]) -> Person:
    email = cards.primary_email(body)
    account = work.one("SELECT first_login_at FROM account WHERE email = ?", email)
    reached = 0 if account is None else 1 if account["first_login_at"] is None else 2
    booked = work.one(
        "SELECT count(*) AS n FROM search_value WHERE type = 'Appointment' AND parameter = 'patient' AND value = ?",
        body["id"],
    )
    name: Mapping[str, Any] = next(iter(body.get("name", [])), {})
    return Person(
        id=body["id"],
        name=", ".join(filter(None, [name.get("family"), " ".join(name.get("given", []))])),
        identifiers=", ".join(one.get("value", "") for one in body.get("identifier", [])),
        birth_date=body.get("birthDate", ""),
        email=email or "",
        invite_state=INVITE_STATES[reached],
        appointments=booked["n"] if booked else 0,
    )


def _service(work: Work, body: Mapping[str, Any]) -> HealthcareService:
    extensions = {
        one["url"].removeprefix(RAMSOFT): next(value for name, value in one.items() if name.startswith("value"))
        for one in body.get("extension", [])
    }
    _, _, owner = body["providedBy"]["reference"].partition("/")
    organization = records.read(work, "Organization", owner).body
    zones = [one["valueString"] for one in organization.get("extension", []) if one["url"] == cards.ZONE_EXTENSION]
    spans = [f"{one['availableStartTime'][:5]}–{one['availableEndTime'][:5]}" for one in body.get("availableTime", [])]
    return HealthcareService(
        id=body["id"],
        name=body["name"],
        is_active=body["active"],
        organization=organization["name"],
        zone="".join(zones[:1]),
        modality=extensions.get("modality", ""),
        minutes=extensions.get("Duration", 0),
        hours=", ".join(spans),
    )


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
