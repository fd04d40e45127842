"""``/messages``: every message by appointment, with its state and reason; live, and filtered in the address."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from chassis.web import access
from chassis.web.layout import Changes, Page, templates
from notifier.domain.notification import STATES, TEMPLATES
from notifier.web.history import Filter, History, read_filter

PAGES: Final = (Page("Messages", "/messages"),)
_HERE = Path(__file__).parent
_PAGE_SIZE = 100
_LEVELS = {
    "awaiting_recipient": "warn", "queued": "busy", "sent": "good", "superseded": "quiet", "undeliverable": "bad",
}  # fmt: skip
_WORDS = {
    "awaiting_recipient": "waits for its recipient",
    "queued": "queued",
    "sent": "sent",
    "superseded": "superseded",
    "undeliverable": "undeliverable",
}


class MessagesPage:
    """The page and its stream of changes."""

    def __init__(self, history: History, consoles: Mapping[str, str] | None = None) -> None:
        self._history = history
        self._templates = templates("notifier", PAGES, _HERE / "pages", consoles=consoles)

    def routes(self) -> Sequence[BaseRoute]:
        return access.viewer(
            Route("/messages", self.show),
            # An index answers the query each second.
            Route("/messages/events", Changes(self._history.last_change).stream),
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
            pairs=[(one, one) for one in TEMPLATES],
            newest=_address(replace(wanted, before=None)) if wanted.before else None,
            levels=_LEVELS,
            words=_WORDS,
            here="/messages",
            **({"events": "/messages/events"} if wanted.before is None else {}),
            older=_address(wanted, before=rows[_PAGE_SIZE - 1].cursor) if len(rows) > _PAGE_SIZE else None,
        )
        return HTMLResponse(page, status_code=400 if unknown else 200)


def _address(wanted: Filter, **changes: str) -> str:
    parts = {
        "appointment": str(wanted.appointment_id) if wanted.appointment_id else "",
        "state": wanted.state or "",
        "template": wanted.template or "",
        **changes,
    }
    return "/messages?" + urlencode({name: value for name, value in parts.items() if value})
