"""Pages for the operator: the list of links, one link with both systems side by side and its time line, needs set-up.

Server-rendered; the filter stands in the address, and a page redraws itself when something has changed. They show
opaque ids and order numbers, never a patient's name.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from chassis.observe import listed
from chassis.web import access
from chassis.web.layout import Changes, Page, templates
from scheduler_sync.domain.appointment import BLUME_LABEL_OF_FHIR_STATUS, State
from scheduler_sync.resources import ResourceDirectory
from scheduler_sync.site import Site
from scheduler_sync.store.views import LinkFilter, LinkRow, Views

PAGES: Final = (
    Page("Appointments", "/links"),
    Page("Reconciliation", "/reconciliation"),
    Page("Needs set-up", "/needs-setup"),
    Page("Resources", "/resources"),
    Page("Preflight", "/preflight"),
    Page("HL7 messages", "/console/hl7"),
    Page("Explain HL7", "/explain"),
)
_HERE: Final = Path(__file__).parent
STATE_NAMES: Final[Mapping[str, str]] = {
    State.UNSCHEDULED: "order without a time",
    State.STAFF_BOOKED: "booked by staff",
    State.CONFIRMED: "confirmed",
    State.MOVE_REQUESTED: "another time requested",
    State.PATIENT_BOOKED: "booked by the patient",
    State.ARRIVED: "arrived",
    State.DONE: "done",
    State.CANCELLED: "cancelled",
}

LEVELS: Final[Mapping[str, str]] = {
    State.UNSCHEDULED: "warn",
    State.STAFF_BOOKED: "busy",
    State.CONFIRMED: "good",
    State.MOVE_REQUESTED: "warn",
    State.PATIENT_BOOKED: "busy",
    State.ARRIVED: "busy",
    State.DONE: "quiet",
    State.CANCELLED: "quiet",
}
"""The colour and shape of each state on a page."""


class Pages:
    """Renders the pages from the store."""

    def __init__(
        self,
        views: Views,
        site: Site,
        resources: ResourceDirectory,
        consoles: Mapping[str, str] | None = None,
    ) -> None:
        self._views = views
        self._site = site
        self._resources = resources
        self._templates = templates("scheduler-sync", PAGES, _HERE / "templates", consoles=consoles)
        self._templates.globals.update(state_names=STATE_NAMES, levels=LEVELS, state_of=State)

    def routes(self) -> Sequence[BaseRoute]:
        return access.viewer(
            Route("/links", self.links),
            Route("/links/events", Changes(self._views.version).stream),
            Route("/links/{link_id:uuid}", self.link),
            Route("/needs-setup", self.needs_setup),
        )

    async def links(self, request: Request) -> Response:
        query = request.query_params
        wanted = LinkFilter(
            state=query.get("state", ""),
            facility=query.get("facility", ""),
            placer_number=query.get("placer", "").strip(),
            conflicts_only=query.get("conflicts") == "1",
            before=query.get("before", ""),
        )
        rows = await self._views.links(wanted)
        counts = await self._views.counts()
        return self._page(
            "links.html",
            title="Appointments",
            here="/links",
            wanted=wanted,
            rows=rows,
            states=[(state, f"{name} ({counts.get(state, 0)})") for state, name in STATE_NAMES.items()],
            facilities=[(code, facility.name) for code, facility in self._site.file.facilities.items()],
            older=_older(request, rows),
            newest=_newest(request),
        )

    async def link(self, request: Request) -> Response:
        link_id: UUID = request.path_params["link_id"]
        link = await self._views.link(link_id)
        if link is None:
            raise HTTPException(404, "There is no such appointment link.")
        history = await self._views.history(link_id)
        deliveries = await self._views.deliveries([one for entry in history for one in entry.delivery_ids])
        return self._page(
            "link.html",
            here="/links",
            title=f"Appointment {link.placer_number}",
            link=link,
            who=link.who_acts_next,
            label=BLUME_LABEL_OF_FHIR_STATUS[link.fhir_status],
            patient_fhir_id=await self._views.fhir_id(link.patient_id),
            history=history,
            deliveries=deliveries,
            conflicts=await self._views.conflicts(link_id),
        )

    async def needs_setup(self, _: Request) -> Response:
        return self._page(
            "needs_setup.html",
            title="Needs set-up",
            here="/needs-setup",
            messages=[listed(row) for row in await self._views.needs_setup()],
            tasks=await self._views.parked_tasks(),
            requests=await self._views.refused_requests(),
            cursors=await self._views.cursors(),
            problem=self._site.problem,
            resources=len(self._resources),
        )

    def _page(self, template: str, **values: Any) -> Response:
        return HTMLResponse(self._templates.get_template(template).render(events="/links/events", **values))


def _older(request: Request, rows: list[LinkRow]) -> str | None:
    """The address of the next page, with the same filter; None on the last one."""
    if len(rows) < LinkFilter.ROWS:
        return None
    return str(request.url.include_query_params(before=rows[-1].updated_at.isoformat()).query)


def _newest(request: Request) -> str | None:
    """The address of the first page, with the same filter; None when it is the one that is shown."""
    if "before" not in request.query_params:
        return None
    return str(request.url.remove_query_params("before").query).join(("/links?", ""))
