"""Invented patients: made-up names with reserved e-mail addresses (RFC 2606)."""

import secrets
from datetime import date, timedelta
from typing import Any

_GIVEN = (
    "Ada",
    "Ben",
    "Chloé",
    "Dmitri",
    "Eun-ji",
    "Farid",
    "Grace",
    "Hugo",
    "Ines",
    "Jonas",
    "Kirra",
    "Luca",
    "Maya",
    "Nils",
)
_FAMILY = (
    "Archer",
    "Bélanger",
    "Costa",
    "Dubois",
    "Eriksen",
    "Fischer",
    "García",
    "Hughes",
    "Ivanov",
    "Jensen",
    "Kowalski",
)


def patient(number: int) -> dict[str, Any]:
    """A new patient; ``number`` varies the name, and no e-mail address is used twice."""
    born = date(1935, 1, 1) + timedelta(days=(number * 7919) % 29_000)
    return {
        "family": _FAMILY[number % len(_FAMILY)],
        "given": _GIVEN[number % len(_GIVEN)],
        "birth_date": born.isoformat(),
        "sex": "FM"[number % 2],
        "email": f"patient-{secrets.token_hex(6)}@example.org",
        "phone": f"(416)555-{number % 10000:04d}",
    }
