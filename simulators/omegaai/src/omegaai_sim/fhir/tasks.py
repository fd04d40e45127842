"""Tasks about resources that this simulator does not keep: entries of OmegaAI's other products in the queue."""

import json
from datetime import datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from omegaai_sim.fhir import records
from simulator_kit.store import Store, Work, stamp

_MOST: Final = 10_000


def route(store: Store) -> Route:
    """`POST /control/tasks` `{"type", "number", "updated"}` makes `number` Tasks (1) and answers with their ids.

    `updated`: an instant that they give as their last change; without it now.
    """

    async def make(request: Request) -> Response:
        try:
            given: Any = json.loads(await request.body())
            kind, number, updated = given["type"], given.get("number", 1), given.get("updated")
            at = None if updated is None else stamp(datetime.fromisoformat(updated))
        except (AttributeError, KeyError, TypeError, ValueError):
            return JSONResponse({"error": "give a type; a number and updated, an instant, where they are wanted"}, 400)
        if not isinstance(kind, str) or not kind.isalpha() or type(number) is not int or not 1 <= number <= _MOST:
            said = f"type is a resource type, number a whole number from 1 to {_MOST}"
            return JSONResponse({"error": said}, 400)

        def queue(work: Work) -> list[str]:
            return [records.queue_task(work, f"{kind}/{one}", updated=at) for one in range(number)]

        return JSONResponse(await store.write(queue), 201)

    return Route("/control/tasks", make, methods=["POST"])
