"""In front of every page: who may see it, what a browser may do with it, and that a change comes from our own page.

Probes and metrics hold no patient's data and stay open, also to whoever comes by an address. Without a console
password (development only: production refuses to start) the pages are open too, and what is done there is audited as
``console``.
"""

import base64
import binascii
import hashlib
import hmac
import math
from collections.abc import Iterable
from typing import Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chassis.observe import Metrics
from chassis.settings import HttpSettings
from chassis.web.brake import Brake
from chassis.web.hosts import OwnNames

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

log = structlog.get_logger(__name__)


class Guard:
    """ASGI middleware around the whole application; leaves the user's name in ``scope["state"]["actor"]``.

    It stands outside of what answers errors, so that those answers carry the headers too.
    """

    def __init__(
        self,
        app: ASGIApp,
        http: HttpSettings,
        *,
        service: str = "",
        metrics: Metrics | None = None,
        brake: Brake | None = None,
    ) -> None:
        self._app = app
        self._user = http.console_user
        password = http.console_password
        self._wanted = None if password is None else _digest(f"{self._user}:{password.get_secret_value()}".encode())
        self._names = OwnNames(service, http.host, http.allowed_hosts)
        self._metrics = metrics
        self._brake = Brake() if brake is None else brake

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # no page of ours opens one
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    answer.setdefault(name, value)
            await send(message)

        if scope["path"] not in OPEN_PATHS:
            refusal = self._refusal(scope)
            if refusal is not None:
                await refusal(scope, receive, send_guarded)
                return
            scope.setdefault("state", {})["actor"] = ANONYMOUS if self._wanted is None else self._user
        await self._app(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        """Why the page is not for who asks; None when it is."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._names.have(hosts[0]):
            return self._refuse("host", 421, "These pages do not answer to that name. HTTP__ALLOWED_HOSTS lists more.")
        refusal = self._password_refusal(scope, headers)
        if refusal is not None:
            return refusal
        if scope["method"] not in _SAFE_METHODS and not _is_same_origin(headers):
            return self._refuse("origin", 403, "A change has to come from this console's own page.")
        return None

    def _password_refusal(self, scope: Scope, headers: Headers) -> Response | None:
        if self._wanted is None:
            return None
        asks = {"WWW-Authenticate": 'Basic realm="console", charset="UTF-8"'}
        given = headers.get("authorization")
        if given is None:  # how a browser begins: it asks its user only after this answer
            return PlainTextResponse("Log in as the console's user.", 401, headers=asks)
        address = str((scope.get("client") or ("",))[0])
        wait_seconds = self._brake.wait_seconds(address)
        if wait_seconds > 0:
            later = {"Retry-After": str(math.ceil(wait_seconds))}
            return self._refuse("brake", 429, "Too many wrong passwords came from there. Try again later.", later)
        if hmac.compare_digest(_digest(_credentials(given)), self._wanted):
            return None
        self._brake.wrong(address)
        log.warning("console.wrong-password", source=address)
        return self._refuse("password", 401, "Log in as the console's user.", asks)

    def _refuse(self, reason: str, status: int, words: str, headers: dict[str, str] | None = None) -> Response:
        if self._metrics is not None:
            self._metrics.count("console_refused_total", reason=reason)
        return PlainTextResponse(words, status, headers=headers)


def _credentials(given: str) -> bytes:
    """The user and password of an Authorization header; empty when it holds none."""
    scheme, _, encoded = given.partition(" ")
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _digest(text: bytes) -> bytes:
    """Of one length, so that comparing takes as long whatever was given."""
    return hashlib.sha256(text).digest()


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
