"""Small models of the suite's two partners, written from what their vendors document and not from the suite:
PowerServer's schedule, which pushes each of its changes, and OmegaAI with the patient's buttons, which makes a Task of
each change. Each takes, refuses or leaves without an answer what it is sent, as a story says.
"""

from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from sync_samples import PID, orm, siu

from chassis.errors import Permanent, Transient
from hl7v2 import Ack, AckError, Message, parse_timestamp
from hl7v2.mllp import AckTimeout
from omegaai.client import Found, NotFoundError, VersionMovedError

BEGIN = datetime(2026, 11, 25, 14, 30, tzinfo=UTC)
Json = dict[str, Any]

ORDERED, SCHEDULED, CONFIRMED, ARRIVED, CANCELLED, NO_SHOW, READY, COMPLETED = 20, 30, 50, 70, 80, 85, 90, 120
NAMES = {
    ORDERED: "ORDERED", SCHEDULED: "SCHEDULED", CONFIRMED: "CONFIRMED", ARRIVED: "ARRIVED", CANCELLED: "CANCELLED",
    NO_SHOW: "NO SHOW", READY: "READY FOR SCAN", COMPLETED: "COMPLETED",
}  # fmt: skip
CLOSED = {CANCELLED, NO_SHOW, COMPLETED}


