"""The staff's pages at /: what OmegaAI holds, live. They only show; changes come by FHIR and by the portal."""

import hmac
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from omegaai_sim.context import Services
from omegaai_sim.fhir.records import KINDS
from omegaai_sim.settings import STAFF_NAME, STAFF_PASSWORD
from omegaai_sim.signing import Signer
from omegaai_sim.staff import views
from omegaai_sim.web import SESSION_SECONDS, is_from_elsewhere, page

COOKIE: Final = "omegaai_session"
_LONGEST_NUMBER: Final = 6

Page = Callable[[Request], Awaitable[Response]]


def routes(services: Services) -> list[Route]:
    """The staff's routes."""
    return Staff(services).routes()


class Staff:
    """The pages, over one store."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._store = services.store
        self._signer = Signer(services.session_key)

    def routes(self) -> list[Route]:
        logged_in = self._logged_in
        return [
            Route("/login", self.login_page, methods=["GET"]),
            Route("/login", self.login, methods=["POST"]),
            Route("/logout", self.logout, methods=["POST"]),
            Route("/", logged_in(self.appointments)),
            Route("/appointments/{id}", logged_in(self.appointment)),
            Route("/services", logged_in(self.services)),
            Route("/patients", logged_in(self.patients)),
            Route("/tasks", logged_in(self.tasks)),
            Route("/events", logged_in(self.events)),
        ]

    def _logged_in(self, inner: Page) -> Page:
        async def checked(request: Request) -> Response:
            if self._signer.subject("staff", request.cookies.get(COOKIE)) is None:
                return RedirectResponse("/login", 303)
            return await inner(request)

        return checked

    async def login_page(self, request: Request) -> Response:
        return page(request, "staff/login.html", has_failed=False)

    async def login(self, request: Request) -> Response:
        form = await request.form()
        given = f"{form.get('name')}\n{form.get('password')}"
        if is_from_elsewhere(request) or not hmac.compare_digest(
            given.encode(), f"{STAFF_NAME}\n{STAFF_PASSWORD}".encode()
        ):
            return page(request, "staff/login.html", 401, has_failed=True)
        response = RedirectResponse("/", 303)
        response.set_cookie(
            COOKIE,
            self._signer.sign("staff", STAFF_NAME, SESSION_SECONDS),
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return response

    async def logout(self, _request: Request) -> Response:
        response = RedirectResponse("/login", 303)
        response.delete_cookie(COOKIE)
        return response

    async def appointments(self, request: Request) -> Response:
        status, number = request.query_params.get("status", ""), _page_of(request)
        listing = await self._store.read(lambda work: views.appointments(work, status, number))
        return self._list(request, "staff/appointments.html", listing=listing, status=status)

    async def appointment(self, request: Request) -> Response:
        found = await self._store.read(lambda work: views.appointment(work, request.path_params["id"]))
        if found is None:
            return page(request, "staff/missing.html", 404, here="")
        booking, text, history, messages = found
        return page(
            request, "staff/appointment.html", booking=booking, text=text, history=history, messages=messages, here="/"
        )

    async def services(self, request: Request) -> Response:
        return page(request, "staff/services.html", services=await self._store.read(views.services), here="/services")

    async def patients(self, request: Request) -> Response:
        number = _page_of(request)
        listing = await self._store.read(lambda work: views.patients(work, number))
        return self._list(request, "staff/patients.html", listing=listing, status="")

    async def tasks(self, request: Request) -> Response:
        status, number = request.query_params.get("status", ""), _page_of(request)
        listing = await self._store.read(lambda work: views.tasks(work, status, number))
        return self._list(request, "staff/tasks.html", listing=listing, status=status)

    def _list(self, request: Request, template: str, *, listing: views.Listing, status: str) -> Response:
        def address(number: int, wanted: str = status) -> str:
            query = {"status": wanted, "page": number if number > 1 else ""}
            text = urlencode({name: value for name, value in query.items() if value})
            return request.url.path + (f"?{text}" if text else "")

        context: dict[str, Any] = {"listing": listing, "chosen": status, "address": address, "here": request.url.path}
        return page(request, template, **context)

    async def events(self, request: Request) -> Response:
        kinds = set(request.query_params.get("kinds", ",".join(KINDS)).split(","))
        return self._services.live.response(lambda notice: notice["resource"] in kinds)


def _page_of(request: Request) -> int:
    text = request.query_params.get("page", "1")
    return max(int(text), 1) if text.isdecimal() and len(text) <= _LONGEST_NUMBER else 1
