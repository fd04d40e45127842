"""PID as facts: names, birth date, sex, contact points, language, address; and the physician who referred them."""

import re
from collections.abc import Sequence
from datetime import date
from typing import Final, TypeVar

from chassis.errors import Malformed, NeedsSetup
from chassis.values import LAST_YEAR
from hl7v2 import NULL, Segment
from scheduler_sync.adapters.powerserver import contacts, values
from scheduler_sync.adapters.powerserver.guardian import guardian
from scheduler_sync.adapters.powerserver.identity import identifiers
from scheduler_sync.adapters.powerserver.places import At, Finder
from scheduler_sync.adapters.powerserver.values import Reading
from scheduler_sync.domain.appointment import Physician
from scheduler_sync.domain.patient import UNSAID, Address, PatientFacts, Sex, Unsaid

T = TypeVar("T")
_SEX: Final[dict[str, Sex]] = {"F": "F", "M": "M", "O": "O", "A": "O", "U": "U", "N": "U"}
_DATE: Final = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)", re.ASCII)
_MOST_REPETITIONS: Final = 20
FIRST_YEAR_OF_BIRTH: Final = 1850
"""Earlier dates mean "not known", such as 0001 and 1800."""
_LEGAL_NAME: Final = ("L", "", "D", "U", "R", "C", "B", "P")
"""XPN-7 of usable names, the best first. Aliases, nicknames and maiden names are left out."""
_NO_HOME: Final = frozenset({"BA", "BDL", "BR", "F", "N", "RH"})
"""XAD-7 of addresses where nobody lives now: bad ones, and those of birth."""


def facts(reading: Reading, email_places: Sequence[At]) -> PatientFacts:
    """The one patient of the message. At least one number of record needs an issuer in the site file."""
    segments = reading.all(b"PID")
    if not segments:
        raise Malformed("PID-3.1 is missing", location="PID-3.1", code=values.REQUIRED_FIELD_MISSING)
    if len(segments) > 1:
        raise NeedsSetup(
            "PID[2]: the message is about several patients", setting="PowerServer: one appointment for each patient"
        )
    return of_segment(reading, segments[0], email_places)


def of_segment(reading: Reading, pid: Segment, email_places: Sequence[At]) -> PatientFacts:
    """The patient of one PID."""
    family, given, middle = _name(reading, pid)
    email, phone = contacts.read(reading, pid, 13)
    if email_places and not (len(email_places) == 1 and email_places[0].is_whole and email_places[0].name == "PID-13"):
        email = _email_at(reading, email_places, email)
    language = reading.said(_first(pid.parts(15)))
    return PatientFacts(
        identifiers=identifiers(reading, pid),
        family=family,
        given=given,
        middle=middle,
        birth_date=_birth_date(reading, pid),
        sex=_sex(_first(pid.parts(8))),
        email=email,
        phone=phone,
        language="en" if language is None else language,
        address=_address(reading, pid),
        guardian=guardian(reading),
    )


def physician(reading: Reading, finder: Finder[T], parts: T) -> Physician | None:
    """The first filled place (XCN): number, names, and the authority of the number; at one component the name."""
    for at, segment in finder.each(reading, parts):
        found = segment.parts(at.field, as_text=True)
        if not found:
            continue
        if not at.is_whole:
            named = reading.text(found, at.part)
            if named is not None:
                return Physician(named, "")
            continue
        number, family, given = values.code(found, 1), reading.text(found, 2), reading.text(found, 3)
        if number is not None or family is not None or given is not None:
            middle = issuer = None
            if len(found) > 3:
                middle = reading.text(found, 4)
                issuer = values.code(found, 9) or ("NPI" if values.code(found, 13) == "NPI" else None)
            return Physician(family or "", given or "", middle, number, issuer)
    return None


def _email_at(reading: Reading, places: Sequence[At], by_rule: str | Unsaid | None) -> str | Unsaid | None:
    """The e-mail address at the mapping's places; the whole field PID-13 is read by its rule."""
    for at in places:
        if at.name == "PID-13":
            if by_rule is not UNSAID:
                return by_rule
            continue
        for segment in reading.all(at.segment):
            if at.is_null(segment):
                return None
            for parts in segment.repetitions(at.field, as_text=True)[:_MOST_REPETITIONS]:
                written = parts[at.part - 1] if at.part <= len(parts) else ""
                if (found := contacts.email(reading, written)) is not None:
                    return found
    return UNSAID


def _first(parts: list[str]) -> str:
    return parts[0] if parts else ""


def _sex(found: str) -> Sex | Unsaid:
    """The HL7 null means an unknown sex (U), and so does a code of the site's own."""
    return _SEX.get(found.strip().upper(), "U") if found else UNSAID


def _name(reading: Reading, pid: Segment) -> tuple[str | Unsaid, str | Unsaid, str | Unsaid | None]:
    """Family, given and second name of the best repetition, by XPN-7."""
    best: list[str] = []
    rank = len(_LEGAL_NAME)
    for parts in pid.repetitions(5, as_text=True)[:_MOST_REPETITIONS]:
        if not any(parts[:3]):
            continue
        kind = parts[6].strip().upper() if len(parts) > 6 else ""
        its_rank = _LEGAL_NAME.index(kind) if kind in _LEGAL_NAME else len(_LEGAL_NAME)
        if its_rank < rank:
            if best:
                reading.ignore("PID", 5)
            best, rank = parts, its_rank
        else:
            reading.ignore("PID", 5)
    if best == [NULL]:
        return "", "", None
    family, given, middle = (reading.said(part) for part in [*best[:3], "", "", ""][:3])
    return "" if family is None else family, "" if given is None else given, middle


def _birth_date(reading: Reading, pid: Segment) -> date | Unsaid | None:
    found = reading.said(_first(pid.parts(7)))
    if found is None or isinstance(found, Unsaid):
        return found
    match = _DATE.match(found)
    if match is None or not FIRST_YEAR_OF_BIRTH <= int(match[1]) <= LAST_YEAR:
        return _passed_over(reading, 7)
    try:
        return date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        return _passed_over(reading, 7)


def _passed_over(reading: Reading, number: int) -> Unsaid:
    reading.ignore("PID", number)
    return UNSAID


def _address(reading: Reading, pid: Segment) -> Address | Unsaid | None:
    """The first usable repetition; its parts are one value. The null of the whole field deletes it."""
    found: Address | Unsaid | None = UNSAID
    for parts in pid.repetitions(11, as_text=True)[:_MOST_REPETITIONS]:
        if not any(parts):
            continue
        if found is not UNSAID or contacts.upper(parts, 6) in _NO_HOME:
            reading.ignore("PID", 11)
            continue
        said = [None if not part or part == NULL else reading.clean(part) or None for part in parts[:6]]
        said += [None] * (6 - len(said))
        street, designation, *others = said
        line = f"{street}, {designation}" if street and designation else street or designation
        if line or any(others):
            found = Address(line, *others)
        elif NULL in parts[:6]:
            found = None
    return found
