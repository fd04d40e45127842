"""Login with its second factor, logout, and the live stream of every page."""

from typing import Any, Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from powerserver_sim.accounts import User
from powerserver_sim.context import services
from powerserver_sim.users import second_factor
from powerserver_sim.users.session import for_user, form_of, render
from simulator_kit.live import Shown
from simulator_kit.store import Notice
from simulator_kit.web import safe_next, text_of

_PROBLEMS: Final[dict[second_factor.Outcome, str]] = {
    "right": "",
    "wrong": "The code is wrong, or it was used already.",
    "blocked": "Too many codes were wrong. Wait five minutes, then try a new code.",
}


async def login(request: Request) -> Response:
    """`?next=&name=`: `name` fills the user name in. A user with a second factor goes on to the code."""
    target = safe_next(request.query_params.get("next", "/"))
    if request.method == "GET":
        name = request.query_params.get("name", "")
        return render(request, None, "users/login.html", target=target, failed=False, name=name)
    form = await form_of(request)
    name = text_of(form, "name")
    password = form.get("password")
    user = await services(request).accounts.login(name, password if isinstance(password, str) else "")
    if user is None:
        return render(request, None, "users/login.html", status=401, target=target, failed=True, name=name)
    if user.has_second_factor:
        response = RedirectResponse(f"/login/code?next={quote(target)}", status_code=303)
        services(request).half_logins.begin(request, response, user.name)
        return response
    return await _logged_in(request, user.name, target)


async def code(request: Request) -> Response:
    """The second factor of a login whose password was right a moment ago."""
    target = safe_next(request.query_params.get("next", "/"))
    name = services(request).half_logins.subject(request)
    if name is None:
        return RedirectResponse(f"/login?next={quote(target)}", status_code=303)
    outcome: second_factor.Outcome = "right"
    if request.method == "POST":
        given = text_of(await form_of(request), "code")
        user_name = name
        outcome = await services(request).store.write(lambda work: second_factor.take(work, user_name, given))
        if outcome == "right":
            return await _logged_in(request, name, target)
    shown = await services(request).store.read(lambda work: second_factor.code_now(work, name))
    return render(
        request, None, "users/code.html", status=200 if outcome == "right" else 401, target=target, name=name,
        code=shown, problem=_PROBLEMS[outcome],
    )  # fmt: skip


async def _logged_in(request: Request, name: str, target: str) -> Response:
    await services(request).store.write(lambda work: work.changed("login", name))
    response = RedirectResponse(target, status_code=303)
    services(request).sessions.begin(request, response, name)
    services(request).half_logins.end(response)
    return response


async def logout(request: Request) -> Response:
    response = RedirectResponse("/login", status_code=303)
    services(request).sessions.end(response)
    return response


@for_user
async def events(request: Request, user: User) -> Response:
    return services(request).live.response(seen_by(user))


def seen_by(user: User) -> Shown:
    """Notices without the facilities that a user may not see."""

    def shown(notice: Notice) -> dict[str, Any] | None:
        return dict(notice) if "facility" not in notice or user.sees(notice["facility"]) else None

    return shown


ROUTES = [
    Route("/login", login, methods=["GET", "POST"]),
    Route("/login/code", code, methods=["GET", "POST"]),
    Route("/logout", logout, methods=["POST"]),
    Route("/events", events),
]
