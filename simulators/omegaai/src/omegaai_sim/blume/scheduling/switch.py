"""What Blume books by: itself (`own`), or the suite's scheduling API (`suite`). It changes while the simulator runs."""

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from omegaai_sim.context import Services
from omegaai_sim.fhir.outcome import Refused
from omegaai_sim.settings import BOOKERS


def turn(services: Services, by: object) -> None:
    """Raises ``Refused``: 400 for another word, 409 for the suite without an address of it."""
    found = next((one for one in BOOKERS if one == by), None)
    if found is None:
        raise Refused(400, "invalid", f"`by` is one of {', '.join(BOOKERS)}")
    if found == "suite" and not services.settings.scheduling_url:
        raise Refused(409, "conflict", "No scheduling API is set: OMEGAAI_SIM_SCHEDULING_URL gives its address.")
    services.books_by = found


def route(services: Services) -> Route:
    """`GET`, `POST /control/booking` `{"by": "own" | "suite"}`."""

    async def answer(request: Request) -> Response:
        if request.method == "POST":
            try:
                given: Any = json.loads(await request.body())
            except ValueError:
                given = None
            try:
                turn(services, given.get("by") if isinstance(given, dict) else None)
            except Refused as refused:
                return JSONResponse({"error": refused.diagnostics}, refused.status)
        return JSONResponse({"by": services.books_by})

    return Route("/control/booking", answer, methods=["GET", "POST"])
