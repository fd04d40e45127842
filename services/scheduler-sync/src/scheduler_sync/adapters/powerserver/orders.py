"""ORM: orders of one appointment, joined by the placer number. Each order concerns only its own study."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from chassis.errors import Malformed, NeedsSetup, Transient
from hl7v2 import Segment
from scheduler_sync.adapters.powerserver import person, schedule, slots, statuses, values
from scheduler_sync.adapters.powerserver.groups import Order
from scheduler_sync.adapters.powerserver.places import At, OrmPlaces, of_order
from scheduler_sync.adapters.powerserver.places import facility as facility_of
from scheduler_sync.adapters.powerserver.places import zone as zone_of_message
from scheduler_sync.adapters.powerserver.services import coded_at
from scheduler_sync.adapters.powerserver.values import DayAloneError, Reading
from scheduler_sync.commands import ChangeAppointmentByStaff
from scheduler_sync.domain.appointment import Action, StaffFacts, Study, StudyChange, WorkflowStep
from scheduler_sync.domain.resource import Resource
from scheduler_sync.domain.slots import Slot
from scheduler_sync.ports import Resources
from scheduler_sync.site import SiteFacility

_CONTROLS: Final = frozenset({"NW", "XO", "SC", "CA", "OC", "DC"})
_LADDER: Final = tuple(WorkflowStep)
"""From the earliest step to the latest: where orders differ, the appointment has the earliest."""


def read(reading: Reading, places: OrmPlaces, resources: Resources, received_at: datetime) -> ChangeAppointmentByStaff:
    """The command. Malformed, NeedsSetup, Transient."""
    if values.code_at(reading.msh, 9, 2) not in ("O01", None):
        raise Malformed(
            "MSH-9.2: this ORM event is not taken", location="MSH-9.2", code=schedule.UNSUPPORTED_EVENT_CODE
        )
    orders = _orders(reading)
    placer = _placer(orders)
    patient = person.facts(reading, places.email)
    code, facility = facility_of(reading, places.facility, orders)
    made = slots.made(reading, facility, received_at, zone_of_message(reading, places.time_zone, orders))
    for one in orders:
        one.order_number = _number(reading, places, one)
        _read_times(reading, places, one)
    kept = [one for one in orders if not one.is_off]
    step = _step(orders, kept)
    if step is not WorkflowStep.ORDERED and (alone := next((one.day_alone for one in kept if one.day_alone), None)):
        raise alone
    name = places.resource.text(reading, kept) if kept else _known_resource(reading, places, orders, resources, code)
    resource = None if name is None else resources.named(code, name)
    slot, has_no_end = _slot(kept, facility, resource) if kept else (_slot_of_what_is_off(orders, facility), False)
    return ChangeAppointmentByStaff(
        name=f"ORM^O01 {orders[0].control}",
        placer_number=placer,
        patient=patient,
        appointment=StaffFacts(
            step=step,
            facility=code,
            resource=name,
            modality=places.modality.text(reading, kept) or (resource.modality if resource else None),
            slot=slot,
            studies=(),
            accession_numbers=tuple(dict.fromkeys(n for one in orders if (n := one.order_number))),
            reason=_reason(reading, places, orders),
            deleted=_deleted(reading, places, orders, kept),
            study_changes=tuple(_changes(reading, places, orders)),
            is_of_orders=True,
            has_times_of_studies=not has_no_end,
            has_no_end=has_no_end,
            is_booking=any(one.control == "NW" for one in kept),
            priority=places.priority.text(reading, kept or orders),
            referring_physician=person.physician(reading, places.referring_physician, kept or orders),
        ),
        resource=resource,
        said_at=made.earliest,
        said_until=made.latest,
        waits_for=reading.waits_for,
    )


def _orders(reading: Reading) -> list[Order]:
    orders: list[Order] = []
    for segment in reading.segments:
        name = segment.id_bytes
        if name == b"ORC":
            orders.append(Order(segment, len(orders) + 1))
        elif name == b"PV1":
            continue
        elif orders:
            _add(reading, orders, segment)
        elif name == b"NTE" and segment.parts(3):
            reading.ignore("NTE", 3)  # notes of the patient or the message, never a reason shown to patients
    if not orders:
        raise Malformed("ORC-1 is missing", location="ORC-1", code=values.REQUIRED_FIELD_MISSING)
    return orders


def _add(reading: Reading, orders: list[Order], segment: Segment) -> None:
    """Gives the last order its following segments. Several requests under one ORC are orders of their own."""
    last = orders[-1]
    name = segment.id_bytes
    if name == b"OBR":
        if last.obr is not None:
            last = Order(last.orc, len(orders) + 1)
            orders.append(last)
        last.obr = segment
    elif name == b"TQ1":
        last.tq1.append(segment)
    elif name != b"NTE":
        last.others.append(segment)
    elif last.others:
        reading.ignore("NTE", 3)  # notes of an observation or a diagnosis, not of the order
    else:
        last.notes.append(segment)


def _placer(orders: Sequence[Order]) -> str:
    for one in orders:
        where = values.nth("ORC", one.number)
        one.control = values.required(one.orc.parts(1), f"{where}-1").upper()
        if one.control not in _CONTROLS:
            raise Malformed(
                f"{where}-1: this order control is not taken", location=f"{where}-1", code=values.TABLE_VALUE_NOT_FOUND
            )
    placer = values.required(orders[0].orc.parts(2), "ORC-2")
    for one in orders:
        if (values.code_at(one.orc, 2) or placer) != placer:
            where = f"{values.nth('ORC', one.number)}-2"
            raise Malformed(f"{where}: one message speaks of one placer number", location=where, code="207")
    return placer


def _read_times(reading: Reading, places: OrmPlaces, one: Order) -> None:
    """The status comes first: a cancelled order does not wait for a time that cannot be read."""
    one.step = statuses.found(reading, places.status, places.order_status, (one,), one.number)
    try:
        one.start, one.end = _times(reading, places, one)
    except (Malformed, NeedsSetup) as error:
        if one.is_off:
            reading.ignore("ORC", 7)
        elif isinstance(error, DayAloneError):
            one.day_alone = error
        else:
            raise


def _times(reading: Reading, places: OrmPlaces, one: Order) -> tuple[datetime | None, datetime | None]:
    """Start and end at the first place of a start that is filled, with the end or the length that belongs to it."""
    ends = None
    for at in places.study_start:
        if at.segment == b"TQ1":
            starts = [found for tq1 in one.tq1 if (found := reading.time(tq1.parts(at.field), at.part, at.name))]
            start = min(starts, default=None)
            ends = [found for tq1 in one.tq1 if (found := schedule.end_of_tq1(reading, tq1, None)) is not None]
            if start is not None:
                return start, max(ends, default=None)
            continue
        for segment in of_order(reading, one, at.segment):
            where = _where(at, one)
            start = reading.time(segment.parts(at.field), at.part, where)
            if start is not None:
                return start, _end(reading, places, one, at, start)
    return None, None


def _end(reading: Reading, places: OrmPlaces, one: Order, begin: At, start: datetime) -> datetime | None:
    ends, lengths = places.partners[begin]
    for at in ends:
        for segment in of_order(reading, one, at.segment):
            where = _where(at, one)
            end = reading.time(segment.parts(at.field), at.part, where)
            if end is None:
                continue
            if end <= start:
                raise Malformed(f"{where}: the end is not after the start", location=where, code=values.DATA_TYPE_ERROR)
            return end
    for at in lengths:
        for segment in of_order(reading, one, at.segment):
            length = (
                schedule.length_of_tq1(reading, segment)
                if at.segment == b"TQ1"
                else reading.length_at(at.text(segment), _where(at, one))
            )
            if length is not None:
                return start + length
    return None


def _where(at: At, one: Order) -> str:
    if one.number == 1:
        return at.name
    return f"{values.nth(at.segment.decode(), one.number)}-{at.name.partition('-')[2]}"


def _step(orders: Sequence[Order], kept: Sequence[Order]) -> WorkflowStep | None:
    if not kept:
        is_missed = any(one.step is WorkflowStep.NO_SHOW for one in orders)
        return WorkflowStep.NO_SHOW if is_missed else None
    said = [one.step for one in kept if one.step is not None]
    if said:
        return min(said, key=_LADDER.index)
    if any(one.control == "NW" for one in kept):
        has_time = any(one.start is not None or one.day_alone is not None for one in kept)
        return WorkflowStep.SCHEDULED if has_time else WorkflowStep.ORDERED
    return None


def _known_resource(
    reading: Reading, places: OrmPlaces, orders: Sequence[Order], resources: Resources, facility: str
) -> str | None:
    """The resource of orders that have ended; None where it is not known: an end does not wait for its resource."""
    name = places.resource.text(reading, orders)
    try:
        if name is not None:
            resources.named(facility, name)
    except (NeedsSetup, Transient):
        reading.ignore("OBR", 19)
        return None
    return name


def _slot(kept: Sequence[Order], facility: SiteFacility, resource: Resource | None) -> tuple[Slot | None, bool]:
    """From the earliest start to the latest end of the orders that have a time."""
    timed = [one for one in kept if one.start is not None]
    if not timed:
        return None, False
    start = min(one.start for one in timed if one.start is not None)
    if all(one.end is None for one in timed) and len(timed) == 1:
        return slots.slot(start, None, facility, resource, "ORC-7.5")
    ends = []
    for one in timed:
        assert one.start is not None  # noqa: S101 - they were chosen by it
        ends.append(one.end or slots.slot(one.start, None, facility, resource, "ORC-7.5")[0].end)
    return slots.slot(start, max(ends), facility, resource, "ORC-7.5")


def _slot_of_what_is_off(orders: Sequence[Order], facility: SiteFacility) -> Slot | None:
    """The known time, where the message gives a valid one."""
    starts = [one.start for one in orders if one.start is not None]
    ends = [one.end for one in orders if one.end is not None]
    is_one = starts and ends and max(ends) > min(starts)
    return Slot(min(starts), max(ends), facility.time_zone) if is_one else None


def _number(reading: Reading, places: OrmPlaces, one: Order) -> str | None:
    """The accession number."""
    for at, segment in places.accession_number.each(reading, (one,)):
        found = at.text(segment)
        if found is not None:
            return values.identifier(found, at.name)
    return None


def _changes(reading: Reading, places: OrmPlaces, orders: Sequence[Order]) -> list[StudyChange]:
    found = []
    for one in orders:
        code, text = _coded(reading, places, one)
        number = one.order_number
        if not one.is_off and not code and number is None:
            continue
        length = one.end - one.start if one.end is not None and one.start is not None else None
        study = Study(
            code,
            text,
            one.start,
            slots.whole_minutes(length),
            number,
            is_done=one.step is WorkflowStep.COMPLETED,
            procedure_codes=() if (procedure := places.procedure_code.text(reading, (one,))) is None else (procedure,),
            study_uid=places.study_uid.text(reading, (one,)),
        )
        is_new = one.control == "NW"
        action = Action.CANCEL if one.is_off else Action.SET if is_new else Action.CHANGE
        found.append(StudyChange(action, study))
    return found


def _coded(reading: Reading, places: OrmPlaces, one: Order) -> tuple[str, str]:
    for at, segment in places.study.each(reading, (one,)):
        if (found := coded_at(reading, at, segment)) is not None:
            return found
    return "", ""


def _reason(reading: Reading, places: OrmPlaces, orders: Sequence[Order]) -> str | None:
    """The texts of cancelled orders at the first place that has one: of notes only those after their ORC or OBR."""
    for at in places.reason.ats:
        said: list[str] = []
        for one in orders:
            for segment in of_order(reading, one, at.segment):
                if (text := _lines(reading, at, segment)) is None:
                    continue
                if one.is_off:
                    said.append(text)
                else:
                    reading.ignore(segment.id, at.field)
        if said:
            return values.shortened(" ".join(dict.fromkeys(said))) or None
    return None


def _lines(reading: Reading, at: At, segment: Segment) -> str | None:
    """All repetitions of the field; of a coded one the text, else the code."""
    lines = [
        reading.text(parts, at.part) or (reading.text(parts, 2) if at.is_whole else None)
        for parts in segment.repetitions(at.field, as_text=True)
    ]
    return " ".join(line for line in lines if line is not None) or None


def _has_no_start_by_null(reading: Reading, places: OrmPlaces, one: Order) -> bool:
    return any(
        at.segment != b"TQ1" and any(at.is_null(segment) for segment in of_order(reading, one, at.segment))
        for at in places.study_start
    )


def _deleted(reading: Reading, places: OrmPlaces, orders: Sequence[Order], kept: Sequence[Order]) -> frozenset[str]:
    if not reading.holds_null:
        return schedule.NOTHING
    found = set()
    if kept and places.resource.is_deleted(reading, kept):
        found.add("resource")
    if kept and places.modality.is_deleted(reading, kept):
        found.add("modality")
    if kept and places.referring_physician.is_deleted(reading, kept):
        found.add("referring_physician")
    if kept and all(_has_no_start_by_null(reading, places, one) for one in kept):
        found.add("slot")
    if not kept and places.reason.is_deleted(reading, orders):
        found.add("reason")
    return frozenset(found)
