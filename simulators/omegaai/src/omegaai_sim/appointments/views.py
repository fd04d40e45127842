"""Appointments as the staff's pages show them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from sqlite3 import Row
from typing import Any

from omegaai_sim.blume import cards
from omegaai_sim.logs import views as logs
from omegaai_sim.staff import lists
from simulator_kit.store import Work

DELETABLE = frozenset({"proposed", "pending", "waitlist", "booked", "arrived", "checked-in", "noshow"})
"""The statuses that stand on the scheduler, from which staff may delete an appointment."""
REFERRER = "REF"
"""The participant's type of the referring physician (v3-ParticipationType)."""


@dataclass(frozen=True, slots=True)
class Booking:
    """An appointment with the names of its service and patient."""

    card: cards.Card
    service: str
    version: int
    updated: datetime
    patient_id: str
    physician: str
    """Who referred the patient; empty when the Appointment names nobody."""
    studies: list["Study"]


@dataclass(frozen=True, slots=True)
class Study:
    """A study of an appointment, with its own time and length in minutes where the Appointment has them."""

    name: str
    start: str
    minutes: int | None


@dataclass(frozen=True, slots=True)
class Step:
    """A line of an appointment's history."""

    at: datetime
    words: str


def appointments(work: Work, status: str, page: int) -> lists.Listing:
    rows, total = lists.newest(work, "Appointment", status, page)
    return lists.Listing([_booking(work, row) for row in rows], page, total, lists.counts(work, "Appointment"))


def appointment(work: Work, identifier: str) -> tuple[Booking, str, list[Step], list[logs.Message]] | None:
    """The appointment, its JSON, its history (oldest first) and its Tasks."""
    row = work.one("SELECT * FROM resource WHERE type = 'Appointment' AND id = ?", identifier)
    if row is None:
        return None
    effects = work.all(
        "SELECT at, kind, detail FROM ledger WHERE direction = 'effect' AND subject = ? AND kind LIKE 'Appointment.%' "
        "ORDER BY seq",
        identifier,
    )
    history = [Step(lists.moment(one["at"]), _step(one["kind"], json.loads(one["detail"]))) for one in effects]
    text = json.dumps(json.loads(row["body"]), indent=2, ensure_ascii=False)
    return _booking(work, row), text, history, logs.about(work, f"Appointment/{identifier}")


def _step(kind: str, detail: Mapping[str, Any]) -> str:
    verb = "Created" if kind.endswith("created") else "Changed"
    return f"{verb} as {detail['status']} by {detail['by']}, version {detail['versionId']}"


def _booking(work: Work, row: Row) -> Booking:
    body = json.loads(row["body"])
    service = cards.body_of(work, "HealthcareService", cards.actor(body, "HealthcareService")) or {}
    return Booking(
        card=cards.card(work, body),
        service=service.get("name", ""),
        version=row["version"],
        updated=lists.moment(row["updated"]),
        patient_id=cards.actor(body, "Patient") or "",
        physician=_physician(work, body),
        studies=[_study(one) for one in body.get("serviceType", [])],
    )


def _physician(work: Work, body: dict[str, Any]) -> str:
    """The name of the participant that is the referrer: the Practitioner's, else as the Appointment writes it."""
    for participant in body["participant"]:
        kinds = [coding.get("code") for kind in participant.get("type", []) for coding in kind.get("coding", [])]
        if REFERRER not in kinds:
            continue
        kind, _, identifier = participant.get("actor", {}).get("reference", "").partition("/")
        known = cards.body_of(work, "Practitioner", identifier) if kind == "Practitioner" else None
        name: dict[str, Any] = next(iter((known or {}).get("name", [])), {})
        found = ", ".join(part for part in (name.get("family", ""), " ".join(name.get("given", []))) if part)
        return found or str(participant.get("actor", {}).get("display", ""))
    return ""


def _study(kind: dict[str, Any]) -> Study:
    coding: dict[str, Any] = next(iter(kind.get("coding", [])), {})
    found = {one["url"].rpartition("/")[2]: one for one in coding.get("extension", [])}
    start = found.get("studyDateTime", {}).get("valueDateTime", "")
    return Study(
        name=coding.get("display") or kind.get("text", ""),
        start=f"{datetime.fromisoformat(start):%H:%M}" if start else "",
        minutes=found.get("Duration", {}).get("valueInteger"),
    )
