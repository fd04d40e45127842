"""PowerServer's resources as HL7 master files: MFN^M05 (locations), or M01 with the same segments.

A bad message is answered AE with the segment's name: somebody has to set the resource right in PowerServer, and the
message is kept until then. Nothing of a message is taken when one of its records is bad.

Each record is MFE, LOC and, where they are known, LDP and LCH. ``docs/architecture/wire.md`` lists the fields.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from chassis.errors import Malformed, NeedsSetup
from chassis.observe import shown, words_of
from hl7v2 import Hl7Error, Message, Segment, parse_timestamp
from scheduler_sync.adapters.powerserver import values
from scheduler_sync.commands import TakeGridRows
from scheduler_sync.domain.resource import GridRow, Hours, clock
from scheduler_sync.domain.resource.hours import DAYS, Span, span
from scheduler_sync.site import SiteFile

SOURCE: Final = "mfn"
EVENTS: Final = frozenset({"M01", "M05"})
MOST_RECORDS: Final = 1000
MOST_SEGMENTS: Final = 20_000
LONGEST_NAME: Final = 200
LONGEST_MINUTES: Final = 31 * 24 * 60
LEAD: Final = timedelta(minutes=2)
"""A sender's clock may be ahead by so much; a later time counts as this one."""
_WHERE: Final = "PowerServer: Settings > Users & Facilities > Imaging Facilities > Resource"
_IS_ACTIVE: Final[Mapping[str, bool]] = {"MAD": True, "MUP": True, "MAC": True, "MDC": False, "MDL": False}
_DAY_OF_HL7: Final = {day.upper(): number for number, day in enumerate(DAYS)}


def is_one(message: Message) -> bool:
    """Whether the message is about master files."""
    return message.type == "MFN"


def read(message: Message, site: SiteFile, *, received_at: datetime) -> TakeGridRows:
    """An MFN message as a command. NeedsSetup names segment and field; Malformed: a processing id of another line."""
    segments = message.segments()
    if len(segments) > MOST_SEGMENTS:
        raise _bad("MFE", f"the message has more than {MOST_SEGMENTS} segments")
    msh = segments[0]
    processing_id = values.code_at(msh, 11)
    if processing_id is not None and processing_id not in site.hl7.processing_ids:
        raise Malformed(
            "MSH-11: messages of this processing id are not taken on this line", location="MSH-11", code="202"
        )
    if message.trigger not in EVENTS:
        raise _bad("MSH-9.2", "of master files only M05 (locations) and M01 are read")
    master = next((one for one in segments if one.id_bytes == b"MFI"), None)
    if master is None:
        raise _bad("MFI", "is missing")
    if values.code_at(master, 1) != "LOC":
        raise _bad("MFI-1", "only the master file of locations (LOC) is read")
    if (values.code_at(master, 3) or "UPD") != "UPD":
        raise _bad("MFI-3", "only updates (UPD) are read: a replacement would switch off what it does not name")
    records = _records(segments)
    made_at = values.code_at(msh, 7)
    rows = [_Record(number, record, msh, site).row(made_at, received_at) for number, record in enumerate(records, 1)]
    return TakeGridRows(f"MFN^{message.trigger}", tuple(rows))


def _records(segments: Sequence[Segment]) -> list[list[Segment]]:
    records: list[list[Segment]] = []
    for one in segments:
        if one.id_bytes == b"MFE":
            records.append([])
        if records:
            records[-1].append(one)
        elif one.id_bytes in {b"LOC", b"LDP", b"LCH"}:
            raise _bad(one.id, "stands before the first MFE")
    if not records:
        raise _bad("MFE", "is missing")
    if len(records) > MOST_RECORDS:
        raise _bad("MFE", f"the message has more than {MOST_RECORDS} records")
    return records


def _bad(where: str, why: str, setting: str = _WHERE) -> NeedsSetup:
    return NeedsSetup(f"{where}: {why}", setting=setting, location=where)


