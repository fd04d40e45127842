"""The cards of an account under /blume, the drawer to reschedule one, and the same as JSON under /blume/api.

Forms work without scripts: they post and are redirected.
"""

from collections.abc import Awaitable, Sequence
from typing import Any, Final
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from omegaai_sim.blume import cards
from omegaai_sim.blume.appointments import actions
from omegaai_sim.blume.notifications import bell
from omegaai_sim.blume.onboarding.session import Portal, Visitor, refused
from omegaai_sim.blume.portal import HOME
from omegaai_sim.blume.scheduling import own
from omegaai_sim.blume.scheduling.calendar import calendar, days_in, month_of
from omegaai_sim.blume.scheduling.desk import Asked, Desk
from omegaai_sim.context import Services, templates
from omegaai_sim.fhir.outcome import Refused
from simulator_kit import web
from simulator_kit.store import Work

_SAID: Final = {
    "confirmed": ("Appointment Confirmation", "Your appointment is confirmed. We look forward to seeing you."),
    "requested": ("Appointment requested", "It is not confirmed until the facility confirms it."),
    "cancelled": ("Appointment cancelled", "The facility is told that you are not coming."),
    "sent": ("Request sent", "The card appears here in a moment. It is not confirmed until the facility confirms it."),
    "move-sent": ("Request sent", "The card changes in a moment. The present time stands until the facility answers."),
    "cancel-sent": ("Cancellation sent", "The card changes in a moment."),
}
_COMPLETED: Final = "Completed"
_FILTERS: Final = ("Requested", "Pending", "Scheduled", "Past", "Cancelled")
"""The labels of the tab Scheduled."""

templates.env.filters.update(day=cards.day, clock=cards.clock)


