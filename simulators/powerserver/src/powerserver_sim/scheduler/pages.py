"""The scheduler: the calendar of a day, the ORDERED worklist, and the actions on appointments."""

from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from powerserver_sim.accounts import User
from powerserver_sim.context import moment, services
from powerserver_sim.rules import Refused, local
from powerserver_sim.scheduler import appointments, details, layouts, loaded, views
from powerserver_sim.settings import assignments
from powerserver_sim.settings.catalogue import ACTIONS, facilities_of
from powerserver_sim.users.session import for_user, form_of, render
from powerserver_sim.worklist import orders
from powerserver_sim.worklist.open_requests import open_request, requests_of_facility
from powerserver_sim.worklist.views import worklist
from simulator_kit.store import Work
from simulator_kit.web import safe_next, text_of, wants_json


@for_user
async def scheduler(request: Request, user: User) -> Response:
    """`?facility=&day=YYYY-MM-DD&modality=&workflow=&scale=`: without a day, today in the facility's zone."""
    wanted = request.query_params.get("facility", "")
    modality, workflow = request.query_params.get("modality", ""), request.query_params.get("workflow", "")

    scale = request.query_params.get("scale", "")
    if scale not in ("", *map(str, views.SCALES)):
        raise Refused("invalid", "The time scale is 15, 30 or 60 minutes.", field="scale")

    def question(work: Work) -> dict[str, Any]:
        facilities = facilities_of(work, user)
        if wanted:
            user.require(wanted)
        facility = next((row for row in facilities if row["code"] == wanted), None if wanted else facilities[0])
        if facility is None:
            raise Refused("unknown", "There is no such facility.", field="facility")
        today = work.now.astimezone(ZoneInfo(facility["time_zone"])).date()
        day = _day(request.query_params.get("day"), today)
        return {
            "facilities": facilities,
            "facility": facility,
            "day": day,
            "today": today,
            "previous_day": day - timedelta(days=1),
            "next_day": day + timedelta(days=1),
            "modality": modality,
            "modalities": sorted({row["modality"] for row in loaded.resources(work, user, facility["code"])}),
            "workflow": workflow,
            "workflows": assignments.names(work, "workflow"),
            "calendar": views.calendar(
                work,
                facility["code"],
                layouts.arranged(
                    work, user, loaded.resources(work, user, facility["code"], modality=modality, workflow=workflow)
                ),
                day,
                int(scale or views.SCALES[0]),
            ),
            "layout": layouts.choices(work, user, facility["code"]),
            "not_loaded": loaded.not_loaded(work, user, facility["code"]),
            "asked": requests_of_facility(work, facility["code"]),
            "statuses": work.all("SELECT * FROM status ORDER BY value"),
            "worklist": worklist(work, facility["code"]),
            "zone_name": datetime(day.year, day.month, day.day, 12, tzinfo=ZoneInfo(facility["time_zone"])).tzname(),
        }

    shown = await services(request).store.read(question)
    return render(request, user, "scheduler/scheduler.html", actions=ACTIONS, scale=scale, scales=views.SCALES, **shown)


@for_user
async def refresh_data(request: Request, user: User) -> Response:
    """Refresh Data: resources that were added since are on the scheduler from now on."""

    def change(work: Work) -> None:
        loaded.load(work, user.name)
        work.notice("catalogue")

    await services(request).store.write(change)
    if wants_json(request):
        return JSONResponse({"message": "The data is up to date."})
    return RedirectResponse(f"/scheduler?{request.url.query}", status_code=303)


@for_user
async def set_layout(request: Request, user: User) -> Response:
    """The Resources Layout Editor: `order` names the facility's resources in their order, `shown` the visible ones."""
    form = await form_of(request)
    facility = text_of(form, "facility")
    order, shown = ([one for one in form.getlist(name) if isinstance(one, str)] for name in ("order", "shown"))
    await services(request).store.write(lambda work: layouts.arrange(work, user, facility, order, shown))
    if wants_json(request):
        return JSONResponse({"message": "The layout is saved."})
    return RedirectResponse(f"/scheduler?facility={facility}", status_code=303)


