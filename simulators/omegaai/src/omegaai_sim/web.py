"""What all pages share: templates, headers that keep a page to itself, sessions in signed cookies."""

from pathlib import Path
from typing import Any, Final

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.templating import Jinja2Templates
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SESSION_SECONDS: Final = 12 * 3600
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}

templates = Jinja2Templates(Path(__file__).with_name("templates"))
templates.env.trim_blocks = True
templates.env.lstrip_blocks = True


class SecureHeaders:
    """Puts the headers on every answer; what is not a static file is never kept by a browser."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        keeping = "no-cache" if scope["path"].startswith("/static/") else "no-store"

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in {**HEADERS, "Cache-Control": keeping}.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def page(request: Request, template: str, status: int = 200, **context: Any) -> Response:
    return templates.TemplateResponse(request, template, context, status_code=status)


def wants_json(request: Request) -> bool:
    return request.headers.get("Accept", "").startswith("application/json")


def is_from_elsewhere(request: Request) -> bool:
    """A form that another site sent; browsers say so, programs say nothing."""
    return request.headers.get("Sec-Fetch-Site", "same-origin") not in {"same-origin", "none"}
