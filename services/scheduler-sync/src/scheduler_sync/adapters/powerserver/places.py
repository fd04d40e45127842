"""The site's mapping, compiled once into plain functions that find each value in a message.

They are compiled when a mapping is first used, and again when another one is in force.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar
from zoneinfo import ZoneInfo

from chassis.errors import Malformed, NeedsSetup
from chassis.observe import shown, words_of
from hl7v2 import NULL, Segment
from scheduler_sync.adapters.powerserver import values
from scheduler_sync.adapters.powerserver.groups import Order, Part, Parts
from scheduler_sync.adapters.powerserver.values import Reading
from scheduler_sync.domain.appointment import Action
from scheduler_sync.mapping import Hl7Mapping, OrmValues, Place, Places, SiuValues
from scheduler_sync.site import SiteFacility
from site_file import UnknownZoneError, zone_of

T = TypeVar("T")
_OF_A_MESSAGE: Final = frozenset({b"MSH", b"PID", b"PV1"})
_OF_AN_ORDER: Final = frozenset({b"ORC", b"OBR", b"TQ1", b"NTE"})
Segments = Callable[[Reading, T], Sequence[Segment]]
"""The segments of one name that a value is looked for in. ``T`` is what a family sorts its segments into."""


@dataclass(frozen=True, slots=True)
class At:
    """A place, ready for reading. ``key`` is the value's key in the mapping file, such as ``siu.resource``."""

    segment: bytes
    field: int
    part: int
    is_whole: bool
    name: str
    key: str

    @classmethod
    def of(cls, place: Place, key: str) -> "At":
        return cls(place.segment.encode(), place.field, place.part, place.component is None, place.name, key)

    def text(self, segment: Segment) -> str | None:
        """The text at the place in ``segment``, without blanks around it."""
        return values.code_at(segment, self.field, self.part)

    def is_null(self, segment: Segment) -> bool:
        """Whether the place, or the whole field, is the HL7 null."""
        return b'""' in segment.encoded(self.field) and values.is_null(segment.parts(self.field), self.part)


class Finder(Generic[T]):
    """Finds one value: the first filled place counts."""

    __slots__ = ("_steps", "ats", "text")

    def __init__(self, places: Sequence[At], segments: Callable[[bytes], Segments[T]]) -> None:
        self.ats = tuple(places)
        self._steps = tuple((at, segments(at.segment)) for at in places)
        self.text: Callable[[Reading, T], str | None] = _text(self._steps)

    def each(self, reading: Reading, parts: T) -> Iterable[tuple[At, Segment]]:
        """The places with their segments, in their order."""
        return self._each(reading, parts) if self._steps else ()

    def _each(self, reading: Reading, parts: T) -> Iterator[tuple[At, Segment]]:
        for at, segments in self._steps:
            for segment in segments(reading, parts):
                yield at, segment

    def is_deleted(self, reading: Reading, parts: T) -> bool:
        """Whether the first filled field of the places holds the HL7 null."""
        if not reading.holds_null:
            return False
        for at, segment in self.each(reading, parts):
            if segment.encoded(at.field):
                return at.is_null(segment)
        return False


def _text(steps: Sequence[tuple[At, Segments[T]]]) -> Callable[[Reading, T], str | None]:
    """``None`` for a value without a place."""
    compiled_steps = tuple((segments, at.field, at.part) for at, segments in steps)

    def first(reading: Reading, parts: T) -> str | None:
        for segments, field, part in compiled_steps:
            for segment in segments(reading, parts):
                found = segment.part(field, part)
                if found and found != NULL and (found := found.strip()):
                    return found
        return None

    return first


def _of_part(choose: Callable[[Parts], Part | None]) -> Segments[Parts]:
    def segments(_: Reading, parts: Parts) -> Sequence[Segment]:
        part = choose(parts)
        return () if part is None else (part.segment,)

    return segments


def _of_message(name: bytes) -> Segments[T]:
    return lambda reading, _: reading.by_name.get(name, ())


def _first_service(parts: Parts) -> Part | None:
    return next((one for one in parts.services if one.action is not Action.REMOVE), None)


def _segments_of_siu(name: bytes) -> Segments[Parts]:
    """The first resource, place and service that is not removed; of other names every segment."""
    match name:
        case b"AIG":
            return _of_part(lambda parts: parts.resource)
        case b"AIL":
            return _of_part(lambda parts: parts.place)
        case b"AIS":
            return _of_part(_first_service)
    return _of_message(name)


def of_order(reading: Reading, order: Order, name: bytes) -> Sequence[Segment]:
    """The order's own segments of a name; else those of the whole message, which stand before the first order."""
    own = order.segments(name)
    if own or name in _OF_AN_ORDER:
        return own
    return reading.all(name) if name in _OF_A_MESSAGE else reading.before(b"ORC", name)


def _segments_of_one(name: bytes) -> Segments[Sequence[Order]]:
    return lambda reading, orders: of_order(reading, orders[0], name)


def _segments_of_orm(name: bytes) -> Segments[Sequence[Order]]:
    """The orders' own segments; of other names those of the orders, else of the message."""
    if name in _OF_A_MESSAGE:
        return _of_message(name)
    is_orders = name in _OF_AN_ORDER

    def segments(reading: Reading, orders: Sequence[Order]) -> Sequence[Segment]:
        found: Sequence[Segment]
        if len(orders) == 1:
            found = orders[0].segments(name)
        else:
            found = [segment for one in orders for segment in one.segments(name)]
        return found if found or is_orders else reading.all(name)

    return segments


