"""Patients: list with search, Add New Patient, a patient's page, and the JSON API's new patient."""

import sqlite3
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from powerserver_sim.accounts import User
from powerserver_sim.context import json_body, services, text_in
from powerserver_sim.patients import people
from powerserver_sim.rules import HTTP_STATUS, Refused
from powerserver_sim.users.session import authenticated, for_user, form_of, render
from powerserver_sim.worklist import views
from simulator_kit.store import Work
from simulator_kit.web import text_of

DEFAULT_ISSUER = "NORTHSIDE"
_LISTED = 100


@for_user
async def patient_list(request: Request, user: User) -> Response:
    text = request.query_params.get("q", "").strip()
    found = await services(request).store.read(lambda work: people.search_patients(work, text, _LISTED + 1))
    return render(
        request,
        user,
        "patients/list.html",
        found=found[:_LISTED],
        is_cut=len(found) > _LISTED,
        q=text,
        sexes=people.SEXES,
    )


@for_user
async def new_patient(request: Request, user: User) -> Response:
    if request.method == "GET":
        return _form(request, user, {}, None)
    form = await form_of(request)

    def change(work: Work) -> int:
        row = people.add_patient(
            work,
            people.read_demographics(form),
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
        "patients/new.html",
        status=200 if problem is None else HTTP_STATUS[problem.reason],
        values=values,
        problem=problem,
        sexes=people.SEXES,
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
            given = people.read_demographics(form)
            await services(request).store.write(lambda work: people.change_patient(work, key, given))
            return RedirectResponse(f"/patients/{key}?saved=1", status_code=303)
        except Refused as refusal:
            problem, values = refusal, dict(form)
    return await _page(request, user, key, problem, values)


async def _page(
    request: Request, user: User, key: int, problem: Refused | None, values: dict[str, Any] | None
) -> Response:
    def question(work: Work) -> dict[str, Any]:
        return {
            "patient": people.patient_by_key(work, key),
            "orders": views.orders_of_patient(work, key, user),
        }

    shown = await services(request).store.read(question)
    return render(
        request,
        user,
        "patients/one.html",
        status=200 if problem is None else HTTP_STATUS[problem.reason],
        values=values if values is not None else shown["patient"],
        most_orders=views.MOST_OF_PATIENT,
        is_saved="saved" in request.query_params,
        problem=problem,
        sexes=people.SEXES,
        **shown,
    )


@for_user
async def merge_into(request: Request, user: User) -> Response:
    """Merges the record that the form names into this one."""
    key = request.path_params["key"]
    form = await form_of(request)
    ended_id, issuer = text_of(form, "patient_id").strip(), text_of(form, "issuer").strip() or DEFAULT_ISSUER
    try:
        await services(request).store.write(lambda work: people.merge_patients(work, key, ended_id, issuer))
    except Refused as problem:
        return await _page(request, user, key, problem, None)
    return RedirectResponse(f"/patients/{key}?saved=1", status_code=303)


@authenticated
async def merge_by_json(request: Request, _user: User) -> Response:
    """`{id, issuer?, ended_id, ended_issuer?}` → `{id, issuer}`: the record of `ended_id` ends in that of `id`."""
    body = await json_body(request)
    patient_id, issuer = text_in(body, "id"), text_in(body, "issuer") or DEFAULT_ISSUER
    ended_id, ended_issuer = text_in(body, "ended_id"), text_in(body, "ended_issuer") or DEFAULT_ISSUER

    def merge(work: Work) -> None:
        people.merge_patients(work, people.patient_by_id(work, patient_id, issuer)["key"], ended_id, ended_issuer)

    await services(request).store.write(merge)
    return JSONResponse({"id": patient_id, "issuer": issuer})


def patient_fields(given: dict[str, Any]) -> people.Demographics:
    """Demographics from JSON; an `address` object is spread over the form's fields."""
    address = given.get("address") or {}
    if not isinstance(address, dict):
        raise Refused("invalid", "address is an object.", field="address")
    spread = {**given, **address}
    if "line" in address:
        spread["street"] = address["line"]
    return people.read_demographics(spread)


@authenticated
async def add_patient(request: Request, _user: User) -> Response:
    """`{family, given, middle?, birth_date, sex, email?, phone?, address?, id?, issuer?}` → 201 `{id, issuer}`."""
    body = await json_body(request)
    row = await services(request).store.write(lambda work: add_from_json(work, body))
    return JSONResponse({"id": row["patient_id"], "issuer": row["issuer"]}, status_code=201)


def add_from_json(work: Work, given: dict[str, Any]) -> sqlite3.Row:
    return people.add_patient(
        work,
        patient_fields(given),
        issuer=text_in(given, "issuer") or DEFAULT_ISSUER,
        patient_id=text_in(given, "id"),
    )


ROUTES = [
    Route("/api/patients", add_patient, methods=["POST"]),
    Route("/patients", patient_list),
    Route("/patients/new", new_patient, methods=["GET", "POST"]),
    Route("/patients/{key:int}", patient_page, methods=["GET", "POST"]),
    Route("/patients/{key:int}/merge", merge_into, methods=["POST"]),
    Route("/api/patients/merge", merge_by_json, methods=["POST"]),
]