@dataclass
class Clock:
    """Moves when a test says so."""

    now: datetime = BEGIN

    def pass_by(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class _Pause:
    """Where a worker stands still until the story lets it go on."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class Wire:
    """How a partner meets the next thing that it is sent.

    ``no answer``: it takes it, and the sender never hears of that. ``not now`` and ``refused`` (for good) take nothing.
    ``stalls``: before it gets that far, the sender stands still.
    """

    def __init__(self) -> None:
        self.fate, self.stalls = "taken", False

    async def meets(self) -> str:
        fate, self.fate = self.fate, "taken"
        if self.stalls:
            self.stalls = False
            await _Pause()
        return fate


# ---- PowerServer


@dataclass
class Booking:
    """An appointment in PowerServer's schedule."""

    placer: str
    patient: str
    status: int
    start: datetime
    has_no_time: bool = False
    """It was taken off the calendar: the time that its messages still give counts no more."""
    messages: int = 0
    is_told_by_order: bool = False
    resource: str = "BLUME CT"
    wanted: datetime | None = None
    """The time that the patient asks for instead, until staff answer."""


@dataclass
class Said:
    """A message on its way to the suite."""

    raw: bytes
    made: str
    text: str
    patient: str


class PowerServer:
    """Staff's schedule. Each change is queued for the suite, whoever made it; what is closed does not change."""

    def __init__(self, clock: Clock, *, profile: str, skew_seconds: float, is_terse: bool = False) -> None:
        """``is_terse``: every other message leaves the phone out, and the e-mail address where that is not its news."""
        self._clock, self._profile, self._skew_seconds, self._is_terse = clock, profile, skew_seconds, is_terse
        self.bookings: dict[str, Booking] = {}
        self.emails = {"4711": "jane@example.org", "4712": "joan@example.org"}
        self.queue: list[Said] = []
        self.answered: list[Said] = []
        self.taken: set[str] = set()
        self.wire = Wire()
        self.before_write: Callable[[Booking, int], None] = lambda *_: None
        self._number = 0

    def book(self, patient: str, start: datetime) -> Booking:
        booking = Booking(f"P{100 + len(self.bookings)}", patient, SCHEDULED, start)
        self.bookings[booking.placer] = booking
        self._announce(booking, "S12", "NW")
        return booking

    def move(self, booking: Booking, start: datetime, resource: str | None = None) -> None:
        booking.start, booking.resource = start, resource or booking.resource
        self._announce(booking, "S13", "XO")

    def set_status(self, booking: Booking, status: int) -> None:
        if status != booking.status:
            booking.status = status
            booking.wanted = booking.wanted if status == SCHEDULED else None
            booking.has_no_time = status == ORDERED or (booking.has_no_time and status == CANCELLED)
            self._tell(booking)

    def change_email(self, booking: Booking, email: str) -> None:
        self.emails[booking.patient] = email
        self._announce(booking, "S14", "SC", is_about_patient=True)

    async def send(self, message: bytes, *, control_id: str) -> Ack:
        """Take a message of the suite: once, whatever comes how often. Answers in original or in enhanced mode."""
        fate, is_enhanced = await self.wire.meets(), len(self.taken) % 2
        if control_id not in self.taken and fate in {"not now", "refused"}:
            codes = ("CE", "CR") if is_enhanced else ("AE", "AR")
            return Ack(codes[0] if fate == "not now" else codes[1], control_id)
        if not self._take(message, control_id):
            return Ack("AE", control_id, None, (AckError("204", "SCH[1]-1", "Placer number is not known"),))
        if fate == "no answer":
            raise AckTimeout("no acknowledgement in time", may_have_arrived=True)
        return Ack("CA" if is_enhanced else "AA", control_id)

    def _take(self, message: bytes, control_id: str) -> bool:
        said = Message.parse(message)
        placer, is_asked = said.get("SCH-1.1") or "", said.get("SCH-11.6") == "SCHEDULED STATUS"
        if placer not in self.bookings:
            if said.trigger == "S15":
                return False  # PowerServer has never had it
            assert said.trigger == "S12", said.trigger
            assert is_asked, "a request has a priority of its own"
            self._is_asked_for(said, placer, control_id)
            return True
        booking = self.bookings[placer]
        status = int(said.get("SCH-25.1") or "")
        if control_id not in self.taken:
            self.taken.add(control_id)
            if booking.status in CLOSED and booking.status != status:
                self._tell(booking)
            elif booking.status not in CLOSED:
                self.before_write(booking, status)
                if said.trigger == "S13":
                    assert is_asked, "the suite moves nothing by itself"
                    booking.wanted = _start(said)
                self.set_status(booking, status)
        return True

    def _is_asked_for(self, said: Message, placer: str, control_id: str) -> None:
        self.taken.add(control_id)
        booking = Booking(placer, said.get("PID-3.1") or "", SCHEDULED, _start(said))
        booking.resource = said.get("AIG-3.1") or booking.resource
        self.bookings[placer] = booking
        self._announce(booking, "S12", "NW")

    async def close(self) -> None:
        """Nothing is open."""

    def _tell(self, booking: Booking) -> None:
        event = {CANCELLED: ("S15", "CA"), NO_SHOW: ("S26", "SC")}.get(booking.status, ("S14", "SC"))
        self._announce(booking, *event)

    def _announce(self, booking: Booking, trigger: str, control: str, *, is_about_patient: bool = False) -> None:
        made = (self._clock.now + timedelta(seconds=self._skew_seconds)).strftime("%Y%m%d%H%M%S+0000")
        values = {
            "made": made, "placer": booking.placer, "status": f"{booking.status}^{NAMES[booking.status]}^99PS",
            "resource": booking.resource, "start": booking.start.strftime("%Y%m%d%H%M%S+0000"),
            "end": (booking.start + timedelta(minutes=30)).strftime("%Y%m%d%H%M%S+0000"),
            "pid": self._pid(booking.patient, is_about_patient=is_about_patient or trigger == "S12"),
        }  # fmt: skip
        if self._profile in ("siu", "both"):
            self._say(siu(trigger, control_id=self._control_id(), **values), f"SIU^{trigger}", booking, made)
        if self._profile in ("orm", "both"):
            control = control if booking.is_told_by_order else "NW"
            booking.is_told_by_order = True
            self._say(orm(control, control_id=self._control_id(), **values), f"ORM {control}", booking, made)

    def _pid(self, patient: str, *, is_about_patient: bool) -> str:
        pid, email = PID.replace("4711", patient), self.emails[patient]
        if self._is_terse and self._number % 2:
            pid, email = pid.replace("(416)555-0100", ""), email if is_about_patient else ""
        return pid.replace("jane.roe@example.org", email)

    def _say(self, raw: bytes, kind: str, booking: Booking, made: str) -> None:
        text = f"{kind} {booking.placer} {NAMES[booking.status]} at {booking.start:%d %H:%M}, made {made[8:14]}"
        booking.messages += 1
        self.queue.append(Said(raw, made, text, booking.patient))

    def _control_id(self) -> str:
        self._number += 1
        return f"PS{self._number:010d}"


def _start(said: Message) -> datetime:
    return parse_timestamp(said.get("SCH-11.4") or "", UTC).astimezone(UTC)


# ---- OmegaAI


def _copied(body: Json) -> Json:
    """As over the wire: nobody holds what another may change."""
    copied: Json = orjson.loads(orjson.dumps(body))
    return copied


class OmegaAI:
    """Patients and Appointments with versions, and a Task for each change of an Appointment."""

    def __init__(self) -> None:
        self.resources: dict[tuple[str, str], Json] = {}
        self.tasks: dict[str, str] = {}
        self.acts: Counter[str] = Counter()
        self.acted: dict[str, tuple[int, str]] = {}
        """Version and status of the patient's last act on each appointment."""
        self.before_write: Callable[[Json, Json], None] | None = None
        self.before_update: Callable[[str], None] | None = None
        self.wire = Wire()
        self._number = 0

    def all(self, kind: str) -> list[Json]:
        return [body for (found, _), body in self.resources.items() if found == kind]

    def patient_asks(self, start: datetime, patient: str, service: str = "hs-1") -> Json:
        """A request that begins in Blume: nothing of the suite's is in it."""
        self._number += 1
        self.acts[f"b{self._number}"] += 1
        body = {
            "resourceType": "Appointment", "id": f"b{self._number}", "status": "proposed", "start": start.isoformat(),
            "end": (start + timedelta(minutes=30)).isoformat(),
            "identifier": [{"system": "urn:omegaai", "value": f"{self._number}"}],
            "participant": [
                {"actor": {"reference": f"Patient/{patient}"}, "status": "accepted"},
                {"actor": {"reference": f"HealthcareService/{service}"}, "status": "needs-action"},
            ],
        }  # fmt: skip
        return self._put("Appointment", body)

    def patient_sets(self, body: Json, status: str, **more: Any) -> None:
        self.acts[body["id"]] += 1
        stored = self._put("Appointment", {**body, "status": status, **more})
        self.acted[body["id"]] = int(stored["meta"]["versionId"]), status

    def staff_edit(self, body: Json, **more: Any) -> None:
        self._put("Appointment", {**body, **more})

    async def read(self, kind: str, identifier: str) -> Found:
        body = self.resources.get((kind, identifier))
        if body is None:
            raise NotFoundError
        return self._found(body)

    async def create(self, kind: str, body: Json, *, if_none_exist: str) -> Found:
        fate = await self._meets()
        wanted = {one["value"] for one in body["identifier"]}
        assert if_none_exist.startswith("identifier=")
        same = [one for one in self.all(kind) if wanted & {known["value"] for known in one["identifier"]}]
        assert len(same) <= 1, f"{kind} is there twice"
        if same:
            return self._found(same[0])
        self._number += 1
        stored = self._put(kind, {**body, "id": f"{kind[0].lower()}{self._number}"})
        return self._answered(fate, stored, was_created=True)

    async def update(self, kind: str, identifier: str, body: Json, *, version: str) -> Found:
        fate = await self._meets()
        if self.before_update is not None and kind == "Appointment":
            meddle, self.before_update = self.before_update, None
            meddle(identifier)
        if self.resources[kind, identifier]["meta"]["versionId"] != version:
            raise VersionMovedError
        if self.before_write is not None and kind == "Appointment":
            self.before_write(self.resources[kind, identifier], body)
        return self._answered(fate, self._put(kind, {**body, "id": identifier}))

    async def merge_patients(self, *, keep: str, replace: str) -> None:
        """The Patient ``replace`` ends; its Appointments are those of ``keep``."""
        fate = await self._meets()
        kept, ended = self.resources.get(("Patient", keep)), self.resources.get(("Patient", replace))
        if kept is None or ended is None or "link" in ended:
            raise NotFoundError
        link = [{"type": "replaced-by", "other": {"reference": f"Patient/{keep}"}}]
        self._put("Patient", {**ended, "identifier": [], "active": False, "link": link})
        for one in self.all("Appointment"):
            of_it = [part for part in one["participant"] if part["actor"]["reference"] == f"Patient/{replace}"]
            if of_it:
                moved = _copied(one)
                for part in moved["participant"]:
                    if part["actor"]["reference"] == f"Patient/{replace}":
                        part["actor"]["reference"] = f"Patient/{keep}"
                self._put("Appointment", moved)
        self._answered(fate, kept)

    async def _meets(self) -> str:
        fate = await self.wire.meets()
        if fate == "not now":
            raise Transient("OmegaAI answered 503")
        if fate == "refused":
            raise Permanent("OmegaAI answered 400")
        return fate

    def _answered(self, fate: str, stored: Json, *, was_created: bool = False) -> Found:
        if fate == "no answer":
            raise Transient("OmegaAI: no answer in time")
        return self._found(stored, was_created=was_created)

    def _put(self, kind: str, body: Json) -> Json:
        before = self.resources.get((kind, body["id"]), {"meta": {"versionId": "0"}})
        stored = _copied({**body, "meta": {"versionId": str(int(before["meta"]["versionId"]) + 1)}})
        self.resources[kind, body["id"]] = stored
        if kind == "Appointment":
            self._number += 1
            self.tasks[f"t{self._number}"] = body["id"]
        return stored

    def _found(self, body: Json, *, was_created: bool = False) -> Found:
        return Found(_copied(body), body["meta"]["versionId"], was_created)
