"""NK1 and GT1 as a fact: who answers for the patient."""

from typing import Final

from hl7v2 import Segment
from scheduler_sync.adapters.powerserver import contacts, values
from scheduler_sync.adapters.powerserver.values import Reading
from scheduler_sync.domain.patient import UNSAID, Guardian, Unsaid

_RELATIONSHIPS: Final = {
    "GRD": "GRD", "GUARDIAN": "GRD", "PAR": "PAR", "PARENT": "PAR", "MTH": "MTH", "MOTHER": "MTH", "FTH": "FTH",
    "FATHER": "FTH",
}  # fmt: skip
"""HL7's table 0063, and its words. A guardian stands before a parent; other relatives answer for nobody."""
_MOST_SEGMENTS: Final = 20


def guardian(reading: Reading) -> Guardian | Unsaid | None:
    """Of the next of kin (NK1), else of the guarantors (GT1), who often are parents.

    The next of kin are a whole list: where none is a guardian, there is none. A guarantor who is somebody else says
    nothing about guardians.
    """
    if b"NK1" not in reading.by_name and b"GT1" not in reading.by_name:
        return UNSAID
    relatives = reading.all(b"NK1")[:_MOST_SEGMENTS]
    found = [_person(reading, one, relationship=3, name=2, phones=(5, 6)) for one in relatives]
    found += [
        _person(reading, one, relationship=11, name=3, phones=(6, 7)) for one in reading.all(b"GT1")[:_MOST_SEGMENTS]
    ]
    known = [one for one in found if one is not None]
    if known:
        return next((one for one in known if one.relationship == "GRD"), known[0])
    return None if any(one.filled() for one in relatives) else UNSAID


def _person(
    reading: Reading, segment: Segment, *, relationship: int, name: int, phones: tuple[int, int]
) -> Guardian | None:
    said = (values.code(segment.parts(relationship), part) for part in (1, 2))
    code = next((_RELATIONSHIPS[one.upper()] for one in said if one and one.upper() in _RELATIONSHIPS), None)
    if code is None:
        return None
    names = segment.parts(name, as_text=True)
    family, given, middle = (reading.text(names, number) for number in (1, 2, 3))
    if family is None and given is None:
        return None
    email, phone = None, None
    for number in phones:
        said_email, said_phone = contacts.read(reading, segment, number)
        email = email or (said_email if isinstance(said_email, str) else None)
        phone = phone or (said_phone if isinstance(said_phone, str) else None)
    return Guardian(family or "", given or "", middle, code, email, phone)
