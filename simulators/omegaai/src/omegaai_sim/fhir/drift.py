"""A change of an Appointment that nobody is told of: no Task, no record of the feed, as after a loss or by hand."""

import json
from datetime import datetime, timedelta
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from omegaai_sim.fhir import records
from simulator_kit.store import Store, Work

_MOST_MINUTES: Final = 24 * 60


def route(store: Store) -> Route:
    """`POST /control/drift` `{"appointment", "minutes": 30}` moves an Appointment by so many minutes.

    Answers 201 with the new start; 404 where there is no such Appointment with a time. The ledger has the row
    `Appointment.drifted`.
    """

    async def drift(request: Request) -> Response:
        try:
            given: Any = json.loads(await request.body())
            identifier, minutes = given["appointment"], given.get("minutes", 30)
        except (AttributeError, KeyError, TypeError, ValueError):
            return JSONResponse({"error": "give an appointment, and minutes where 30 are not wanted"}, 400)
        if not isinstance(identifier, str) or type(minutes) is not int or not 1 <= minutes <= _MOST_MINUTES:
            return JSONResponse({"error": f"appointment is an id, minutes a number from 1 to {_MOST_MINUTES}"}, 400)
        start = await store.write(lambda work: _move(work, identifier, minutes))
        if start is None:
            return JSONResponse({"error": "there is no such Appointment with a time"}, 404)
        return JSONResponse({"start": start}, 201)

    return Route("/control/drift", drift, methods=["POST"])


def _move(work: Work, identifier: str, minutes: int) -> str | None:
    row = work.one("SELECT version, body FROM resource WHERE type = 'Appointment' AND id = ?", identifier)
    body: dict[str, Any] = {} if row is None else json.loads(row["body"])
    if row is None or "start" not in body:
        return None
    for name in ("start", "end"):
        if name in body:
            body[name] = (datetime.fromisoformat(body[name]) + timedelta(minutes=minutes)).isoformat()
    stored = records.save(work, "Appointment", body, int(row["version"]) + 1)
    work.record("effect", "Appointment.drifted", identifier, {"versionId": str(stored.version), "start": body["start"]})
    start: str = body["start"]
    return start
