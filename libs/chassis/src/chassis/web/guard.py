"""In front of every route: the declaration decides who passes, and every answer limits what the browser may do.

Undeclared routes are not served. Without any person set up (development only: production refuses to start) the console
is open, and its acts are audited as ``console``.
"""

import hmac
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, Literal, Protocol
from urllib.parse import quote

import structlog
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute
from starlette.types import Message, Receive, Scope, Send

from chassis.observe import Metrics, meters
from chassis.settings import HttpSettings
from chassis.web.access import (
    FOR_PEOPLE,
    FOR_THE_INTERNET,
    GATE,
    Access,
    Declared,
    Person,
    Role,
    current_person,
    declared,
)
from chassis.web.brake import Brake
from chassis.web.hosts import OwnNames
from chassis.web.passwords import Passwords, digest

Surface = Literal["console", "public"]
PatientSession = Callable[[Request], Awaitable[object | None]]
"""Finds the patient session of a request, or None. A service with routes for patients provides it."""


class Door(Protocol):
    """The log-in through an identity provider. ``path``: the page that leads there."""

    path: str

    @property
    def is_ready(self) -> bool: ...
    async def person(self, request: Request) -> Person | None: ...
    def form_targets(self) -> Iterable[str]: ...


ANONYMOUS: Final = Person("console", Role.ADMIN)
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_PAGE: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self';"
    " base-uri 'none'; form-action 'self'{forms}; frame-ancestors 'none'"
)
_NO_PAGE: Final = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_PUBLIC_PAGE: Final = _OWN_PAGE.format(forms="") + "; font-src 'self'; manifest-src 'self'"
_HEADERS: Final = {
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

log = structlog.get_logger(__name__)


class Guard:
    """An ASGI application of the declared ``routes`` that belong to ``surface``. Raises ``UndeclaredRoute``.

    It wraps the error handling, so that error answers carry the headers too. ``door``: the log-in through an identity
    provider; while it is not ready people are asked for a password, if any has one.
    """

    def __init__(
        self,
        routes: Iterable[BaseRoute],
        http: HttpSettings,
        *,
        service: str = "",
        surface: Surface = "console",
        metrics: Metrics | None = None,
        brake: Brake | None = None,
        exception_handlers: Mapping[Any, Callable[[Request, Exception], Awaitable[Response]]] | None = None,
        door: Door | None = None,
        patient_session: PatientSession | None = None,
    ) -> None:
        self.routes = [one for one in declared(routes) if (one.access in FOR_THE_INTERNET) == (surface == "public")]
        self._app = Starlette(routes=self.routes, exception_handlers=dict(exception_handlers or {}))
        self._app.router.default = self._nowhere
        self._app.router.redirect_slashes = False
        is_public = surface == "public"
        self._is_public = is_public
        self._names = OwnNames(
            service,
            http.public_host if is_public else http.host,
            http.public_hosts if is_public else http.allowed_hosts,
        )
        self._passwords = Passwords(http)
        self._tokens = {digest(token.encode()): name for name, token in http.services()}
        self._metrics = metrics
        self._brake = Brake() if brake is None else brake
        self._door = door
        self._patient_session = patient_session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # no page of ours opens a WebSocket
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                answer.setdefault("Content-Security-Policy", self._policy(scope))
                for name, value in _HEADERS.items():
                    answer.setdefault(name, value)
            await send(message)

        scope[GATE] = self._admit
        await self._app(scope, receive, send_guarded)

    def _policy(self, scope: Scope) -> str:
        route = scope.get("route")
        if isinstance(route, Declared) and route.access in (Access.PROBE, Access.SERVICE):
            return _NO_PAGE
        if self._is_public:
            return _PUBLIC_PAGE
        targets = () if self._door is None else self._door.form_targets()
        return _OWN_PAGE.format(forms="".join(f" {origin}" for origin in targets))

    async def _nowhere(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers an unknown path. Only people who may see the routes learn which paths exist."""
        refusal = await self._admit(scope, Access.PUBLIC if self._is_public else Access.VIEWER)
        if refusal is None:
            raise HTTPException(404)
        await refusal(scope, receive, send)

    async def _admit(self, scope: Scope, access: Access) -> Response | None:
        """The refusal of the request; None when it may pass. The person is stored for the page and the audit."""
        if access is Access.PROBE:  # also reachable by an IP address, without a name
            return None
        current_person.set(None)
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._names.have(hosts[0]):
            setting = "HTTP__PUBLIC_HOSTS" if self._is_public else "HTTP__ALLOWED_HOSTS"
            return self._refuse("host", 421, f"These pages do not answer to that name. {setting} lists more.")
        if access is Access.SERVICE:
            return self._service_refusal(scope, headers)
        refusal = await self._person_refusal(scope, headers, access)
        if refusal is not None:
            return refusal
        if scope["method"] not in _SAFE_METHODS and not _is_same_origin(headers):
            return self._refuse("origin", 403, "A change has to come from this site's own page.")
        return None

    async def _person_refusal(self, scope: Scope, headers: Headers, access: Access) -> Response | None:
        if access in FOR_PEOPLE:
            person = await self._person(scope, headers)
            if isinstance(person, Response):
                return person
            if not person.role.includes(access):
                return self._refuse("role", 403, f"This needs the role {access}; {person.name} has {person.role}.")
            current_person.set(person)
            scope.setdefault("state", {}).update(person=person, actor=person.actor)
            return None
        if access is Access.PATIENT_SESSION:
            session = None if self._patient_session is None else await self._patient_session(Request(scope))
            if session is None:
                return self._refuse("patient-session", 401, "This page has ended. Open it again by its link.")
            scope.setdefault("state", {})["patient_session"] = session
        return None  # PUBLIC and LOGIN: for everybody

    async def _person(self, scope: Scope, headers: Headers) -> Person | Response:
        """Returns the person, or the answer to a visitor who is not logged in."""
        person = None if self._door is None else await self._door.person(Request(scope))
        if person is not None:
            return person
        given = headers.get("authorization")
        if self._passwords and given is not None:
            return self._by_password(scope, given)
        if self._door is None and not self._passwords:
            return ANONYMOUS
        if self._door is None or (self._passwords and not self._door.is_ready):
            return self._ask_for_password()  # a browser asks its user only after this answer
        if scope["method"] in _SAFE_METHODS and headers.get("sec-fetch-mode", "navigate") == "navigate":
            there = scope["path"] + (f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else "")
            return RedirectResponse(f"{self._door.path}?next={quote(there, safe='/')}", 303)
        return PlainTextResponse("Log in first.", 401)

    def _by_password(self, scope: Scope, given: str) -> Person | Response:
        waiting = self._braked(scope)
        if waiting is not None:
            return waiting
        person = self._passwords.person(given)
        if person is not None:
            return person
        self._tried_wrongly(scope, "password")
        return self._ask_for_password()

    def _service_refusal(self, scope: Scope, headers: Headers) -> Response | None:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return PlainTextResponse("Give a service's token.", 401, headers={"WWW-Authenticate": "Bearer"})
        waiting = self._braked(scope)
        if waiting is not None:
            return waiting
        given = digest(token.strip().encode())
        for wanted, name in self._tokens.items():
            if hmac.compare_digest(given, wanted):
                scope.setdefault("state", {})["actor"] = name
                return None
        self._tried_wrongly(scope, "token")
        return PlainTextResponse("The service token is not valid.", 401, headers={"WWW-Authenticate": "Bearer"})

    def _braked(self, scope: Scope) -> Response | None:
        """The answer to a source that guessed too often; None for any other source."""
        wait_seconds = self._brake.wait_seconds(_address(scope))
        if wait_seconds <= 0:
            return None
        later = {"Retry-After": str(math.ceil(wait_seconds))}
        return self._refuse("brake", 429, "Too many wrong tries came from your address. Try again later.", later)

    def _tried_wrongly(self, scope: Scope, reason: str) -> None:
        """Counts a wrong password or token against its source."""
        self._brake.wrong(_address(scope))
        self._count(reason)
        log.warning("console.wrong-try", reason=reason, source=_address(scope))

    def _ask_for_password(self) -> Response:
        asks = {"WWW-Authenticate": 'Basic realm="console", charset="UTF-8"'}
        return PlainTextResponse("Log in as one of the console's people.", 401, headers=asks)

    def _refuse(self, reason: str, status: int, words: str, headers: dict[str, str] | None = None) -> Response:
        self._count(reason)
        return PlainTextResponse(words, status, headers=headers)

    def _count(self, reason: str) -> None:
        if self._metrics is not None:
            self._metrics.count(meters.CONSOLE_REFUSED, reason=reason)


def _address(scope: Scope) -> str:
    return str((scope.get("client") or ("",))[0])


def _is_same_origin(headers: Headers) -> bool:
    """Browsers report a request's origin; a form on another site cannot fake it."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    return headers.get("origin", "").partition("://")[2] == headers.get("host", "-")


def actor_of(request: Request) -> str:
    """The name that the audit records for the caller. Use it only on routes that need a log-in or a service's token."""
    return str(request.state.actor)


def header_names() -> Iterable[str]:
    """The headers of every answer."""
    return ("Content-Security-Policy", *_HEADERS)
