"""``/console``: the service's state, what waits for a person, and the acts to settle it; every act is audited.

It shows opaque ids, kinds, states and reasons, never a message's content: content needs the command line and a
decision.
"""

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from chassis import deliveries, timers
from chassis.clock import utc_now
from chassis.errors import StoreUnavailable
from chassis.messaging import missed
from chassis.store import Store, asking
from chassis.web import access, queries
from chassis.web.deliveries_page import DeliveriesPage
from chassis.web.desks import Desk
from chassis.web.guard import actor_of
from chassis.web.layout import STATIC, Changes, Page, templates
from chassis.web.lists import ListPages
from chassis.web.notice import Notice, back, notice

ROWS: Final = 50
AUDIT_ROWS: Final = 20
LONG_WAIT: Final = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Health:
    """``checks``: None when ready, else the reason. ``loops``: seconds since each turned."""

    checks: Mapping[str, str | None]
    loops: Mapping[str, float]


@dataclass
class Console:
    """The parts that a composition root gives the console. ``desks``: those of the service's intakes.

    ``consoles``: the addresses of the suite's other consoles, by service.
    """

    store: Store
    service: str
    pages: Sequence[Page] = ()
    destinations: Sequence[str] = ()
    desks: Sequence[Desk] = ()
    consoles: Mapping[str, str] = field(default_factory=dict)
    _templates: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._templates = templates(self.service, self.pages, consoles=self.consoles)
        self._templates.filters.update(place_of_missed=missed.place_of, words_of_missed=missed.words_of)

    def routes(self, health: Callable[[], Awaitable[Health]], *, stalled_seconds: float) -> list[BaseRoute]:
        async def show(request: Request) -> Response:
            return await self._show(request, await health(), stalled_seconds)

        async def look() -> Hashable:
            return repr(await self._shown(await health(), stalled_seconds))

        events = Changes(look).stream
        own: list[BaseRoute] = [Route("/console", show), Route("/console/events", events)]
        own += ListPages(self.store, self._templates, ("timers", "acts")).routes()
        own += [route for desk in self.desks for route in desk.routes(self._templates)]
        acts = [Route(f"/console/{path}", act, methods=["POST"]) for path, act in self._acts().items()]
        return [
            *access.viewer(*own),
            *access.operator(*acts),
            *DeliveriesPage(self.store, self._templates, self.destinations).routes(),
            *access.login(Mount("/console/static", StaticFiles(directory=STATIC))),  # the log-in page needs it
        ]

    async def _show(self, request: Request, health: Health, stalled_seconds: float) -> Response:
        return HTMLResponse(await self._render(dict(request.query_params), health, stalled_seconds))

    async def _render(self, query: Mapping[str, str], health: Health, stalled_seconds: float) -> str:
        told = Notice()
        try:
            with asking():
                told = await notice(self.store, query)
        except StoreUnavailable:
            pass  # the store's tile reports it
        page: str = self._templates.get_template("console.html").render(
            title="Console",
            here="/console",
            events="/console/events",
            most=queries.MOST_COUNTED,
            said=told.said,
            refused=told.refused,
            **await self._shown(health, stalled_seconds),
        )
        return page

    async def _shown(self, health: Health, stalled_seconds: float) -> dict[str, Any]:
        """The state of the service and its store, as the page shows it. It stays equal until something happens."""
        found = None
        try:
            with asking():
                found = await self._found()
        except StoreUnavailable:
            pass  # the store's tile reports it
        return {
            "checks": health.checks,
            "stalled": [name for name, seconds in health.loops.items() if seconds > stalled_seconds],
            "loops": len(health.loops),
            "found": found,
        }

    async def _found(self) -> dict[str, Any]:
        looks = [(desk, await desk.look()) for desk in self.desks]
        counts = await queries.counts(self.store)
        now = utc_now()
        return {
            "counts": counts,
            "unsent_level": _level(counts.unsent, counts.unsent_since, now),
            "destinations": [
                {**asdict(row), "level": "bad" if row.dead else _level(row.pending, row.pending_since, now)}
                for row in await queries.destinations(self.store, self.destinations)
            ],
            "troubled": await queries.troubled(self.store, limit=ROWS),
            "timers": await self._timers(now),
            "desks": [{"template": desk.template, "look": look} for desk, look in looks],
            "is_waiting_at_a_desk": any(tile.waiting for _, look in looks for tile in look.tiles),
            "audit": await queries.newest_acts(self.store, limit=AUDIT_ROWS),
        }

    async def _timers(self, now: datetime) -> dict[str, Any]:
        counts = await timers.count_timers(self.store)
        level = "bad" if counts.dead else _level(counts.overdue, counts.overdue_since, now)
        troubled = await timers.list_timers(self.store, state="troubled", limit=ROWS)
        return {**asdict(counts), "level": level, "troubled": troubled}

    def store_away(self, request: Request, away: StoreUnavailable) -> Response:
        """The page that replaces a page or an act's answer while the store is away."""
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
            **{path: act for desk in self.desks for path, act in desk.acts().items()},
            "timers/{kind}/{id:uuid}/{name}/retry": self._on_timer(timers.retry_timer, "timer.retry"),
            "timers/{kind}/{id:uuid}/{name}/cancel": self._on_timer(timers.cancel_timer, "timer.cancel"),
        }

    def _on_timer(self, act: Callable[..., Awaitable[bool]], action: str) -> Callable[[Request], Awaitable[Response]]:
        async def run(request: Request) -> Response:
            kind, key, name = (request.path_params[part] for part in ("kind", "id", "name"))
            is_done = await act(self.store, kind, key, name, actor=actor_of(request))
            return back(action if is_done else None, "timer", key)

        return run


def _level(count: int, since: datetime | None, now: datetime) -> str:
    """Good when nothing waits, bad when something has waited for long, else a warning."""
    if count == 0:
        return "good"
    return "bad" if since is not None and now - since > LONG_WAIT else "warn"
