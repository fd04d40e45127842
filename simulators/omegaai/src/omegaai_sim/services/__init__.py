"""HealthcareServices: the bookable resources. Both paths of the guide lead to one editor."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from omegaai_sim.context import Services
from omegaai_sim.services import catalogue
from omegaai_sim.services.editing import EDITOR
from omegaai_sim.services.seed import prepare
from omegaai_sim.staff.session import Staff
from simulator_kit.feature import Feature

EDIT: Final = "/services"
SETTINGS: Final = "/scheduler/settings/resources"


def _routes(services: Services) -> Sequence[Route]:
    staff = Staff(services)

    async def listed(request: Request) -> Response:
        found = await services.store.read(catalogue.services)
        is_settings = request.url.path == SETTINGS
        context = {"services": found, "is_settings": is_settings, "address": SETTINGS if is_settings else EDIT}
        return staff.render(request, "services/list.html", context)

    return [
        Route(EDIT, staff.only(listed)),
        Route(SETTINGS, staff.only(listed)),
        *EDITOR.routes(services, EDIT),
        *EDITOR.routes(services, SETTINGS),
    ]


FEATURE: Final = Feature[Services](Path(__file__).parent, routes=_routes, prepare=prepare)
