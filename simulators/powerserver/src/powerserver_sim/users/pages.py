"""Login, logout, and the live stream of every page."""

from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from powerserver_sim.accounts import User
from powerserver_sim.context import services
from powerserver_sim.users.session import for_user, form_of, render
from simulator_kit.live import Shown
from simulator_kit.store import Notice
from simulator_kit.web import safe_next, text_of


async def login(request: Request) -> Response:
    target = safe_next(request.query_params.get("next", "/"))
    if request.method == "GET":
        return render(request, None, "users/login.html", target=target, failed=False, name="")
    form = await form_of(request)
    name = text_of(form, "name")
    password = form.get("password")
    user = await services(request).accounts.login(name, password if isinstance(password, str) else "")
    if user is None:
        return render(request, None, "users/login.html", status=401, target=target, failed=True, name=name)
    response = RedirectResponse(target, status_code=303)
    await services(request).store.write(lambda work: work.changed("login", user.name))
    services(request).sessions.begin(request, response, user.name)
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
    Route("/logout", logout, methods=["POST"]),
    Route("/events", events),
]
