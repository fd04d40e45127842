"""Values of fields, read tolerantly: text, times, lengths, codes. One place for each kind of value.

An absent or empty field is UNSAID, the HL7 null deletes (None). A value that cannot be read is refused with the field's
path.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import ClassVar, Final

from chassis.errors import Malformed, NeedsSetup
from chassis.observe import shown
from chassis.values import OUT_OF_RANGE, is_in_range
from hl7v2 import NULL, Hl7Error, Message, Segment, parse_timestamp
from hl7v2.charsets import repaired
from scheduler_sync.domain.patient import UNSAID, Unsaid
from scheduler_sync.site import SiteFile

OWN_CODES: Final = "99SUITE"
"""The system of SCH-6's codes: the reason for the message, which is not shown to patients."""
REQUIRED_FIELD_MISSING: Final = "101"
DATA_TYPE_ERROR: Final = "102"
TABLE_VALUE_NOT_FOUND: Final = "103"
VALUE_TOO_LONG: Final = "104"
LONGEST_IDENTIFIER: Final = 427
"""Length of the type EI; CX allows 250 and more. A longer value is no identifier, and does not fit an index."""
LONGEST_TEXT: Final = 1000
LONGEST_LENGTH: Final = timedelta(days=1)
_NUMBER: Final = re.compile(r"\d{1,9}(?:\.\d{1,6})?", re.ASCII)
_QUANTITY: Final = re.compile(r"([A-Za-z]*)\s*(\d{1,9}(?:\.\d{1,6})?)\s*([A-Za-z]*)", re.ASCII)
_SECONDS: Final = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}
_UNITS: Final = {
    **dict.fromkeys(("S", "SEC", "SECS", "SECOND", "SECONDS"), "seconds"),
    **dict.fromkeys(("M", "MN", "MIN", "MINS", "MINUTE", "MINUTES"), "minutes"),
    **dict.fromkeys(("H", "HR", "HRS", "HOUR", "HOURS"), "hours"),
    **dict.fromkeys(("D", "DAY", "DAYS"), "days"),
}
"""Units of UCUM, ISO+ and ANS+, and words. Months and weeks are no length of an appointment."""


_MOST_LENGTHS: Final = 1_000


class DayAloneError(NeedsSetup):
    """A time has a date and no time of day."""