class Appointments:
    """The pages, over one store."""

    def __init__(self, services: Services) -> None:
        self._store = services.store
        self._portal = Portal(services)
        self._desk = Desk(services)

    def routes(self) -> list[Route]:
        visit, form = self._portal.visit, self._portal.form
        return [
            Route(HOME, visit(self.appointments)),
            Route("/blume/appointments/{id}/confirm", form(self.confirm), methods=["POST"]),
            Route("/blume/appointments/{id}/cancel", form(self.cancel), methods=["POST"]),
            Route("/blume/appointments/{id}/reschedule", visit(self.drawer), methods=["GET"]),
            Route("/blume/appointments/{id}/reschedule", form(self.reschedule), methods=["POST"]),
            Route("/blume/api/appointments", visit(self.api_appointments)),
        ]

    async def appointments(self, request: Request, visitor: Visitor) -> Response:
        """`?tab=completed`, `?show=` one of the labels."""
        return await self._appointments(request, visitor)

    async def _appointments(self, request: Request, visitor: Visitor, problem: Refused | None = None) -> Response:
        def ask(work: Work) -> tuple[list[cards.Card], list[bell.Notification]]:
            return cards.cards_of(work, visitor.account.email), bell.notifications(work, visitor.account)

        found, notifications = await self._store.read(ask)
        is_completed = request.query_params.get("tab") == _COMPLETED.lower()
        chosen = next((one for one in _FILTERS if one.lower() == request.query_params.get("show")), "")
        of_tab = [card for card in found if (card.label == _COMPLETED) == is_completed]
        shown = [card for card in of_tab if is_completed or chosen in {"", card.label}]
        context = {
            "visitor": visitor,
            "to_come": [card for card in shown if card.is_open],
            "earlier": [card for card in shown if not card.is_open],
            "is_completed": is_completed,
            "chosen": chosen,
            "counts": {one: sum(card.label == one for card in of_tab) for one in _FILTERS},
            "tab_counts": _tab_counts(found),
            "notifications": notifications,
            "unread": sum(not one.is_read for one in notifications),
            "said": None if problem else _SAID.get(request.query_params.get("done", "")),
            "problem": problem,
            "longest_reason": own.LONGEST_REASON,
        }
        status = problem.status if problem else 200
        return web.page(templates, request, "blume/appointments/list.html", context, status=status)

    async def confirm(self, request: Request, visitor: Visitor) -> Response:
        seen = web.text_of(await request.form(), "start")
        identifier = request.path_params["id"]
        change = self._store.write(lambda work: actions.confirm(work, visitor.account, identifier, seen))
        return await self._act(request, visitor, ("confirmed", ""), change)

    async def cancel(self, request: Request, visitor: Visitor) -> Response:
        form = await request.form()
        seen, reason = web.text_of(form, "start"), web.text_of(form, "reason")
        change = self._desk.cancel(visitor.account, request.path_params["id"], seen, reason)
        return await self._act(request, visitor, ("cancelled", "cancel-sent"), change)

    async def drawer(self, request: Request, visitor: Visitor) -> Response:
        """The free times for an appointment; `?month=&day=&at=` as in the booking."""
        return await self._drawer(request, visitor, dict(request.query_params))

    async def _drawer(
        self, request: Request, visitor: Visitor, given: dict[str, str], problem: Refused | None = None
    ) -> Response:
        identifier = request.path_params["id"]

        def ask(work: Work) -> tuple[cards.Card, dict[str, Any]]:
            stored, card = own.own_card(work, visitor.account, identifier, "")
            own.check_movable(card)
            return card, stored.body

        try:
            card, body = await self._store.read(ask)
        except Refused as refusal:
            return refused(request, problem or refusal)
        assert card.start is not None and card.end is not None  # noqa: S101, PT018 - of a card that can be moved
        zone = ZoneInfo(card.facility.zone)
        month = month_of(given, zone, card.start.date())
        codes = [coding.get("code", "") for kind in body.get("serviceType", []) for coding in kind.get("coding", [])]
        asked = Asked(
            cards.actor(body, "HealthcareService") or "", ",".join(codes),
            int((card.end - card.start).total_seconds() // 60), month, days_in(month), identifier,
        )  # fmt: skip
        free: Sequence[Any] = []
        try:
            free = [one for one in await self._desk.free(asked) if one != card.start]
        except Refused as refusal:
            problem = problem or refusal
        context = {
            "visitor": visitor,
            "card": card,
            "given": given,
            "calendar": calendar(month, free, given.get("day", ""), zone),
            "problem": problem,
            "alternatives": getattr(problem, "alternatives", []),
            "takes_notes": not self._desk.is_suite,
            "longest_note": own.LONGEST_NOTE,
        }
        status = problem.status if problem else 200
        return web.page(templates, request, "blume/appointments/reschedule.html", context, status=status)

    async def reschedule(self, request: Request, visitor: Visitor) -> Response:
        """`slot`, one of the free times, and `note`.

        Programs may give `wanted` (an instant), or `day` and `clock` on the wall of the facility, instead of `slot`.
        """
        form = await request.form()
        text = {name: web.text_of(form, name) for name in ("start", "slot", "wanted", "day", "clock", "note")}
        identifier = request.path_params["id"]

        def at(work: Work) -> str:
            body = cards.body_of(work, "Appointment", identifier) or {}
            return cards.instant_of(work, cards.actor(body, "HealthcareService") or "", text["day"], text["clock"])

        wanted = text["slot"] or text["wanted"] or await self._store.read(at)
        change = self._desk.move(
            visitor.account, identifier, text["start"], wanted, note=text["note"], chosen=bool(text["slot"])
        )
        is_of_drawer = not (text["wanted"] or text["clock"])
        return await self._act(request, visitor, ("requested", "move-sent"), change, text if is_of_drawer else None)

    async def _act(
        self,
        request: Request,
        visitor: Visitor,
        done: tuple[str, str],
        change: Awaitable[cards.Card | None],
        drawer: dict[str, str] | None = None,
    ) -> Response:
        """Does it. `done` names what is said then: of a card that changed, and of an act that the suite carries out."""
        try:
            card = await change
        except Refused as problem:
            if problem.status == 404 or web.wants_json(request):
                return refused(request, problem)
            if drawer is not None:
                given = {"day": drawer["slot"][:10], "note": drawer["note"]}
                return await self._drawer(request, visitor, given, problem)
            return await self._appointments(request, visitor, problem)
        said = done[0] if card is not None else done[1]
        if web.wants_json(request):
            title, text = _SAID[said]
            shown = None if card is None else _for_programs(card)
            return JSONResponse({"appointment": shown, "title": title, "text": text})
        return RedirectResponse(f"{HOME}?done={said}#card-{request.path_params['id']}", 303)

    async def api_appointments(self, _request: Request, visitor: Visitor) -> Response:
        found = await self._store.read(lambda work: cards.cards_of(work, visitor.account.email))
        return JSONResponse({"appointments": [_for_programs(card) for card in found]})


def _tab_counts(found: Sequence[cards.Card]) -> tuple[int, int]:
    completed = sum(card.label == _COMPLETED for card in found)
    return len(found) - completed, completed


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
