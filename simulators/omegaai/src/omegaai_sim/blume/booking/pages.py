"""Book New Appointment: what and where under /blume/book, then the time under /blume/book/times; and both as JSON."""

import secrets
from typing import Any, Final
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from omegaai_sim.blume import cards
from omegaai_sim.blume.booking import atlas, places
from omegaai_sim.blume.onboarding.session import Portal, Visitor, refused
from omegaai_sim.blume.portal import HOME
from omegaai_sim.blume.scheduling import own
from omegaai_sim.blume.scheduling.calendar import calendar, days_in, month_of
from omegaai_sim.blume.scheduling.desk import Asked, Desk, minutes_for
from omegaai_sim.blume.scheduling.own import Wish
from omegaai_sim.context import Services, templates
from omegaai_sim.fhir.outcome import Refused
from omegaai_sim.study_types import catalogue
from simulator_kit import web
from simulator_kit.store import Work

_CHOICES: Final = ("patient", "study", "location", "service")


class Booking:
    """The pages, over one store."""

    def __init__(self, services: Services) -> None:
        self._store = services.store
        self._portal = Portal(services)
        self._desk = Desk(services)

    def routes(self) -> list[Route]:
        visit, form = self._portal.visit, self._portal.form
        return [
            Route("/blume/book", visit(self.choose), methods=["GET"]),
            Route("/blume/book", form(self.book), methods=["POST"]),
            Route("/blume/book/times", visit(self.times)),
            Route("/blume/api/offers", visit(self.offers)),
        ]

    async def choose(self, request: Request, visitor: Visitor) -> Response:
        """`?patient=&study=&location=&service=`, those that are chosen."""
        return await self._choose(request, visitor, _given(request.query_params))

    async def _choose(
        self, request: Request, visitor: Visitor, given: dict[str, str], problem: str = "", status: int = 422
    ) -> Response:
        context = await self._store.read(lambda work: _choices(work, visitor, given))
        context |= {"visitor": visitor, "problem": problem}
        return web.page(templates, request, "blume/booking/choose.html", context, status=status if problem else 200)

    async def times(self, request: Request, visitor: Visitor) -> Response:
        """As above, and `?month=&day=&at=`: the month and the day that are shown, the time that is chosen."""
        given = {**_given(request.query_params)}
        given |= {name: request.query_params.get(name, "") for name in ("month", "day", "at")}
        return await self._times(request, visitor, given)

    async def _times(
        self, request: Request, visitor: Visitor, given: dict[str, str], problem: Refused | None = None
    ) -> Response:
        wanting = next((words for name, words in _WANTING.items() if not given[name]), "")
        found: dict[str, Any] | str = wanting
        if not wanting:
            found = await self._store.read(lambda work: _chosen(work, visitor, given))
        if isinstance(found, str):
            words, status = (found, 422) if problem is None else (problem.diagnostics, problem.status)
            return await self._choose(request, visitor, given, words, status)
        zone = ZoneInfo(found["facility"].zone)
        month = month_of(given, zone)
        asked = Asked(given["service"], given["study"], found["minutes"], month, days_in(month))
        try:
            free = await self._desk.free(asked)
        except Refused as refusal:
            problem, free = problem or refusal, []
        context = {
            **found,
            "visitor": visitor,
            "given": given,
            "calendar": calendar(month, free, given.get("day", ""), zone),
            "problem": problem,
            "alternatives": getattr(problem, "alternatives", []),
            "key": given.get("key") or secrets.token_urlsafe(12),
            "takes_notes": not self._desk.is_suite,
            "longest_note": own.LONGEST_NOTE,
        }
        status = problem.status if problem else 200
        return web.page(templates, request, "blume/booking/times.html", context, status=status)

    async def book(self, request: Request, visitor: Visitor) -> Response:
        """`patient, service, study, note`, and the time: `slot`, one of the free ones, which has to be free still.

        Programs may give `start` (an instant), or `day` and `clock` of the facility's wall, instead: those are checked
        against the hours alone.
        """
        form = await request.form()
        text = {name: web.text_of(form, name) for name in (*_CHOICES, "note", "slot", "start", "day", "clock", "key")}

        def start(work: Work) -> str:
            return text["start"] or cards.instant_of(work, text["service"], text["day"], text["clock"])

        try:
            at = text["slot"] or await self._store.read(start)
            wish = Wish(text["patient"], text["service"], text["study"], at, text["note"], bool(text["slot"]))
            card = await self._desk.book(visitor.account, wish, text["key"][:100] or secrets.token_urlsafe(12))
        except Refused as problem:
            if web.wants_json(request):
                return refused(request, problem)
            given = {
                **text,
                "is_begun": "yes",
                "month": "",
                "day": text["slot"][:10] or text["day"],
                "at": "",
                "key": "",
            }
            return await self._times(request, visitor, given, problem)
        if web.wants_json(request):
            shown = {} if card is None else {"id": card.id, "status": card.status, "label": card.label}
            return JSONResponse(shown, 202 if card is None else 201)
        return RedirectResponse(f"{HOME}?done=sent" if card is None else f"{HOME}?done=requested#card-{card.id}", 303)

    async def offers(self, _request: Request, visitor: Visitor) -> Response:
        return JSONResponse(await self._store.read(lambda work: _offers(work, visitor)))


