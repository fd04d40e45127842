"""The home page, with its pins and notifications."""

from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from powerserver_sim.accounts import User
from powerserver_sim.context import services
from powerserver_sim.home import notifications, pinning, views
from powerserver_sim.settings.catalogue import facilities_of
from powerserver_sim.users.session import for_user, form_of, render
from simulator_kit.store import Work
from simulator_kit.web import text_of


@for_user
async def home(request: Request, user: User) -> Response:
    def question(work: Work) -> dict[str, Any]:
        facilities = facilities_of(work, user)
        pinned_modules = pinning.pinned(work, user, "module")
        pinned, newest = notifications.notifications(work, user)
        return {
            "facilities": facilities,
            "figures": views.home(work, facilities, user),
            "modules": sorted(pinning.MODULES, key=lambda module: module.key not in pinned_modules),
            "pinned_modules": pinned_modules,
            "notifications": [*pinned, *newest],
        }

    return render(request, user, "home/home.html", **await services(request).store.read(question))


@for_user
async def pin(request: Request, user: User) -> Response:
    """`kind` (module or notification) and `key`: pin it, or take the pin away."""
    form = await form_of(request)
    kind, key = text_of(form, "kind"), text_of(form, "key")
    await services(request).store.write(lambda work: pinning.toggle(work, user, kind, key))
    return RedirectResponse("/#modules" if kind == "module" else "/#notifications", status_code=303)


@for_user
async def read_all(request: Request, user: User) -> Response:
    await services(request).store.write(lambda work: notifications.mark_read(work, user))
    return RedirectResponse("/#notifications", status_code=303)


ROUTES = [
    Route("/", home),
    Route("/home/pins", pin, methods=["POST"]),
    Route("/home/notifications/read", read_all, methods=["POST"]),
]
