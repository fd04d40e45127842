"""The site's organisations, their switches for patients, and its assigning authorities. They come with the store."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from omegaai_sim.context import Services
from omegaai_sim.fhir.outcome import Refused
from omegaai_sim.fhir.records import Change
from omegaai_sim.organizations import switches
from omegaai_sim.organizations.seed import prepare
from simulator_kit.feature import Feature
from simulator_kit.store import Work


def _routes(services: Services) -> Sequence[Route]:
    async def turn(request: Request) -> Response:
        """`{enablePublicBooking, IsRescheduleAllowed, IsCancelledAllowed: true | false}`, those that change."""
        try:
            given: Any = json.loads(await request.body())
        except ValueError:
            given = None
        if not isinstance(given, dict):
            return JSONResponse({"error": "give an object of switches"}, 400)
        identifier = request.path_params["id"]
        try:
            await services.store.write(lambda work: switches.turn(work, identifier, given))
        except Refused as refused:
            return JSONResponse({"error": refused.diagnostics}, refused.status)
        return JSONResponse(given)

    return [Route("/control/organizations/{id}", turn, methods=["POST"])]


def authority_changed(work: Work, change: Change) -> None:
    """A patient's identifier is checked against the active authorities."""
    if change.before is not None:
        work.run("DELETE FROM assigning_authority WHERE system = ?", change.before["system"])
    if change.body.get("active", True):
        work.run("INSERT OR REPLACE INTO assigning_authority VALUES (?, ?)", change.body["system"], change.body["name"])


FEATURE: Final = Feature[Services](
    Path(__file__).parent, routes=_routes, prepare=prepare, hooks={"AssigningAuthority": authority_changed}
)
