"""The staff's list of appointments, and the page of one appointment: its history, its Tasks and its JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from omegaai_sim.appointments import views
from omegaai_sim.context import Services
from omegaai_sim.staff import lists
from omegaai_sim.staff.session import Staff
from simulator_kit.feature import Feature


def _routes(services: Services) -> Sequence[Route]:
    staff = Staff(services)

    async def listed(request: Request) -> Response:
        status, number = request.query_params.get("status", ""), lists.page_of(request)
        listing = await services.store.read(lambda work: views.appointments(work, status, number))
        return lists.shown(request, "appointments/list.html", listing, status)

    async def one(request: Request) -> Response:
        found = await services.store.read(lambda work: views.appointment(work, request.path_params["id"]))
        if found is None:
            return staff.render(request, "staff/missing.html", {}, status=404)
        booking, text, history, messages = found
        context = {"booking": booking, "text": text, "history": history, "messages": messages}
        context["can_be_deleted"] = booking.card.status in views.DELETABLE
        return staff.render(request, "appointments/one.html", context)

    only = staff.only
    return [Route("/", only(listed)), Route("/appointments/{id}", only(one))]


FEATURE: Final = Feature[Services](Path(__file__).parent, routes=_routes)
