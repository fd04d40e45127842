"""Notifications: the bell tells a patient of each change of an appointment."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from omegaai_sim.blume.notifications import bell
from omegaai_sim.blume.onboarding.session import Portal, Visitor
from omegaai_sim.blume.portal import HOME
from omegaai_sim.context import Services
from simulator_kit import web
from simulator_kit.feature import Feature


def _routes(services: Services) -> Sequence[Route]:
    async def read(request: Request, visitor: Visitor) -> Response:
        """Field `up_to`: the newest notification that was shown."""
        shown = web.text_of(await request.form(), "up_to")
        up_to = int(shown) if shown.isdecimal() and len(shown) < 19 else 0
        await services.store.write(lambda work: bell.read_notifications(work, visitor.account, up_to))
        return JSONResponse({}) if web.wants_json(request) else RedirectResponse(HOME, 303)

    return [Route("/blume/notifications/read", Portal(services).form(read), methods=["POST"])]


FEATURE: Final = Feature[Services](
    Path(__file__).parent, routes=_routes, hooks={"Appointment": bell.appointment_changed}
)
