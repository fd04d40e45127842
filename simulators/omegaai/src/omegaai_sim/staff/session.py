"""The staff's login. Every staff page requires it."""

import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from omegaai_sim.context import Services, templates
from omegaai_sim.fhir.records import KINDS
from omegaai_sim.settings import STAFF_NAME, STAFF_PASSWORD
from simulator_kit import web
from simulator_kit.session import Sessions

COOKIE: Final = "omegaai_session"

Page = Callable[[Request], Awaitable[Response]]


class Staff:
    """Login, logout, the guard of the staff's pages and forms, and their event stream."""

    def __init__(self, services: Services) -> None:
        self._live = services.live
        self._sessions = Sessions(services.session_key, COOKIE)

    def routes(self) -> list[Route]:
        return [
            Route("/login", self.login_page, methods=["GET"]),
            Route("/login", self.login, methods=["POST"]),
            Route("/logout", self.logout, methods=["POST"]),
            Route("/events", self.only(self.events)),
        ]

    def only(self, page: Page) -> Page:
        """Send visitors who are not logged in to the login page."""

        async def checked(request: Request) -> Response:
            if self._sessions.subject(request) is None:
                return RedirectResponse("/login", 303)
            return await page(request)

        return checked

    def form(self, page: Page) -> Page:
        """As `only`, for a form: it must carry the session's token (field `csrf`)."""

        async def checked(request: Request) -> Response:
            given = web.text_of(await request.form(), "csrf")
            if web.is_from_elsewhere(request) or not self._sessions.is_form_token(request, given):
                return self.render(request, "staff/stale.html", {}, status=403)
            return await page(request)

        return self.only(checked)

    def render(self, request: Request, template: str, context: Mapping[str, Any], *, status: int = 200) -> Response:
        """A page whose forms carry the session's token, as `csrf`."""
        return web.page(
            templates, request, template, {"csrf": self._sessions.form_token(request), **context}, status=status
        )

    async def login_page(self, request: Request) -> Response:
        return web.page(templates, request, "staff/login.html", {"has_failed": False})

    async def login(self, request: Request) -> Response:
        form = await request.form()
        given = f"{form.get('name')}\n{form.get('password')}"
        if web.is_from_elsewhere(request) or not hmac.compare_digest(
            given.encode(), f"{STAFF_NAME}\n{STAFF_PASSWORD}".encode()
        ):
            return web.page(templates, request, "staff/login.html", {"has_failed": True}, status=401)
        response = RedirectResponse("/", 303)
        self._sessions.begin(request, response, STAFF_NAME)
        return response

    async def logout(self, _request: Request) -> Response:
        response = RedirectResponse("/login", 303)
        self._sessions.end(response)
        return response

    async def events(self, request: Request) -> Response:
        """`?kinds=Task,…`: kinds and ids of what changed."""
        kinds = set(request.query_params.get("kinds", ",".join(KINDS)).split(","))
        return self._live.response(
            lambda notice: {"kind": notice["kind"], "id": notice["id"]} if notice["kind"] in kinds else None
        )
