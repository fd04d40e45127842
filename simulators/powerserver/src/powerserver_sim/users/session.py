"""The guards of pages and of the JSON API, and the rendering of a page for its user."""

import base64
import binascii
import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import wraps
from typing import Any, Final
from urllib.parse import quote
from zoneinfo import ZoneInfo

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from powerserver_sim import rules
from powerserver_sim.accounts import User
from powerserver_sim.context import services, templates
from powerserver_sim.rules import HTTP_STATUS, Refused, local
from simulator_kit import web

COOKIE: Final = "powerserver_session"
HALF_LOGIN_COOKIE: Final = "powerserver_half_login"
HALF_LOGIN_SECONDS: Final = 300
"""How long a login waits for its second factor."""

_COLOURS: Final = (
    (rules.SCHEDULED, "ordered"),
    (rules.CONFIRMED, "scheduled"),
    (rules.ARRIVED, "confirmed"),
    (rules.CANCELLED, "arrived"),
    (rules.NO_SHOW, "cancelled"),
    (rules.READY_FOR_SCAN, "noshow"),
    (rules.COMPLETED, "ready"),
)

Page = Callable[[Request, User], Awaitable[Response]]


def status_colour(value: int) -> str:
    """The colour name of a study status, by its order value: a renamed status keeps its colour."""
    return next((name for below, name in _COLOURS if value < below), "done")


def day_and_time(seconds: int, zone: str) -> str:
    """An instant in the facility's zone, with the zone's short name."""
    return local(seconds, zone).strftime("%a %-d %b %Y, %H:%M %Z")


def clock_of(seconds: int, zone: str) -> str:
    return local(seconds, zone).strftime("%a %-d %b, %H:%M")


def day_of(seconds: int, zone: str) -> str:
    """The day of an instant in the facility's zone, as addresses have it."""
    return local(seconds, zone).date().isoformat()


def utc_in_zone(text: str, zone: str) -> str:
    """A stored UTC time in the facility's zone, to the second."""
    return datetime.fromisoformat(text).astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S %Z")


def facts(detail: str) -> str:
    """A ledger row's JSON detail as words."""
    known = {name.replace("_", " "): value for name, value in json.loads(detail).items() if value not in ("", None)}
    return " · ".join(f"{name} {value}" for name, value in known.items())


templates.env.filters.update(
    clock_of=clock_of,
    day_and_time=day_and_time,
    day_of=day_of,
    facts=facts,
    status_colour=status_colour,
    utc_in_zone=utc_in_zone,
)


def render(request: Request, user: User | None, template: str, *, status: int = 200, **context: Any) -> Response:
    return web.page(templates, request, template, {"user": user, **context}, status=status)


def for_user(page: Page) -> Callable[[Request], Awaitable[Response]]:
    """Sends visitors to the login page, and refuses form posts from another site."""

    @wraps(page)
    async def checked(request: Request) -> Response:
        name = services(request).sessions.subject(request)
        user = None if name is None else await services(request).accounts.named(name)
        if user is None:
            if web.wants_json(request):
                return JSONResponse({"error": {"reason": "login", "message": "Please log in again."}}, status_code=401)
            here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            target = "/login" if request.method != "GET" or here == "/" else f"/login?next={quote(here)}"
            return RedirectResponse(target, status_code=303)
        if request.method == "POST" and web.is_from_elsewhere(request):
            raise Refused("facility", "The form was sent from another site.")
        return await page(request, user)

    return checked


def for_admin(page: Page) -> Callable[[Request], Awaitable[Response]]:
    """As `for_user`, but changes require an administrator."""

    @wraps(page)
    async def checked(request: Request, user: User) -> Response:
        if request.method == "POST" and not user.is_admin:
            raise Refused("facility", "Only an administrator changes settings.")
        return await page(request, user)

    return for_user(checked)


async def refused(request: Request, problem: Exception) -> Response:
    """A guard's refusal: JSON for programs and scripts, a page for people."""
    assert isinstance(problem, Refused)  # noqa: S101 - registered for this class only
    status = HTTP_STATUS[problem.reason]
    if request.url.path.startswith(("/api/", "/control/", "/ledger")) or web.wants_json(request):
        return JSONResponse(
            {"error": {"reason": problem.reason, "message": problem.text, "field": problem.field}}, status_code=status
        )
    return render(request, None, "problem.html", status=status, problem=problem)


async def form_of(request: Request) -> FormData:
    return await request.form(max_fields=200)


def texts_of(form: FormData) -> dict[str, str]:
    """The fields of a form, without files."""
    return {name: value for name, value in form.items() if isinstance(value, str)}


def authenticated(handler: Page) -> Callable[[Request], Awaitable[Response]]:
    """The guard of the JSON API: HTTP Basic, 401 without a correct name and password."""

    @wraps(handler)
    async def checked(request: Request) -> Response:
        credentials = _basic(request.headers.get("authorization", ""))
        user = await services(request).accounts.login(*credentials) if credentials is not None else None
        if user is None:
            return JSONResponse(
                {"error": {"reason": "login", "message": "HTTP Basic with a PowerServer user."}},
                status_code=401,
                headers={"WWW-Authenticate": 'Basic realm="PowerServer", charset="UTF-8"'},
            )
        if user.has_second_factor:
            words = "This user logs in with a second factor; a program uses another user."
            return JSONResponse({"error": {"reason": "login", "message": words}}, status_code=401)
        return await handler(request, user)

    return checked


def _basic(header: str) -> tuple[str, str] | None:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (name, password) if colon else None