class Reading:
    """One message while it is read. ``ignored`` and ``repairs`` are counted at the end.

    ``ignored``: segments and fields whose value is not used. ``repairs``: the number of texts with control characters.
    ``zone`` is the facility's, ``made_at`` the text of MSH-7.
    """

    _lengths: ClassVar[dict[tuple[str, str | None], timedelta]] = {}
    """Cache of values that were read; there are few."""

    __slots__ = (
        "_times",
        "by_name",
        "charset",
        "has_repeated_segments",
        "holds_null",
        "ignored",
        "made_at",
        "msh",
        "repairs",
        "segments",
        "site",
        "waits_for",
        "zone",
    )

    def __init__(self, message: Message, site: SiteFile) -> None:
        self.site = site
        self.charset = message.charset
        self.segments = message.segments()
        self.msh = self.segments[0]
        self.ignored: list[tuple[str, int]] = []
        self.repairs = 0
        self.waits_for: NeedsSetup | None = None
        self.zone: tzinfo = UTC
        self.made_at: datetime | None = None
        self._times: dict[str, datetime] = {}
        by_name: dict[bytes, list[Segment]] = {}
        for segment in self.segments:
            by_name.setdefault(segment.id_bytes, []).append(segment)
        self.by_name: Mapping[bytes, Sequence[Segment]] = by_name
        """The segments of each name in their order."""
        self.has_repeated_segments = len(by_name) < len(self.segments)
        self.holds_null = message.has_null()
        """Whether any field may be the HL7 null."""

    def first(self, name: bytes) -> Segment | None:
        """The first segment of this name."""
        found = self.by_name.get(name)
        return None if found is None else found[0]

    def all(self, name: bytes) -> Sequence[Segment]:
        """The segments of this name in their order."""
        return self.by_name.get(name, ())

    def before(self, name: bytes, wanted: bytes) -> Sequence[Segment]:
        """The segments of the name ``wanted`` that stand before the first one of ``name``."""
        if wanted not in self.by_name:
            return ()
        found = []
        for segment in self.segments:
            if segment.id_bytes == name:
                break
            if segment.id_bytes == wanted:
                found.append(segment)
        return found

    def clean(self, found: str) -> str:
        """A text without control characters and without blanks around it."""
        if not found.isprintable():
            mended = repaired(found, self.charset)
            self.repairs += mended != found
            found = mended
        return found.strip()

    def said(self, found: str) -> str | Unsaid | None:
        """A part of a field: UNSAID when it is empty, None when it is the null."""
        if not found:
            return UNSAID
        return None if found == NULL else self.clean(found) or UNSAID

    def text(self, parts: Sequence[str], number: int) -> str | None:
        """The ``number``-th part of a field, for people; None when it is missing, or the null."""
        found = parts[number - 1] if number <= len(parts) else ""
        if not found or found == NULL:
            return None
        found = self.clean(found)
        return (" ".join(found.split()) if "  " in found else found) or None

    def words(self, parts: Sequence[str], number: int) -> str | None:
        """As ``text``, for free text: the beginning of a long one."""
        found = self.text(parts, number)
        return None if found is None else shortened(found)

    def ignore(self, segment: str, number: int) -> None:
        """Notes that a field's value is not used."""
        self.ignored.append((segment, number))

    def time(self, parts: Sequence[str], number: int, where: str) -> datetime | None:
        """The instant in a field's ``number``-th part, in UTC; None when it is empty.

        Raises DayAloneError, Malformed.
        """
        found = code(parts, number)
        if found is None:
            return None
        at = self._times.get(found)
        if at is None:
            has_offset = found[-5:-4] in {"+", "-"}
            zone = self.zone if has_offset else self._zone_without_offset()
            at = parsed(found, zone, where).astimezone(UTC)
            if not has_time_of_day(found):
                raise DayAloneError(
                    f"{where}: gives a day and no time of day", setting="PowerServer: send the start with its time"
                )
            self._times[found] = at
        return at

    def _zone_without_offset(self) -> tzinfo:
        """The zone of times without an offset. HL7 applies MSH-7's offset to the whole message.

        But a sender in the facility's zone writes the offset of the day of sending, which may differ from that of the
        appointment's day (summer time): then the facility's zone applies.
        """
        made_at = self.made_at
        if made_at is None or made_at.tzinfo is None or self.site.hl7.default_zone == "facility":
            return self.zone
        is_facilitys = made_at.utcoffset() == made_at.astimezone(self.zone).utcoffset()
        return self.zone if is_facilitys else made_at.tzinfo

    def length(self, segment: Segment, number: int, units: int, where: str) -> timedelta | None:
        """The length in field ``number``, in the units of field ``units`` (CE; minutes when empty)."""
        found = code_at(segment, number)
        if found is None:
            return None
        unit = segment.parts(units)
        named = code(unit, 1) or code(unit, 2)
        known = self._lengths.get((found, named))
        return known or self.quantity(found, named, f"{where}-{number}", f"{where}-{units}")

    def quantity(self, found: str, unit: str | None, where: str, where_unit: str) -> timedelta | None:
        """A number with its unit as a length; None for zero, which means no length."""
        if _NUMBER.fullmatch(found) is None:
            raise Malformed(f"{where}: is not a length", location=where, code=DATA_TYPE_ERROR)
        length = timedelta(seconds=float(found) * self._seconds(unit, where_unit))
        if length <= LONGEST_LENGTH:
            if len(self._lengths) < _MOST_LENGTHS and not self.site.hl7.duration_units:
                self._lengths[found, unit] = length
        else:
            raise Malformed(f"{where}: is longer than a day", location=where, code=DATA_TYPE_ERROR)
        return length or None

    def length_at(self, found: str | None, where: str) -> timedelta | None:
        """A length in one text: ``30``, ``M30``, ``30 min``; a bare number is in minutes."""
        if found is None:
            return None
        match = _QUANTITY.fullmatch(found)
        if match is None:
            raise Malformed(f"{where}: is not a length", location=where, code=DATA_TYPE_ERROR)
        return self.quantity(match[2], match[1] or match[3] or None, where, where)

    def quantity_of_timing(self, parts: Sequence[str], where: str) -> tuple[timedelta | None, bool]:
        """TQ-3 (``M30``, ``H1``; a bare number is in minutes), and whether it has a unit."""
        found = code(parts, 3)
        if found is None:
            return None, False
        match = _QUANTITY.fullmatch(found)
        if match is None:
            raise Malformed(f"{where}: is not a length", location=where, code=DATA_TYPE_ERROR)
        unit = match[1] or match[3] or None
        return self.quantity(match[2], unit, where, where), unit is not None

    def _seconds(self, unit: str | None, where: str) -> int:
        if unit is None:
            return 60
        own = self.site.hl7.duration_units
        known = own.get(unit) or _UNITS.get(unit.upper()) or own.get(unit.upper())
        if known is None:
            unit = shown(unit)
            raise NeedsSetup(f"{where}: the unit {unit!r} is not known", setting=f"hl7.duration_units.{unit}")
        return _SECONDS[known]


