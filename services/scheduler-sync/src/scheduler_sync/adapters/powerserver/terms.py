"""The numbers by which the search finds a message that has changed no appointment."""

from collections.abc import Iterator, Sequence
from typing import Final

from hl7v2 import Message
from scheduler_sync.adapters.powerserver import values

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
    places = [(ORDER, one) for one in _ORDERS] + [(PATIENT, one) for one in _PATIENTS]
    return list(dict.fromkeys(term for prefix, place in places for term in _terms(message, prefix, *place)))


def _terms(message: Message, prefix: str, segment_id: str, fields: Sequence[int]) -> Iterator[str]:
    for segment in message.segments(segment_id, most=_MOST_SEGMENTS):
        for field in fields:
            for parts in segment.repetitions(field)[:_MOST_SEGMENTS]:
                value = values.code(parts, 1)
                if value is not None:
                    yield prefix + value[:LONGEST_TERM]
