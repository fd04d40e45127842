"""The portal with the app tile, and the app launcher that the first start installs."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from powerserver_sim.accounts import User
from powerserver_sim.context import services
from powerserver_sim.users.session import for_user, render
from simulator_kit.store import Work


def is_installed(work: Work, user: User) -> bool:
    return work.one("SELECT 1 FROM launcher WHERE user = ?", user.name) is not None


@for_user
async def portal(request: Request, user: User) -> Response:
    installed = await services(request).store.read(lambda work: is_installed(work, user))
    return render(request, user, "launcher/portal.html", is_installed=installed)


@for_user
async def launcher(request: Request, user: User) -> Response:
    """POST installs the launcher, and the tile starts PowerReader from then on."""
    if request.method == "GET":
        installed = await services(request).store.read(lambda work: is_installed(work, user))
        return render(request, user, "launcher/install.html", is_installed=installed)

    def install(work: Work) -> None:
        work.run("INSERT OR IGNORE INTO launcher VALUES (?, ?)", user.name, int(work.now.timestamp()))

    await services(request).store.write(install)
    return RedirectResponse("/portal", status_code=303)


ROUTES = [
    Route("/portal", portal),
    Route("/portal/launcher", launcher, methods=["GET", "POST"]),
]
