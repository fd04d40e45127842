"""Which times can be those of a message or an appointment."""

from datetime import datetime
from typing import Final

FIRST_YEAR: Final = 1950
"""Before, some zones had offsets of seconds, which FHIR and HL7 cannot say. 0001 is an unset date of some programs."""
LAST_YEAR: Final = 2199
"""9999 is a word for "never" in some databases. A time near the end of what can be counted has no local time."""
OUT_OF_RANGE: Final = f"is not of the years {FIRST_YEAR} to {LAST_YEAR}"


def is_in_range(at: datetime) -> bool:
    """Whether ``at`` is of the years that are taken, in the zone that it is given in."""
    return FIRST_YEAR <= at.year <= LAST_YEAR
