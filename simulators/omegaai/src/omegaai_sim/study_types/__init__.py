"""Study types, which Blume calls order sets, and procedure codes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from omegaai_sim.context import Services
from omegaai_sim.staff.session import Staff
from omegaai_sim.study_types import catalogue
from omegaai_sim.study_types.editing import PROCEDURE_CODE, STUDY_TYPE
from omegaai_sim.study_types.seed import prepare
from simulator_kit.feature import Feature
from simulator_kit.store import Work


def _routes(services: Services) -> Sequence[Route]:
    staff = Staff(services)

    async def listed(request: Request) -> Response:
        def ask(work: Work) -> dict[str, Any]:
            return {"study_types": catalogue.study_types(work), "codes": catalogue.bodies(work, "ProcedureCode")}

        return staff.render(request, "study_types/list.html", await services.store.read(ask))

    return [
        Route("/study-types", staff.only(listed)),
        *PROCEDURE_CODE.routes(services, "/study-types/codes"),
        *STUDY_TYPE.routes(services, "/study-types"),
    ]


FEATURE: Final = Feature[Services](Path(__file__).parent, routes=_routes, prepare=prepare)