def _day(text: str | None, today: date) -> date:
    if not text:
        return today
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise Refused("invalid", "The day is written YYYY-MM-DD.", field="day") from None
    if not 2000 <= day.year <= 2100:
        raise Refused("invalid", "The day is out of range.", field="day")
    return day


@for_user
async def appointment(request: Request, user: User) -> Response:
    placer = request.path_params["placer"]

    def question(work: Work) -> dict[str, Any]:
        shown = details.order_details(work, orders.number_of(work, placer))
        order = shown["order"]
        user.require(order["facility"])
        return {
            **shown,
            "wish": open_request(work, order["number"]),
            "resources": loaded.resources(work, user, order["facility"]),
            "statuses": work.all("SELECT * FROM status ORDER BY value"),
            "start": None if order["start_at"] is None else local(order["start_at"], order["time_zone"]),
        }

    shown = await services(request).store.read(question)
    return render(request, user, "scheduler/appointment.html", actions=ACTIONS, **shown)


@for_user
async def act(request: Request, user: User) -> Response:
    """A right-click action, or any `status` of the site by its order value; then back to `next`, or JSON."""
    placer = request.path_params["placer"]
    form = await form_of(request)
    action, status, reason = (text_of(form, name) for name in ("action", "status", "reason"))

    def change(work: Work) -> str:
        number = orders.number_of(work, placer)
        if action or not status.isdecimal():
            changed = appointments.act(work, user, number, action, reason=reason)
        else:
            changed = appointments.give_status(work, user, number, int(status), reason=reason)
        name = orders.load(work, number)["status_name"]
        return f"{placer} is now {name}." if changed else f"{placer} is {name} already."

    words = await services(request).store.write(change)
    if text_of(form, "next") and not wants_json(request):
        return RedirectResponse(safe_next(text_of(form, "next")), status_code=303)
    return _done(request, placer, words)


@for_user
async def set_time(request: Request, user: User) -> Response:
    """Drop on a slot: `resource` and `start` (ISO with offset), or `date` and `time` in the facility's zone."""
    placer = request.path_params["placer"]
    form = await form_of(request)
    resource = text_of(form, "resource")

    def change(work: Work) -> str:
        number = orders.number_of(work, placer)
        order = orders.load(work, number)
        start = wall_clock(form, order["time_zone"])
        if order["start_at"] is None:
            done = appointments.schedule(work, user, number, resource=resource, start=start)
        else:
            done = appointments.move(work, user, number, resource=resource or None, start=start)
        when = "" if done.start is None else done.start.strftime("%a %-d %b, %H:%M")
        return f"{placer} is on {orders.load(work, number)['resource_name']}, {when}."

    return _done(request, placer, await services(request).store.write(change))


def wall_clock(form: Any, zone: str) -> datetime:
    """The start of a form: an ISO instant, or a day and a wall-clock time of the facility."""
    if text_of(form, "start"):
        return moment(text_of(form, "start"), "start")
    try:
        return datetime.fromisoformat(f"{text_of(form, 'date')}T{text_of(form, 'time')}").replace(tzinfo=ZoneInfo(zone))
    except ValueError:
        raise Refused("invalid", "Choose a day and a time.", field="time") from None


def _done(request: Request, placer: str, words: str) -> Response:
    if wants_json(request):
        return JSONResponse({"message": words})
    return RedirectResponse(f"/appointments/{placer}", status_code=303)


ROUTES = [
    Route("/scheduler", scheduler),
    Route("/scheduler/refresh", refresh_data, methods=["POST"]),
    Route("/scheduler/layout", set_layout, methods=["POST"]),
    Route("/appointments/{placer}", appointment),
    Route("/appointments/{placer}/status", act, methods=["POST"]),
    Route("/appointments/{placer}/time", set_time, methods=["POST"]),
]
