"""What tests, the demo and a curious person ask a simulator: is it there, what happened, and behave badly, please."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from omegaai_sim.context import Services
from omegaai_sim.fhir import records
from omegaai_sim.misbehave import FaultError
from omegaai_sim.settings import DIALECTS
from omegaai_sim.store import Work, stamp

_MOST_ROWS = 10_000


def routes(services: Services) -> list[Route]:
    """``/healthz``, ``/ledger``, ``/control/{misbehave,dialect,tasks}``; no login: development only."""
    control = Control(services)
    return [
        Route("/healthz", control.healthz),
        Route("/ledger", control.ledger),
        Route("/control/misbehave", control.misbehave, methods=["GET", "POST", "DELETE"]),
        Route("/control/dialect", control.dialect, methods=["GET", "POST"]),
        Route("/control/tasks", control.tasks, methods=["POST"]),
    ]


class Control:
    """The answers, over one simulator's parts."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def healthz(self, _request: Request) -> Response:
        row = await self._services.store.read(lambda work: work.one("SELECT count(*) AS n FROM resource"))
        return JSONResponse({"resources": row["n"] if row else 0})

    async def ledger(self, request: Request) -> Response:
        try:
            after = int(request.query_params.get("after", "0"))
            limit = min(int(request.query_params.get("limit", "1000")), _MOST_ROWS)
        except ValueError:
            return JSONResponse({"error": "after and limit are whole numbers"}, 400)
        wanted = {name: request.query_params[name] for name in ("kind", "subject") if name in request.query_params}
        return JSONResponse(await self._services.store.read(lambda work: _rows(work, after, limit, wanted)))

    async def misbehave(self, request: Request) -> Response:
        orders = self._services.misbehaviour
        if request.method == "DELETE":
            orders.clear()
        elif request.method == "POST":
            try:
                return JSONResponse(orders.add(await _object(request)), 201)
            except FaultError as error:
                return JSONResponse({"error": str(error)}, 400)
        return JSONResponse(orders.all())

    async def dialect(self, request: Request) -> Response:
        if request.method == "POST":
            wanted = (await _object(request)).get("dialect")
            if wanted not in DIALECTS:
                return JSONResponse({"error": f"dialect is one of {', '.join(DIALECTS)}"}, 400)
            self._services.dialect.current = wanted
        return JSONResponse({"dialect": self._services.dialect.current})

    async def tasks(self, request: Request) -> Response:
        """Makes ``number`` Tasks about resources of a type that this stand-in does not keep: ``{"type", "number"}``.

        ``updated``: what they say of their last change, an instant; without it now.
        """
        wanted = await _object(request)
        kind, number, updated = wanted.get("type"), wanted.get("number", 1), wanted.get("updated")
        if not isinstance(kind, str) or not kind.isalpha() or type(number) is not int or not 1 <= number <= _MOST_ROWS:
            return JSONResponse(
                {"error": f"type is a resource type, number a whole number from 1 to {_MOST_ROWS}"}, 400
            )
        try:
            at = None if updated is None else stamp(datetime.fromisoformat(updated))
        except (TypeError, ValueError):
            return JSONResponse({"error": "updated is an instant"}, 400)

        def make(work: Work) -> list[str]:
            return [records.queue_task(work, f"{kind}/{one}", updated=at) for one in range(number)]

        return JSONResponse(await self._services.store.write(make), 201)


async def _object(request: Request) -> dict[str, Any]:
    """The request's JSON object; an empty one for anything else."""
    try:
        given = json.loads(await request.body())
    except ValueError:
        return {}
    return given if isinstance(given, dict) else {}


def _rows(work: Work, after: int, limit: int, wanted: Mapping[str, str]) -> dict[str, Any]:
    where = "".join(f" AND {name} = ?" for name in wanted)
    sql = f"SELECT * FROM ledger WHERE seq > ?{where} ORDER BY seq LIMIT ?"  # noqa: S608 (fixed names)
    rows = work.all(sql, after, *wanted.values(), limit)
    last = work.one("SELECT coalesce(max(seq), 0) AS last FROM ledger")
    return {
        "rows": [{**dict(row), "detail": json.loads(row["detail"])} for row in rows],
        "last": last["last"] if last else 0,
    }
