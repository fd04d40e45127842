"""The bookings of an SIU: services (AIS), resources (AIG) and places (AIL) in their groups (RGS).

Segments are read in any order. A group or segment with the action code D (HL7 table 0206) is removed.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from chassis.errors import Malformed
from hl7v2 import Segment
from scheduler_sync.adapters.powerserver import values
from scheduler_sync.adapters.powerserver.slots import whole_minutes
from scheduler_sync.adapters.powerserver.values import Reading
from scheduler_sync.domain.appointment import Action, Study, StudyChange

_ACTIONS: Final = {"A": Action.SET, "U": Action.SET, "D": Action.REMOVE, "X": Action.KEEP}


@dataclass(slots=True)
class Part:
    """One segment, its number among those of its name, and its action. ``code`` is the message's text."""

    segment: Segment
    number: int
    action: Action
    code: str

    @property
    def where(self) -> str:
        return values.nth(self.segment.id, self.number)


@dataclass(slots=True)
class Parts:
    """The parts of an SIU."""

    sch: Segment | None
    pv1: Segment | None
    tq1: Sequence[Segment]
    services: list[Part]
    resources: list[Part]
    places: list[Part]

    resource: Part | None
    """The first resource that is not removed, and the first place."""
    place: Part | None


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
        resource=_first(resources),
        place=_first(places),
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
    if segment.encoded(2) == b"A":
        return "A"  # nearly always
    return (values.code(segment.parts(2), 1) or "").upper()


def _part(segment: Segment, number: int, *, is_off: bool) -> Part:
    code = _action(segment)
    if code == "A" and not is_off:
        return Part(segment, number, Action.SET, code)
    if code and code not in _ACTIONS:
        where = f"{values.nth(segment.id, number)}-2"
        raise Malformed(f"{where}: not an action code", location=where, code=values.TABLE_VALUE_NOT_FOUND)
    return Part(segment, number, Action.REMOVE if is_off else _ACTIONS.get(code, Action.SET), "D" if is_off else code)


def _first(some: Sequence[Part]) -> Part | None:
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


def service(reading: Reading, part: Part, appointment_start: datetime | None) -> Service:
    """AIS: its own start (or its distance from the appointment's), its own length."""
    segment, where = part.segment, part.where
    length = reading.length(segment, 7, 8, where)
    start = None
    given = segment.parts(4)
    if (written := values.code(given, 1)) is not None:
        if appointment_start is None or values.has_time_of_day(written):
            start = reading.time(given, 1, f"{where}-4")
        else:
            reading.ignore("AIS", 4)
    elif appointment_start is not None and values.code(segment.parts(5), 1) is not None:
        start = appointment_start + (reading.length(segment, 5, 6, where) or timedelta())
    found = coded(reading, segment, 3)
    if found is None:
        reading.ignore("AIS", 3)
    study = None if found is None else Study(*found, start, whole_minutes(length))
    return Service(part, study, start, length)


def changes(reading: Reading, services: Sequence[Service]) -> tuple[tuple[Study, ...], tuple[StudyChange, ...]]:
    """The whole list of studies, or changes to it: with a D, U or X the other studies stay."""
    given = [(one.part, one.study) for one in services if one.study is not None]
    are_changes = reading.site.hl7.services == "changes" or any(part.code in {"D", "U", "X"} for part, _ in given)
    if are_changes:
        return (), tuple(StudyChange(part.action, study) for part, study in given)
    return tuple(study for _, study in given), ()
