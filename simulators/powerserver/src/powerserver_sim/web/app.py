"""The HTTP application: pages, API and control routes, one set of security headers."""

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from powerserver_sim.rules import HTTP_STATUS, Refused
from powerserver_sim.web import api, control
from powerserver_sim.web.context import Services

_POLICY: Final = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
_HEADERS: Final = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
]


class SecurityHeaders:
    """Adds the headers to every answer; pages and API answers are not kept by caches."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = list(_HEADERS)
                if not scope["path"].startswith("/static/"):
                    extra.append((b"cache-control", b"no-store"))
                message["headers"] = [*message.get("headers", []), *extra]
            await send(message)

        await self._app(scope, receive, with_headers)


async def refused(_request: Request, problem: Exception) -> Response:
    """A guard's refusal as JSON."""
    assert isinstance(problem, Refused)  # noqa: S101 - registered for this class only
    return JSONResponse(
        {"error": {"reason": problem.reason, "message": problem.text, "field": problem.field}},
        status_code=HTTP_STATUS[problem.reason],
    )


ExceptionHandler = Callable[[Request, Exception], Awaitable[Response]]


def build(services: Services) -> Starlette:
    app = Starlette(
        routes=[*control.routes, *api.routes],
        middleware=[Middleware(SecurityHeaders)],
        exception_handlers={Refused: refused},
    )
    app.state.services = services
    return app
