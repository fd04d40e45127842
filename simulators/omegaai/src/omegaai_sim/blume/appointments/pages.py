"""The cards of an account under /blume, and the same as JSON under /blume/api.

Forms work without scripts: they post and are redirected.
"""

from collections.abc import Callable
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from omegaai_sim.blume import cards
from omegaai_sim.blume.appointments import actions
from omegaai_sim.blume.notifications import bell
from omegaai_sim.blume.onboarding.session import Portal, Visitor, refused
from omegaai_sim.blume.portal import HOME
from omegaai_sim.context import Services, templates
from omegaai_sim.fhir.outcome import Refused
from simulator_kit import web
from simulator_kit.store import Work

_SAID: Final = {
    "confirmed": ("Appointment Confirmation", "Your appointment is confirmed. We look forward to seeing you."),
    "requested": ("Appointment requested", "It is not confirmed until the facility confirms it."),
    "cancelled": ("Appointment cancelled", "The facility is told that you are not coming."),
}

templates.env.filters.update(day=cards.day, clock=cards.clock)


class Appointments:
    """The pages, over one store."""

    def __init__(self, services: Services) -> None:
        self._store = services.store
        self._portal = Portal(services)

    def routes(self) -> list[Route]:
        visit, form = self._portal.visit, self._portal.form
        return [
            Route(HOME, visit(self.appointments)),
            Route("/blume/appointments/{id}/confirm", form(self.confirm), methods=["POST"]),
            Route("/blume/appointments/{id}/cancel", form(self.cancel), methods=["POST"]),
            Route("/blume/appointments/{id}/reschedule", form(self.reschedule), methods=["POST"]),
            Route("/blume/api/appointments", visit(self.api_appointments)),
        ]

    async def appointments(self, request: Request, visitor: Visitor) -> Response:
        return await self._appointments(request, visitor)

    async def _appointments(self, request: Request, visitor: Visitor, problem: Refused | None = None) -> Response:
        def ask(work: Work) -> tuple[list[cards.Card], list[bell.Notification]]:
            return cards.cards_of(work, visitor.account.email), bell.notifications(work, visitor.account)

        found, notifications = await self._store.read(ask)
        context = {
            "visitor": visitor,
            "to_come": [card for card in found if card.is_open],
            "earlier": [card for card in found if not card.is_open],
            "notifications": notifications,
            "unread": sum(not one.is_read for one in notifications),
            "said": None if problem else _SAID.get(request.query_params.get("done", "")),
            "problem": problem,
            "longest_reason": actions.LONGEST_REASON,
        }
        status = problem.status if problem else 200
        return web.page(templates, request, "blume/appointments/list.html", context, status=status)

    async def confirm(self, request: Request, visitor: Visitor) -> Response:
        seen = web.text_of(await request.form(), "start")
        identifier = request.path_params["id"]
        return await self._act(
            request, visitor, "confirmed", lambda work: actions.confirm(work, visitor.account, identifier, seen)
        )

    async def cancel(self, request: Request, visitor: Visitor) -> Response:
        form = await request.form()
        seen, reason = web.text_of(form, "start"), web.text_of(form, "reason")
        identifier = request.path_params["id"]
        return await self._act(
            request, visitor, "cancelled", lambda work: actions.cancel(work, visitor.account, identifier, seen, reason)
        )

    async def reschedule(self, request: Request, visitor: Visitor) -> Response:
        """`wanted` (an instant), or `day` and `clock` on the wall of the facility."""
        form = await request.form()
        seen, wanted, day, clock = (web.text_of(form, name) for name in ("start", "wanted", "day", "clock"))
        identifier = request.path_params["id"]

        def change(work: Work) -> cards.Card:
            body = cards.body_of(work, "Appointment", identifier) or {}
            at = wanted or cards.instant_of(work, cards.actor(body, "HealthcareService") or "", day, clock)
            return actions.reschedule(work, visitor.account, identifier, seen, at)

        return await self._act(request, visitor, "requested", change)

    async def _act(
        self, request: Request, visitor: Visitor, done: str, change: Callable[[Work], cards.Card]
    ) -> Response:
        try:
            card = await self._store.write(change)
        except Refused as problem:
            if problem.status == 404 or web.wants_json(request):
                return refused(request, problem)
            return await self._appointments(request, visitor, problem)
        if web.wants_json(request):
            title, text = _SAID[done]
            return JSONResponse({"appointment": _for_programs(card), "title": title, "text": text})
        return RedirectResponse(f"{HOME}?done={done}#card-{card.id}", 303)

    async def api_appointments(self, _request: Request, visitor: Visitor) -> Response:
        found = await self._store.read(lambda work: cards.cards_of(work, visitor.account.email))
        return JSONResponse({"appointments": [_for_programs(card) for card in found]})


def _for_programs(card: cards.Card) -> dict[str, Any]:
    return {
        "id": card.id,
        "placer_number": card.placer_number,
        "label": card.label,
        "status": card.status,
        "start": None if card.start is None else card.start.isoformat(),
        "wanted": None if card.wanted is None else card.wanted.isoformat(),
        "reason": card.reason,
        "study": card.study,
    }
