"""What tests, the demo and a curious person ask a simulator: is it there, what happened, and behave badly, please."""

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from omegaai_sim.context import Services
from omegaai_sim.misbehave import FaultError
from omegaai_sim.settings import DIALECTS
from omegaai_sim.store import Work

_MOST_ROWS = 10_000


def routes(services: Services) -> list[Route]:
    """``/healthz``, ``/ledger``, ``/control/misbehave``, ``/control/dialect``; no login: development only."""

    async def healthz(_request: Request) -> Response:
        row = await services.store.read(lambda work: work.one("SELECT count(*) AS n FROM resource"))
        return JSONResponse({"resources": row["n"] if row else 0})

    async def ledger(request: Request) -> Response:
        try:
            after = int(request.query_params.get("after", "0"))
            limit = min(int(request.query_params.get("limit", "1000")), _MOST_ROWS)
        except ValueError:
            return JSONResponse({"error": "after and limit are whole numbers"}, 400)
        return JSONResponse(await services.store.read(lambda work: _rows(work, after, limit)))

    async def misbehave(request: Request) -> Response:
        if request.method == "DELETE":
            services.misbehaviour.clear()
        elif request.method == "POST":
            try:
                given = await request.json()
                return JSONResponse(services.misbehaviour.add(given if isinstance(given, dict) else {}), 201)
            except (FaultError, ValueError) as error:
                return JSONResponse({"error": str(error)}, 400)
        return JSONResponse(services.misbehaviour.all())

    async def dialect(request: Request) -> Response:
        if request.method == "POST":
            wanted = (await request.json()).get("dialect")
            if wanted not in DIALECTS:
                return JSONResponse({"error": f"dialect is one of {', '.join(DIALECTS)}"}, 400)
            services.dialect.current = wanted
        return JSONResponse({"dialect": services.dialect.current})

    return [
        Route("/healthz", healthz),
        Route("/ledger", ledger),
        Route("/control/misbehave", misbehave, methods=["GET", "POST", "DELETE"]),
        Route("/control/dialect", dialect, methods=["GET", "POST"]),
    ]


def _rows(work: Work, after: int, limit: int) -> dict[str, Any]:
    rows = work.all("SELECT * FROM ledger WHERE seq > ? ORDER BY seq LIMIT ?", after, limit)
    last = work.one("SELECT coalesce(max(seq), 0) AS last FROM ledger")
    return {
        "rows": [{**dict(row), "detail": json.loads(row["detail"])} for row in rows],
        "last": last["last"] if last else 0,
    }
