"""Shared code of the portal's features."""

from collections.abc import Collection
from typing import Final

from simulator_kit.store import Work

HOME: Final = "/blume"
LOGIN: Final = "/blume/login"
PATIENT: Final = "blume"
"""The client name of a change that the patient made on the portal."""


def tell_pages(work: Work, about: str, identifier: str, emails: Collection[str]) -> None:
    """Tell the open pages of these accounts that a resource changed."""
    if emails:
        work.notice("portal", about=about, id=identifier, emails=sorted(emails))
