"""Which service handles the Tasks about which type of resource."""

from collections.abc import Mapping
from typing import Final

CLAIMS: Final[Mapping[str, str]] = {
    "Appointment": "scheduler-sync",
    "Patient": "scheduler-sync",
}
"""Focus type → service. A type has one service, because a Task is completed once. A service enters its types here."""


def claimant(focus_type: str, claims: Mapping[str, str] = CLAIMS) -> str | None:
    """The service that handles Tasks about ``focus_type``, in whichever case it is written; None: nobody does."""
    wanted = focus_type.lower()
    return next((service for known, service in claims.items() if known.lower() == wanted), None)
