"""Patients as the staff's page shows them, with the state of their invitation to the portal."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omegaai_sim.blume import cards
from omegaai_sim.blume.onboarding import accounts
from omegaai_sim.staff import lists
from simulator_kit.store import Work


@dataclass(frozen=True, slots=True)
class Person:
    """A patient, and the state of the invitation to the portal."""

    id: str
    name: str
    identifiers: str
    birth_date: str
    email: str
    invite_state: str
    appointments: int


def patients(work: Work, page: int) -> lists.Listing:
    rows, total = lists.newest(work, "Patient", "", page)
    return lists.Listing([_person(work, json.loads(row["body"])) for row in rows], page, total, {})


def _person(work: Work, body: Mapping[str, Any]) -> Person:
    email = cards.primary_email(body)
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
        invite_state=accounts.invite_state(work, email),
        appointments=booked["n"] if booked else 0,
    )
