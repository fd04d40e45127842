"""HL7 in, with a real system's strictness. The answer is sent only after message, effect and ledger are on disk.

Idempotent by MSH-3, MSH-4, MSH-10 and the content's digest: a repeat of an accepted message is acknowledged again
without a second effect, and the ledger records it as a repeat. AE and AR have no effect, so the same message may come
again.
"""

import asyncio
import hashlib
from dataclasses import dataclass, field
from typing import Final, cast
from zoneinfo import ZoneInfo

from hl7v2 import NULL, AckCode, AckError, Hl7Error, Message, build_ack, readable_part
from hl7v2.mllp import Peer
from powerserver_sim import rules
from powerserver_sim.hl7 import announce, wishes
from powerserver_sim.hl7.messages import APPLICATION
from powerserver_sim.hl7.refusals import Malformed, NotProcessed
from powerserver_sim.requests import asking
from powerserver_sim.rules import Refused
from powerserver_sim.scheduler import appointments
from powerserver_sim.worklist import orders
from simulator_kit.misbehaviour import Misbehaviour
from simulator_kit.store import Store, Work, stamp

_VERSIONS: Final = frozenset({"2.3", "2.3.1", "2.4", "2.5", "2.5.1"})
_SIU_TRIGGERS: Final = frozenset({"S12", "S13", "S14", "S15", "S26"})
_ORDER_CONTROLS: Final = frozenset({"NW", "XO", "SC", "CA"})
_LONGEST_CONTROL_ID: Final = 20  # MSH-10 of HL7 2.3.1


class CutConnection(ConnectionError):  # noqa: N818 - the name is the decision
    """Raised by a fault: the connection ends without an answer."""


@dataclass(slots=True)
class _Received:
    """Facts about a message, collected while it is read; for the message log and the ledger."""

    sender: str = ""
    control_id: str = ""
    type: str = ""
    placer: str = ""
    ack_code: AckCode = "AA"
    problem: str = ""
    is_repeat: bool = False
    notes: dict[str, object] = field(default_factory=dict)


class Receiver:
    """The handler of the MLLP listener."""

    def __init__(self, store: Store, misbehaviour: Misbehaviour) -> None:
        self._store = store
        self._misbehaviour = misbehaviour

    async def handle(self, frame: bytes, _peer: Peer) -> bytes | None:
        fault = self._misbehaviour.take("mllp-in")
        mode = "" if fault is None else fault.mode
        if fault is not None and mode == "status":
            ack_code = cast("AckCode", fault.status)
            return await self._store.write(lambda work: _refuse(work, frame, ack_code))
        if mode == "cut":
            raise CutConnection
        if fault is not None and mode == "slow":
            await asyncio.sleep(fault.seconds)
        answer = await self._store.write(lambda work: receive(work, frame, wrong_ack=mode == "wrong-ack"))
        if fault is not None and mode == "late-ack":
            await asyncio.sleep(fault.seconds)
        if mode == "accept-then-cut":
            raise CutConnection
        return None if mode == "no-ack" else answer


def receive(work: Work, frame: bytes, *, wrong_ack: bool = False) -> bytes:
    """Process one message and return its acknowledgement; both are in the store when the transaction commits."""
    seen = _Received()
    message: Message | None = None
    errors: list[AckError] = []
    work.run("SAVEPOINT effect")
    try:
        message = Message.parse(frame)
        _check_header(work, message, seen)
        _check_repeat(work, frame, seen)
        if not seen.is_repeat:
            _apply(work, message, seen)
    except Hl7Error as problem:
        message = readable_part(problem)
        seen.ack_code, seen.problem = "AR", problem.text
        errors = [problem.as_ack_error()]
    except (Malformed, NotProcessed) as problem:
        seen.ack_code, seen.problem = "AR" if isinstance(problem, Malformed) else "AE", problem.text
        errors = [AckError(code=problem.code, location=problem.location, text=problem.text)]
    if errors:
        work.run("ROLLBACK TO effect")
        work.notices.clear()
    work.run("RELEASE effect")
    _keep(work, frame, seen)
    return _answer(work, message, seen, errors, wrong_ack=wrong_ack)


def _refuse(work: Work, frame: bytes, ack_code: AckCode) -> bytes:
    """The fault `status`: the message has no effect, and the log shows that the refusal was on command."""
    try:
        message = Message.parse(frame)
    except Hl7Error:
        message = None
    seen = _Received(ack_code=ack_code, problem="refused on request", notes={"misbehaving": True})
    if message is not None:
        seen.control_id = message.control_id or ""
        seen.type = f"{message.type}^{message.trigger}"
    _keep(work, frame, seen)
    return _answer(work, message, seen, [])


