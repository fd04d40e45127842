"""Blume's pages under /blume, and the same for programs under /blume/api.

A session is a signed cookie that names the account. Every form brings the session's token along (field ``csrf`` or
header ``X-CSRF-Token``). Forms work without scripts: they post and are redirected.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from omegaai_sim.blume import accounts, actions, cards
from omegaai_sim.context import Services
from omegaai_sim.fhir.outcome import Refused
from omegaai_sim.signing import Signer
from omegaai_sim.store import Work
from omegaai_sim.web import SESSION_SECONDS, is_from_elsewhere, page, templates, wants_json

COOKIE: Final = "blume_session"
HOME: Final = "/blume"
LOGIN: Final = "/blume/login"
_SAID: Final = {
    "confirmed": ("Appointment Confirmation", "Your appointment is confirmed. We look forward to seeing you."),
    "cancelled": ("Appointment cancelled", "The facility is told that you are not coming."),
}

templates.env.filters.update(day=cards.day, clock=cards.clock)


@dataclass(frozen=True, slots=True)
class Visitor:
    """Whose page it is, and the token of its forms."""

    account: accounts.Account
    csrf: str


Page = Callable[[Request, Visitor], Awaitable[Response]]


def routes(services: Services) -> list[Route]:
    """The portal's routes."""
    return Portal(services).routes()


