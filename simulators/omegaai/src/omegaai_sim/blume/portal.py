"""Shared code of the portal's features."""

from collections.abc import Collection
from typing import Final

from omegaai_sim.fhir.records import Change
from simulator_kit.store import Work

HOME: Final = "/blume"
LOGIN: Final = "/blume/login"
PATIENT: Final = "blume"
"""The client name of a change that the patient made on the portal."""


def tell_pages(work: Work, about: str, identifier: str, emails: Collection[str]) -> None:
    """Tell the open pages of these accounts that a resource changed."""
    if emails:
        work.notice("portal", about=about, id=identifier, emails=sorted(emails))


def tell_everybody(work: Work, change: Change) -> None:
    """Tell all open pages that an organisation, a service or a study type changed: buttons and choices follow."""
    body = change.body
    work.notice("portal", about=body["resourceType"], id=body["id"], emails=None)
