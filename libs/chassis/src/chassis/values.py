"""Which times and whole numbers of partners are taken."""

from datetime import datetime
from typing import Final

FIRST_YEAR: Final = 1950
"""Before it some zones have offsets of seconds, which FHIR and HL7 cannot say. Some programs write 0001 for no date."""
LAST_YEAR: Final = 2199
"""Some databases write 9999 for "never". A time near the end of Python's range has no local time."""
OUT_OF_RANGE: Final = f"is not of the years {FIRST_YEAR} to {LAST_YEAR}"
_MOST_DIGITS: Final = 9
"""Partners' numbers are minutes and order values. Python raises a ValueError for more than 4,300 digits."""


def is_in_range(at: datetime) -> bool:
    """Whether ``at`` lies in the years that are taken, in the zone that it is given in."""
    return FIRST_YEAR <= at.year <= LAST_YEAR


def whole_number(text: str) -> int | None:
    """The number that ``text`` is; None where it is none, or has more than nine digits."""
    digits = text.strip()
    return int(digits) if len(digits) <= _MOST_DIGITS and digits.isdecimal() else None
