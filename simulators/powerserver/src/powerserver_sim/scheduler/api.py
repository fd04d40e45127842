"""The JSON API of appointments and free slots: the scheduler for programs."""

from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from powerserver_sim.accounts import User
from powerserver_sim.context import json_body, moment, services, text_in, whole_number
from powerserver_sim.patients import people
from powerserver_sim.patients.pages import DEFAULT_ISSUER, add_from_json
from powerserver_sim.rules import Refused
from powerserver_sim.scheduler import appointments, slots
from powerserver_sim.settings import catalogue
from powerserver_sim.users.session import authenticated
from powerserver_sim.worklist import orders
from powerserver_sim.worklist.open_requests import open_request
from simulator_kit.store import Work


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
    priority = body.get("priority")
    if priority is not None and not isinstance(priority, int):
        raise Refused("invalid", "priority is the order value of a priority.", field="priority")

    def change(work: Work) -> orders.Booked:
        if "family" in patient:
            row = add_from_json(work, patient)
        else:
            row = people.patient_by_id(work, text_in(patient, "id"), text_in(patient, "issuer") or DEFAULT_ISSUER)
        return appointments.book(
            work, user, patient=row["key"], resource=text_in(body, "resource"), start=start, study_types=study_types,
            priority=catalogue.default_priority(work) if priority is None else priority,
            physician=text_in(body, "referring") or None, reason=text_in(body, "reason"),
        )  # fmt: skip

    done = await services(request).store.write(change)
    return JSONResponse(_booked(done), status_code=201)


@authenticated
async def appointment(request: Request, user: User) -> Response:
    """One order: status, resource, times, patient and studies."""
    placer = request.path_params["placer"]

    def question(work: Work) -> dict[str, Any]:
        number = orders.number_of(work, placer)
        order = orders.load(work, number)
        user.require(order["facility"])
        patient = people.patient_by_key(work, order["patient"])
        request = open_request(work, number)
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
            "request": None
            if request is None
            else {**request, "start": _iso(request["start"]), "end": _iso(request["end"])},
            "studies": [dict(study) for study in studies],
        }

    return JSONResponse(await services(request).store.read(question))


@authenticated
async def appointment_status(request: Request, user: User) -> Response:
    """`{action, reason?}`: confirmed, arrived, ready-for-scan, need-to-reschedule, cancelled-with-notice or no-show."""
    body = await json_body(request)
    placer = request.path_params["placer"]

    def change(work: Work) -> dict[str, Any]:
        number = orders.number_of(work, placer)
        changed = appointments.act(work, user, number, text_in(body, "action"), reason=text_in(body, "reason"))
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
    resource = text_in(body, "resource")
    placer = request.path_params["placer"]

    def change(work: Work) -> orders.Booked:
        number = orders.number_of(work, placer)
        if orders.load(work, number)["start_at"] is None:
            return appointments.schedule(work, user, number, resource=resource, start=start)
        return appointments.move(work, user, number, resource=resource or None, start=start)

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
        codes = [row["code"] for row in catalogue.facilities_of(work, user)]
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


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _booked(done: orders.Booked) -> dict[str, Any]:
    return {
        "appointment_id": done.appointment_id,
        "placer_number": done.placer,
        "accession": done.accession,
        "start": None if done.start is None else done.start.isoformat(),
        "end": None if done.end is None else done.end.isoformat(),
    }


ROUTES = [
    Route("/api/appointments", add_appointment, methods=["POST"]),
    Route("/api/appointments/{placer}", appointment),
    Route("/api/appointments/{placer}/status", appointment_status, methods=["POST"]),
    Route("/api/appointments/{placer}/time", appointment_time, methods=["POST"]),
    Route("/api/free-slots", free_slots),
]