class SiuPlaces:
    """The finders of SIU. ``own_*`` are places within AIS, or in a segment of the site's own for each AIS."""

    def __init__(self, given: SiuValues) -> None:
        def finder(name: str) -> Finder[Parts]:
            return Finder(_ats("siu", name, getattr(given, name)), _segments_of_siu)

        self.status, self.order_status, self.priority = finder("status"), finder("order_status"), finder("priority")
        self.facility, self.resource, self.modality = finder("facility"), finder("resource"), finder("modality")
        self.start, self.end, self.minutes = finder("start"), finder("end"), finder("minutes")
        self.accession_number, self.time_zone = finder("accession_number"), finder("time_zone")
        self.referring_physician, self.reason = finder("referring_physician"), finder("reason")
        self.study, self.study_start = _ats("siu", "study", given.study), _ats("siu", "study_start", given.study_start)
        self.study_minutes = _ats("siu", "study_minutes", given.study_minutes)
        self.study_uid = _ats("siu", "study_uid", given.study_uid)
        self.email = _ats("siu", "email", given.email)


class OrmPlaces:
    """The finders of ORM."""

    def __init__(self, given: OrmValues) -> None:
        def finder(name: str) -> Finder[Sequence[Order]]:
            return Finder(_ats("orm", name, getattr(given, name)), _segments_of_orm)

        def of_one(name: str) -> Finder[Sequence[Order]]:
            return Finder(_ats("orm", name, getattr(given, name)), _segments_of_one)

        self.facility, self.resource, self.modality = finder("facility"), finder("resource"), finder("modality")
        self.priority, self.reason, self.time_zone = finder("priority"), finder("reason"), finder("time_zone")
        self.referring_physician = finder("referring_physician")
        # These are of one order: it is asked for alone.
        self.status, self.order_status = of_one("status"), of_one("order_status")
        self.study, self.study_uid, self.accession_number = (
            of_one("study"),
            of_one("study_uid"),
            of_one("accession_number"),
        )
        self.procedure_code = of_one("procedure_code")
        self.study_start = _ats("orm", "study_start", given.study_start)
        self.partners = {
            at: (
                _partners(at, _ats("orm", "study_end", given.study_end)),
                _partners(at, _ats("orm", "study_minutes", given.study_minutes)),
            )
            for at in self.study_start
        }
        """For each place of a start, the places of its end and its length."""
        self.email = _ats("orm", "email", given.email)


def _ats(family: str, name: str, places: Places) -> tuple[At, ...]:
    return tuple(At.of(place, f"{family}.{name}") for place in places.looked_for)


def _partners(start: At, places: Sequence[At]) -> tuple[At, ...]:
    """The places in the start's own field (ORC-7.4 and ORC-7.5); all of them where its field has none."""
    own = tuple(at for at in places if (at.segment, at.field) == (start.segment, start.field))
    return own or tuple(places)


def facility(reading: Reading, finder: Finder[T], parts: T) -> tuple[str, SiteFacility]:
    """The first facility code, with its entry in the site file. NeedsSetup, Malformed."""
    site = reading.site
    code = finder.text(reading, parts)
    if code is not None and (entry := site.facilities.get(code)) is not None:
        return code, entry
    for at, segment in finder.each(reading, parts):
        found = at.text(segment)
        if found is not None:
            found = shown(found, words_of(site.facilities))
            raise NeedsSetup(f"{at.name}: facility {found!r} is not in the site file", setting=f"facilities.{found}")
    first = next((at.name for at in finder.ats), "MSH-4")
    raise Malformed(f"{first}: no facility is given", location=first, code=values.REQUIRED_FIELD_MISSING)


def zone(reading: Reading, finder: Finder[T], parts: T) -> ZoneInfo | None:
    """The zone that the message names for its times without an offset. NeedsSetup for an unknown name."""
    for at, segment in finder.each(reading, parts):
        name = at.text(segment)
        if name is None:
            continue
        try:
            return zone_of(reading.site.mapping.zone_names.get(name, name))
        except UnknownZoneError:
            named = shown(name)
            raise NeedsSetup(
                f"{at.name}: the time zone {named!r} is not known", setting=f"zone_names.{named} in the mapping file"
            ) from None
    return None


class Compiled:
    """The finders of one mapping."""

    __slots__ = ("mapping", "orm", "segments", "siu")

    def __init__(self, mapping: Hl7Mapping) -> None:
        self.mapping = mapping
        self.siu, self.orm = SiuPlaces(mapping.siu), OrmPlaces(mapping.orm)
        every = [place for some in (mapping.siu, mapping.orm) for _, one in some.each() for place in one.looked_for]
        self.segments = tuple(dict.fromkeys(place.segment for place in every if place.segment != "MSH"))
        """The segments that any value is looked for in, without MSH."""


_latest: list[Compiled] = []


def compiled(mapping: Hl7Mapping) -> Compiled:
    """The finders of the mapping in force; made anew when it is another one than before."""
    if not _latest or _latest[0].mapping is not mapping:
        _latest[:] = [Compiled(mapping)]
    return _latest[0]
