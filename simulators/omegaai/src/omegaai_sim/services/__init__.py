"""HealthcareServices: the bookable resources; study types and procedure codes. They come with the store."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from omegaai_sim.context import Services, templates
from omegaai_sim.services import views
from omegaai_sim.services.seed import prepare
from omegaai_sim.staff.session import Staff
from simulator_kit import web
from simulator_kit.feature import Feature


def _routes(services: Services) -> Sequence[Route]:
    async def listed(request: Request) -> Response:
        found = await services.store.read(views.services)
        return web.page(templates, request, "services/list.html", {"services": found})

    return [Route("/services", Staff(services).only(listed))]


FEATURE: Final = Feature[Services](Path(__file__).parent, routes=_routes, prepare=prepare)
