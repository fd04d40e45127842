"""The JSON API: what the scheduler's users do, for programs. HTTP Basic with the same users and rights."""

import base64
import binascii
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import wraps
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from powerserver_sim import orders, patients, slots, views
from powerserver_sim.accounts import User
from powerserver_sim.rules import Refused
from powerserver_sim.store import Work
from powerserver_sim.web.context import json_body, moment, services, whole_number

DEFAULT_PRIORITY = 20
DEFAULT_ISSUER = "NORTHSIDE"

Handler = Callable[[Request, User], Awaitable[Response]]


def authenticated(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """Answer 401 without a right name and password."""

    @wraps(handler)
    async def checked(request: Request) -> Response:
        credentials = _basic(request.headers.get("authorization", ""))
        user = await services(request).accounts.login(*credentials) if credentials is not None else None
        if user is None:
            return JSONResponse(
                {"error": {"reason": "login", "message": "HTTP Basic with a PowerServer user."}},
                status_code=401,
                headers={"WWW-Authenticate": 'Basic realm="PowerServer", charset="UTF-8"'},
            )
        return await handler(request, user)

    return checked


def _basic(header: str) -> tuple[str, str] | None:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (name, password) if colon else None


def patient_fields(given: dict[str, Any]) -> patients.Demographics:
    """Demographics from JSON; an `address` object is spread over the form's fields."""
    address = given.get("address") or {}
    if not isinstance(address, dict):
        raise Refused("invalid", "address is an object.", field="address")
    spread = {**given, **address}
    if "line" in address:
        spread["street"] = address["line"]
    return patients.read_demographics(spread)


@authenticated
async def add_patient(request: Request, _user: User) -> Response:
    """`{family, given, middle?, birth_date, sex, email?, phone?, address?, id?, issuer?}` → 201 `{id, issuer}`."""
    body = await json_body(request)
    row = await services(request).store.write(lambda work: _add(work, body))
    return JSONResponse({"id": row["patient_id"], "issuer": row["issuer"]}, status_code=201)


def _add(work: Work, given: dict[str, Any]) -> Any:
    return patients.add_patient(
        work,
        patient_fields(given),
        issuer=_text(given, "issuer") or DEFAULT_ISSUER,
        patient_id=_text(given, "id"),
    )


@authenticated
async def add_appointment(request: Request, user: User) -> Response:
    """`{patient: {id, issuer?} | new patient, resource, start, study_types, referring?, priority?, reason?}` → 201.

    Answers `{appointment_id, placer_number, accession, start, end}`; the messages are queued by then.
    """
    body = await json_body(request)
    patient = body.get("patient")
    if not isinstance(patient, dict):
        raise Refused("invalid", "patient is an object.", field="patient")
    study_types = body.get("study_types")
    if not isinstance(study_types, list) or not all(isinstance(code, str) for code in study_types):
        raise Refused("invalid", "study_types is a list of study type codes.", field="study_types")
    start = moment(body.get("start"), "start")
    priority = body.get("priority", DEFAULT_PRIORITY)
    if not isinstance(priority, int):
        raise Refused("invalid", "priority is the order value of a priority.", field="priority")

    def change(work: Work) -> orders.Booked:
        if "family" in patient:
            row = _add(work, patient)
        else:
            row = patients.patient_by_id(work, _text(patient, "id"), _text(patient, "issuer") or DEFAULT_ISSUER)
        return orders.book(
            work, user, patient=row["key"], resource=_text(body, "resource"), start=start, study_types=study_types,
            priority=priority, physician=_text(body, "referring") or None, reason=_text(body, "reason"),
        )  # fmt: skip

    done = await services(request).store.write(change)
    return JSONResponse(_booked(done), status_code=201)


@authenticated
async def appointment(request: Request, user: User) -> Response:
    """One order: status, resource, times, patient and studies."""
    placer = request.path_params["placer"]

    def question(work: Work) -> dict[str, Any]:
        number = orders.number_of(placer)
        order = orders.load(work, number)
        user.require(order["facility"])
        patient = patients.patient_by_key(work, order["patient"])
        studies = work.all('SELECT accession, study_type, modality, minutes FROM study WHERE "order" = ?', number)
        return {
            **_booked(orders.booked(work, number)),
            "facility": order["facility"],
            "resource": order["resource_name"],
            "status": order["status_name"],
            "status_value": order["status"],
            "priority": order["priority"],
            "referring": order["physician"],
            "patient": {"id": patient["patient_id"], "issuer": patient["issuer"]},
            "studies": [dict(study) for study in studies],
        }

    return JSONResponse(await services(request).store.read(question))


@authenticated
async def appointment_status(request: Request, user: User) -> Response:
    """`{action}`: confirmed, arrived, ready-for-scan, need-to-reschedule, cancelled-with-notice or no-show."""
    body = await json_body(request)
    placer = request.path_params["placer"]

    def change(work: Work) -> dict[str, Any]:
        number = orders.number_of(placer)
        changed = orders.act(work, user, number, _text(body, "action"))
        order = orders.load(work, number)
        return {
            "placer_number": placer,
            "changed": changed,
            "status": order["status_name"],
            "status_value": order["status"],
        }

    return JSONResponse(await services(request).store.write(change))


@authenticated
async def appointment_time(request: Request, user: User) -> Response:
    """`{start, resource?}`: move an appointment, or put an ORDERED order on the calendar."""
    body = await json_body(request)
    start = moment(body.get("start"), "start")
    resource = _text(body, "resource")
    placer = request.path_params["placer"]

    def change(work: Work) -> orders.Booked:
        number = orders.number_of(placer)
        if orders.load(work, number)["start_at"] is None:
            return orders.schedule(work, user, number, resource=resource, start=start)
        return orders.move(work, user, number, resource=resource or None, start=start)

    return JSONResponse(_booked(await services(request).store.write(change)))


@authenticated
async def free_slots(request: Request, user: User) -> Response:
    """`?facility=&count=&from=` → `{slots: [{facility, resource, start, end, study_type}]}`, bookable side by side.
    Without a facility: all that the user sees.
    """
    facility = request.query_params.get("facility", "")
    count = whole_number(request.query_params.get("count"), "count", default=100, most=slots.MOST_SLOTS)
    given = request.query_params.get("from")
    # A plus sign that was not percent-encoded arrives as a blank.
    after = datetime.now(UTC) if given is None else moment(given.replace(" ", "+"), "from")

    def question(work: Work) -> list[slots.Slot]:
        codes = [row["code"] for row in views.facilities_of(work, user)]
        if facility:
            if work.one("SELECT 1 FROM facility WHERE code = ?", facility) is None:
                raise Refused("unknown", "There is no such facility.", field="facility")
            user.require(facility)
            codes = [facility]
        return slots.free_slots(work, codes, count, after)

    found = await services(request).store.read(question)
    return JSONResponse(
        {
            "slots": [
                {
                    "facility": slot.facility,
                    "resource": slot.resource,
                    "start": slot.start.isoformat(),
                    "end": slot.end.isoformat(),
                    "study_type": slot.study_type,
                }
                for slot in found
            ]
        }
    )


def _booked(done: orders.Booked) -> dict[str, Any]:
    return {
        "appointment_id": done.appointment_id,
        "placer_number": done.placer,
        "accession": done.accession,
        "start": None if done.start is None else done.start.isoformat(),
        "end": None if done.end is None else done.end.isoformat(),
    }


def _text(given: dict[str, Any], name: str) -> str:
    value = given.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Refused("invalid", f"{name} is text.", field=name)
    return value


routes = [
    Route("/api/patients", add_patient, methods=["POST"]),
    Route("/api/appointments", add_appointment, methods=["POST"]),
    Route("/api/appointments/{placer}", appointment),
    Route("/api/appointments/{placer}/status", appointment_status, methods=["POST"]),
    Route("/api/appointments/{placer}/time", appointment_time, methods=["POST"]),
    Route("/api/free-slots", free_slots),
]
