"""A resource's form, with its assignments and its reservations."""

from typing import Any

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from powerserver_sim.accounts import User
from powerserver_sim.context import services
from powerserver_sim.rules import Refused
from powerserver_sim.settings import assignments, catalogue, reservations
from powerserver_sim.settings.changing import status_of, tried
from powerserver_sim.users.session import for_admin, form_of, render, texts_of
from simulator_kit.store import Work

_BLANK = {
    "opens": "08:00", "closes": "18:00", "default_minutes": "30", "department": "RADIOLOGY", "time_multiplier": "1",
}  # fmt: skip


@for_admin
async def resource(request: Request, user: User) -> Response:
    """New resource (`/new`) or an existing one's form."""
    code, key = request.path_params["code"], request.path_params.get("key")
    user.require(code)
    if request.method == "GET":
        return await _page(request, user)
    form = await form_of(request)

    def save(work: Work) -> None:
        saved = catalogue.save_resource(work, code, catalogue.read_resource(texts_of(form)), key)
        assignments.assign(work, saved, "workflow", _chosen(form, "workflow"))
        assignments.assign(work, saved, "group", _chosen(form, "group"))

    problem = await tried(request, save)
    if problem is None:
        return RedirectResponse(f"/settings/facilities/{code}", status_code=303)
    return await _page(request, user, problem=problem, form=form)


@for_admin
async def reserve(request: Request, user: User) -> Response:
    """Add a reservation, or release the one in the address."""
    code, key = request.path_params["code"], request.path_params["key"]
    ended = request.path_params.get("reservation")
    user.require(code)
    given = texts_of(await form_of(request))

    def change(work: Work) -> None:
        if ended is None:
            reservations.reserve(work, code, key, given)
        else:
            reservations.release(work, code, key, ended)

    problem = await tried(request, change)
    if problem is None:
        return RedirectResponse(f"/settings/facilities/{code}/resources/{key}#reservations", status_code=303)
    return await _page(request, user, problem=problem, reservation=given)


async def _page(
    request: Request,
    user: User,
    *,
    problem: Refused | None = None,
    form: FormData | None = None,
    reservation: dict[str, str] | None = None,
) -> Response:
    code, key = request.path_params["code"], request.path_params.get("key")

    def question(work: Work) -> dict[str, Any]:
        row = None if key is None else work.one("SELECT * FROM resource WHERE facility = ? AND id = ?", code, key)
        home = work.one("SELECT * FROM facility WHERE code = ?", code)
        if home is None or (key is not None and row is None):
            raise Refused("unknown", "There is no such resource.")
        return {
            "facility": home,
            "locations": work.all("SELECT * FROM location WHERE facility = ? ORDER BY department, room", code),
            "values": texts_of(form) if form is not None else dict(row) if row is not None else _BLANK,
            "assignments": [
                (
                    kind,
                    assignments.names(work, kind),
                    _chosen(form, kind) if form is not None else assignments.assigned(work, key or 0, kind),
                )
                for kind in assignments.TABLES
            ],
            "reservations": [] if key is None else reservations.of_resource(work, key),
        }

    shown = await services(request).store.read(question)
    return render(
        request,
        user,
        "settings/resource.html",
        status=status_of(problem),
        problem=problem,
        is_new=key is None,
        address=f"/settings/facilities/{code}/resources/{key or 'new'}",
        modalities=catalogue.MODALITIES,
        repeats=reservations.REPEATS,
        reservation=reservation or {},
        **shown,
    )


def _chosen(form: FormData, name: str) -> list[str]:
    return [value for value in form.getlist(name) if isinstance(value, str)]


_RESOURCES = "/settings/facilities/{code}/resources"
ROUTES = [
    Route(f"{_RESOURCES}/new", resource, methods=["GET", "POST"]),
    Route(f"{_RESOURCES}/{{key:int}}", resource, methods=["GET", "POST"]),
    Route(f"{_RESOURCES}/{{key:int}}/reservations", reserve, methods=["POST"]),
    Route(f"{_RESOURCES}/{{key:int}}/reservations/{{reservation:int}}/release", reserve, methods=["POST"]),
]
