"""The common part of every answer of a simulator: headers, templates, and small checks of a request."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PrefixLoader
from starlette.datastructures import FormData, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from simulator_kit.feature import Feature

_KIT: Final = Path(__file__).parent
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class _SecureHeaders:
    """Puts the headers on every answer. A header that a route sets itself stays."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        keeping = "no-cache" if scope["path"].startswith("/static/") else "no-store"

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in {**_HEADERS, "Cache-Control": keeping}.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers)


def middleware(container: str) -> list[Middleware]:
    """The headers, and a check of the Host.

    `container` is the simulator's name in the containers' network. Without the check, another site could point its own
    name to this server and use a developer's browser.
    """
    names = ["127.0.0.1", "localhost", container]
    return [
        Middleware(_SecureHeaders),
        Middleware(TrustedHostMiddleware, allowed_hosts=names, www_redirect=False),
    ]


def static(package: Path, features: Iterable[Feature[Any]] = ()) -> Mount:
    """`/static`: the kit's files, the package's, and those of its features. The first file of a name is served."""
    folders = [package, *(feature.folder for feature in features), _KIT]
    files = StaticFiles(directory=_KIT / "static")
    files.all_directories = [folder / "static" for folder in folders if (folder / "static").is_dir()]
    return Mount("/static", files, name="static")


def templates(package: Path, **shared: object) -> Jinja2Templates:
    """Templates below a package's folder, named as `patients/list.html`; the kit's are `kit/…`.

    `shared` is known to every template.
    """
    kit = PrefixLoader({"kit": FileSystemLoader(_KIT / "pages")})
    environment = Environment(
        loader=ChoiceLoader([kit, FileSystemLoader(package)]), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals.update(shared)
    return Jinja2Templates(env=environment)


def page(
    templates: Jinja2Templates, request: Request, template: str, context: Mapping[str, Any], *, status: int = 200
) -> Response:
    return templates.TemplateResponse(request, template, {"path": request.url.path, **context}, status_code=status)


def wants_json(request: Request) -> bool:
    return request.headers.get("Accept", "").startswith("application/json")


def is_from_elsewhere(request: Request) -> bool:
    """Whether another site sends the form. Browsers declare this; programs do not."""
    return request.headers.get("Sec-Fetch-Site", "same-origin") not in {"same-origin", "none"}


def text_of(form: FormData, name: str) -> str:
    """A field of a form without blanks around it; empty when it is missing or a file."""
    value = form.get(name)
    return value.strip() if isinstance(value, str) else ""


def safe_next(target: str) -> str:
    """The page after a login: a path of this site, else the first page."""
    parts = urlsplit(target)
    is_local = target.startswith("/") and not target.startswith(("//", "/\\")) and not parts.scheme and not parts.netloc
    return target if is_local else "/"
