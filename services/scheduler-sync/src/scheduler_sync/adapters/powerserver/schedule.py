"""SIU: a booking, its move, its change, its end. The event counts before the status in SCH-25."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from chassis.errors import Malformed, NeedsSetup
from hl7v2 import NULL, Segment
from scheduler_sync.adapters.powerserver import blocks, person, services, slots, statuses, values
from scheduler_sync.adapters.powerserver.groups import BOOKED, ENDINGS, Parts
from scheduler_sync.adapters.powerserver.places import SiuPlaces
from scheduler_sync.adapters.powerserver.places import facility as facility_of
from scheduler_sync.adapters.powerserver.places import zone as zone_of_message
from scheduler_sync.adapters.powerserver.services import Service
from scheduler_sync.adapters.powerserver.values import OWN_CODES, DayAloneError, Reading
from scheduler_sync.commands import BlockTime, ChangeAppointmentByStaff
from scheduler_sync.domain.appointment import Action, StaffFacts, WorkflowStep
from scheduler_sync.domain.slots import Slot
from scheduler_sync.ports import Resources

UNSUPPORTED_EVENT_CODE: Final = "201"
EVENTS: Final[dict[str, WorkflowStep | None]] = {
    "S12": WorkflowStep.SCHEDULED,
    "S13": None,
    "S14": None,
    "S15": WorkflowStep.CANCELLED,
    "S26": WorkflowStep.NO_SHOW,
}
"""The status by the event alone."""


def read(
    reading: Reading, places: SiuPlaces, resources: Resources, received_at: datetime
) -> ChangeAppointmentByStaff | BlockTime:
    """The command. Malformed, NeedsSetup, Transient."""
    trigger = values.code_at(reading.msh, 9, 2) or ""
    if trigger not in EVENTS and trigger not in {blocks.BLOCKS, blocks.OPENS}:
        raise Malformed("MSH-9.2: this SIU event is not taken", location="MSH-9.2", code=UNSUPPORTED_EVENT_CODE)
    parts = services.parts(reading)
    sch = parts.sch
    _count_what_is_left(reading, parts)
    if blocks.is_one(reading, places, trigger, parts):
        return blocks.read(
            reading, places, resources, received_at, trigger=trigger, parts=parts,
            span=lambda: _span_of_block(reading, places, parts),
        )  # fmt: skip
    placer = values.required(values.parts(sch, 1), "SCH-1")
    assert sch is not None  # noqa: S101 - it holds the placer number
    implied = EVENTS[trigger]
    patient = person.facts(reading, places.email)
    code, facility = facility_of(reading, places.facility, parts)
    made = slots.made(reading, facility, received_at, zone_of_message(reading, places.time_zone, parts))
    told = statuses.found(reading, places.status, places.order_status, parts)
    step = implied if implied in ENDINGS else told or implied
    is_off = step in ENDINGS
    name = places.resource.text(reading, parts)
    resource = None if name is None or is_off else resources.named(code, name)
    start, has_own_start = _start(reading, places, parts, is_off=is_off)
    booked = _booked(reading, places, parts, start, is_off=is_off)
    slot, has_no_end = _slot(
        reading,
        parts,
        booked,
        start,
        lambda begin, end: slots.slot(begin, end, facility, resource, "SCH-11.5"),
        places=places,
        is_off=is_off,
    )
    studies, changes = services.changes(reading, booked)
    if is_off:
        changes = ()  # the whole appointment ends, whatever its parts say
    if not parts.services and (found := services.of_message(reading, places)) is not None:
        studies = (found,)
    return ChangeAppointmentByStaff(
        name=f"SIU^{trigger}",
        placer_number=placer,
        patient=patient,
        appointment=StaffFacts(
            step=step,
            facility=code,
            resource=name,
            modality=places.modality.text(reading, parts) or (resource.modality if resource else None),
            slot=slot,
            studies=studies,
            filler_id=values.code_at(sch, 2),
            accession_numbers=_numbers(reading, places, parts),
            reason=_reason(reading, places) if is_off else None,
            deleted=_deleted(reading, places, parts, is_off=is_off),
            study_changes=changes,
            has_times_of_studies=bool(changes) and not has_own_start,
            has_no_end=has_no_end,
            is_booking=trigger == "S12",
            priority=places.priority.text(reading, parts),
            referring_physician=person.physician(reading, places.referring_physician, parts),
        ),
        resource=resource,
        said_at=made.earliest,
        said_until=made.latest,
        waits_for=reading.waits_for,
    )


def _span_of_block(reading: Reading, places: SiuPlaces, parts: Parts) -> tuple[datetime | None, datetime | None]:
    start, _ = _start(reading, places, parts, is_off=False)
    if start is None:
        return None, None
    return start, _own_end(reading, places, parts, start) or _end_of_others(reading, parts, start)


def _count_what_is_left(reading: Reading, parts: Parts) -> None:
    """One appointment a message; the first of several resources, places and timings counts."""
    if parts.sch is not None and parts.sch.delimiters.repetition in parts.sch.encoded(11):
        reading.ignore("SCH", 11)
    if not reading.has_repeated_segments:
        return
    if len(reading.all(b"SCH")) > 1:
        raise Malformed("SCH[2]: the message is about several appointments", location="SCH[2]", code="100")
    if len(reading.all(b"PV1")) > 1:
        reading.ignore("PV1", 3)
    for name, some, first in (("AIG", parts.resources, parts.resource), ("AIL", parts.places, parts.place)):
        reading.ignored += [(name, 3) for one in some if one is not first and one.action is not Action.REMOVE]


def _numbers(reading: Reading, places: SiuPlaces, parts: Parts) -> tuple[str, ...]:
    found = [
        values.identifier(number, at.name)
        for at, segment in places.accession_number.each(reading, parts)
        if (number := at.text(segment)) is not None
    ]
    return tuple(dict.fromkeys(found))


def _reason(reading: Reading, places: SiuPlaces) -> str | None:
    """The text at the first filled place, else the code of a coded one; of notes all lines together."""
    for at in places.reason.ats:
        lines = []
        for segment in reading.all(at.segment):
            if at.segment == b"NTE":
                lines += [reading.text(parts, at.part) for parts in segment.repetitions(at.field, as_text=True)]
                continue
            found = segment.parts(at.field, as_text=True)
            if not at.is_whole:
                lines.append(reading.words(found, at.part))
                continue
            is_our_own_code = reading.words(found, 3) == OWN_CODES  # the suite's own word, sent back
            lines.append(reading.words(found, 2) or (None if is_our_own_code else reading.words(found, 1)))
        if said := " ".join(dict.fromkeys(line for line in lines if line)):
            return values.shortened(said)
    return None


NOTHING: Final[frozenset[str]] = frozenset()


def _deleted(reading: Reading, places: SiuPlaces, parts: Parts, *, is_off: bool) -> frozenset[str]:
    """Removals in the message: by the HL7 null, or by the action code D of a segment."""
    found = set()
    if reading.holds_null and parts.sch is not None and values.begins_null(parts.sch, 2):
        found.add("filler_id")
    if is_off and places.reason.is_deleted(reading, parts):
        found.add("reason")
    if places.resource.is_deleted(reading, parts) or (
        parts.resource is None and parts.resources and places.resource.text(reading, parts) is None
    ):
        found.add("resource")
    if places.modality.is_deleted(reading, parts):
        found.add("modality")
    if places.referring_physician.is_deleted(reading, parts):
        found.add("referring_physician")
    return frozenset(found) if found else NOTHING


def _booked(
    reading: Reading, places: SiuPlaces, parts: Parts, start: datetime | None, *, is_off: bool
) -> list[Service]:
    found = []
    for one in parts.services:
        try:
            found.append(services.service(reading, places, one, start))
        except (Malformed, NeedsSetup):
            if not is_off:
                raise
            reading.ignore("AIS", 4)
    return found


def _start(reading: Reading, places: SiuPlaces, parts: Parts, *, is_off: bool) -> tuple[datetime | None, bool]:
    """The appointment's start, and whether it is its own (SCH-11, TQ1) or that of a part."""
    try:
        own, day_alone = _own_start(reading, places, parts)
        if own is not None:
            return own, True
        booked = [(4, one) for one in parts.services if one.action is not Action.REMOVE]
        others = [(8, one) for one in parts.resources] + [(6, one) for one in parts.places]
        for some in (booked, [one for one in others if one[1].action is not Action.REMOVE]):
            starts = [reading.time(one.segment.parts(number), 1, f"{one.where}-{number}") for number, one in some]
            if found := [one for one in starts if one is not None]:
                return min(found), False
        if day_alone is not None:
            raise day_alone
    except (Malformed, NeedsSetup):
        if not is_off:
            raise
        reading.ignore("SCH", 11)  # the end of an appointment does not wait for a time that cannot be read
    if not is_off and not any(one.action is not Action.SET for one in parts.services):
        first = places.start.ats[0].name if places.start.ats else "AIS-4"
        raise Malformed(f"{first} is missing", location=first, code=values.REQUIRED_FIELD_MISSING)
    return None, False


