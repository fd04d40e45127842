"""Appointments that patients ask for in Blume: their ids and numbers, and the shortest slot that both products take."""

from collections.abc import Iterable
from typing import Final
from uuid import UUID, uuid5

_REQUESTS: Final = UUID("0f6f0f1e-2b0b-5c55-9d39-6a3a6c1f4b02")
_DIGITS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_MARK: Final = "B"
_LENGTH: Final = 12
ANSWER: Final = "The time that was asked for "
"""Every answer to a patient about a time that cannot be had begins so."""
POWERSERVER_MINUTES: Final = 15
"""PowerServer makes shorter studies this long."""
OMEGAAI_MINUTES: Final = 10


def link_id(site: str, appointment_id: str) -> UUID:
    """The link of an Appointment that began in Blume: the same each time, so that a repeat finds it."""
    return uuid5(_REQUESTS, f"{site}/{appointment_id}")


def placer_number(link: UUID) -> str:
    """The placer number of a request: 60 bits of its link's id. With its assigner it fits ORC-2 of HL7 2.3.1."""
    number = link.int & ((1 << 5 * _LENGTH) - 1)
    return _MARK + "".join(_DIGITS[number >> 5 * place & 31] for place in reversed(range(_LENGTH)))


def is_ours(number: str) -> bool:
    """Whether the suite made this placer number. PowerServer's own have another form."""
    return len(number) == 1 + _LENGTH and number[0] == _MARK and set(number[1:]) <= set(_DIGITS)


def shortest_minutes(of_studies: Iterable[int] = ()) -> int:
    """The shortest slot for studies of these lengths, in minutes: the longest of both products' limits and theirs."""
    return max(POWERSERVER_MINUTES, OMEGAAI_MINUTES, sum(of_studies))