@dataclass(slots=True)
class _Record:
    """One record: MFE and the segments up to the next one."""

    number: int
    segments: Sequence[Segment]
    msh: Segment
    site: SiteFile
    facts: dict[str, Any] = field(default_factory=dict)

    def row(self, made_at: str | None, received_at: datetime) -> GridRow:
        mfe, loc = self.segments[0], self._first(b"LOC")
        event = values.code_at(mfe, 1)
        is_active = _IS_ACTIVE.get(event or "")
        if is_active is None:
            raise self._bad("MFE-1", "is none of MAD, MUP, MAC, MDC, MDL")
        if loc is None and is_active:
            raise self._bad("LOC", "is missing")
        key = self._key(mfe, loc)
        facility = self._facility(mfe, loc)
        name = self._name(loc)
        if not name and (is_active or key is None):
            raise self._bad("LOC-2", "the resource's name is missing")
        if loc is not None:
            self._read_location(loc)
        for one in self.segments:
            if one.id_bytes == b"LDP":
                self._read_department(one)
            elif one.id_bytes == b"LCH":
                self._read_characteristic(one)
        is_said_active = self.facts.pop("active", True)
        return GridRow(
            facility=facility,
            name=name,
            at=self._at(made_at, facility, received_at),
            source=SOURCE,
            key=key,
            active=is_active and is_said_active,
            **self.facts,
        )

    def _first(self, name: bytes) -> Segment | None:
        return next((one for one in self.segments if one.id_bytes == name), None)

    def _bad(self, where: str, why: str, setting: str = _WHERE) -> NeedsSetup:
        return _bad(where if self.number == 1 else f"MFE[{self.number}]/{where}", why, setting)

    def _key(self, mfe: Segment, loc: Segment | None) -> str | None:
        """PowerServer's own id of the resource: MFE-4.1, which LOC-1.1 repeats."""
        key = values.code_at(mfe, 4)
        repeated = None if loc is None else values.code_at(loc, 1)
        if key is not None and repeated is not None and key != repeated:
            raise self._bad("LOC-1", "is not the key of its MFE-4")
        found = key or repeated
        if found is not None and len(found) > LONGEST_NAME:
            raise self._bad("MFE-4", f"is longer than {LONGEST_NAME} characters")
        return found

    def _facility(self, mfe: Segment, loc: Segment | None) -> str:
        places = [(loc, 1, 4, "LOC-1.4"), (mfe, 4, 4, "MFE-4.4"), (self.msh, 4, 1, "MSH-4")]
        for segment, number, component, where in places:
            found = None if segment is None else values.code(segment.parts(number), component)
            if found is not None:
                if found not in self.site.facilities:
                    known = shown(found, words_of(self.site.facilities))
                    raise self._bad(where, f"facility {known!r} is not in the site file", f"facilities.{known}")
                return found
        raise self._bad("LOC-1.4", "no facility is given")

    def _name(self, loc: Segment | None) -> str:
        """LOC-2 as it stands: a blank more is a difference that the user must see."""
        parts = [] if loc is None else loc.parts(2)
        name = parts[0] if parts and not values.is_null(parts) else ""
        if not name.strip():
            return ""
        if len(name) > LONGEST_NAME or not name.isprintable():
            raise self._bad("LOC-2", f"is longer than {LONGEST_NAME} characters, or holds control characters")
        return name

    def _read_location(self, loc: Segment) -> None:
        self._keep("room", "LOC-1.2", values.code_at(loc, 1, 2))
        self._keep("kind", "LOC-3", values.code_at(loc, 3))
        modality = values.code_at(loc, 8)
        self._keep("modality", "LOC-8", None if modality is None else modality.upper())

    def _read_department(self, ldp: Segment) -> None:
        department = ldp.parts(2)
        self._keep("department", "LDP-2", values.code(department, 2) or values.code(department, 1))
        flag = values.code_at(ldp, 5)
        if flag is not None:
            if flag not in {"A", "I"}:
                raise self._bad("LDP-5", "is neither A (active) nor I (inactive)")
            self.facts["active"] = flag == "A"
        visiting = [one for one in ldp.repetitions(9) if any(one)]
        if visiting:
            self.facts["hours"] = self._hours(visiting)

    def _read_characteristic(self, lch: Segment) -> None:
        """LCH-4 names the characteristic, LCH-5 has its value."""
        name, value = (values.code_at(lch, 4) or "").upper(), values.code_at(lch, 5)
        if name not in _CHARACTERISTICS or value is None:
            return
        fact, read_it = _CHARACTERISTICS[name]
        found = read_it(value)
        if found is None:
            raise self._bad(f"LCH-5 ({name})", "is no value of this characteristic")
        self._keep(fact, "LCH-5", found) if isinstance(found, str) else self.facts.update({fact: found})

    def _keep(self, fact: str, where: str, value: str | None) -> None:
        if value is None:
            return
        if len(value) > LONGEST_NAME or not value.isprintable():
            raise self._bad(where, f"is longer than {LONGEST_NAME} characters, or holds control characters")
        self.facts[fact] = value

    def _hours(self, visiting: Sequence[Sequence[str]]) -> Hours:
        """VH: first day, last day, start, end. Without days it is one window, as PowerServer's grid has it."""
        week: dict[str, list[Span]] = {}
        windows: list[Span] = []
        for one in visiting:
            start, end = clock(_part(one, 3)), clock(_part(one, 4))
            if start is None or end is None or start == end:
                raise self._bad("LDP-9", "has no start and end, or both are the same")
            days = self._days(_part(one, 1), _part(one, 2))
            for day in days:
                week.setdefault(day, []).append(span(start, end))
            if not days:
                windows.append((start, end))
        if windows and (week or len(windows) > 1):
            raise self._bad("LDP-9", "several spans need their weekdays")
        return Hours.window(*windows[0]) if windows else Hours.of_week(week)

    def _days(self, first: str, last: str) -> list[str]:
        if not first and not last:
            return []
        begins, ends = _DAY_OF_HL7.get(first.upper()), _DAY_OF_HL7.get((last or first).upper())
        if begins is None or ends is None:
            raise self._bad("LDP-9", "names no weekday of SUN, MON … SAT")
        number = (ends - begins) % len(DAYS) + 1
        return [DAYS[(begins + after) % len(DAYS)] for after in range(number)]

    def _at(self, made_at: str | None, facility: str, received_at: datetime) -> datetime:
        if made_at is None:
            return received_at
        try:
            said = parse_timestamp(made_at, self.site.facilities[facility].zone, location="MSH-7")
        except Hl7Error as error:
            raise _bad("MSH-7", error.text) from None
        return min(said, received_at + LEAD)


def _part(parts: Sequence[str], number: int) -> str:
    return values.code(parts, number) or ""


def _length(text: str) -> int | None:
    is_number = text.isascii() and text.isdecimal() and len(text) <= 6
    return int(text) if is_number and 1 <= int(text) <= LONGEST_MINUTES else None


_CHARACTERISTICS: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "DURATION": ("duration_minutes", _length),
    "OVERBOOKING": ("overbooking", {"Y": True, "N": False}.get),
    "CLASS": ("category", str),
}
