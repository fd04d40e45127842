"""The pages of the Scheduler."""

from datetime import date, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from omegaai_sim.blume.scheduling import switch
from omegaai_sim.context import Services
from omegaai_sim.fhir import records
from omegaai_sim.fhir.outcome import Refused
from omegaai_sim.fhir.ramsoft import value
from omegaai_sim.organizations import editing, switches
from omegaai_sim.scheduler import board
from omegaai_sim.services import catalogue
from omegaai_sim.settings import STAFF_NAME
from omegaai_sim.staff.session import Staff
from simulator_kit import web
from simulator_kit.store import Work, stamp

HOME: Final = "/scheduler"
SETTINGS: Final = "/scheduler/settings/organization"
_DAYS_A_WEEK: Final = 7


class Scheduler:
    """The board, the deletion of an appointment, and the organisation's tab of the settings."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._store = services.store
        self._staff = Staff(services)

    def routes(self) -> list[Route]:
        only, form = self._staff.only, self._staff.form
        return [
            Route(HOME, only(self.shown)),
            Route("/scheduler/appointments/{id}/delete", form(self.delete), methods=["POST"]),
            Route("/scheduler/settings", only(self.to_settings)),
            Route(SETTINGS, only(self.settings), methods=["GET"]),
            Route(SETTINGS, form(self.turn), methods=["POST"]),
        ]

    async def shown(self, request: Request) -> Response:
        """`?organization=&view=day|week&day=&status=`, all optional."""
        query = dict(request.query_params)
        context = await self._store.read(lambda work: _shown(work, query))
        template = "scheduler/week.html" if context["view"] == "week" else "scheduler/day.html"
        return self._staff.render(request, template, context)

    async def delete(self, request: Request) -> Response:
        """Takes an appointment off the board: its order is ORDERED again."""
        form = await request.form()
        identifier, version = request.path_params["id"], web.text_of(form, "version")

        def change(work: Work) -> str:
            stored = records.read(work, "Appointment", identifier)
            if str(stored.version) != version:
                raise Refused(409, "conflict", "Somebody changed this appointment meanwhile.")
            if stored.body["status"] not in board.STEPS:
                raise Refused(409, "conflict", "This appointment is not on the board any more.")
            kept = {name: held for name, held in stored.body.items() if name != "cancelationReason"}
            body = {**kept, "status": "entered-in-error"}
            records.update(work, "Appointment", identifier, body, by=STAFF_NAME, expected=stored.version)
            work.run("INSERT OR REPLACE INTO deleted_appointment VALUES (?, ?)", identifier, stamp(work.now))
            return str(stored.body.get("start", ""))[:10]

        try:
            day = await self._store.write(change)
        except Refused as refused:
            context = {"words": refused.diagnostics, "id": identifier}
            return self._staff.render(request, "scheduler/refused.html", context, status=refused.status)
        return RedirectResponse(f"{HOME}?{urlencode({'day': day, 'deleted': identifier})}", 303)

    async def to_settings(self, _request: Request) -> Response:
        return RedirectResponse(SETTINGS, 303)

    async def settings(self, request: Request) -> Response:
        return await self._settings(request)

    async def _settings(self, request: Request, problem: str = "") -> Response:
        organizations = await self._store.read(editing.organizations)
        context = {
            "organizations": [_switches(one) for one in organizations if "partOf" in one],
            "books_by": self._services.books_by,
            "has_api": bool(self._services.settings.scheduling_url),
            "problem": problem,
            "is_saved": "saved" in request.query_params,
        }
        return self._staff.render(request, "scheduler/settings.html", context, status=409 if problem else 200)

    async def turn(self, request: Request) -> Response:
        """`books_by`: what Blume books by."""
        try:
            switch.turn(self._services, web.text_of(await request.form(), "books_by"))
        except Refused as refused:
            return await self._settings(request, refused.diagnostics)
        return RedirectResponse(f"{SETTINGS}?saved", 303)


def _switches(organization: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": organization["id"],
        "name": organization["name"],
        "modalities": [(one, switches.is_open(organization, one)) for one in editing.MODALITIES],
        **{name: switches.is_on(organization, name) for name in switches.SWITCHES},
    }


def _shown(work: Work, query: dict[str, str]) -> dict[str, Any]:
    services = [one for one in catalogue.services(work) if one.is_active]
    with_services = {one.organization_id for one in services}
    organizations = [one for one in editing.organizations(work) if one["id"] in with_services]
    chosen = next((one for one in organizations if one["id"] == query.get("organization")), None)
    organization = chosen or next(iter(organizations), {"id": "", "name": "No organisation has resources"})
    own = [one for one in services if one.organization_id == organization["id"]]
    zone = ZoneInfo(value(organization, "timezoneIANA", "UTC"))
    today = datetime.now(zone).date()
    day, view = _day(query.get("day", ""), today), "week" if query.get("view") == "week" else "day"
    first = day - timedelta(days=day.weekday()) if view == "week" else day
    days = _DAYS_A_WEEK if view == "week" else 1
    found = board.bookings(work, own, first, days, zone)
    counts = {name: sum(one.step == name for each in found.values() for one in each) for name in board.FILTERS}
    status = query["status"] if query.get("status") in board.FILTERS else ""
    shown = {key: [one for one in each if status in {"", one.step}] for key, each in found.items()}

    def address(**changes: object) -> str:
        now = {"organization": organization["id"], "view": view, "day": day, "status": status, **changes}
        return f"{HOME}?{urlencode({name: held for name, held in now.items() if held})}"

    step = timedelta(days=_DAYS_A_WEEK if view == "week" else 1)
    return {
        "organizations": organizations,
        "organization": organization,
        "zone": zone.key,
        "services": own,
        "view": view,
        "day": day,
        "days": [first + timedelta(days=number) for number in range(days)],
        "board": board.day_board(own, shown, day) if view == "day" and own else None,
        "bookings": shown,
        "counts": counts,
        "status": status,
        "orders": board.orders(work, own),
        "deleted": query.get("deleted", ""),
        "address": address,
        "today": today,
        "before": day - step,
        "after": day + step,
    }


def _day(text: str, today: date) -> date:
    """The day in the address, within a century; today for anything else."""
    try:
        found = date.fromisoformat(text) if len(text) == len("2026-12-01") else today
    except ValueError:
        return today
    return found if abs(found.year - today.year) < 50 else today
