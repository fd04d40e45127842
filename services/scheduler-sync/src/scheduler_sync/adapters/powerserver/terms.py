"""The numbers by which the search finds a message that has changed no appointment."""

from collections.abc import Iterator, Sequence
from typing import Final

from hl7v2 import Message

LONGEST_TERM: Final = 100
ORDER: Final = "order "
PATIENT: Final = "patient "
_MOST_SEGMENTS: Final = 20
_ORDERS: Final = (("SCH", (1, 2)), ("ORC", (2, 3)), ("OBR", (2, 3)))
_PATIENTS: Final = (("PID", (2, 3, 4)), ("MRG", (1,)))
_BY_HISTORY: Final = frozenset({"SIU", "ORM"})
"""Messages whose effect is on an appointment, whose history leads to them."""


def terms(message: Message, state: str | None) -> Sequence[str]:
    """Order and patient numbers, as sent, wherever HL7 has them: the site's mapping may be what is wrong.

    None for a message of an appointment that has had its effect: the appointment's history leads to it.
    """
    if state is None and message.type in _BY_HISTORY:
        return ()
    found = [term for prefix, places in ((ORDER, _ORDERS), (PATIENT, _PATIENTS)) for term in _terms(message, prefix, places)]
    return list(dict.fromkeys(found))


def _terms(message: Message, prefix: str, places: Sequence[tuple[str, Sequence[int]]]) -> Iterator[str]:
    for name, numbers in places:
        for segment in message.segments(name, most=_MOST_SEGMENTS):
            for number in numbers:
                for parts in segment.repetitions(number)[:_MOST_SEGMENTS]:
                    value = (parts.split("^", 1)[0] if isinstance(parts, str) else (parts[0] if parts else "") or "").strip()
                    if value and value != '""':
                        yield prefix + value[:LONGEST_TERM]
