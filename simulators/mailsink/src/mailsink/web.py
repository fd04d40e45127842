"""The inbox page, the JSON that tests read, and the switch for misbehaviour."""

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mailsink.live import Announcements
from mailsink.misbehaviour import BadOrderError, Orders, read_order
from mailsink.reading import read_mail
from mailsink.store import SinkStore

_HERE = Path(__file__).parent
_PAGE_SIZE = 100
OWN_NAMES = ["127.0.0.1", "localhost", "mailsink"]
"""Another site could lead its own name here, and a developer's browser with it. The last one is a container's name."""
_LARGEST_CATCH_UP = 500
_PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:;"
    " frame-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# A mail's HTML is a stranger's: no scripts, no loads, an origin of its own, and its links open outside the frame.
_MAIL_POLICY = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; style-src 'unsafe-inline';"
    " img-src data:; frame-ancestors 'self'"
)


class _SecureHeaders:
    """Adds what every answer carries; a route's own policy stays."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Content-Security-Policy", _PAGE_POLICY)
                headers.setdefault("Cache-Control", "no-store")
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "no-referrer"
            await send(message)

        await self._app(scope, receive, with_headers)


def _number(request: Request, name: str, default: int, *, lowest: int = 0, highest: int = 2**62) -> int:
    try:
        return min(max(int(request.query_params.get(name, default)), lowest), highest)
    except ValueError:
        return default


class _Pages:
    def __init__(self, store: SinkStore, orders: Orders, announcements: Announcements) -> None:
        self._store = store
        self._orders = orders
        self._announcements = announcements
        self._templates = Environment(
            loader=FileSystemLoader(_HERE / "pages"), autoescape=True, trim_blocks=True, lstrip_blocks=True
        )

    def _render(self, page: str, status: int = 200, **values: Any) -> HTMLResponse:
        return HTMLResponse(self._templates.get_template(page).render(**values), status_code=status)

    async def inbox(self, request: Request) -> Response:
        to = request.query_params.get("to", "").strip()
        before = _number(request, "before", 2**62)
        rows = await self._store.newest(to=to or None, before=before, limit=_PAGE_SIZE + 1)
        older, rows = len(rows) > _PAGE_SIZE, [_listed(row) for row in rows[:_PAGE_SIZE]]
        return self._render(
            "inbox.html",
            mails=rows,
            to=to,
            live=before == 2**62,
            older=rows[-1]["id"] if older else None,
            count=await self._store.count(),
        )

    async def rows(self, request: Request) -> Response:
        """The rows above ``after``, as the inbox slips them in at the top."""
        to = request.query_params.get("to", "").strip()
        rows = await self._store.newest(to=to or None, after=_number(request, "after", 0), limit=_LARGEST_CATCH_UP)
        return self._render("rows.html", mails=[_listed(row) for row in rows])

    async def mail(self, request: Request) -> Response:
        row = await self._store.mail(request.path_params["number"])
        if row is None:
            return self._render("missing.html", 404)
        return self._render("mail.html", mail=_listed(row), parts=read_mail(row["raw"]))

    async def mail_html(self, request: Request) -> Response:
        row = await self._store.mail(request.path_params["number"])
        if row is None:
            return self._render("missing.html", 404)
        html = '<base target="_blank">' + read_mail(row["raw"]).html
        return HTMLResponse(html, headers={"Content-Security-Policy": _MAIL_POLICY})

    async def mail_raw(self, request: Request) -> Response:
        row = await self._store.mail(request.path_params["number"])
        if row is None:
            return self._render("missing.html", 404)
        return Response(row["raw"], media_type="text/plain; charset=utf-8")

    async def events(self, request: Request) -> Response:  # noqa: ARG002 Starlette's signature
        return StreamingResponse(self._announcements.stream(), media_type="text/event-stream")

    async def api_mails(self, request: Request) -> Response:
        to = request.query_params.get("to", "").strip() or None
        after = _number(request, "after", 0)
        limit = _number(request, "limit", 1000, lowest=1, highest=10_000)
        rows = await self._store.mails(to=to, after=after, limit=limit)
        mails = [_for_tests(row) for row in rows]
        return JSONResponse({"mails": mails, "last": mails[-1]["id"] if mails else after})

    async def ledger(self, request: Request) -> Response:
        after = _number(request, "after", 0)
        limit = _number(request, "limit", 1000, lowest=1, highest=10_000)
        rows = await self._store.ledger(after=after, limit=limit)
        return JSONResponse({"rows": rows, "last": await self._store.newest_ledger_row()})

    async def healthz(self, request: Request) -> Response:  # noqa: ARG002 Starlette's signature
        return JSONResponse({"mails": await self._store.count()})

    async def misbehave(self, request: Request) -> Response:
        if request.method == "DELETE":
            self._orders.clear()
        elif request.method == "POST":
            try:
                self._orders.add(read_order(await request.json()))
            except (BadOrderError, json.JSONDecodeError) as error:
                return JSONResponse({"error": str(error)}, status_code=422)
        return JSONResponse({"orders": self._orders.listed()})


def _listed(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"recipients": json.loads(row["recipients"])}


def _for_tests(row: dict[str, Any]) -> dict[str, Any]:
    parts = read_mail(row["raw"])
    return {
        "id": row["id"],
        "at": row["at"],
        "from": row["sender"],
        "to": json.loads(row["recipients"]),
        "message_id": row["message_id"],
        "subject": row["subject"],
        "template": row["template"],
        "appointment": row["appointment"],
        "headers": [list(pair) for pair in parts.headers],
        "text": parts.text,
        "html": parts.html,
    }


def build_app(store: SinkStore, orders: Orders, announcements: Announcements) -> Starlette:
    pages = _Pages(store, orders, announcements)
    return Starlette(
        routes=[
            Route("/", pages.inbox),
            Route("/rows", pages.rows),
            Route("/events", pages.events),
            Route("/mails/{number:int}", pages.mail),
            Route("/mails/{number:int}/html", pages.mail_html),
            Route("/mails/{number:int}/raw", pages.mail_raw),
            Route("/api/mails", pages.api_mails),
            Route("/ledger", pages.ledger),
            Route("/healthz", pages.healthz),
            Route("/control/misbehave", pages.misbehave, methods=["GET", "POST", "DELETE"]),
            Mount("/static", StaticFiles(directory=_HERE / "static")),
        ],
        middleware=[
            Middleware(_SecureHeaders),
            Middleware(TrustedHostMiddleware, allowed_hosts=OWN_NAMES, www_redirect=False),
        ],
    )
