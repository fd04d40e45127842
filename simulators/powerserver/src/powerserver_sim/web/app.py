"""The HTTP application: pages, API and control routes, one set of security headers."""

from typing import Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from powerserver_sim.rules import Refused
from powerserver_sim.web import (
    api,
    control,
    home_pages,
    message_pages,
    order_pages,
    patient_pages,
    scheduler_pages,
    settings_pages,
)
from powerserver_sim.web.context import Services
from powerserver_sim.web.session import PACKAGE, refused

OWN_NAMES = ["127.0.0.1", "localhost", "powerserver"]
"""Another site could lead its own name here, and a developer's browser with it. The last one is a container's name."""
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


def build(services: Services, session_key: str) -> Starlette:
    app = Starlette(
        routes=[
            *control.routes,
            *api.routes,
            *home_pages.routes,
            *scheduler_pages.routes,
            *order_pages.routes,
            *patient_pages.routes,
            *settings_pages.routes,
            *message_pages.routes,
            Mount("/static", StaticFiles(directory=PACKAGE / "static"), name="static"),
        ],
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(TrustedHostMiddleware, allowed_hosts=OWN_NAMES, www_redirect=False),
            # Cookies know no ports: the name keeps simulators on one host apart.
            Middleware(
                SessionMiddleware,
                secret_key=session_key,
                session_cookie="powerserver_session",
                same_site="strict",
                max_age=12 * 3600,
            ),
        ],
        exception_handlers={Refused: refused},
    )
    app.state.services = services
    return app
