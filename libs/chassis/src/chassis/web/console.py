"""``/console``: how the service is, what waits for a person, and the hand to settle it; every act is audited.

It shows opaque ids, kinds, states and reasons, never a message's content: that needs the command line and a decision.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from chassis import deliveries
from chassis.errors import StoreUnavailable
from chassis.hl7 import list_journal
from chassis.hl7.journal import STATES
from chassis.messaging import dead_letters, missed, parking
from chassis.store import Store, asking
from chassis.web import queries
from chassis.web.deliveries_page import DeliveriesPage
from chassis.web.guard import actor_of
from chassis.web.layout import STATIC, Page, changes, templates
from chassis.web.notice import Notice, back, notice

ROWS: Final = 50
JOURNAL_ROWS: Final = 100
AUDIT_ROWS: Final = 20


@dataclass(frozen=True, slots=True)
class Health:
    """``checks``: None when ready, else why not. ``loops``: seconds since each turned."""

    checks: Mapping[str, str | None]
    loops: Mapping[str, float]


@dataclass
class Console:
    """What a composition root gives the console. ``replay_hl7`` only of a service that hears HL7."""

    store: Store
    service: str
    pages: Sequence[Page] = ()
    destinations: Sequence[str] = ()
    replay_hl7: Callable[[UUID, str], Awaitable[str]] | None = None
    _templates: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._templates = templates(self.service, self.pages)
        self._templates.filters.update(place_of_missed=missed.place_of, words_of_missed=missed.words_of)

    def routes(self, health: Callable[[], Awaitable[Health]], *, stalled_seconds: float) -> list[BaseRoute]:
        async def show(request: Request) -> Response:
            return await self._show(request, await health(), stalled_seconds)

        async def events(_request: Request) -> Response:
            async def look() -> str:
                return await self._render({}, await health(), stalled_seconds)

            return changes(look)

        journal = [Route("/console/hl7", self._journal), Route("/console/hl7/events", self._journal_events)]
        acts = [Route(f"/console/{path}", act, methods=["POST"]) for path, act in self._acts().items()]
        static = Mount("/console/static", StaticFiles(directory=STATIC))
        dead = DeliveriesPage(self.store, self._templates, self.destinations).routes()
        own = [Route("/console", show), Route("/console/events", events)]
        return [*own, *dead, *(journal if self.replay_hl7 is not None else ()), *acts, static]

    async def _journal(self, request: Request) -> Response:
        """The newest HL7 messages that came in and what became of each; the filter stands in the address."""
        state = request.query_params.get("state", "")
        rows = await list_journal(self.store, states=[state] if state else None, limit=JOURNAL_ROWS)
        page = self._templates.get_template("journal.html").render(
            title="HL7 messages",
            here="/console/hl7",
            events="/console/hl7/events",
            rows=rows,
            state=state,
            states=STATES,
        )
        return HTMLResponse(page)

    async def _journal_events(self, _request: Request) -> Response:
        async def look() -> tuple[object, ...]:
            return await queries.newest_hl7(self.store)

        return changes(look)

    async def _show(self, request: Request, health: Health, stalled_seconds: float) -> Response:
        return HTMLResponse(await self._render(dict(request.query_params), health, stalled_seconds))

    async def _render(self, query: Mapping[str, str], health: Health, stalled_seconds: float) -> str:
        try:
            with asking():
                found = await self._found()
                told = await notice(self.store, query)
        except StoreUnavailable:
            found, told = None, Notice()  # the tile of the store says so
        page: str = self._templates.get_template("console.html").render(
            title="Console",
            here="/console",
            events="/console/events",
            checks=health.checks,
            stalled=[name for name, seconds in health.loops.items() if seconds > stalled_seconds],
            loops=len(health.loops),
            found=found,
            hears_hl7=self.replay_hl7 is not None,
            most=queries.MOST_COUNTED,
            said=told.said,
            refused=told.refused,
        )
        return page

    async def _found(self) -> dict[str, Any]:
        waiting: Sequence[Any] = ()
        if self.replay_hl7 is not None:
            waiting = await list_journal(self.store, states=("needs_setup", "failed"), limit=ROWS)
        return {
            "counts": await queries.counts(self.store),
            "destinations": await queries.destinations(self.store, self.destinations),
            "troubled": await queries.troubled(self.store, limit=ROWS),
            "letters": await dead_letters.list_dead_letters(self.store, limit=ROWS),
            "parked": await parking.list_parked(self.store, limit=ROWS),
            "missed": await missed.list_missed(self.store, limit=ROWS),
            "needs_setup": waiting,
            "audit": await queries.newest_acts(self.store, limit=AUDIT_ROWS),
        }

    def store_away(self, request: Request, away: StoreUnavailable) -> Response:
        """The page in place of one that the store does not give now, or of an act's answer."""
        page = self._templates.get_template("store_away.html").render(
            title="Not now", here=None, reason=away.reason, acts=request.method == "POST"
        )
        return HTMLResponse(page, 503, headers={"Retry-After": "5"})

    def _acts(self) -> dict[str, Callable[[Request], Awaitable[Response]]]:
        def on(act: Callable[..., Awaitable[bool]], action: str) -> Callable[[Request], Awaitable[Response]]:
            async def run(request: Request) -> Response:
                identifier: UUID = request.path_params["id"]
                is_done = await act(self.store, identifier, actor=actor_of(request))
                return back(action if is_done else None, action.partition(".")[0], identifier)

            return run

        return {
            "deliveries/{id:uuid}/retry": on(deliveries.retry_delivery, "delivery.retry"),
            "deliveries/{id:uuid}/drop": on(deliveries.drop_delivery, "delivery.drop"),
            "dead-letters/{id:uuid}/replay": on(dead_letters.replay_dead_letter, "dead-letter.replay"),
            "dead-letters/{id:uuid}/drop": on(dead_letters.drop_dead_letter, "dead-letter.drop"),
            "missed/{id:uuid}/acknowledge": on(missed.acknowledge_one, "missed.acknowledge"),
            "parked/{consumer}/{id:uuid}/release": self._release,
            "needs-setup/{id:uuid}/replay": self._replay,
        }

    async def _release(self, request: Request) -> Response:
        consumer, key = request.path_params["consumer"], request.path_params["id"]
        is_done = await parking.release(self.store, consumer, key, actor=actor_of(request))
        return back("parked.release" if is_done else None, "parked", key)

    async def _replay(self, request: Request) -> Response:
        identifier: UUID = request.path_params["id"]
        if self.replay_hl7 is None:
            return back(None, "hears-no-hl7", identifier)
        try:
            await self.replay_hl7(identifier, actor_of(request))
        except KeyError:
            return back(None, "hl7", identifier)
        except StoreUnavailable:
            return back(None, "store-away", identifier)
        return back("hl7.replay", "hl7", identifier)
