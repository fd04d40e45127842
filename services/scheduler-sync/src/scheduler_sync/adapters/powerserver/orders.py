"""ORM: orders of one appointment, joined by the placer number. Each order concerns only its own study."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from chassis.errors import Malformed, NeedsSetup
from hl7v2 import Segment
from scheduler_sync.adapters.powerserver import person, schedule, slots, statuses, values
from scheduler_sync.adapters.powerserver.services import coded
from scheduler_sync.adapters.powerserver.values import DayAloneError, Reading
from scheduler_sync.commands import ChangeAppointmentByStaff
from scheduler_sync.domain.appointment import Action, StaffFacts, Study, StudyChange, WorkflowStep
from scheduler_sync.domain.resource import Resource
from scheduler_sync.domain.slots import Slot
from scheduler_sync.ports import Resources
from scheduler_sync.site import SiteFacility

_CONTROLS: Final = frozenset({"NW", "XO", "SC", "CA", "OC", "DC"})
_CANCELLING: Final = frozenset({"CA", "OC", "DC"})
_LADDER: Final = tuple(WorkflowStep)
"""From the earliest step to the latest: where orders differ, the appointment has the earliest."""


@dataclass(slots=True)
class Order:
    """An ORC and its segments, up to the next ORC."""

    orc: Segment
    number: int
    obr: Segment | None = None
    tq1: list[Segment] = field(default_factory=list)
    notes: list[Segment] = field(default_factory=list)
    others: list[Segment] = field(default_factory=list)
    control: str = ""
    order_number: str | None = None
    step: WorkflowStep | None = None
    start: datetime | None = None
    end: datetime | None = None
    day_alone: DayAloneError | None = None

    @property
    def is_off(self) -> bool:
        return self.control in _CANCELLING or self.step in schedule.ENDINGS


def read(reading: Reading, resources: Resources, received_at: datetime) -> ChangeAppointmentByStaff:
    """The command. Malformed, NeedsSetup, Transient."""
    if values.code(reading.msh.parts(9), 2) not in ("O01", None):
        raise Malformed(
            "MSH-9.2: this ORM event is not taken", location="MSH-9.2", code=schedule.UNSUPPORTED_EVENT_CODE
        )
    orders, pv1 = _orders(reading)
    placer = _placer(orders)
    patient = person.facts(reading)
    code, facility = values.facility(
        reading.site,
        (
            *((one.orc, 13, 4, "ORC-13.4") for one in orders),
            (pv1, 3, 4, "PV1-3.4"),
            (reading.msh, 4, 1, "MSH-4"),
        ),
    )
    made = slots.made(reading, facility, received_at)
    for one in orders:
        one.order_number = _number(one)
        _read_times(reading, one)
    kept = [one for one in orders if not one.is_off]
    step = _step(orders, kept)
    if step is not WorkflowStep.ORDERED and (alone := next((one.day_alone for one in kept if one.day_alone), None)):
        raise alone
    named = _resource_segment(reading, kept or orders)
    field_path = reading.site.mapping.orm.resource.read[0].partition("-")[2]
    name = _at(named, field_path) if kept else None
    resource = None if name is None else resources.named(code, name)
    slot, has_no_end = _slot(kept, facility, resource) if kept else (_slot_of_what_is_off(orders, facility), False)
    first = next((one.obr for one in kept if one.obr is not None), None)
    return ChangeAppointmentByStaff(
        name=f"ORM^O01 {orders[0].control}",
        placer_number=placer,
        patient=patient,
        appointment=StaffFacts(
            step=step,
            facility=code,
            resource=name,
            modality=values.code(values.parts(first, 24), 1) or (resource.modality if resource else None),
            slot=slot,
            studies=(),
            accession_numbers=tuple(dict.fromkeys(n for one in orders if (n := one.order_number))),
            reason=_reason(reading, orders),
            deleted=_deleted(orders, kept, named, field_path, first),
            study_changes=tuple(_changes(reading, orders)),
            is_of_orders=True,
            has_times_of_studies=not has_no_end,
            has_no_end=has_no_end,
            is_booking=any(one.control == "NW" for one in kept),
        ),
        resource=resource,
        said_at=made.earliest,
        said_until=made.latest,
        waits_for=reading.waits_for,
    )


def _orders(reading: Reading) -> tuple[list[Order], Segment | None]:
    orders: list[Order] = []
    pv1: Segment | None = None
    for segment in reading.segments:
        name = segment.id_bytes
        if name == b"ORC":
            orders.append(Order(segment, len(orders) + 1))
        elif name == b"PV1":
            pv1 = pv1 or segment
        elif orders:
            _add(reading, orders, segment)
        elif name == b"NTE" and segment.parts(3):
            reading.ignore("NTE", 3)  # notes of the patient or the message, never a reason shown to patients
    if not orders:
        raise Malformed("ORC-1 is missing", location="ORC-1", code=values.REQUIRED_FIELD_MISSING)
    return orders, pv1


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
        if (values.code(one.orc.parts(2), 1) or placer) != placer:
            where = f"{values.nth('ORC', one.number)}-2"
            raise Malformed(f"{where}: one message speaks of one placer number", location=where, code="207")
    return placer


def _read_times(reading: Reading, one: Order) -> None:
    """The status comes first: a cancelled order does not wait for a time that cannot be read."""
    one.step = statuses.step_of_order(reading, one.orc, values.nth("ORC", one.number))
    try:
        one.start, one.end = _times(reading, one)
    except (Malformed, NeedsSetup) as error:
        if one.is_off:
            reading.ignore("ORC", 7)
        elif isinstance(error, DayAloneError):
            one.day_alone = error
        else:
            raise


def _times(reading: Reading, one: Order) -> tuple[datetime | None, datetime | None]:
    """Start and end from ORC-7, else OBR-27 (TQ), else TQ1, which replaces both from version 2.5 on."""
    for segment, number in ((one.orc, 7), (one.obr, 27)):
        timing = values.parts(segment, number)
        if len(timing) < 4 or segment is None:
            continue
        where = f"{values.nth(segment.id, one.number)}-{number}"
        start = reading.time(timing, 4, f"{where}.4")
        if start is not None:
            end = reading.time(timing, 5, f"{where}.5")
            length = None if end else reading.quantity_of_timing(timing, f"{where}.3")[0]
            if end is not None and end <= start:
                raise Malformed(
                    f"{where}.5: the end is not after the start", location=f"{where}.5", code=values.DATA_TYPE_ERROR
                )
            return start, end if length is None else start + length
    starts = [at for tq1 in one.tq1 if (at := reading.time(tq1.parts(7), 1, "TQ1-7")) is not None]
    ends = [at for tq1 in one.tq1 if (at := schedule.end_of_tq1(reading, tq1, None)) is not None]
    start, end = min(starts, default=None), max(ends, default=None)
    return start, end if start is not None else None


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


def _resource_segment(reading: Reading, orders: Sequence[Order]) -> Segment | None:
    """The segment of ``orm.resource``: of the first order that has it filled, else of the message."""
    name, _, path = reading.site.mapping.orm.resource.read[0].partition("-")
    wanted, number = name.encode("ascii"), int(path.partition(".")[0])
    for one in orders:
        for segment in (one.orc, one.obr, *one.others):
            if segment is not None and segment.id_bytes == wanted and segment.encoded(number):
                return segment
    return next(iter(reading.all(wanted)), None) if name not in {"ORC", "OBR"} else None


def _at(segment: Segment | None, path: str) -> str | None:
    number, _, component = path.partition(".")
    return values.code(values.parts(segment, int(number)), int(component or 1))


def _number(one: Order) -> str | None:
    """The accession number: ORC-3, else OBR-3."""
    found = values.code(one.orc.parts(3), 1) or values.code(values.parts(one.obr, 3), 1)
    return None if found is None else values.identifier(found, "ORC-3")


def _changes(reading: Reading, orders: Sequence[Order]) -> list[StudyChange]:
    found = []
    for one in orders:
        code, text = coded(reading, one.obr, 4) or ("", "")
        number = one.order_number
        if not one.is_off and not code and number is None:
            continue
        length = one.end - one.start if one.end is not None and one.start is not None else None
        study = Study(
            code, text, one.start, slots.whole_minutes(length), number, is_done=one.step is WorkflowStep.COMPLETED
        )
        is_new = one.control == "NW"
        action = Action.CANCEL if one.is_off else Action.SET if is_new else Action.CHANGE
        found.append(StudyChange(action, study))
    return found


def _reason(reading: Reading, orders: Sequence[Order]) -> str | None:
    """The notes of cancelled orders: only those after their ORC or OBR."""
    lines = [
        (text if one.is_off else None, note)
        for one in orders
        for note in one.notes
        if (text := _note(reading, note)) is not None
    ]
    for text, _ in lines:
        if text is None:
            reading.ignore("NTE", 3)
    return values.shortened(" ".join(dict.fromkeys(text for text, _ in lines if text is not None))) or None


def _note(reading: Reading, note: Segment) -> str | None:
    lines = (reading.text(parts, 1) for parts in note.repetitions(3, as_text=True))
    return " ".join(line for line in lines if line is not None) or None


def _has_no_start_by_null(one: Order) -> bool:
    if b'""' in one.orc.encoded(7) and values.is_null(one.orc.parts(7), 4):
        return True
    return one.obr is not None and b'""' in one.obr.encoded(27) and values.is_null(one.obr.parts(27), 4)


def _deleted(
    orders: Sequence[Order], kept: Sequence[Order], named: Segment | None, path: str, first: Segment | None
) -> frozenset[str]:
    found = set()
    number, _, component = path.partition(".")
    if kept and values.is_null(values.parts(named, int(number)), int(component or 1)):
        found.add("resource")
    if kept and first is not None and values.begins_null(first, 24):
        found.add("modality")
    if kept and all(_has_no_start_by_null(one) for one in kept):
        found.add("slot")
    if not kept and any(values.begins_null(note, 3) for one in orders for note in one.notes):
        found.add("reason")
    return frozenset(found)