def _own_start(reading: Reading, places: SiuPlaces, parts: Parts) -> tuple[datetime | None, DayAloneError | None]:
    """The start at the mapping's places; or the error of a day alone, whose time the services may give."""
    day_alone: DayAloneError | None = None
    for at in places.start.ats:
        starts = []
        for segment in _of(reading, parts, at.segment):
            try:
                starts.append(reading.time(segment.parts(at.field), at.part, at.name))
            except DayAloneError as error:
                day_alone = day_alone or error
        if found := [one for one in starts if one is not None]:
            return min(found), None
    return None, day_alone


def _of(reading: Reading, parts: Parts, name: bytes) -> Sequence[Segment]:
    """The segments of a name; of bookings those that are not removed."""
    if name not in BOOKED:
        return reading.all(name)
    some = {b"AIS": parts.services, b"AIG": parts.resources, b"AIL": parts.places}[name]
    return [one.segment for one in some if one.action is not Action.REMOVE]


def _slot(
    reading: Reading,
    parts: Parts,
    booked: Sequence[Service],
    start: datetime | None,
    book: Callable[[datetime, datetime | None], tuple[Slot, bool]],
    *,
    places: SiuPlaces,
    is_off: bool,
) -> tuple[Slot | None, bool]:
    """Start and end, for ``book`` to make a slot; of a cancelled appointment None where they cannot be read."""
    if start is None:
        return None, False
    try:
        kept = [one for one in booked if one.part.action is not Action.REMOVE]
        end = _own_end(reading, places, parts, start)
        if end is None:
            end = _end_of_services(kept, start) or _end_of_others(reading, parts, start)
        own_starts = [one.start for one in kept if one.start is not None]
        if len(own_starts) > 1:
            start = min(start, *own_starts)
            ends = [one.start + one.length for one in kept if one.start is not None and one.length is not None]
            end = max([*ends, end]) if end is not None else max(ends, default=None)
        if end is None and is_off:
            return None, False
        return book(start, end)
    except (Malformed, NeedsSetup):
        if not is_off:
            raise
        reading.ignore("SCH", 11)
        return None, False