def _answer(
    work: Work, message: Message | None, seen: _Received, errors: list[AckError], *, wrong_ack: bool = False
) -> bytes:
    answer = build_ack(
        message,
        seen.ack_code,
        control_id=f"PSA{work.next_number('answer'):010d}",
        text=seen.problem or None,
        errors=errors,
    )
    if wrong_ack:
        answer.set("MSA-2", "SOMETHING-ELSE")
    return answer.to_bytes()


def _keep(work: Work, frame: bytes, seen: _Received) -> None:
    work.run(
        "INSERT INTO inbound (sender, control_id, digest, placer, type, payload, ack_code, problem, is_repeat, "
        "received_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        seen.sender, seen.control_id, _digest(frame), seen.placer, seen.type, frame, seen.ack_code, seen.problem,
        seen.is_repeat, stamp(work.now),
    )  # fmt: skip
    work.record(
        "in",
        "hl7.received",
        seen.control_id,
        {
            "type": seen.type,
            "placer_number": seen.placer,
            "ack_code": seen.ack_code,
            "repeat": seen.is_repeat,
            **seen.notes,
        },
    )
    work.notice("inbound", control_id=seen.control_id, placer=seen.placer, ack_code=seen.ack_code)


def _digest(frame: bytes) -> bytes:
    return hashlib.sha256(frame).digest()


def _check_header(work: Work, message: Message, seen: _Received) -> None:
    seen.control_id = message.control_id or ""
    seen.type = f"{message.type}^{message.trigger}"
    application = message.get("MSH-3.1")
    seen.sender = f"{application or ''}|{message.get('MSH-4.1') or ''}"
    if not application:
        raise Malformed("101", "MSH-3", "Sending application is missing")
    if not seen.control_id:
        raise Malformed("101", "MSH-10", "Message control id is missing")
    if len(seen.control_id) > _LONGEST_CONTROL_ID:
        raise Malformed("102", "MSH-10", "Message control id is longer than 20 characters")
    if message.get("MSH-11.1") not in ("P", "T", "D"):
        raise Malformed("202", "MSH-11", "Processing id is not P, T or D")
    if message.get("MSH-12.1") not in _VERSIONS:
        raise Malformed("203", "MSH-12", "Version is not 2.3 to 2.5.1")
    if message.type not in ("SIU", "ORM"):
        raise Malformed("200", "MSH-9.1", "Message type is not taken here")
    if message.trigger not in (_SIU_TRIGGERS if message.type == "SIU" else ("O01",)):
        raise Malformed("201", "MSH-9.2", "Event is not taken here")
    if message.get("MSH-5.1") != APPLICATION:
        raise NotProcessed("103", "MSH-5", "Receiving application is not this system")
    facility = message.get("MSH-6.1")
    if facility and work.one("SELECT 1 FROM facility WHERE code = ?", facility) is None:
        raise NotProcessed("103", "MSH-6", "Receiving facility is not known")


def _check_repeat(work: Work, frame: bytes, seen: _Received) -> None:
    accepted = work.all(
        "SELECT digest, placer FROM inbound WHERE sender = ? AND control_id = ? AND ack_code = 'AA'",
        seen.sender,
        seen.control_id,
    )
    digest = _digest(frame)
    for row in accepted:
        if row["digest"] == digest:
            seen.is_repeat, seen.placer = True, row["placer"]
            return
    if accepted:
        seen.notes["control_id_used_before"] = True


@dataclass(frozen=True, slots=True)
class _Fields:
    """Where a message of its kind says what; `event` is the trigger of an SIU, the order control of an ORM."""

    is_siu: bool
    event: str
    placer: str
    status: str
    start: str
    reason: str

    @classmethod
    def of(cls, message: Message) -> "_Fields":
        if message.type == "SIU":
            return cls(True, message.trigger, "SCH-1.1", "SCH-25", "SCH-11.4", "SCH-6.2")
        control = message.get("ORC-1") or ""
        if control not in _ORDER_CONTROLS:
            raise Malformed("103", "ORC-1", "Order control is not NW, XO, SC or CA")
        return cls(False, control, "ORC-2.1", "ORC-16", "ORC-7.4", "NTE-3")

    @property
    def is_booking(self) -> bool:
        return self.event in {"S12", "NW"}

    @property
    def is_move(self) -> bool:
        return self.event in {"S13", "XO"}


