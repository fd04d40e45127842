"""In front of every page: who may see it, what a browser may do with it, and that a change comes from our own page.

Probes and metrics hold no patient's data and stay open. Without a console password (development only: production
refuses to start) the pages are open too, and what is done there is audited as ``console``.
"""

import base64
import binascii
import hmac
from collections.abc import Iterable
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chassis.settings import HttpSettings

OPEN_PATHS: Final = frozenset({"/livez", "/readyz", "/metrics"})
ANONYMOUS: Final = "console"
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self';"
        " base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Guard:
    """ASGI middleware; leaves the user's name in ``scope["state"]["actor"]``."""

    def __init__(self, app: ASGIApp, http: HttpSettings) -> None:
        self._app = app
        self._http = http

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    answer.setdefault(name, value)
            await send(message)

        if scope["path"] not in OPEN_PATHS:
            actor = self._actor(headers)
            if actor is None:
                asks = {"WWW-Authenticate": 'Basic realm="console", charset="UTF-8"'}
                refusal = PlainTextResponse("Log in as the console's user.", 401, headers=asks)
                await refusal(scope, receive, send_guarded)
                return
            if scope["method"] not in _SAFE_METHODS and not _is_same_origin(headers):
                refusal = PlainTextResponse("A change has to come from this console's own page.", 403)
                await refusal(scope, receive, send_guarded)
                return
            scope.setdefault("state", {})["actor"] = actor
        await self._app(scope, receive, send_guarded)

    def _actor(self, headers: Headers) -> str | None:
        """The user's name; None when the page is not for who asks."""
        if self._http.console_password is None:
            return ANONYMOUS
        wanted = f"{self._http.console_user}:{self._http.console_password.get_secret_value()}"
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            found = base64.b64decode(given, validate=True)
        except (binascii.Error, ValueError):
            return None
        return self._http.console_user if hmac.compare_digest(found, wanted.encode()) else None


def _is_same_origin(headers: Headers) -> bool:
    """Browsers say where a request comes from; a form on another site cannot lie about it."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    return headers.get("origin", "").partition("://")[2] == headers.get("host", "-")


def actor_of(request: Request) -> str:
    """Who acts, for the audit."""
    return str(request.state.actor)


def header_names() -> Iterable[str]:
    """The headers that every answer carries."""
    return _HEADERS.keys()