def _own_end(reading: Reading, places: SiuPlaces, parts: Parts, start: datetime) -> datetime | None:
    """The mapping's place of the end, or of a length; else by HL7's rules for a length.

    These are: SCH-11.3 with a unit, SCH-9 with the unit of SCH-10, SCH-11.3 without; or TQ1's.
    """
    for at, segment in places.end.each(reading, parts):
        end = reading.time(segment.parts(at.field), at.part, at.name)
        if end is not None:
            return end
    for at, segment in places.minutes.each(reading, parts):
        length = reading.length_at(at.text(segment), at.name)
        if length is not None:
            return start + length
    sch = parts.sch
    if sch is None:
        return None
    own = values.parts(sch, 11)
    timing, has_unit = reading.quantity_of_timing(own, "SCH-11.3")
    length = timing if has_unit else None
    length = length or reading.length(sch, 9, 10, "SCH") or timing
    if length is not None:
        return start + length
    ends = [found for one in parts.tq1 if (found := end_of_tq1(reading, one, start)) is not None]
    return max(ends, default=None)


def end_of_tq1(reading: Reading, tq1: Segment, start: datetime | None) -> datetime | None:
    """TQ1-8, else TQ1-6 from TQ1-7 (or ``start``) on."""
    end = reading.time(tq1.parts(8), 1, "TQ1-8")
    if end is not None:
        return end
    begin, length = reading.time(tq1.parts(7), 1, "TQ1-7") or start, length_of_tq1(reading, tq1)
    return None if begin is None or length is None else begin + length


def length_of_tq1(reading: Reading, tq1: Segment) -> timedelta | None:
    """TQ1-6 (CQ): a number and its unit."""
    found = values.code_at(tq1, 6)
    unit = next((part for part in tq1.components("6.2") if part and part != NULL), None)
    return None if found is None else reading.quantity(found, unit, "TQ1-6", "TQ1-6.2")


def _end_of_services(kept: Sequence[Service], start: datetime) -> datetime | None:
    """The latest end; services without a start of their own follow one another."""
    lengths = [one.length for one in kept if one.length is not None]
    if not lengths or len(lengths) < len(kept):
        return None
    ends = [one.start + one.length for one in kept if one.start is not None and one.length is not None]
    in_a_row = sum((one.length for one in kept if one.start is None and one.length is not None), timedelta())
    return max([*ends, start + in_a_row])


def _end_of_others(reading: Reading, parts: Parts, start: datetime) -> datetime | None:
    """The longest of the resources and places."""
    lengths = [
        reading.length(one.segment, number, number + 1, one.where)
        for number, some in ((11, parts.resources), (9, parts.places))
        for one in some
        if one.action is not Action.REMOVE
    ]
    return max((start + one for one in lengths if one is not None), default=None)
