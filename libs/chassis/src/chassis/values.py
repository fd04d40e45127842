"""The range of times and whole numbers that are accepted from partners."""

from datetime import datetime
from typing import Final

FIRST_YEAR: Final = 1950
"""First accepted year. Before it some zones have offsets of seconds, which FHIR and HL7 cannot express. Some programs
write 0001 for no date."""
LAST_YEAR: Final = 2199
"""Last accepted year. Some databases write 9999 for "never". A time near the end of Python's range has no local time.
"""
OUT_OF_RANGE: Final = f"is not of the years {FIRST_YEAR} to {LAST_YEAR}"
_MOST_DIGITS: Final = 9
"""Most digits: partners' numbers are minutes and order values. Python raises a ValueError for more than 4,300 digits.
"""


def is_in_range(at: datetime) -> bool:
    """Whether ``at`` lies in the accepted years, in its own zone."""
    return FIRST_YEAR <= at.year <= LAST_YEAR


def whole_number(text: str) -> int | None:
    """The number in ``text``; None where it is no number, or has more than nine digits."""
    digits = text.strip()
    return int(digits) if len(digits) <= _MOST_DIGITS and digits.isdecimal() else None
