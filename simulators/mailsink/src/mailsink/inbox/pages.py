"""The inbox's pages, and the mails as JSON."""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from mailsink.context import Services, templates
from mailsink.inbox import mails
from mailsink.inbox.reading import read_mail
from simulator_kit import web
from simulator_kit.store import Work

_PAGE_SIZE: Final = 100
_MOST_MAILS: Final = 10_000
_NEWEST: Final = 2**62
# A mail's HTML is untrusted: no scripts, no loads, its own origin; its links open outside the frame.
_MAIL_POLICY: Final = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; style-src 'unsafe-inline'; "
    "img-src data:; frame-ancestors 'self'"
)


class Inbox:
    """The pages, over one store."""

    def __init__(self, services: Services) -> None:
        self._store = services.store
        self._live = services.live

    def routes(self) -> list[Route]:
        return [
            Route("/", self.list),
            Route("/events", self.events),
            Route("/mails/{number:int}", self.mail),
            Route("/mails/{number:int}/html", self.mail_html),
            Route("/mails/{number:int}/raw", self.mail_raw),
            Route("/api/mails", self.api),
        ]

    async def list(self, request: Request) -> Response:
        """`?to=&before=`: newest first, older ones through `before`."""
        to = request.query_params.get("to", "").strip()
        before = _number(request, "before", _NEWEST)

        def question(work: Work) -> dict[str, Any]:
            rows = mails.newest(work, to=to or None, before=before, limit=_PAGE_SIZE + 1)
            return {
                "mails": rows[:_PAGE_SIZE],
                "older": rows[_PAGE_SIZE - 1]["id"] if len(rows) > _PAGE_SIZE else None,
                "count": mails.count(work)["mails"],
            }

        shown = await self._store.read(question)
        return web.page(templates, request, "inbox/list.html", {"to": to, "is_newest": before == _NEWEST, **shown})

    async def events(self, _request: Request) -> Response:
        return self._live.response(dict)

    async def mail(self, request: Request) -> Response:
        row = await self._mail(request)
        if row is None:
            return _missing(request)
        return web.page(templates, request, "inbox/mail.html", {"mail": row, "parts": read_mail(row["raw"])})

    async def mail_html(self, request: Request) -> Response:
        row = await self._mail(request)
        if row is None:
            return _missing(request)
        html = '<base target="_blank">' + read_mail(row["raw"]).html
        return HTMLResponse(html, headers={"Content-Security-Policy": _MAIL_POLICY})

    async def mail_raw(self, request: Request) -> Response:
        row = await self._mail(request)
        if row is None:
            return _missing(request)
        return Response(row["raw"], media_type="text/plain; charset=utf-8")

    async def _mail(self, request: Request) -> mails.Row | None:
        number = request.path_params["number"]
        return await self._store.read(lambda work: mails.mail(work, number))

    async def api(self, request: Request) -> Response:
        """`?to=&after=&limit=` → `{"mails", "last"}`, oldest first."""
        to = request.query_params.get("to", "").strip() or None
        after = _number(request, "after", 0)
        limit = min(max(_number(request, "limit", 1000), 1), _MOST_MAILS)
        rows = await self._store.read(lambda work: mails.above(work, to=to, after=after, limit=limit))
        return JSONResponse({"mails": [_for_programs(row) for row in rows], "last": rows[-1]["id"] if rows else after})


def _missing(request: Request) -> Response:
    return web.page(templates, request, "inbox/missing.html", {}, status=404)


def _number(request: Request, name: str, default: int) -> int:
    """A query parameter; the default for any text that is no number."""
    try:
        return min(max(int(request.query_params.get(name, default)), 0), _NEWEST)
    except ValueError:
        return default


def _for_programs(row: mails.Row) -> dict[str, Any]:
    parts = read_mail(row["raw"])
    return {
        "id": row["id"],
        "at": row["at"],
        "from": row["sender"],
        "to": row["recipients"],
        "message_id": row["message_id"],
        "subject": row["subject"],
        "template": row["template"],
        "appointment": row["appointment"],
        "headers": [list(pair) for pair in parts.headers],
        "text": parts.text,
        "html": parts.html,
    }