def shortened(text: str) -> str:
    """The beginning of a text that is too long for a reason."""
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"


def parsed(found: str, zone: tzinfo, where: str) -> datetime:
    """The instant, in ``zone`` or with its own offset. Malformed when it is not a time that is accepted."""
    try:
        at = parse_timestamp(found, zone, location=where)
    except Hl7Error as error:
        raise Malformed(f"{where}: {error.text}", location=where, code=error.code) from error
    if not is_in_range(at):
        raise Malformed(f"{where}: {OUT_OF_RANGE}", location=where, code=DATA_TYPE_ERROR)
    return at


def has_time_of_day(found: str) -> bool:
    """Whether a readable time has more than the date."""
    return found[8:10].isdecimal()


def code(parts: Sequence[str], number: int) -> str | None:
    """The ``number``-th part without surrounding blanks; None when it is missing, or the null."""
    found = parts[number - 1] if number <= len(parts) else ""
    return None if not found or found == NULL else found.strip() or None


def code_at(segment: Segment, field: int, part: int = 1) -> str | None:
    """As ``code``, of a segment's field: cheaper than all parts where one is wanted."""
    found = segment.part(field, part)
    return None if not found or found == NULL else found.strip() or None


def required(parts: Sequence[str], where: str) -> str:
    """The first part; Malformed when it is missing, or too long for an identifier."""
    found = code(parts, 1)
    if found is None:
        raise Malformed(f"{where} is missing", location=where, code=REQUIRED_FIELD_MISSING)
    return identifier(found, where)


def identifier(value: str, where: str) -> str:
    """``value``, when it is short enough for an identifier."""
    if len(value) > LONGEST_IDENTIFIER:
        raise Malformed(f"{where} is longer than an identifier can be", location=where, code=VALUE_TOO_LONG)
    return value


def parts(segment: Segment | None, number: int) -> list[str]:
    """The parts of a field; the segment may be missing."""
    return [] if segment is None else segment.parts(number)


def is_null(found: Sequence[str], number: int = 1) -> bool:
    """Whether the ``number``-th part, or the whole field, is the HL7 null."""
    return found[0] == NULL if len(found) == 1 else number <= len(found) and found[number - 1] == NULL


def begins_null(segment: Segment, number: int) -> bool:
    """Whether the first part of a field, or the whole of it, is the HL7 null."""
    return segment.encoded(number)[:2] == b'""' and is_null(segment.parts(number))


def nth(name: str, number: int) -> str:
    """The name of the ``number``-th segment of a kind in a path."""
    return name if number == 1 else f"{name}[{number}]"
