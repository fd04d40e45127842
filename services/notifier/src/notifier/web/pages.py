"""``/messages``: every message by appointment, with its state and reason; live, and filtered in the address."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from chassis.web import access
from chassis.web.layout import Page, changes, templates
from notifier.domain.notification import STATES, TEMPLATES
from notifier.web.history import Filter, History, read_filter

PAGES: Final = (Page("Messages", "/messages"),)
_HERE = Path(__file__).parent
_PAGE_SIZE = 100
# Colour, word and shape: no state is told by its colour alone.
_SHAPES = {"awaiting_recipient": "◔", "queued": "○", "sent": "●", "superseded": "⊘", "undeliverable": "▲"}
_WORDS = {
    "awaiting_recipient": "waits for its recipient",
    "queued": "queued",
    "sent": "sent",
    "superseded": "superseded",
    "undeliverable": "undeliverable",
}


class MessagesPage:
    """The page and its stream of changes."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._templates = templates("notifier", PAGES, _HERE / "pages")

    def routes(self) -> Sequence[BaseRoute]:
        return access.viewer(
            Route("/messages", self.show),
            Route("/messages/events", self.events),
            Mount("/messages/static", StaticFiles(directory=_HERE / "static")),
        )

    async def show(self, request: Request) -> Response:
        wanted, unknown = read_filter(dict(request.query_params))
        rows = await self._history.page(wanted, _PAGE_SIZE + 1)
        counts = await self._history.counts()
        page = self._templates.get_template("messages.html").render(
            rows=rows[:_PAGE_SIZE],
            counts=counts,
            wanted=wanted,
            unknown=unknown,
            states=STATES,
            templates=TEMPLATES,
            shapes=_SHAPES,
            words=_WORDS,
            here="/messages",
            **({"events": "/messages/events"} if wanted.before is None else {}),
            older=_address(wanted, before=rows[_PAGE_SIZE - 1].cursor) if len(rows) > _PAGE_SIZE else None,
        )
        return HTMLResponse(page, status_code=400 if unknown else 200)

    async def events(self, _request: Request) -> Response:
        """A word whenever something changed; the page then asks for what. An index answers the question each second."""
        return changes(self._history.last_change)


def _address(wanted: Filter, **changes: str) -> str:
    parts = {
        "appointment": str(wanted.appointment_id) if wanted.appointment_id else "",
        "state": wanted.state or "",
        "template": wanted.template or "",
        **changes,
    }
    return "/messages?" + urlencode({name: value for name, value in parts.items() if value})
