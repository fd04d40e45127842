"""Health, ledger and misbehaviour: without login, since the simulator is for development only."""

import json

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from powerserver_sim.store import Work
from powerserver_sim.web.context import json_body, services, whole_number

_MOST_ROWS = 10_000


async def healthz(request: Request) -> Response:
    await services(request).store.read(lambda work: work.one("SELECT 1"))
    return JSONResponse({"status": "ok"})


async def ledger(request: Request) -> Response:
    """Rows after `after`, oldest first, optionally of one `kind` or `subject`; `last` is the newest row's seq."""
    after = whole_number(request.query_params.get("after"), "after", default=0, most=2**53)
    limit = whole_number(request.query_params.get("limit"), "limit", default=1000, most=_MOST_ROWS)
    filters = {name: request.query_params[name] for name in ("kind", "subject") if name in request.query_params}

    def question(work: Work) -> Response:
        where = "".join(f" AND {name} = ?" for name in filters)
        rows = work.all(
            f"SELECT * FROM ledger WHERE seq > ?{where} ORDER BY seq LIMIT ?",  # noqa: S608 - names from a fixed pair
            after,
            *filters.values(),
            limit,
        )
        last = work.one("SELECT coalesce(max(seq), 0) AS last FROM ledger")
        return JSONResponse(
            {
                "rows": [{**dict(row), "detail": json.loads(row["detail"])} for row in rows],
                "last": last["last"] if last is not None else 0,
            }
        )

    return await services(request).store.read(question)


async def misbehave(request: Request) -> Response:
    faults = services(request).misbehaviour
    if request.method == "POST":
        return JSONResponse(faults.add(await json_body(request)), status_code=201)
    if request.method == "DELETE":
        faults.clear()
        return Response(status_code=204)
    return JSONResponse({"faults": faults.list()})


routes = [
    Route("/healthz", healthz),
    Route("/ledger", ledger),
    Route("/control/misbehave", misbehave, methods=["GET", "POST", "DELETE"]),
]
