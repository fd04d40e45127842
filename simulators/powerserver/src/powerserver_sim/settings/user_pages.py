"""Settings of users and user groups."""

from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from powerserver_sim.accounts import PRIVILEGES, User
from powerserver_sim.context import services
from powerserver_sim.rules import Refused
from powerserver_sim.settings import access
from powerserver_sim.settings.changing import status_of, tried
from powerserver_sim.users.session import for_admin, form_of, render
from simulator_kit.store import Work
from simulator_kit.web import text_of


@for_admin
async def users(request: Request, user: User) -> Response:
    """Users with group and second factor, and groups with their privileges. POST changes one user, or one group."""
    problem: Refused | None = None
    if request.method == "POST":
        form = await form_of(request)

        def change(work: Work) -> None:
            if "user" in form:
                has_second_factor = text_of(form, "second_factor") == "on"
                access.set_user(
                    work, text_of(form, "user"), text_of(form, "group"), has_second_factor=has_second_factor
                )
            else:
                wanted = [value for value in form.getlist("privilege") if isinstance(value, str)]
                access.set_privileges(work, text_of(form, "group"), wanted)

        problem = await tried(request, change)
        if problem is None:
            return RedirectResponse("/settings/users", status_code=303)

    def question(work: Work) -> dict[str, Any]:
        return {"users": access.users(work), "groups": access.groups(work)}

    shown = await services(request).store.read(question)
    return render(
        request, user, "settings/users.html", status=status_of(problem), problem=problem, privileges=PRIVILEGES, **shown
    )


ROUTES = [Route("/settings/users", users, methods=["GET", "POST"])]
