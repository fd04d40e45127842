"""The New Order form: a page of its own, and the scheduler's dialog (`?fragment=1` leaves the frame out)."""

from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from powerserver_sim.accounts import User
from powerserver_sim.context import moment, services
from powerserver_sim.patients import people
from powerserver_sim.patients.pages import DEFAULT_ISSUER
from powerserver_sim.rules import HTTP_STATUS, Refused
from powerserver_sim.scheduler import appointments, loaded
from powerserver_sim.scheduler.pages import wall_clock
from powerserver_sim.settings import catalogue
from powerserver_sim.settings.catalogue import facilities_of
from powerserver_sim.users.session import for_user, form_of, render, texts_of
from powerserver_sim.worklist import orders
from simulator_kit.store import Work
from simulator_kit.web import text_of, wants_json

INSURANCE_STATUSES: Final = ("", "Verified", "Pending", "Denied")
_LONGEST_AUTHORIZATION: Final = 40


@for_user
async def new_order(request: Request, user: User) -> Response:
    """The empty form; `?resource=&start=` from a slot, `?patient=` from a patient's page, `?facility=` otherwise."""
    query = request.query_params
    if "resource" in query:
        user.require_scheduling()
    start = moment(query["start"], "start") if "start" in query else None
    values = {"resource": query.get("resource", ""), "facility": query.get("facility", "")}
    patient = query.get("patient", "")
    return await _form(request, user, values, start=start, patient=patient)


async def _form(
    request: Request,
    user: User,
    values: dict[str, str],
    *,
    start: datetime | None = None,
    patient: str = "",
    study_types: tuple[str, ...] = ("",),
    problem: Refused | None = None,
) -> Response:
    def question(work: Work) -> dict[str, Any]:
        resources = loaded.resources(work, user)
        chosen = next((row for row in resources if row["name"] == values.get("resource")), None)
        if chosen is not None:
            values["facility"] = chosen["facility"]
            if start is not None:
                wall = start.astimezone(ZoneInfo(chosen["time_zone"]))
                values["date"], values["time"] = wall.strftime("%Y-%m-%d"), wall.strftime("%H:%M")
        selected = people.patient_by_key(work, int(patient)) if patient.isdecimal() else None
        return {
            "facilities": facilities_of(work, user),
            "resources": resources,
            "study_types": work.all("SELECT * FROM study_type ORDER BY modality IS NULL, modality, code"),
            "physicians": work.all("SELECT * FROM physician ORDER BY family, given"),
            "priorities": work.all("SELECT * FROM priority ORDER BY value"),
            "default_priority": catalogue.default_priority(work),
            "found": [selected] if selected is not None else people.search_patients(work, "", 8),
            "selected": selected,
        }

    shown = await services(request).store.read(question)
    return render(
        request,
        user,
        "scheduler/order_fragment.html" if request.query_params.get("fragment") else "scheduler/order.html",
        status=200 if problem is None else HTTP_STATUS[problem.reason],
        values=values,
        chosen_types=study_types,
        insurance_statuses=INSURANCE_STATUSES,
        sexes=people.SEXES,
        problem=problem,
        **shown,
    )


@for_user
async def save_order(request: Request, user: User) -> Response:
    """OK: one order with its studies, on the calendar when resource, day and time are given, else ORDERED."""
    form = await form_of(request)
    try:
        done = await services(request).store.write(lambda work: _save(work, user, form))
    except Refused as problem:
        if wants_json(request):
            raise
        types = tuple(value for value in form.getlist("study_type") if isinstance(value, str))
        texts = texts_of(form)
        return await _form(
            request, user, texts, patient=text_of(form, "patient"), study_types=types or ("",), problem=problem
        )
    if wants_json(request):
        words = "is booked" if done.start is not None else "joined the ORDERED worklist"
        return JSONResponse({"message": f"{done.placer} {words}.", "placer_number": done.placer}, status_code=201)
    return RedirectResponse(f"/appointments/{done.placer}", status_code=303)


def _save(work: Work, user: User, form: FormData) -> orders.Booked:
    study_types = [value for value in form.getlist("study_type") if isinstance(value, str) and value]
    if not study_types:
        raise Refused("invalid", "Choose at least one study type.", field="study_type")
    resource, facility = text_of(form, "resource"), text_of(form, "facility")
    priority = text_of(form, "priority")
    common: dict[str, Any] = {
        "patient": _patient(work, form),
        "study_types": study_types,
        "priority": int(priority) if priority.isdecimal() else catalogue.default_priority(work),
        "physician": text_of(form, "referring") or None,
        "reason": text_of(form, "reason"),
    }
    if not resource:
        done = orders.place_order(work, user, facility=facility, **common)
        _keep_coverage(work, done, form)
        return done
    zone = work.one(
        "SELECT time_zone FROM facility f JOIN resource r ON r.facility = f.code WHERE r.name = ?", resource
    )
    start = wall_clock(form, "UTC" if zone is None else zone["time_zone"])
    done = appointments.book(work, user, resource=resource, start=start, **common)
    _keep_coverage(work, done, form)
    return done


def _keep_coverage(work: Work, done: orders.Booked, form: FormData) -> None:
    status, authorization = text_of(form, "insurance_status"), text_of(form, "authorization")
    if status not in INSURANCE_STATUSES:
        raise Refused("invalid", "Choose an insurance status of the list.", field="insurance_status")
    if len(authorization) > _LONGEST_AUTHORIZATION or not (authorization == "" or authorization.isprintable()):
        raise Refused(
            "invalid",
            f"The authorization number has at most {_LONGEST_AUTHORIZATION} characters.",
            field="authorization",
        )
    if status or authorization:
        work.run("INSERT INTO coverage VALUES (?, ?, ?)", orders.number_of(work, done.placer), status, authorization)


def _patient(work: Work, form: FormData) -> int:
    if text_of(form, "patient_mode") == "new":
        row = people.add_patient(work, people.read_demographics(form), issuer=DEFAULT_ISSUER)
        return int(row["key"])
    key = text_of(form, "patient")
    if not key.isdecimal():
        raise Refused("invalid", "Choose a patient, or add a new one.", field="patient")
    return int(people.patient_by_key(work, int(key))["key"])


@for_user
async def patient_options(request: Request, user: User) -> Response:
    """The metasearch's hits as radio buttons."""
    text = request.query_params.get("q", "")
    found = await services(request).store.read(lambda work: people.search_patients(work, text, 8))
    return render(request, user, "scheduler/patient_options.html", found=found, selected=None)


ROUTES = [
    Route("/orders/new", new_order),
    Route("/orders", save_order, methods=["POST"]),
    Route("/patients/options", patient_options),
]
