"""The preflight's page: every prerequisite, what was seen and when, where to set it. It looks while it is watched."""

from collections.abc import Hashable, Mapping, Sequence
from itertools import groupby
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from chassis.web import access
from chassis.web.guard import actor_of
from chassis.web.layout import Changes
from scheduler_sync.preflight import Preflight, State, UnknownCheckError
from scheduler_sync.web.rendering import service_templates

LEVELS: Final[Mapping[State, str]] = {
    State.FOUND: "good",
    State.MISSING: "bad",
    State.NOT_VISIBLE: "warn",
    State.NOT_LOOKED_AT: "quiet",
}
"""The colour and shape of each state."""


class PreflightPages:
    """Renders the newest look; a confirmation is an operator's act."""

    def __init__(self, preflight: Preflight, consoles: Mapping[str, str] | None = None) -> None:
        self._preflight = preflight
        self._templates = service_templates(consoles)

    def routes(self) -> Sequence[BaseRoute]:
        return [
            *access.viewer(Route("/preflight", self.show), Route("/preflight/events", Changes(self._version).stream)),
            *access.operator(
                Route("/preflight/{line}/confirm", self.confirm, methods=["POST"]),
                Route("/preflight/{line}/take-back", self.take_back, methods=["POST"]),
            ),
        ]

    async def _version(self) -> Hashable:
        """Looks again when the newest look is old; nobody looks while nobody watches."""
        return tuple((line.id, line.state, line.seen) for line in await self._preflight.newest())

    async def show(self, _: Request) -> Response:
        lines = await self._preflight.newest()
        counts = [(state.value, LEVELS[state], sum(line.state is state for line in lines)) for state in State]
        groups = [(group, list(of_it)) for group, of_it in groupby(lines, key=lambda line: line.group)]
        page = self._templates.get_template("preflight.html").render(
            title="Preflight",
            here="/preflight",
            events="/preflight/events",
            groups=groups,
            missing=[line for line in lines if line.state is State.MISSING],
            counts=counts,
            levels=LEVELS,
        )
        return HTMLResponse(page)

    async def confirm(self, request: Request) -> Response:
        return await self._confirm(request, takes_back=False)

    async def take_back(self, request: Request) -> Response:
        return await self._confirm(request, takes_back=True)

    async def _confirm(self, request: Request, *, takes_back: bool) -> Response:
        try:
            await self._preflight.confirm(request.path_params["line"], actor=actor_of(request), takes_back=takes_back)
        except UnknownCheckError as error:
            raise HTTPException(404, str(error)) from None
        return RedirectResponse("/preflight", 303)
