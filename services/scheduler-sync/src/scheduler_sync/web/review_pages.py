"""The review list: patients who may be one person, side by side, decided by an operator."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from chassis.web import access
from chassis.web.guard import actor_of
from chassis.web.layout import Changes, Page
from scheduler_sync.review_commands import compared, follows
from scheduler_sync.store.reviews import ALL, OPEN, Decision, Reviews
from scheduler_sync.web.rendering import service_templates

HERE: Final = "/reviews"
STATES: Final[Mapping[str, tuple[str, str]]] = {
    "open": ("for a person", "warn"),
    "same": ("one person", "busy"),
    "different": ("two people", "quiet"),
    "merged": ("merged in PowerServer", "good"),
    "settled": ("settled in OmegaAI", "good"),
}


class ReviewPages:
    """Renders the pages from the store, and keeps the decisions. Only operators see patients' data."""

    def __init__(self, reviews: Reviews, consoles: Mapping[str, str] | None = None) -> None:
        self._reviews = reviews
        self._templates = service_templates(consoles)
        self._templates.globals.update(review_states=STATES, follows=follows)

    def routes(self) -> Sequence[BaseRoute]:
        return [
            *access.viewer(Route(HERE, self.listed), Route(f"{HERE}/events", Changes(self._reviews.version).stream)),
            *access.operator(
                Route(f"{HERE}/{{review_id:int}}", self.one),
                Route(f"{HERE}/{{review_id:int}}/same", self.same, methods=["POST"]),
                Route(f"{HERE}/{{review_id:int}}/different", self.different, methods=["POST"]),
            ),
        ]

    async def listed(self, request: Request) -> Response:
        is_all = request.query_params.get("all") == "1"
        return self._page(rows=await self._reviews.list(ALL if is_all else OPEN), is_all=is_all)

    async def one(self, request: Request) -> Response:
        pair = await self._reviews.pair(request.path_params["review_id"], actor=actor_of(request))
        if pair is None:
            raise HTTPException(404, "There is no such pair.")
        review, first, second = pair
        return self._page(
            title=f"Review {review.id}", up=Page("Review list", HERE), review=review, sides=(first, second),
            facts=compared(first, second),
        )  # fmt: skip

    async def same(self, request: Request) -> Response:
        return await self._decide(request, "same")

    async def different(self, request: Request) -> Response:
        return await self._decide(request, "different")

    async def _decide(self, request: Request, decision: Decision) -> Response:
        if not await self._reviews.decide(request.path_params["review_id"], decision, actor=actor_of(request)):
            raise HTTPException(409, "There is no such pair, or it is done.")
        return RedirectResponse(HERE, 303)

    def _page(self, **shown: Any) -> Response:
        page = self._templates.get_template("reviews.html")
        given = {"title": "Review list", "here": HERE, "events": f"{HERE}/events", "review": None, **shown}
        return HTMLResponse(page.render(**given))
