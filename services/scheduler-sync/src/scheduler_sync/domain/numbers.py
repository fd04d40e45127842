"""Whole numbers as partners write them."""

from typing import Final

_MOST_DIGITS: Final = 9
"""Partners' numbers are minutes and order values. Python refuses to read more than 4,300 digits, with a ValueError."""


def whole_number(text: str) -> int | None:
    """The number that ``text`` is; None where it is none, or has more than nine digits."""
    digits = text.strip()
    return int(digits) if len(digits) <= _MOST_DIGITS and digits.isdecimal() else None
