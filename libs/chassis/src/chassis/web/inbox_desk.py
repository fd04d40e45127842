"""The console's part of Kafka's inbox: dead letters, parked keys and missed records, and the acts on them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from chassis.messaging import dead_letters, missed, parking
from chassis.store import Store
from chassis.web import queries
from chassis.web.desks import Act, Look, Tile
from chassis.web.guard import actor_of
from chassis.web.lists import ListPages
from chassis.web.notice import back

ROWS: Final = 50


@dataclass(frozen=True, repr=False)
class InboxDesk:
    """The desk of a service that reads Kafka."""

    store: Store
    template: str = "inbox_desk.html"

    async def look(self) -> Look:
        counts = await queries.inbox_counts(self.store)
        gone = await missed.list_missed(self.store, limit=ROWS)
        tiles = [
            Tile("dead letters", counts.letters, link="/console/dead-letters?state=open"),
            Tile("missed", len(gone), link="/console/missed"),
            Tile("parked keys", counts.parked, level="warn", link="/console/parked"),
        ]
        shown = {
            "letters": await dead_letters.list_dead_letters(self.store, limit=ROWS),
            "parked": await parking.list_parked(self.store, limit=ROWS),
            "missed": gone,
        }
        return Look(tiles, shown)

    def acts(self) -> Mapping[str, Act]:
        return {
            "dead-letters/{id:uuid}/replay": self._on(dead_letters.replay_dead_letter, "dead-letter.replay"),
            "dead-letters/{id:uuid}/drop": self._on(dead_letters.drop_dead_letter, "dead-letter.drop"),
            "missed/{id:uuid}/acknowledge": self._on(missed.acknowledge_one, "missed.acknowledge"),
            "parked/{consumer}/{id:uuid}/release": self._release,
        }

    def routes(self, templates: Any) -> Sequence[BaseRoute]:
        return ListPages(self.store, templates, ("dead-letters", "parked", "missed", "gaps")).routes()

    def _on(self, act: Callable[..., Awaitable[bool]], action: str) -> Act:
        async def run(request: Request) -> Response:
            identifier: UUID = request.path_params["id"]
            is_done = await act(self.store, identifier, actor=actor_of(request))
            return back(action if is_done else None, action.partition(".")[0], identifier)

        return run

    async def _release(self, request: Request) -> Response:
        consumer, key = request.path_params["consumer"], request.path_params["id"]
        is_done = await parking.release(self.store, consumer, key, actor=actor_of(request))
        return back("parked.release" if is_done else None, "parked", key)
