"""The booking form under /blume/book, and the same as JSON."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from omegaai_sim.blume import cards
from omegaai_sim.blume.booking import actions
from omegaai_sim.blume.onboarding.session import Portal, Visitor, refused
from omegaai_sim.blume.portal import HOME
from omegaai_sim.context import Services, templates
from omegaai_sim.fhir.outcome import Refused
from simulator_kit import web
from simulator_kit.store import Work


class Booking:
    """The pages, over one store."""

    def __init__(self, services: Services) -> None:
        self._store = services.store
        self._portal = Portal(services)

    def routes(self) -> list[Route]:
        visit, form = self._portal.visit, self._portal.form
        return [
            Route("/blume/book", visit(self.page), methods=["GET"]),
            Route("/blume/book", form(self.book), methods=["POST"]),
            Route("/blume/api/offers", visit(self.offers)),
        ]

    async def page(self, request: Request, visitor: Visitor) -> Response:
        return await self._page(request, visitor)

    async def _page(self, request: Request, visitor: Visitor, problem: Refused | None = None) -> Response:
        context = {
            "visitor": visitor,
            "problem": problem,
            **await self._store.read(lambda work: _choices(work, visitor)),
        }
        status = problem.status if problem else 200
        return web.page(templates, request, "blume/booking/book.html", context, status=status)

    async def book(self, request: Request, visitor: Visitor) -> Response:
        """`patient, service, study, note` and `start` (an instant), or `day` and `clock` of the facility's wall."""
        given = await request.form()
        text = {name: web.text_of(given, name) for name in ("patient", "service", "study", "start", "note")}
        day, clock = web.text_of(given, "day"), web.text_of(given, "clock")

        def change(work: Work) -> cards.Card:
            start = text["start"] or cards.instant_of(work, text["service"], day, clock)
            return actions.book(work, visitor.account, **{**text, "start": start})

        try:
            card = await self._store.write(change)
        except Refused as problem:
            if web.wants_json(request):
                return refused(request, problem)
            return await self._page(request, visitor, problem)
        if web.wants_json(request):
            return JSONResponse({"id": card.id, "status": card.status, "label": card.label}, 201)
        return RedirectResponse(f"{HOME}?done=requested#card-{card.id}", 303)

    async def offers(self, _request: Request, visitor: Visitor) -> Response:
        return JSONResponse(await self._store.read(lambda work: _choices(work, visitor)))


def _choices(work: Work, visitor: Visitor) -> dict[str, Any]:
    return {"patients": actions.patients_of(work, visitor.account), "services": actions.offers(work)}
