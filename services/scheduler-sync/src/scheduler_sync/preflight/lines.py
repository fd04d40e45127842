"""One line of the preflight, and what the lines mean together."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class State(StrEnum):
    """What a look has shown."""

    FOUND = "found"
    MISSING = "missing"
    NOT_VISIBLE = "not visible"
    """No protocol shows it: a person has to look at the product, and may confirm it here."""
    NOT_LOOKED_AT = "could not look"


@dataclass(frozen=True, slots=True)
class Line:
    """A prerequisite. ``seen``: what was seen, in words; ``at``: when. ``where``: product and menu to set it.

    ``can_confirm``: a person may confirm it, because no protocol shows it. Nothing here is about a patient.
    """

    id: str
    group: str
    what: str
    state: State
    seen: str
    at: datetime | None
    where: str = ""
    can_confirm: bool = False


def exit_code(lines: Sequence[Line]) -> int:
    """0: all found; 1: something is missing, or nobody has confirmed what is not visible; 2: could not look."""
    states = {line.state for line in lines}
    if State.NOT_LOOKED_AT in states:
        return 2
    return 1 if states - {State.FOUND} else 0


def apart(seconds: float) -> str:
    """How far a time is from another one, in words."""
    number = round(abs(seconds))
    return f"{number} s {'ahead of' if seconds > 0 else 'behind'}" if number else "less than 1 s from"