class Portal:
    """The pages, over one store."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._store = services.store
        self._signer = Signer(services.session_key)

    def routes(self) -> list[Route]:
        visit, post = self._for_visitor, partial(self._for_visitor, is_form=True)
        return [
            Route(HOME, visit(self.appointments)),
            Route(HOME + "/", _home),
            Route(LOGIN, self.login_page, methods=["GET"]),
            Route(LOGIN, self.login, methods=["POST"]),
            Route("/blume/logout", post(self.logout), methods=["POST"]),
            Route("/blume/appointments/{id}/confirm", post(self.confirm), methods=["POST"]),
            Route("/blume/appointments/{id}/cancel", post(self.cancel), methods=["POST"]),
            Route("/blume/notifications/read", post(self.notifications_read), methods=["POST"]),
            Route("/blume/events", visit(self.events)),
            Route("/blume/api/session", visit(self.api_session)),
            Route("/blume/api/appointments", visit(self.api_appointments)),
        ]

    def _for_visitor(self, inner: Page, *, is_form: bool = False) -> Callable[[Request], Awaitable[Response]]:
        async def checked(request: Request) -> Response:
            session = request.cookies.get(COOKIE, "")
            identifier = self._signer.subject("blume", session)
            account = None
            if identifier is not None:
                account = await self._store.read(lambda work: accounts.named(work, identifier))
            if account is None:
                if wants_json(request) or request.url.path.startswith(("/blume/api/", "/blume/events")):
                    return JSONResponse({"error": "Please log in."}, 401)
                return RedirectResponse(LOGIN, 303)
            if is_form:
                given = request.headers.get("X-CSRF-Token") or _text(await request.form(), "csrf")
                if is_from_elsewhere(request) or not self._signer.is_form_token(session, given):
                    return self._refused(request, Refused(403, "forbidden", "Please load the page again and repeat."))
            return await inner(request, Visitor(account, self._signer.form_token(session)))

        return checked

    def _refused(self, request: Request, refused: Refused) -> Response:
        if wants_json(request):
            return JSONResponse({"error": refused.diagnostics}, refused.status)
        return page(request, "blume/problem.html", refused.status, problem=refused)

    async def login_page(self, request: Request) -> Response:
        return page(request, "blume/login.html", email="", has_failed=False)

    async def login(self, request: Request) -> Response:
        form = await request.form()
        email, pin = _text(form, "email"), _text(form, "pin")
        if is_from_elsewhere(request):
            return self._refused(request, Refused(403, "forbidden", "Please log in on this page."))
        account = await self._store.write(lambda work: accounts.login(work, email, pin))
        if account is None:
            return page(request, "blume/login.html", 401, email=email, has_failed=True)
        response = RedirectResponse(HOME, 303)
        response.set_cookie(
            COOKIE,
            self._signer.sign("blume", str(account.id), SESSION_SECONDS),
            max_age=SESSION_SECONDS,
            path=HOME,
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
        )
        return response

    async def logout(self, _request: Request, _visitor: Visitor) -> Response:
        response = RedirectResponse(LOGIN, 303)
        response.delete_cookie(COOKIE, path=HOME)
        return response

    async def appointments(self, request: Request, visitor: Visitor) -> Response:
        return await self._appointments(request, visitor)

    async def _appointments(self, request: Request, visitor: Visitor, problem: Refused | None = None) -> Response:
        def ask(work: Work) -> tuple[list[cards.Card], list[accounts.Notification]]:
            return cards.cards_of(work, visitor.account.email), accounts.notifications(work, visitor.account)

        found, notifications = await self._store.read(ask)
        return page(
            request,
            "blume/appointments.html",
            problem.status if problem else 200,
            visitor=visitor,
            to_come=[card for card in found if card.is_open],
            earlier=[card for card in found if not card.is_open],
            notifications=notifications,
            unread=sum(not one.is_read for one in notifications),
            said=None if problem else _SAID.get(request.query_params.get("done", "")),
            problem=problem,
            longest_reason=actions.LONGEST_REASON,
        )

    async def confirm(self, request: Request, visitor: Visitor) -> Response:
        seen = _text(await request.form(), "start")
        identifier = request.path_params["id"]
        return await self._act(
            request, visitor, "confirmed", lambda work: actions.confirm(work, visitor.account, identifier, seen)
        )

    async def cancel(self, request: Request, visitor: Visitor) -> Response:
        form = await request.form()
        seen, reason = _text(form, "start"), _text(form, "reason")
        identifier = request.path_params["id"]
        return await self._act(
            request, visitor, "cancelled", lambda work: actions.cancel(work, visitor.account, identifier, seen, reason)
        )

    async def _act(
        self, request: Request, visitor: Visitor, done: str, change: Callable[[Work], cards.Card]
    ) -> Response:
        try:
            card = await self._store.write(change)
        except Refused as refused:
            if wants_json(request):
                return JSONResponse({"error": refused.diagnostics}, refused.status)
            if refused.status == 404:
                return self._refused(request, refused)
            return await self._appointments(request, visitor, refused)
        if wants_json(request):
            title, text = _SAID[done]
            return JSONResponse({"appointment": _for_programs(card), "title": title, "text": text})
        return RedirectResponse(f"{HOME}?done={done}#card-{card.id}", 303)

    async def notifications_read(self, request: Request, visitor: Visitor) -> Response:
        shown = _text(await request.form(), "up_to")
        up_to = int(shown) if shown.isdecimal() and len(shown) < 19 else 0
        await self._store.write(lambda work: accounts.read_notifications(work, visitor.account, up_to))
        return JSONResponse({}) if wants_json(request) else RedirectResponse(HOME, 303)

    async def events(self, _request: Request, visitor: Visitor) -> Response:
        return self._services.live.response(lambda notice: visitor.account.email in notice["emails"])

    async def api_session(self, _request: Request, visitor: Visitor) -> Response:
        return JSONResponse({"csrf": visitor.csrf})

    async def api_appointments(self, _request: Request, visitor: Visitor) -> Response:
        found = await self._store.read(lambda work: cards.cards_of(work, visitor.account.email))
        return JSONResponse({"appointments": [_for_programs(card) for card in found]})


async def _home(_request: Request) -> Response:
    return RedirectResponse(HOME, 308)


def _for_programs(card: cards.Card) -> dict[str, Any]:
    return {
        "id": card.id,
        "placer_number": card.placer_number,
        "label": card.label,
        "status": card.status,
        "start": None if card.start is None else card.start.isoformat(),
    }


def _text(form: FormData, name: str) -> str:
    value = form.get(name)
    return value.strip() if isinstance(value, str) else ""
