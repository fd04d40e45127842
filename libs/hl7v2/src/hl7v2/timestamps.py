"""HL7 times (DTM, TS) to aware datetimes and back. No time is shifted: a time with an offset keeps its instant."""

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Final

from hl7v2.errors import Hl7Error

_TIMESTAMP: Final = re.compile(
    r"(\d{4})(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:[.,](\d{1,9}))?)?)?)?)?)?(?:(Z)|([+-])(\d\d):?(\d\d))?",
    re.ASCII,
)
_USUAL_LENGTH: Final = len("20261201143000-0500")


def parse_timestamp(text: str, zone: tzinfo, *, location: str = "") -> datetime:
    """The instant that ``text`` names: YYYY[MM[DD[HH[MM[SS[.S…]]]]]][±ZZZZ]. Missing parts mean the earliest time.

    ``zone`` applies when the text has no offset. 24:00 is the next midnight, second 60 the next minute. A wall time
    that a clock change repeats is the first of the two; a wall time that it skips is counted from the time before.

    Raises Hl7Error 102 at ``location`` for any other text; the error never quotes the text.
    """
    usual = _of_usual_form(text)
    if usual is not None:
        return usual
    match = _TIMESTAMP.fullmatch(text.strip())
    if match is None:
        raise Hl7Error("102", location, "not an HL7 time (YYYY[MM[DD[HH[MM[SS[.S]]]]]][+ZZZZ])")
    year, month, day, hour, minute, second, fraction, zulu, sign, zone_hours, zone_minutes = match.groups()
    try:
        hours, minutes, seconds = int(hour or 0), int(minute or 0), int(second or 0)
        microseconds = int(fraction[:6].ljust(6, "0")) if fraction else 0
        at_midnight_or_before = hours < 24 or (hours == 24 and minutes == seconds == microseconds == 0)
        if not at_midnight_or_before or minutes > 59 or seconds > 60:
            raise Hl7Error("102", location, "the time of day is out of range")
        if zulu:
            zone = UTC
        elif sign:
            if int(zone_minutes) > 59:
                raise Hl7Error("102", location, "the zone offset is out of range")
            zone = _offset(sign, zone_hours, zone_minutes)
        date = int(year), int(month or 1), int(day or 1)
        if hours < 24 and seconds < 60:
            return datetime(*date, hours, minutes, seconds, microseconds, tzinfo=zone)
        midnight = datetime(*date)  # noqa: DTZ001  # the zone comes last
        wall = midnight + timedelta(hours=hours, minutes=minutes, seconds=seconds, microseconds=microseconds)
        return wall.replace(tzinfo=zone)
    except (ValueError, OverflowError) as error:
        if isinstance(error, Hl7Error):
            raise
        raise Hl7Error("102", location, "the date or the zone offset is out of range") from None


def _of_usual_form(text: str) -> datetime | None:
    """YYYYMMDDHHMMSS±ZZZZ, by Python's own reader, which takes a tenth of the time; None for any other text."""
    if len(text) != _USUAL_LENGTH or text[14] not in "+-" or text[17] > "5" or not (text[:14] + text[15:]).isdecimal():
        return None
    try:
        return datetime.fromisoformat(f"{text[:8]}T{text[8:]}")
    except ValueError:
        return None  # 24:00 or second 60, or no time at all


@lru_cache(maxsize=256)
def _offset(sign: str, hours: str, minutes: str) -> timezone:
    offset = timedelta(hours=int(hours), minutes=int(minutes))
    return timezone(-offset if sign == "-" else offset)


def format_timestamp(at: datetime, with_offset: bool = True, *, fraction_digits: int = 0) -> str:  # noqa: FBT001, FBT002
    """``at`` (aware) as YYYYMMDDHHMMSS[.S…][±ZZZZ], in its own zone; fractions are cut, not rounded.

    Without the offset, the wall time of ``at``'s zone is written: convert to the reader's zone first.
    """
    offset = at.utcoffset()
    if offset is None:
        raise ValueError("an HL7 time needs an aware datetime")
    if offset % timedelta(minutes=1):
        # Offsets before standard time have seconds, which HL7 cannot express.
        at, offset = at.astimezone(UTC), timedelta(0)
    text = f"{at.year:04}{at.month:02}{at.day:02}{at.hour:02}{at.minute:02}{at.second:02}"
    if fraction_digits:
        text += f".{at.microsecond:06}"[: 1 + min(fraction_digits, 4)]
    if not with_offset:
        return text
    minutes = abs(offset) // timedelta(minutes=1)
    return f"{text}{'-' if offset < timedelta(0) else '+'}{minutes // 60:02}{minutes % 60:02}"
