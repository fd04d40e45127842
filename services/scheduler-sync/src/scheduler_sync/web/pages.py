"""Pages for the operator: the list of links, one link with both systems side by side and its time line, needs set-up.

Server-rendered; the filter stands in the address, and a page redraws itself when something has changed. They show
opaque ids and order numbers, never a patient's name.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from chassis.observe import listed
from chassis.web import access
from chassis.web.layout import Changes
from scheduler_sync.domain.appointment import BLUME_LABEL_OF_FHIR_STATUS, State, System, WhoActs
from scheduler_sync.resources import ResourceDirectory
from scheduler_sync.site import Site
from scheduler_sync.store.views import DeliveryOfLink, HistoryRow, LinkFilter, LinkPlace, LinkRow, Views
from scheduler_sync.web.rendering import service_templates

_LONGEST_NUMBER: Final = 19
_FIRST_YEAR, _LAST_YEAR = 1900, 2200
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
        self._templates = service_templates(consoles)
        self._templates.globals.update(state_names=STATE_NAMES, levels=LEVELS, state_of=State)

    def routes(self) -> Sequence[BaseRoute]:
        return access.viewer(
            Route("/links", self.links),
            Route("/links/events", Changes(self._views.version).stream),
            Route("/links/{link_id:uuid}", self.link),
            Route("/conflicts", self.conflicts),
            Route("/needs-setup", self.needs_setup),
        )

    async def links(self, request: Request) -> Response:
        query = request.query_params
        wanted, problem = _filter(query)
        rows = await self._views.links(wanted)
        counts = await self._views.counts()
        return self._page(
            "links.html",
            title="Appointments",
            here="/links",
            wanted=wanted,
            problem=problem,
            rows=rows,
            states=[(state, f"{name} ({counts.get(state, 0)})") for state, name in STATE_NAMES.items()],
            facilities=[(code, facility.name) for code, facility in self._site.file.facilities.items()],
            acting=[(one.value, one.value) for one in WhoActs],
            older=_older(query, wanted, rows),
            newest=_newest(query),
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
            heard=_newest_of(history, System.POWERSERVER),
            seen=_newest_of(history, System.OMEGAAI, "delivery"),
            read=await self._views.seen(link_id),
            on_way=_on_way(deliveries.values()),
            deliveries=deliveries,
            conflicts=await self._views.conflicts(link_id),
            events_made=await self._views.events(link_id),
        )

    async def conflicts(self, request: Request) -> Response:
        before = request.query_params.get("before", "")
        is_number = before.isascii() and before.isdecimal() and len(before) < _LONGEST_NUMBER
        rows = await self._views.conflicts(before=int(before) if is_number else None)
        return self._page(
            "conflicts.html",
            title="Conflicts",
            here="/conflicts",
            rows=rows,
            older=f"/conflicts?before={rows[-1].id}" if len(rows) == LinkFilter.ROWS else None,
            newest="/conflicts" if is_number else None,
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


def _filter(query: Mapping[str, str]) -> tuple[LinkFilter, str]:
    """The filter in the address, and a sentence about the part of it that is not valid."""
    day, problem = None, ""
    try:
        day = date.fromisoformat(query["day"]) if query.get("day") else None
        if day is not None and not _FIRST_YEAR < day.year < _LAST_YEAR:
            day, problem = None, "That day is out of range."
    except ValueError:
        problem = "That is no day: write 2026-05-31."
    texts = {name: query.get(name, "").strip() for name in ("state", "facility", "resource", "who", "placer")}
    if any("\x00" in value for value in texts.values()):
        texts, problem = dict.fromkeys(texts, ""), "A value holds a character that is not allowed."
    wanted = LinkFilter(
        state=texts["state"],
        facility=texts["facility"],
        resource=texts["resource"],
        day=day,
        who_acts_next=texts["who"],
        placer_number=texts["placer"],
        conflicts_only=query.get("conflicts") == "1",
        attention_only=query.get("attention") == "1",
        after=_place(query.get("after", "")),
    )
    return wanted, problem


def _place(given: str) -> LinkPlace | None:
    """The end of the page before; None for the first page, or where the address is not valid."""
    at, _, identifier = given.partition("~")
    try:
        place = LinkPlace(datetime.fromisoformat(at), UUID(identifier))
    except ValueError:
        return None
    return place if place.at.tzinfo is not None and _FIRST_YEAR < place.at.year < _LAST_YEAR else None


def _older(query: Mapping[str, str], wanted: LinkFilter, rows: list[LinkRow]) -> str | None:
    """The address of the next page, with the same filter; None on the last one."""
    if len(rows) < LinkFilter.ROWS:
        return None
    last = rows[-1]
    at = last.updated_at if wanted.day is None or last.slot_start is None else last.slot_start
    return f"/links?{urlencode({**query, 'after': f'{at.isoformat()}~{last.id}'})}"


def _newest(query: Mapping[str, str]) -> str | None:
    """The address of the first page, with the same filter; None when it is the one that is shown."""
    if "after" not in query:
        return None
    return f"/links?{urlencode({name: value for name, value in query.items() if name != 'after'})}"


def _newest_of(history: Sequence[HistoryRow], *sources: str) -> HistoryRow | None:
    """The last line from one side: what was heard of it, or what it answered."""
    lines = (one for one in reversed(history) if one.source in sources)
    return next((one for one in lines if one.source != "delivery" or one.message.startswith("Appointment")), None)


def _on_way(deliveries: Iterable[DeliveryOfLink]) -> Mapping[str, list[DeliveryOfLink]]:
    """What the partners were told and have not taken, by destination."""
    open_ones = [one for one in deliveries if one.state in {"pending", "dead"}]
    return {name: [one for one in open_ones if one.destination == name] for name in System}
