"""The console's part of HL7: messages that need set-up, the act to process one again, and the journal."""

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from chassis.errors import StoreUnavailable
from chassis.hl7 import list_journal
from chassis.hl7.journal import STATES
from chassis.messaging import Replayed
from chassis.store import Store
from chassis.web import queries
from chassis.web.desks import Act, Look, Tile
from chassis.web.guard import actor_of
from chassis.web.layout import Changes
from chassis.web.notice import back

ROWS: Final = 50
JOURNAL_ROWS: Final = 100


@dataclass(frozen=True, repr=False)
class Hl7Desk:
    """``replay`` processes a kept message again, for the named actor; KeyError when it does not wait.

    ``message_page``: the path below which the service shows a message by its id; empty without such a page.
    """

    store: Store
    replay: Callable[[UUID, str], Awaitable[Replayed]]
    message_page: str = ""
    template: str = "hl7_desk.html"

    async def look(self) -> Look:
        rows = await list_journal(self.store, states=("needs_setup", "failed"), limit=ROWS)
        tile = Tile("need set-up", await queries.hl7_waiting(self.store), link="/console/hl7?state=needs_setup")
        return Look([tile], {"needs_setup": rows, "page": self.message_page})

    def acts(self) -> Mapping[str, Act]:
        return {"needs-setup/{id:uuid}/replay": self._replay}

    def routes(self, templates: Any) -> Sequence[BaseRoute]:
        async def journal(request: Request) -> Response:
            return await self._journal(templates, request)

        async def newest() -> Hashable:
            return tuple(await queries.newest_hl7(self.store))

        return [Route("/console/hl7", journal), Route("/console/hl7/events", Changes(newest).stream)]

    async def _journal(self, templates: Any, request: Request) -> Response:
        """The newest HL7 messages and their outcomes; the filter stands in the address."""
        state = request.query_params.get("state", "")
        rows = await list_journal(self.store, states=[state] if state else None, limit=JOURNAL_ROWS)
        page = templates.get_template("journal.html").render(
            title="HL7 messages",
            here="/console/hl7",
            events="/console/hl7/events",
            rows=rows,
            state=state,
            message_page=self.message_page,
            pairs=[(one, one.replace("_", " ")) for one in STATES],
        )
        return HTMLResponse(page)

    async def _replay(self, request: Request) -> Response:
        identifier: UUID = request.path_params["id"]
        try:
            await self.replay(identifier, actor_of(request))
        except KeyError:
            return back(None, "hl7", identifier)
        except StoreUnavailable:
            return back(None, "store-away", identifier)
        return back("hl7.replay", "hl7", identifier)
