"""Organisations, their switches for patients, and the issuers of patient ids."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from omegaai_sim.context import Services
from omegaai_sim.fhir.outcome import Refused
from omegaai_sim.fhir.ramsoft import value
from omegaai_sim.fhir.records import Change
from omegaai_sim.organizations import editing, switches
from omegaai_sim.organizations.seed import prepare
from omegaai_sim.staff.session import Staff
from simulator_kit.feature import Feature
from simulator_kit.store import Work


def _routes(services: Services) -> Sequence[Route]:
    staff = Staff(services)

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

    async def listed(request: Request) -> Response:
        def ask(work: Work) -> dict[str, Any]:
            return {
                "organizations": [_row(one) for one in editing.organizations(work)],
                "issuers": editing.authorities(work),
            }

        return staff.render(request, "organizations/list.html", await services.store.read(ask))

    return [
        Route("/control/organizations/{id}", turn, methods=["POST"]),
        Route("/organizations", staff.only(listed)),
        *editing.AUTHORITY.routes(services, "/organizations/issuers"),
        *editing.ORGANIZATION.routes(services, "/organizations"),
    ]


def _row(organization: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": organization["id"],
        "name": organization["name"],
        "is_master": "partOf" not in organization,
        "is_active": organization.get("active", True),
        "zone": value(organization, "timezoneIANA", ""),
        "windows_zone": value(organization, "timezone", ""),
        "off": [words for name, words in _WORDS.items() if not switches.is_on(organization, name)],
        "modalities": [one for one in editing.MODALITIES if switches.is_open(organization, one)],
        "is_all_modalities": value(organization, switches.MODALITIES) is None,
        "radius": switches.radius_km(organization),
    }


_WORDS: Final = {
    switches.BOOKING: "online booking",
    switches.RESCHEDULE: "rescheduling",
    switches.CANCEL: "cancelling",
}


def authority_changed(work: Work, change: Change) -> None:
    """A patient's identifier is checked against the active authorities."""
    if change.before is not None:
        work.run("DELETE FROM assigning_authority WHERE system = ?", change.before["system"])
    if change.body.get("active", True):
        work.run("INSERT OR REPLACE INTO assigning_authority VALUES (?, ?)", change.body["system"], change.body["name"])


FEATURE: Final = Feature[Services](
    Path(__file__).parent, routes=_routes, prepare=prepare, hooks={"AssigningAuthority": authority_changed}
)
