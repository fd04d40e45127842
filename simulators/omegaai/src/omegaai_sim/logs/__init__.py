"""The staff's log of the outbound Task queue."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from omegaai_sim.context import Services
from omegaai_sim.logs import views
from omegaai_sim.staff import lists
from omegaai_sim.staff.session import Staff
from simulator_kit.feature import Feature


def _routes(services: Services) -> Sequence[Route]:
    async def tasks(request: Request) -> Response:
        status, number = request.query_params.get("status", ""), lists.page_of(request)
        listing = await services.store.read(lambda work: views.tasks(work, status, number))
        return lists.shown(request, "logs/tasks.html", listing, status)

    return [Route("/tasks", Staff(services).only(tasks))]


FEATURE: Final = Feature[Services](Path(__file__).parent, routes=_routes)
