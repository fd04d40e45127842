"""``/messages``: every message by appointment, with its state and reason; live, and filtered in the address."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from notifier.domain.notification import STATES, TEMPLATES
from notifier.web.history import Filter, History, read_filter

_HERE = Path(__file__).parent
_PAGE_SIZE = 100
_POLL_SECONDS = 1.0
_POLLS_PER_KEEP_ALIVE = 10
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self';"
        " base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
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
        self._templates = Environment(
            loader=FileSystemLoader(_HERE / "pages"), autoescape=True, trim_blocks=True, lstrip_blocks=True
        )

    def routes(self) -> Sequence[BaseRoute]:
        return [
            Route("/messages", self.show),
            Route("/messages/events", self.events),
            Mount("/messages/static", StaticFiles(directory=_HERE / "static")),
        ]

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
            live=wanted.before is None,
            older=_address(wanted, before=rows[_PAGE_SIZE - 1].cursor) if len(rows) > _PAGE_SIZE else None,
        )
        return HTMLResponse(page, headers=_HEADERS, status_code=400 if unknown else 200)

    async def events(self, request: Request) -> Response:  # noqa: ARG002 Starlette's signature
        return StreamingResponse(self._changes(), media_type="text/event-stream", headers=_HEADERS)

    async def _changes(self) -> AsyncIterator[str]:
        """A word whenever something changed; the page then asks for what. An index answers the question each second."""
        told = await self._history.last_change()
        quiet = 0
        yield "retry: 1000\n\n"
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            now = await self._history.last_change()
            quiet += 1
            if now != told:
                told, quiet = now, 0
                yield "event: changed\ndata: messages\n\n"
            elif quiet >= _POLLS_PER_KEEP_ALIVE:
                quiet = 0
                yield ": still here\n\n"


def _address(wanted: Filter, **changes: str) -> str:
    parts = {
        "appointment": str(wanted.appointment_id) if wanted.appointment_id else "",
        "state": wanted.state or "",
        "template": wanted.template or "",
        **changes,
    }
    return "/messages?" + urlencode({name: value for name, value in parts.items() if value})
