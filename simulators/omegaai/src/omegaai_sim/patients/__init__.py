"""The staff's list of patients."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from omegaai_sim.context import Services
from omegaai_sim.patients import views
from omegaai_sim.staff import lists
from omegaai_sim.staff.session import Staff
from simulator_kit.feature import Feature


def _routes(services: Services) -> Sequence[Route]:
    async def listed(request: Request) -> Response:
        number = lists.page_of(request)
        listing = await services.store.read(lambda work: views.patients(work, number))
        return lists.shown(request, "patients/list.html", listing)

    return [Route("/patients", Staff(services).only(listed))]


FEATURE: Final = Feature[Services](Path(__file__).parent, routes=_routes)
