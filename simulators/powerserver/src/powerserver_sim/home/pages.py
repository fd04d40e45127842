"""The home page."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from powerserver_sim.accounts import User
from powerserver_sim.context import services
from powerserver_sim.home import views
from powerserver_sim.settings.catalogue import facilities_of
from powerserver_sim.users.session import for_user, render


@for_user
async def home(request: Request, user: User) -> Response:
    facilities = await services(request).store.read(lambda work: facilities_of(work, user))
    figures = await services(request).store.read(lambda work: views.home(work, facilities, user))
    return render(request, user, "home/home.html", figures=figures, facilities=facilities)


ROUTES = [Route("/", home)]