_WANTING: Final = {
    "patient": "Choose the patient.",
    "study": "Choose the order set.",
    "location": "Choose your location.",
    "service": "Choose a healthcare provider.",
}


def _given(query: Any) -> dict[str, str]:
    """The choices of the address. Before the first one, the patient's own town is the location."""
    return {**{name: query.get(name, "") for name in _CHOICES}, "is_begun": "yes" if "location" in query else ""}


def _choices(work: Work, visitor: Visitor, given: dict[str, str]) -> dict[str, Any]:
    """The form's choices. A patient, a study and a place are chosen at once where there is only one, or a usual one."""
    patients, studies = own.patients_of(work, visitor.account), catalogue.bookable(work)
    first = patients[0]["id"] if len(patients) == 1 else ""
    patient = next((one for one in patients if one["id"] == (given["patient"] or first)), None)
    study = next((one for one in studies if one.code == given["study"]), None)
    location = given["location"] if given["location"] in places.PLACES else ""
    if not given["is_begun"] and patient is not None:
        location = places.place_of(patient["city"])
    found = [] if study is None else places.providers(work, study, location)
    online = [one for one in found if not one.why_not]
    facilities = list(dict.fromkeys(one.facility.name for one in online if one.facility.position is not None))
    return {
        "patients": patients,
        "studies": studies,
        "places": sorted(places.PLACES),
        "chosen": {
            "patient": "" if patient is None else patient["id"],
            "study": "" if study is None else study.code,
            "location": location,
            "service": given["service"] if given["service"] in {one.id for one in online} else "",
        },
        "online": online,
        "numbers": {name: number for number, name in enumerate(facilities, 1)},
        "others": [one for one in found if one.why_not],
        "map": None if study is None else atlas.drawn(location, online),
        "width": atlas.WIDTH,
        "height": atlas.HEIGHT,
        "phones": [] if study is not None else _phones(work),
    }


def _phones(work: Work) -> list[cards.Facility]:
    """The facilities to call where nothing can be booked online."""
    facilities = [
        cards.facility_of(work, cards.body_of(work, "HealthcareService", row["id"]) or {})
        for row in work.all("SELECT id FROM resource WHERE type = 'HealthcareService' ORDER BY CAST(id AS INTEGER)")
    ]
    return list({one.name: one for one in facilities}.values())


def _chosen(work: Work, visitor: Visitor, given: dict[str, str]) -> dict[str, Any] | str:
    """What was chosen, by name; a sentence where the choice is none."""
    patient = next((one for one in own.patients_of(work, visitor.account) if one["id"] == given["patient"]), None)
    service = cards.body_of(work, "HealthcareService", given["service"])
    if patient is None:
        return _WANTING["patient"]
    if service is None or own.why_not(work, service):
        return "This provider takes no bookings online. Choose another one, or call."
    minutes = minutes_for(work, given["service"], given["study"])
    study = next((one for one in catalogue.bookable(work) if one.code == given["study"]), None)
    if minutes is None or study is None:
        return "This provider does not do this order set. Choose another one."
    provider = next(one for one in places.providers(work, study, given["location"]) if one.id == given["service"])
    if provider.why_not:
        return f"{provider.facility.name}: {provider.why_not} Choose another one, or call."
    return {
        "patient": patient["name"],
        "study": study.description,
        "service": provider.name,
        "facility": provider.facility,
        "distance_km": provider.distance_km,
        "minutes": minutes,
    }


def _offers(work: Work, visitor: Visitor) -> dict[str, Any]:
    patients = [{"id": one["id"], "name": one["name"]} for one in own.patients_of(work, visitor.account)]
    services = []
    studies = catalogue.bookable(work)
    for row in work.all("SELECT id FROM resource WHERE type = 'HealthcareService' ORDER BY CAST(id AS INTEGER)"):
        service = cards.body_of(work, "HealthcareService", row["id"]) or {}
        if own.why_not(work, service):
            continue
        facility = cards.facility_of(work, service)
        offered = [{"code": one.code, "display": one.description} for one in studies if own.fits(service, one)]
        facts = {"id": row["id"], "name": service["name"], "facility": facility.name, "zone": facility.zone}
        services.append({**facts, "studies": offered})
    return {"patients": patients, "services": services}
