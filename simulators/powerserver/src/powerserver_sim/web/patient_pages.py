"""Patients: list with search, Add New Patient, and a patient's page."""

from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from powerserver_sim import patients, views
from powerserver_sim.accounts import User
from powerserver_sim.rules import HTTP_STATUS, Refused
from powerserver_sim.store import Work
from powerserver_sim.web.api import DEFAULT_ISSUER
from powerserver_sim.web.context import services
from powerserver_sim.web.session import for_user, form_of, render, text_of

_LISTED = 100


@for_user
async def patient_list(request: Request, user: User) -> Response:
    text = request.query_params.get("q", "").strip()
    found = await services(request).store.read(lambda work: patients.search_patients(work, text, _LISTED + 1))
    return render(
        request, user, "patients.html", found=found[:_LISTED], is_cut=len(found) > _LISTED, q=text, sexes=patients.SEXES
    )


@for_user
async def new_patient(request: Request, user: User) -> Response:
    if request.method == "GET":
        return _form(request, user, {}, None)
    form = await form_of(request)

    def change(work: Work) -> int:
        row = patients.add_patient(
            work,
            patients.read_demographics(form),
            issuer=text_of(form, "issuer") or DEFAULT_ISSUER,
            patient_id=text_of(form, "patient_id"),
        )
        return int(row["key"])

    try:
        key = await services(request).store.write(change)
    except Refused as problem:
        return _form(request, user, dict(form), problem)
    return RedirectResponse(f"/patients/{key}", status_code=303)


def _form(request: Request, user: User, values: dict[str, Any], problem: Refused | None) -> Response:
    return render(
        request,
        user,
        "patient_new.html",
        status=200 if problem is None else HTTP_STATUS[problem.reason],
        values=values,
        problem=problem,
        sexes=patients.SEXES,
        default_issuer=DEFAULT_ISSUER,
    )


@for_user
async def patient_page(request: Request, user: User) -> Response:
    key = request.path_params["key"]
    problem: Refused | None = None
    values: dict[str, Any] | None = None
    if request.method == "POST":
        form = await form_of(request)
        try:
            given = patients.read_demographics(form)
            await services(request).store.write(lambda work: patients.change_patient(work, key, given))
            return RedirectResponse(f"/patients/{key}?saved=1", status_code=303)
        except Refused as refusal:
            problem, values = refusal, dict(form)

    def question(work: Work) -> dict[str, Any]:
        return {
            "patient": patients.patient_by_key(work, key),
            "orders": views.orders_of_patient(work, key, user),
        }

    shown = await services(request).store.read(question)
    return render(
        request,
        user,
        "patient.html",
        status=200 if problem is None else HTTP_STATUS[problem.reason],
        values=values if values is not None else shown["patient"],
        most_orders=views.MOST_OF_PATIENT,
        is_saved="saved" in request.query_params,
        problem=problem,
        sexes=patients.SEXES,
        **shown,
    )


routes = [
    Route("/patients", patient_list),
    Route("/patients/new", new_patient, methods=["GET", "POST"]),
    Route("/patients/{key:int}", patient_page, methods=["GET", "POST"]),
]
