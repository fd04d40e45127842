"""The routes of the scheduling API, for other machines by their token. Every answer is FHIR; none is a page.

POST /fhir/Appointment/$find         ITI-115: free slots, as Appointments ``proposed``
POST /fhir/Appointment/$hold         ITI-116: a slot is held some minutes; the answer says until when
POST /fhir/Appointment/$book         ITI-117: books a hold, or a slot at once
POST /fhir/Appointment/{id}/$reschedule   asks for another time, as one operation
POST /fhir/Appointment/{id}/$cancel
POST /fhir/Appointment/{id}/$release      gives a hold back
GET  /fhir/Appointment               ITI-118: a patient's appointments; POST …/_search keeps numbers out of the address
GET  /fhir/Appointment/{id}
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qs
from uuid import UUID
from zoneinfo import ZoneInfo

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from chassis.errors import StoreUnavailable, Transient
from chassis.observe import Metrics
from chassis.web import access
from chassis.web.guard import actor_of
from scheduler_sync.metrics import SCHEDULING_CALLS
from scheduler_sync.scheduling import shown
from scheduler_sync.scheduling.desk import Desk, FindAsked, Hold
from scheduler_sync.scheduling.openapi import DOCUMENT
from scheduler_sync.scheduling.parameters import (
    Parameters,
    required,
    service_asked,
    span_of,
    storable,
)
from scheduler_sync.scheduling.problems import Code, Problem, Reasons, Refused, invalid
from scheduler_sync.site import SiteFile

LARGEST_BYTES: Final = 64 * 1024
MOST_FOUND: Final = 1000
USUAL_FOUND: Final = 100
_JSON: Final = "application/fhir+json"
_TAKEN_TYPES: Final = frozenset({"application/fhir+json", "application/json"})
_LONGEST_KEY: Final = 200
Answer = tuple[int, dict[str, Any]]


class SchedulingApi:
    """Reads calls, asks the desk, and shows what came of it."""

    def __init__(self, desk: Desk, site: Callable[[], SiteFile], metrics: Metrics) -> None:
        self._desk = desk
        self._site = site
        self._metrics = metrics

    def routes(self) -> Sequence[BaseRoute]:
        base = "/fhir/Appointment"
        calls: Mapping[tuple[str, str], Callable[[Request], Awaitable[Answer]]] = {
            ("POST", f"{base}/$find"): self.find,
            ("POST", f"{base}/$hold"): self.hold,
            ("POST", f"{base}/$book"): self.book,
            ("POST", f"{base}/_search"): self.search,
            ("GET", base): self.search,
            ("POST", f"{base}/{{id}}/$reschedule"): self.reschedule,
            ("POST", f"{base}/{{id}}/$cancel"): self.cancel,
            ("POST", f"{base}/{{id}}/$release"): self.release,
            ("GET", f"{base}/{{id}}"): self.read,
            ("GET", "/fhir/openapi.json"): self.openapi,
        }
        return access.service(
            *(Route(path, self._answering(call), methods=[method]) for (method, path), call in calls.items())
        )

    async def openapi(self, request: Request) -> Answer:
        del request
        return 200, DOCUMENT

    async def find(self, request: Request) -> Answer:
        given = await _parameters(request)
        with Reasons() as read:
            begin = read(lambda: required(given.instant("start"), "start"))
            end = read(lambda: required(given.instant("end"), "end"))
            most = read(lambda: given.number("_count", 0, MOST_FOUND))
            study = read(lambda: given.text("study"))
            service_id = read(lambda: service_asked(given.text("service"), "service"))
            facility, modality = read(lambda: given.text("facility")), read(lambda: given.text("modality"))
            minutes = read(lambda: given.number("minutes", 1, 24 * 60))
            moves_id = read(lambda: given.link_id("ignore-appointment"))
            position = read(lambda: _position(given))
        found = await self._desk.find(
            FindAsked(
                begin, end, service_id=service_id, facility=facility, modality=modality,
                studies=() if study is None else tuple(study.split(",")[:20]),
                minutes=minutes, moves_id=moves_id, position=position,
            )
        )  # fmt: skip
        most = USUAL_FOUND if most is None else most
        slots = [shown.free_slot(number, *one) for number, one in enumerate(found[:most], 1)]
        return 200, shown.bundle(slots, len(found))

    async def hold(self, request: Request) -> Answer:
        given = await _parameters(request)
        with Reasons() as read:
            asked = read(lambda: required(given.appointment("appt-resource"), "appt-resource"))
            key, moves_id = read(lambda: _key(request)), read(lambda: given.link_id("ignore-appointment"))
            patient = read(lambda: given.patient("patient"))
        hold = await self._desk.hold(asked, client=actor_of(request), key=key, moves_id=moves_id, patient=patient)
        zone = self._zones()[hold.facility]
        return 200, shown.bundle([self._held(hold)], 1, outcomes=[shown.held_until(hold, zone)])

    async def book(self, request: Request) -> Answer:
        given = await _parameters(request)
        with Reasons() as read:
            key, hold_id = read(lambda: _key(request)), read(lambda: given.link_id("appt-reference"))
            asked, patient = read(lambda: given.appointment("appt-resource")), read(lambda: given.patient("patient"))
        booked = await self._desk.book(
            client=actor_of(request), key=key, hold_id=hold_id, asked=asked, patient=patient
        )  # fmt: skip
        return 200, self._appointment(booked)

    async def reschedule(self, request: Request) -> Answer:
        given = await _parameters(request)
        with Reasons() as read:
            hold_id, start = read(lambda: given.link_id("hold")), read(lambda: given.instant("start"))
        if (hold_id is None) == (start is None):
            raise Refused(Problem(Code.REQUIRED, "give either a hold or a start", "start"))
        moved = await self._desk.move(_id(request), client=actor_of(request), hold_id=hold_id, start=start)
        return 200, self._appointment(moved)

    async def cancel(self, request: Request) -> Answer:
        given = await _parameters(request)
        reason = required(given.text("reason"), "reason")
        cancelled = await self._desk.cancel(_id(request), client=actor_of(request), reason=reason)
        return 200, self._appointment(cancelled)

    async def release(self, request: Request) -> Answer:
        await _parameters(request)
        released = await self._desk.release(_id(request), client=actor_of(request))
        return 200, shown.released(
            released, self._desk.room_of(released.facility, released.resource), self._zones()[released.facility]
        )

    async def read(self, request: Request) -> Answer:
        found = await self._desk.read(_id(request), client=actor_of(request))
        return 200, self._held(found) if isinstance(found, Hold) else self._appointment(found)

    async def search(self, request: Request) -> Answer:
        """``patient`` and ``date`` are required; a number of the patient's only in a body."""
        if request.method == "POST":
            form = await _form(request)
            given = dict(form)
        else:
            given = {name: request.query_params.getlist(name) for name in request.query_params}
        if not all(storable(one) for values in given.values() for one in values):
            raise invalid("query", "has characters that no parameter takes")
        patient = Parameters({"patient": next(iter(given.get("patient", [])), None)}).patient("patient")
        if patient is None or patient.id is None:
            raise Refused(Problem(Code.REQUIRED, "is required, as Patient/ with the suite's id", "patient"))
        begin, end = span_of(given.get("date", []))
        found = await self._desk.appointments(patient.id, begin, end)
        statuses = {one for value in given.get("status", []) for one in value.split(",")}
        links = [one for one in found if not statuses or one.fhir_status.value in statuses]
        return 200, shown.bundle([self._appointment(one) for one in links], len(links))

    def _answering(self, call: Callable[[Request], Awaitable[Answer]]) -> Callable[[Request], Awaitable[Response]]:
        name = call.__name__

        async def answer(request: Request) -> Response:
            headers: dict[str, str] = {}
            try:
                status, body = await call(request)
            except Refused as refused:
                status, body = refused.status, shown.outcome(refused, self._zones())
            except (StoreUnavailable, Transient) as error:
                status, body = 503, shown.plain_outcome("transient", error.reason)
                headers["Retry-After"] = "5"
            self._metrics.count(SCHEDULING_CALLS, operation=name, status=str(status))
            return Response(orjson.dumps(body, default=str), status, headers, media_type=_JSON)

        return answer

    def _appointment(self, link: Any) -> dict[str, Any]:
        return shown.appointment(link, self._desk.room_of(link.facility, link.resource), self._zones()[link.facility])

    def _held(self, hold: Hold) -> dict[str, Any]:
        return shown.held(hold, self._desk.room_of(hold.facility, hold.resource), self._zones()[hold.facility])

    def _zones(self) -> Mapping[str, ZoneInfo]:
        return {code: one.zone for code, one in self._site().facilities.items()}


