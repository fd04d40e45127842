"""Settings: imaging facilities with resources and locations, study statuses, priorities."""

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from powerserver_sim.accounts import User
from powerserver_sim.context import services
from powerserver_sim.rules import HTTP_STATUS, Refused
from powerserver_sim.settings import catalogue, export
from powerserver_sim.settings.catalogue import ACTIONS
from powerserver_sim.users.session import for_admin, form_of, render, texts_of
from simulator_kit.store import Work


@for_admin
async def facilities(request: Request, user: User) -> Response:
    def question(work: Work) -> list[dict[str, Any]]:
        counts = {
            row["facility"]: row["count"]
            for row in work.all("SELECT facility, count(*) AS count FROM resource GROUP BY facility")
        }
        return [{**dict(row), "resources": counts.get(row["code"], 0)} for row in catalogue.facilities_of(work, user)]

    return render(request, user, "settings/facilities.html", facilities=await services(request).store.read(question))


@for_admin
async def resources_csv(request: Request, user: User) -> Response:
    """The resources grid as a file."""
    content = await services(request).store.read(lambda work: export.grid(work, user))
    headers = {"Content-Disposition": 'attachment; filename="resources.csv"'}
    return Response(content, media_type="text/csv; charset=utf-8", headers=headers)


@for_admin
async def facility(request: Request, user: User) -> Response:
    """One facility with its locations and resources; POST adds a location."""
    code = request.path_params["code"]
    user.require(code)
    problem: Refused | None = None
    values: dict[str, str] = {}
    if request.method == "POST":
        values = texts_of(await form_of(request))
        problem = await _try(request, lambda work: catalogue.add_location(work, code, values))
        if problem is None:
            return RedirectResponse(f"/settings/facilities/{code}", status_code=303)

    def question(work: Work) -> dict[str, Any]:
        row = work.one("SELECT * FROM facility WHERE code = ?", code)
        if row is None:
            raise Refused("unknown", "There is no such facility.")
        return {
            "facility": row,
            "locations": work.all("SELECT * FROM location WHERE facility = ? ORDER BY department, floor, room", code),
            "resources": work.all("SELECT * FROM resource WHERE facility = ? ORDER BY id", code),
        }

    shown = await services(request).store.read(question)
    return render(
        request, user, "settings/facility.html", status=_status_of(problem), problem=problem, values=values, **shown
    )


@for_admin
async def resource(request: Request, user: User) -> Response:
    """New resource (`/new`) or an existing one's form."""
    code, key = request.path_params["code"], request.path_params.get("key")
    user.require(code)
    problem: Refused | None = None
    given: dict[str, str] | None = None
    if request.method == "POST":
        given = texts_of(await form_of(request))
        values = given
        problem = await _try(
            request, lambda work: catalogue.save_resource(work, code, catalogue.read_resource(values), key)
        )
        if problem is None:
            return RedirectResponse(f"/settings/facilities/{code}", status_code=303)

    def question(work: Work) -> dict[str, Any]:
        row = None if key is None else work.one("SELECT * FROM resource WHERE facility = ? AND id = ?", code, key)
        home = work.one("SELECT * FROM facility WHERE code = ?", code)
        if home is None or (key is not None and row is None):
            raise Refused("unknown", "There is no such resource.")
        blank = {"opens": "08:00", "closes": "18:00", "default_minutes": "30", "department": "RADIOLOGY"}
        return {
            "facility": home,
            "locations": work.all("SELECT * FROM location WHERE facility = ? ORDER BY department, room", code),
            "is_new": key is None,
            "values": given if given is not None else dict(row) if row is not None else blank,
        }

    shown = await services(request).store.read(question)
    return render(
        request,
        user,
        "settings/resource.html",
        status=_status_of(problem),
        problem=problem,
        modalities=catalogue.MODALITIES,
        **shown,
    )


@for_admin
async def statuses(request: Request, user: User) -> Response:
    """Order values with the site's names, and which status each scheduler action sets."""
    problem: Refused | None = None
    if request.method == "POST":
        given = texts_of(await form_of(request))
        problem = await _try(request, lambda work: _save_status(work, given))
        if problem is None:
            return RedirectResponse("/settings/statuses", status_code=303)

    def question(work: Work) -> dict[str, Any]:
        return {
            "statuses": work.all("SELECT * FROM status ORDER BY value"),
            "action_status": {
                row["action"]: row["status"] for row in work.all("SELECT action, status FROM action_status")
            },
        }

    shown = await services(request).store.read(question)
    return render(
        request, user, "settings/statuses.html", status=_status_of(problem), problem=problem, actions=ACTIONS, **shown
    )


def _save_status(work: Work, given: dict[str, str]) -> None:
    value = given.get("value", "")
    if not value.isdecimal():
        raise Refused("invalid", "The order value is a number.")
    if "action" in given:
        catalogue.set_action_status(work, given["action"], int(value))
    else:
        catalogue.rename_status(work, int(value), given.get("name", "").strip())


@for_admin
async def priorities(request: Request, user: User) -> Response:
    problem: Refused | None = None
    values: dict[str, str] = {}
    if request.method == "POST":
        values = texts_of(await form_of(request))
        given = values
        problem = await _try(
            request,
            lambda work: catalogue.add_priority(work, given.get("value", ""), given.get("name", "").strip()),
        )
        if problem is None:
            return RedirectResponse("/settings/priorities", status_code=303)
    rows = await services(request).store.read(lambda work: work.all("SELECT * FROM priority ORDER BY value"))
    return render(
        request,
        user,
        "settings/priorities.html",
        status=_status_of(problem),
        problem=problem,
        values=values,
        priorities=rows,
    )


async def _try(request: Request, change: Callable[[Work], None]) -> Refused | None:
    try:
        await services(request).store.write(change)
    except Refused as problem:
        return problem
    return None


def _status_of(problem: Refused | None) -> int:
    return 200 if problem is None else HTTP_STATUS[problem.reason]


_BOTH = ["GET", "POST"]
ROUTES = [
    Route("/settings/facilities", facilities),
    Route("/settings/resources.csv", resources_csv),
    Route("/settings/facilities/{code}", facility, methods=_BOTH),
    Route("/settings/facilities/{code}/resources/new", resource, methods=_BOTH),
    Route("/settings/facilities/{code}/resources/{key:int}", resource, methods=_BOTH),
    Route("/settings/statuses", statuses, methods=_BOTH),
    Route("/settings/priorities", priorities, methods=_BOTH),
]
