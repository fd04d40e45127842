"""The patient's login. Every form carries the session's token (field `csrf` or header `X-CSRF-Token`)."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from omegaai_sim.blume.onboarding import accounts
from omegaai_sim.blume.portal import HOME, LOGIN
from omegaai_sim.context import Services, templates
from omegaai_sim.fhir.outcome import Refused
from simulator_kit import web
from simulator_kit.session import Sessions
from simulator_kit.store import Notice

COOKIE: Final = "blume_session"


@dataclass(frozen=True, slots=True)
class Visitor:
    """The account of a page, and the token of its forms."""

    account: accounts.Account
    csrf: str


Page = Callable[[Request, Visitor], Awaitable[Response]]


class Portal:
    """Login, logout, and the guard of all other pages of the portal."""

    def __init__(self, services: Services) -> None:
        self._store = services.store
        self._live = services.live
        self._sessions = Sessions(services.session_key, COOKIE, path=HOME, same_site="lax")

    def routes(self) -> list[Route]:
        return [
            Route(HOME + "/", _home),
            Route(LOGIN, self.login_page, methods=["GET"]),
            Route(LOGIN, self.login, methods=["POST"]),
            Route("/blume/logout", self.form(self.logout), methods=["POST"]),
            Route("/blume/events", self.visit(self.events)),
            Route("/blume/api/session", self.visit(self.api_session)),
        ]

    def visit(self, page: Page) -> Callable[[Request], Awaitable[Response]]:
        """Send visitors who are not logged in to the login page; programs get 401."""
        return self._guard(page, is_form=False)

    def form(self, page: Page) -> Callable[[Request], Awaitable[Response]]:
        """As `visit`, for a form: the form must carry the session's token."""
        return self._guard(page, is_form=True)

    def _guard(self, page: Page, *, is_form: bool) -> Callable[[Request], Awaitable[Response]]:
        async def checked(request: Request) -> Response:
            identifier = self._sessions.subject(request)
            account = None
            if identifier is not None:
                account = await self._store.read(lambda work: accounts.named(work, identifier))
            if account is None:
                if web.wants_json(request) or request.url.path.startswith(("/blume/api/", "/blume/events")):
                    return JSONResponse({"error": "Please log in."}, 401)
                return RedirectResponse(LOGIN, 303)
            if is_form:
                given = request.headers.get("X-CSRF-Token") or web.text_of(await request.form(), "csrf")
                if web.is_from_elsewhere(request) or not self._sessions.is_form_token(request, given):
                    return refused(request, Refused(403, "forbidden", "Please load the page again and repeat."))
            return await page(request, Visitor(account, self._sessions.form_token(request)))

        return checked

    async def login_page(self, request: Request) -> Response:
        return web.page(templates, request, "blume/onboarding/login.html", {"email": "", "has_failed": False})

    async def login(self, request: Request) -> Response:
        form = await request.form()
        email, pin = web.text_of(form, "email"), web.text_of(form, "pin")
        if web.is_from_elsewhere(request):
            return refused(request, Refused(403, "forbidden", "Please log in on this page."))
        account = await self._store.write(lambda work: accounts.login(work, email, pin))
        if account is None:
            context = {"email": email, "has_failed": True}
            return web.page(templates, request, "blume/onboarding/login.html", context, status=401)
        response = RedirectResponse(HOME, 303)
        self._sessions.begin(request, response, str(account.id))
        return response

    async def logout(self, _request: Request, _visitor: Visitor) -> Response:
        response = RedirectResponse(LOGIN, 303)
        self._sessions.end(response)
        return response

    async def events(self, request: Request, visitor: Visitor) -> Response:
        """Kinds and ids of changes for this account, never a person.

        `?with=slots`: also that free times changed, without saying whose.
        """
        has_slots = request.query_params.get("with") == "slots"

        def shown(notice: Notice) -> dict[str, str] | None:
            if notice["kind"] == "portal":
                is_own = notice["emails"] is None or visitor.account.email in notice["emails"]
                return {"kind": notice["about"], "id": notice["id"]} if is_own else None
            return {"kind": "slots", "id": ""} if has_slots and notice["kind"] == "Appointment" else None

        return self._live.response(shown)

    async def api_session(self, _request: Request, visitor: Visitor) -> Response:
        return JSONResponse({"csrf": visitor.csrf})


def refused(request: Request, problem: Refused) -> Response:
    """A refusal as JSON or as a page."""
    if web.wants_json(request):
        return JSONResponse({"error": problem.diagnostics}, problem.status)
    return web.page(templates, request, "blume/problem.html", {"problem": problem}, status=problem.status)


async def _home(_request: Request) -> Response:
    return RedirectResponse(HOME, 308)