def _apply(work: Work, message: Message, seen: _Received) -> None:
    """Apply the partner's message to the calendar. A closed appointment stays closed: the partner is told its state."""
    fields = _Fields.of(message)
    placer = message.get(fields.placer)
    if not placer or placer == NULL:
        raise Malformed("101", fields.placer, "Placer number is missing")
    seen.placer = placer
    priority = _priority(work, message, fields)
    try:
        if fields.is_booking and priority is not None and not _is_known(work, placer):
            wanted = wishes.read(work, message, is_siu=fields.is_siu)
            asking.ask_for_appointment(work, placer, priority=priority, **wanted)
        else:
            _change(work, message, fields, seen, priority)
    except Refused as refusal:
        raise _refused(refusal, fields) from None


def _change(work: Work, message: Message, fields: _Fields, seen: _Received, priority: int | None) -> None:
    """A change of an appointment that is on the calendar. A move with a priority is a patient's wish."""
    number = _number(work, seen.placer, fields.placer)
    _check_patient(work, message, number)
    status = _status(work, message, fields.status, fields.event)
    start = message.get(fields.start) or ""
    if fields.is_move and not start:
        raise Malformed("101", fields.start, "Start is missing")
    order = orders.load(work, number)
    if order["start_at"] is None and status != rules.ORDERED:
        raise NotProcessed("204", fields.placer, "The order is not on the calendar")
    if rules.is_closed(order["status"]):
        if order["status"] != status:
            seen.notes["applied"] = False
            announce.order(work, number, appointments.event_of(order["status"]))
        return
    if fields.is_move:
        place = appointments.resource_of(work, number)
        moment = wishes.moment(start, fields.start, ZoneInfo(place["time_zone"]))
        if priority is not None:
            asking.ask_for_time(work, number, place, moment, priority=priority, control_id=seen.control_id)
            return
        if appointments.change_time(work, number, place, moment, by="hl7", control_id=seen.control_id):
            announce.order(work, number, "moved")
    if status == rules.ORDERED:
        appointments.take_off_calendar(work, number, by="hl7", control_id=seen.control_id)
        return
    reason = message.get(fields.reason) or ""
    if appointments.set_status(work, number, status, by="hl7", control_id=seen.control_id, reason=reason):
        seen.notes["status"] = status


def _refused(refusal: Refused, fields: _Fields) -> NotProcessed:
    """A guard's refusal as AE: what is not known by its key, what is not possible by its place."""
    places = {"resource": "AIG-3", "study_types": "AIS-3", "patient": "PID-3"}
    if not fields.is_siu:
        places |= {"resource": "OBR-19", "study_types": "OBR-4"}
    code = "204" if refusal.reason == "unknown" else "207"
    return NotProcessed(code, places.get(refusal.field, fields.start), refusal.text)


def _is_known(work: Work, placer: str) -> bool:
    try:
        orders.load(work, orders.number_of(work, placer))
    except Refused:
        return False
    return True


def _priority(work: Work, message: Message, fields: _Fields) -> int | None:
    """The order value of a priority that the message gives; it must be among the site's. None where it gives none."""
    places = ("TQ1-9.1", "SCH-11.6") if fields.is_siu else ("ORC-7.6", "OBR-27.6")
    for place in places:
        name = message.get(place)
        if name:
            row = work.one("SELECT value FROM priority WHERE name = ?", name)
            if row is None:
                raise NotProcessed("103", place, "Priority is not among the site's priorities")
            return int(row["value"])
    return None


def _number(work: Work, placer: str, location: str) -> int:
    try:
        number = orders.number_of(work, placer)
        orders.load(work, number)
    except Refused:
        raise NotProcessed("204", location, "Placer number is not known") from None
    return number


def _check_patient(work: Work, message: Message, number: int) -> None:
    """A patient named in PID-3 must be the appointment's patient."""
    given = message.get("PID-3.1")
    if given is None:
        return
    patient = work.one('SELECT patient_id, issuer FROM patient JOIN "order" ON patient = key WHERE number = ?', number)
    issuer = message.get("PID-3.4.1")
    if patient is None or given != patient["patient_id"] or (issuer and issuer != patient["issuer"]):
        raise NotProcessed("204", "PID-3", "The patient is not the appointment's")


def _status(work: Work, message: Message, location: str, event: str) -> int:
    """The order value: given, or found by the site's name, or implied by a cancellation."""
    value, name = message.get(f"{location}.1"), message.get(f"{location}.2")
    if not value and not name:
        if event in ("S15", "CA"):
            return rules.CANCELLED
        if event == "S26":
            return rules.NO_SHOW
        raise Malformed("101", location, "Status is missing")
    row = (
        work.one("SELECT value FROM status WHERE value = ?", int(value))
        if value and value.isascii() and value.isdecimal() and len(value) <= 6
        else None
        if value
        else work.one("SELECT value FROM status WHERE name = ?", name)
    )
    if row is None:
        raise NotProcessed("103", location, "Status is not known")
    return int(row["value"])