def _id(request: Request) -> UUID:
    unknown = Refused(Problem(Code.NOT_FOUND, "this API knows no such appointment or hold", "id"))
    try:
        found = Parameters({"id": request.path_params["id"]}).link_id("id")
    except Refused as error:
        raise unknown from error
    if found is None:
        raise unknown
    return found


def _key(request: Request) -> str | None:
    """The caller's key: the same call with the same key has one effect."""
    key = request.headers.get("idempotency-key")
    if key is not None and not (0 < len(key) <= _LONGEST_KEY and storable(key)):
        raise invalid("Idempotency-Key", f"is a text of at most {_LONGEST_KEY} characters")
    return key


def _position(given: Parameters) -> tuple[float, float] | None:
    latitude, longitude = given.degrees("latitude", 90), given.degrees("longitude", 180)
    if (latitude is None) != (longitude is None):
        raise Refused(Problem(Code.REQUIRED, "latitude and longitude go together", "latitude"))
    return None if latitude is None or longitude is None else (latitude, longitude)


async def _parameters(request: Request) -> Parameters:
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media not in _TAKEN_TYPES:
        raise invalid("Content-Type", f"is {_JSON}")
    try:
        body = orjson.loads(await _body(request))
    except (ValueError, RecursionError) as error:
        raise invalid("body", "is no JSON") from error
    return Parameters.of_resource(body)


async def _form(request: Request) -> dict[str, list[str]]:
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/x-www-form-urlencoded":
        raise invalid("Content-Type", "is application/x-www-form-urlencoded")
    try:
        return parse_qs((await _body(request)).decode("utf-8"), max_num_fields=50)
    except ValueError as error:
        raise invalid("body", "is no form in UTF-8") from error


async def _body(request: Request) -> bytes:
    found = bytearray()
    try:
        async for part in request.stream():
            found += part
            if len(found) > LARGEST_BYTES:
                raise invalid("body", f"is larger than {LARGEST_BYTES} bytes")
    except ClientDisconnect as error:
        raise invalid("body", "did not come whole") from error
    return bytes(found)
