"""Settings: imaging facilities with their grids of resources and locations, study statuses, priorities."""

from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from powerserver_sim.accounts import User
from powerserver_sim.context import services
from powerserver_sim.rules import Refused
from powerserver_sim.settings import assignments, catalogue, export
from powerserver_sim.settings.catalogue import ACTIONS
from powerserver_sim.settings.changing import status_of, tried
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
    if request.method == "GET":
        return await _facility(request, user, None, {})
    values = texts_of(await form_of(request))
    problem = await tried(request, lambda work: catalogue.add_location(work, code, values))
    if problem is None:
        return RedirectResponse(f"/settings/facilities/{code}", status_code=303)
    return await _facility(request, user, problem, values)


@for_admin
async def remove_location(request: Request, user: User) -> Response:
    """Remove a room in which no resource stands."""
    code, key = request.path_params["code"], request.path_params["key"]
    user.require(code)
    problem = await tried(request, lambda work: catalogue.remove_location(work, code, key))
    if problem is None:
        return RedirectResponse(f"/settings/facilities/{code}", status_code=303)
    return await _facility(request, user, problem, {})


async def _facility(request: Request, user: User, problem: Refused | None, values: dict[str, str]) -> Response:
    code = request.path_params["code"]

    def question(work: Work) -> dict[str, Any]:
        row = work.one("SELECT * FROM facility WHERE code = ?", code)
        if row is None:
            raise Refused("unknown", "There is no such facility.")
        return {
            "facility": row,
            "locations": work.all("SELECT * FROM location WHERE facility = ? ORDER BY department, floor, room", code),
            "departments": work.all(
                "SELECT department, floor, count(*) AS rooms FROM location WHERE facility = ? "
                "GROUP BY department, floor ORDER BY department, floor",
                code,
            ),
            "resources": [
                {**dict(row), "groups": assignments.assigned(work, row["id"], "group")}
                for row in work.all("SELECT * FROM resource WHERE facility = ? ORDER BY id", code)
            ],
        }

    shown = await services(request).store.read(question)
    return render(
        request, user, "settings/facility.html", status=status_of(problem), problem=problem, values=values, **shown
    )


@for_admin
async def statuses(request: Request, user: User) -> Response:
    """Order values with the site's names, and which status each scheduler action sets. POST changes one of them."""
    problem: Refused | None = None
    if request.method == "POST":
        given = texts_of(await form_of(request))
        problem = await tried(request, lambda work: _save_status(work, given))
        if problem is None:
            return RedirectResponse("/settings/statuses", status_code=303)

    def question(work: Work) -> dict[str, Any]:
        return {
            "statuses": work.all("SELECT * FROM status ORDER BY value"),
            "default_priority": catalogue.default_priority(work),
            "priorities": work.all("SELECT * FROM priority ORDER BY value"),
            "action_status": {
                row["action"]: row["status"] for row in work.all("SELECT action, status FROM action_status")
            },
        }

    shown = await services(request).store.read(question)
    return render(
        request, user, "settings/statuses.html", status=status_of(problem), problem=problem, actions=ACTIONS, **shown
    )


def _save_status(work: Work, given: dict[str, str]) -> None:
    value = given.get("value", "")
    if "default_priority" in given:
        catalogue.set_default_priority(work, given["default_priority"])
        return
    if not value.isdecimal():
        raise Refused("invalid", "The order value is a number.")
    if "new_name" in given:
        catalogue.add_status(work, int(value), given["new_name"].strip())
    elif "action" in given:
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
        problem = await tried(
            request,
            lambda work: (catalogue.rename_priority if "rename" in given else catalogue.add_priority)(
                work, given.get("value", ""), given.get("name", "").strip()
            ),
        )
        if problem is None:
            return RedirectResponse("/settings/priorities", status_code=303)
    rows = await services(request).store.read(lambda work: work.all("SELECT * FROM priority ORDER BY value"))
    return render(
        request,
        user,
        "settings/priorities.html",
        status=status_of(problem),
        problem=problem,
        values=values,
        priorities=rows,
    )


_BOTH = ["GET", "POST"]
ROUTES = [
    Route("/settings/facilities", facilities),
    Route("/settings/resources.csv", resources_csv),
    Route("/settings/facilities/{code}", facility, methods=_BOTH),
    Route("/settings/facilities/{code}/locations/{key:int}/remove", remove_location, methods=["POST"]),
    Route("/settings/statuses", statuses, methods=_BOTH),
    Route("/settings/priorities", priorities, methods=_BOTH),
]
