"""The bookings of an SIU: services (AIS), resources (AIG) and places (AIL) in their groups (RGS).

Segments are read in any order. A group or segment with the action code D (HL7 table 0206) is removed.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from chassis.errors import Malformed
from hl7v2 import NULL, Segment
from scheduler_sync.adapters.powerserver import values
from scheduler_sync.adapters.powerserver.groups import Part, Parts
from scheduler_sync.adapters.powerserver.places import At, SiuPlaces
from scheduler_sync.adapters.powerserver.slots import whole_minutes
from scheduler_sync.adapters.powerserver.values import Reading
from scheduler_sync.domain.appointment import Action, Study, StudyChange

_ACTIONS: Final = {"A": Action.SET, "U": Action.SET, "D": Action.REMOVE, "X": Action.KEEP}


@dataclass(slots=True)
class Service:
    """A booked service, with its own start and length where it has them."""

    part: Part
    study: Study | None
    start: datetime | None
    length: timedelta | None


def parts(reading: Reading) -> Parts:
    """Malformed for an action code that table 0206 does not have."""
    off = _in_groups_that_are_off(reading)
    booked, resources, places = (
        [_part(segment, number, is_off=segment in off) for number, segment in enumerate(reading.all(name), 1)]
        for name in (b"AIS", b"AIG", b"AIL")
    )
    return Parts(
        reading.first(b"SCH"),
        reading.first(b"PV1"),
        reading.all(b"TQ1"),
        booked,
        resources,
        places,
        resource=_first_kept(resources),
        place=_first_kept(places),
    )


def _in_groups_that_are_off(reading: Reading) -> Container[Segment]:
    """The segments behind an RGS whose action is D."""
    for one in reading.all(b"RGS"):
        if _action(one) == "D":
            break
    else:
        return ()
    off, is_off = set(), False
    for segment in reading.segments:
        if segment.id_bytes == b"RGS":
            is_off = _action(segment) == "D"
        elif is_off:
            off.add(segment)
    return off


def _action(segment: Segment) -> str:
    found = segment.part(2, 1)
    if found == "A":
        return found  # nearly always
    return "" if found == NULL else found.strip().upper()


def _part(segment: Segment, number: int, *, is_off: bool) -> Part:
    code = _action(segment)
    if code == "A" and not is_off:
        return Part(segment, number, Action.SET, code)
    if code and code not in _ACTIONS:
        where = f"{values.nth(segment.id, number)}-2"
        raise Malformed(f"{where}: not an action code", location=where, code=values.TABLE_VALUE_NOT_FOUND)
    return Part(segment, number, Action.REMOVE if is_off else _ACTIONS.get(code, Action.SET), "D" if is_off else code)


def _first_kept(some: Sequence[Part]) -> Part | None:
    for part in some:
        if part.action is not Action.REMOVE:
            return part
    return None


def coded(reading: Reading, segment: Segment | None, field_number: int) -> tuple[str, str] | None:
    """Code and text of a study type (CE); either stands for the other."""
    found = [] if segment is None else segment.parts(field_number, as_text=True)
    code, text = values.code(found, 1), reading.text(found, 2)
    if code is None and text is None:
        return None
    return code or text or "", text or code or ""


def coded_at(reading: Reading, at: At, segment: Segment) -> tuple[str, str] | None:
    """As ``coded``, at a place of the mapping: a component holds the code alone."""
    if at.is_whole:
        return coded(reading, segment, at.field)
    code = at.text(segment)
    return None if code is None else (code, code)


def service(reading: Reading, places: SiuPlaces, part: Part, appointment_start: datetime | None) -> Service:
    """AIS: its own start (or its distance from the appointment's), its own length, at the places of the mapping."""
    where = part.where
    length = _length(reading, places, part)
    start = None
    for at in places.study_start:
        segment = _own(reading, at, part)
        if segment is None or (given := at.text(segment)) is None:
            continue
        if appointment_start is None or values.has_time_of_day(given):
            name = f"{where}-{at.field}" if at.segment == b"AIS" else at.name
            start = reading.time(segment.parts(at.field), at.part, name)
        else:
            reading.ignore(segment.id, at.field)
        break
    else:
        if appointment_start is not None and values.code_at(part.segment, 5) is not None:
            start = appointment_start + (reading.length(part.segment, 5, 6, where) or timedelta())
    found = None
    for at in places.study:
        segment = _own(reading, at, part)
        if segment is not None and (found := coded_at(reading, at, segment)) is not None:
            break
    if found is None:
        reading.ignore("AIS", 3)
        return Service(part, None, start, length)
    uid = None
    for at in places.study_uid:
        segment = _own(reading, at, part)
        if segment is not None and (uid := at.text(segment)) is not None:
            break
    return Service(part, Study(*found, start, whole_minutes(length), study_uid=uid), start, length)


def _length(reading: Reading, places: SiuPlaces, part: Part) -> timedelta | None:
    for at in places.study_minutes:
        segment = _own(reading, at, part)
        if segment is None:
            continue
        if at.segment == b"AIS" and at.is_whole:
            length = reading.length(segment, at.field, at.field + 1, part.where)
        else:
            length = reading.length_at(at.text(segment), at.name)
        if length is not None:
            return length
    return None


def _own(reading: Reading, at: At, part: Part) -> Segment | None:
    """The segment of one AIS at a place: itself, or the site's own segment with the same number.

    Fewer of the site's own segments than AIS belong to no certain one of them.
    """
    if at.segment == b"AIS":
        return part.segment
    some = reading.all(at.segment) if at.segment[:1] == b"Z" else ()
    return some[part.number - 1] if some and len(some) >= max(part.number, len(reading.all(b"AIS"))) else None


def of_message(reading: Reading, places: SiuPlaces) -> Study | None:
    """The study of a message without AIS."""
    for at in places.study:
        for segment in () if at.segment == b"AIS" else reading.all(at.segment):
            if (found := coded_at(reading, at, segment)) is not None:
                return Study(*found)
    return None


def changes(reading: Reading, services: Sequence[Service]) -> tuple[tuple[Study, ...], tuple[StudyChange, ...]]:
    """The whole list of studies, or changes to it: with a D, U or X the other studies stay."""
    given = [(one.part, one.study) for one in services if one.study is not None]
    are_changes = reading.site.hl7.services == "changes" or any(part.code in {"D", "U", "X"} for part, _ in given)
    if are_changes:
        return (), tuple(StudyChange(part.action, study) for part, study in given)
    return tuple(study for _, study in given), ()
