"""Reads OmegaAI's Appointments for a comparison: a day at a time by ``date``, or what has changed by ``_lastUpdated``.

Pages by number slip while the list changes, so a search counts only when it gives as many appointments as its total.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Final

import structlog

from chassis.errors import Malformed
from omegaai import elements
from omegaai.client import FhirClient, Found, NotFoundError
from scheduler_sync.adapters.omegaai.appointments import AppointmentThere
from scheduler_sync.adapters.omegaai.reader import LINK_SYSTEM

_log = structlog.get_logger(__name__)
TRIES: Final = 3
MOST_FOUND: Final = 500_000
_UPDATED: Final = "_lastUpdated"


@dataclass(slots=True)
class Searched:
    """The result of one search. ``is_whole``: as many were found as the partner counts, unreadable ones included.

    ``unreadable``: (id, element) of each Appointment that cannot be read.
    """

    found: list[AppointmentThere] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    is_whole: bool = True


class AppointmentView:
    """OmegaAI's Appointments. Its methods raise Transient and Permanent."""

    def __init__(self, client: FhirClient, *, page_size: int) -> None:
        self._client = client
        self._page_size = page_size

    async def can_tell_changes(self) -> bool:
        """Whether Appointments can be searched by the time of their last change. No statement, or no word: no."""
        try:
            statement = await self._client.capabilities()
        except NotFoundError:
            return False
        servers = elements.items(statement, "rest")
        kinds = [one for server in servers for one in elements.items(server, "resource")]
        asked = [*servers, *(one for one in kinds if elements.code(one, "type") == "appointment")]
        names = [elements.text(one, "name") for place in asked for one in elements.items(place, "searchParam")]
        return _UPDATED in names

    async def of_day(self, day: date) -> Searched:
        """The Appointments whose start is on ``day`` in the partner's zone."""
        return await self._search({"date": day.isoformat()})

    async def changed_since(self, since: datetime) -> Searched:
        """The Appointments that have changed since then, wherever their start is."""
        return await self._search({_UPDATED: f"ge{since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"})

    async def one(self, fhir_id: str) -> AppointmentThere | None:
        """None where OmegaAI has no such Appointment. Malformed where it cannot be read."""
        try:
            return AppointmentThere.of(await self._client.read("Appointment", fhir_id))
        except NotFoundError:
            return None

    async def of_link(self, link_id: object) -> list[AppointmentThere]:
        """The Appointments that carry the link's identifier. Malformed where one cannot be read."""
        asked = {"identifier": f"{LINK_SYSTEM}|urn:uuid:{link_id}", "_count": str(self._page_size)}
        return [AppointmentThere.of(found) async for found in self._client.search("Appointment", asked)]

    async def _search(self, query: dict[str, str]) -> Searched:
        searched = Searched()
        for tried in range(TRIES):
            searched = Searched()
            ids: set[str] = set()
            total: int | None = None
            async for found, said in self._pages({**query, "_count": str(self._page_size)}):
                total = said
                for one in found:
                    ids.add(one.id)
                    try:
                        searched.found.append(AppointmentThere.of(one))
                    except Malformed as error:
                        searched.unreadable.append((elements.shown(one.id), error.location or ""))
            searched.is_whole = total is None or total == len(ids)
            if searched.is_whole:
                return searched
            _log.info("reconcile.pages-slipped", found=len(ids), total=total, try_number=tried + 1)
        return searched

    async def _pages(self, query: dict[str, str]) -> AsyncIterator[tuple[list[Found], int | None]]:
        async with aclosing(self._client.pages("Appointment", query, most_found=MOST_FOUND)) as pages:
            async for page in pages:
                yield page.news, page.total
