"""Pages of resources: how each stands on both sides, its drift with the fix, near misses with aliases, its history."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from chassis.store import Store
from chassis.web import access
from chassis.web.forms import FormTooLongError, read_form
from chassis.web.guard import actor_of
from chassis.web.layout import Changes
from scheduler_sync.domain.resource import Nearness, PairState
from scheduler_sync.resources.decisions import Decisions, NotDecidedError
from scheduler_sync.resources.views import ResourceViews
from scheduler_sync.site import Site
from scheduler_sync.web.rendering import service_templates

STATES: Final[Mapping[str, tuple[str, str]]] = {
    PairState.LINKED: ("linked", "good"),
    PairState.DRIFTED: ("differs", "bad"),
    PairState.ONLY_PS: ("only in PowerServer", "warn"),
    PairState.ONLY_OAI: ("only in OmegaAI", "busy"),
    PairState.INACTIVE: ("off", "quiet"),
}
"""The words of each state, and its colour and shape."""
HAPPENED: Final[Mapping[str, str]] = {
    **{state: words for state, (words, _) in STATES.items()},
    "powerserver.new": "first heard of in PowerServer",
    "powerserver.changed": "changed in PowerServer",
    "omegaai.new": "first seen in OmegaAI",
    "omegaai.changed": "changed in OmegaAI",
    "omegaai.gone": "gone from OmegaAI",
    "alias.added": "alias added",
    "alias.removed": "alias taken away",
    "fix.decided": "fix decided",
    "fix.written": "fix written to OmegaAI",
    "fix.was-there": "OmegaAI had these values already",
}
"""The words of a line of history."""


class ResourcePages:
    """Renders from the store; aliases and fixes are an operator's acts."""

    def __init__(self, store: Store, site: Site, consoles: Mapping[str, str] | None = None) -> None:
        self._store = store
        self._views = ResourceViews(store)
        self._site = site
        self._templates = service_templates(consoles)
        self._templates.globals.update(states=STATES, happened=HAPPENED)

    def routes(self) -> Sequence[BaseRoute]:
        return [
            *access.viewer(
                Route("/resources", self.listed),
                Route("/resources/events", Changes(self._views.version).stream),
                Route("/resources/{pair_id:uuid}", self.shown),
            ),
            *access.operator(
                Route("/resources/{pair_id:uuid}/fix", self.fix, methods=["POST"]),
                Route("/resources/{pair_id:uuid}/alias", self.alias, methods=["POST"]),
                Route("/resources/{pair_id:uuid}/alias/remove", self.remove_alias, methods=["POST"]),
            ),
        ]

    async def listed(self, request: Request) -> Response:
        query = request.query_params
        given = {one: query.get(one, "") for one in ("state", "facility", "name")}
        state, facility, name = ("" if "\x00" in value else value for value in given.values())
        counts = await self._views.counts()
        return self._page(
            "resources.html",
            title="Resources",
            rows=await self._views.pairs(state=state or None, facility=facility or None, name=name or None),
            name=name,
            state=state,
            facility=facility,
            options=[(one, f"{words} ({counts.get(one, 0)})") for one, (words, _) in STATES.items()],
            facilities=[(code, one.name) for code, one in self._site.file.facilities.items()],
        )

    async def shown(self, request: Request) -> Response:
        return await self._show(request.path_params["pair_id"])

    async def _show(self, pair_id: UUID, *, refused: str = "", status: int = 200) -> Response:
        found = await self._views.pair(pair_id)
        if found is None:
            raise HTTPException(404, "There is no such resource.")
        sides = [{} if side is None else side.values for side in (found.powerserver, found.omegaai)]
        near = [one for one in found.pair.near if one.by is not Nearness.FACILITY]
        return self._page(
            "resource.html",
            status=status,
            title=f"Resource {found.pair.name}",
            found=found,
            pair=found.pair,
            fields=list(dict.fromkeys([*sides[0], *sides[1]])),
            ours=sides[0],
            theirs=sides[1],
            proposed=near if found.pair.state == PairState.ONLY_PS else [],
            drift={one.field: one for one in found.pair.drift},
            refused=refused,
        )

    async def fix(self, request: Request) -> Response:
        """Writes one field, or all that can be written."""
        pair_id = request.path_params["pair_id"]
        field = (await _form(request)).get("field")
        try:
            await self._decisions().fix(pair_id, [field] if field else [], actor=actor_of(request))
        except NotDecidedError as error:
            return await self._show(pair_id, refused=str(error), status=409)
        return RedirectResponse(f"/resources/{pair_id}", 303)

    async def alias(self, request: Request) -> Response:
        """The resource's name in PowerServer means the given service."""
        return await self._alias(request, (await _form(request)).get("service") or None, taking_back=False)

    async def remove_alias(self, request: Request) -> Response:
        return await self._alias(request, (await _form(request)).get("name") or None, taking_back=True)

    async def _alias(self, request: Request, given: str | None, *, taking_back: bool) -> Response:
        pair_id = request.path_params["pair_id"]
        found = await self._views.pair(pair_id)
        if found is None:
            raise HTTPException(404, "There is no such resource.")
        name, service = (given or "", None) if taking_back else (found.pair.name, given or "")
        try:
            await self._decisions().alias(found.pair.facility, name, service, actor=actor_of(request))
        except NotDecidedError as error:
            return await self._show(pair_id, refused=str(error), status=409)
        return RedirectResponse("/resources", 303)

    def _decisions(self) -> Decisions:
        return Decisions(self._store, self._site.file)

    def _page(self, template: str, *, status: int = 200, **values: Any) -> Response:
        page = self._templates.get_template(template).render(here="/resources", events="/resources/events", **values)
        return HTMLResponse(page, status)


async def _form(request: Request) -> Mapping[str, str]:
    try:
        return await read_form(request)
    except FormTooLongError as error:
        raise HTTPException(413, str(error)) from None
