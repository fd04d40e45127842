"""HL7 fields that SIU and ORM share, read tolerantly: the patient, the status, the place, the times."""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Final
from zoneinfo import ZoneInfo

from chassis.errors import Malformed, NeedsSetup
from chassis.masking import shown, words_of
from hl7v2 import NULL, Hl7Error, Message, Segment, parse_timestamp
from scheduler_sync.domain.numbers import whole_number
from scheduler_sync.domain.patient import UNSAID, Address, PatientFacts, PatientIdentifier, Sex, Unsaid
from scheduler_sync.domain.statuses import WorkflowStep
from scheduler_sync.site import SiteFacility, SiteFile

REQUIRED_FIELD_MISSING: Final = "101"
DATA_TYPE_ERROR: Final = "102"
VALUE_TOO_LONG: Final = "104"
LONGEST_IDENTIFIER: Final = 427
"""Of the type EI; CX allows 250 and more. What is longer is no identifier, and has no place in an index."""
LONGEST_TEXT: Final = 1000
"""Of names, codes and parts of addresses, which HL7 makes far shorter: such a value is shown on pages and told on."""
_SEX: Final[dict[str, Sex]] = {"F": "F", "M": "M", "O": "O", "A": "O", "U": "U", "N": "U"}
_DATE: Final = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)")


def required(message: Message, path: str) -> str:
    """The value at ``path``; Malformed when there is none, or one too long for an identifier."""
    found = message.get(path)
    if found is None or found is NULL or not found.strip():
        raise Malformed(f"{path} is missing", location=path, code=REQUIRED_FIELD_MISSING)
    return _identifier(found.strip(), path)


def said(message: Message, path: str) -> str | Unsaid | None:
    """The text at ``path``: UNSAID when the field is empty, None when the sender deletes it (the HL7 null)."""
    return _said(message.get(path), path)


def text(message: Message, path: str) -> str | None:
    """The text at ``path``, None when there is none."""
    return _text(message.get(path), path)


def words(message: Message, path: str) -> str | None:
    """As ``text``, for what people write to each other: the beginning of a long one."""
    found = _stripped(message.get(path))
    return found if found is None or len(found) <= LONGEST_TEXT else f"{found[: LONGEST_TEXT - 1]}…"


def coded(segment: Segment, path: str) -> tuple[str, str] | None:
    """Code and description at ``path``, the code in the place of a missing description; None when there is no code."""
    code, description = segment.get(f"{path}.1"), segment.get(f"{path}.2")
    if not code:
        return None
    if len(code) > LONGEST_TEXT or (description and len(description) > LONGEST_TEXT):
        raise _too_long(f"{segment.id}-{path}")
    return code, description or code


def patient(message: Message, site: SiteFile) -> PatientFacts:
    """PID as facts. At least one of PID-3's issuers has to be in the site file; identifiers of others are left out."""
    segment = next(iter(message.segments("PID")), None)
    if segment is None:
        raise Malformed("PID-3 is missing", location="PID-3", code=REQUIRED_FIELD_MISSING)
    identifiers = _identifiers(segment, site)
    family, given, middle = _parts(segment, "5", 3)
    sex = segment.get("8")
    language = _said(segment.get("15.1"), "PID-15")
    return PatientFacts(
        identifiers=identifiers,
        family=_stripped(family) or "",
        given=_stripped(given) or "",
        middle=_said(middle, "PID-5"),
        birth_date=_birth_date(segment),
        sex=UNSAID if sex is None else _SEX.get(sex.upper(), "U"),
        email=_email(segment),
        phone=_said(segment.get("13.1"), "PID-13"),
        language="en" if language is None else language,
        address=_address(segment),
    )


def _identifiers(segment: Segment, site: SiteFile) -> tuple[PatientIdentifier, ...]:
    identifiers, unknown = [], ""
    for number in range(1, min(segment.count("3"), 50) + 1):
        value, _, _, issuer = _parts(segment, f"3[{number}]", 4)
        if not value or value is NULL:
            continue
        if issuer in site.issuers:
            identifiers.append(PatientIdentifier(issuer, _identifier(value.strip(), "PID-3")))
        else:
            unknown = issuer or "(none)"
    if not identifiers and not unknown:
        raise Malformed("PID-3 is missing", location="PID-3", code=REQUIRED_FIELD_MISSING)
    if not identifiers:
        issuer = shown(unknown, words_of([*site.issuers, *site.facilities]))
        raise NeedsSetup(
            f"PID-3.4: the issuer of patient id {issuer!r} is not in the site file", setting=f"issuers.{issuer}"
        )
    return tuple(identifiers)


def _identifier(value: str, path: str) -> str:
    if len(value) > LONGEST_IDENTIFIER:
        raise Malformed(f"{path} is longer than an identifier can be", location=path, code=VALUE_TOO_LONG)
    return value


def facility(message: Message, site: SiteFile, paths: Sequence[str]) -> tuple[str, SiteFacility]:
    """The first facility code among ``paths``, with its entry in the site file."""
    for path in paths:
        code = text(message, path)
        if code is not None:
            found = site.facilities.get(code)
            if found is None:
                code = shown(code, words_of(site.facilities))
                raise NeedsSetup(f"{path}: facility {code!r} is not in the site file", setting=f"facilities.{code}")
            return code, found
    raise Malformed(f"{paths[0]}: no facility is given", location=paths[0], code=REQUIRED_FIELD_MISSING)


def step(message: Message, path: str, site: SiteFile) -> WorkflowStep | None:
    """The workflow step of ``order value^name^99PS`` at ``path``; None when the field is empty."""
    value, name = text(message, f"{path}.1"), text(message, f"{path}.2")
    if value is None and name is None:
        return None
    if value is None or not value.isdecimal():
        wanted = (name or value or "").upper()
        number = next((number for known, number in site.status_names.items() if known.upper() == wanted), None)
        if number is None:
            wanted = shown(name or value or "", words_of([*site.status_names, *site.statuses.values()]))
            raise NeedsSetup(
                f"{path}: status name {wanted!r} is not in the site file",
                setting=f"status_names.{wanted}",
            )
        return site.statuses[number]
    number = whole_number(value)
    found = None if number is None else site.statuses.get(number)
    if found is None:
        value = shown(value)
        raise NeedsSetup(f"{path}: status {value} is not in the site file", setting=f"statuses.{value}")
    return found


def time(message: Message, path: str, zone: ZoneInfo) -> datetime | None:
    """The time at ``path`` in UTC, ``zone`` holding where it gives no offset; None when the field is empty."""
    found = text(message, path)
    if found is None:
        return None
    try:
        return parse_timestamp(found, zone, location=path).astimezone(UTC)
    except Hl7Error as error:
        raise Malformed(f"{path}: {error.text}", location=path, code=error.code) from error


def minutes(message: Message, path: str) -> int | None:
    """Whole minutes at ``path``; None when there is no such number."""
    found = text(message, path)
    number = None if found is None else whole_number(found)
    return number if number is not None and 0 < number <= 24 * 60 else None


def made_at(message: Message, zone: ZoneInfo, received_at: datetime) -> datetime:
    """When the sender made the message (MSH-7); the time of receipt when it does not say."""
    return time(message, "MSH-7", zone) or received_at


def _said(found: str | None, path: str) -> str | Unsaid | None:
    if found is NULL:
        return None
    return UNSAID if found is None else _text(found, path) or UNSAID


def _text(found: str | None, path: str) -> str | None:
    if found is None or found is NULL:
        return None
    if len(found) > LONGEST_TEXT:
        raise _too_long(path)
    return found.strip() or None


def _stripped(found: str | None) -> str | None:
    return None if found is None or found is NULL else found.strip() or None


def _too_long(path: str) -> Malformed:
    return Malformed(f"{path} is longer than {LONGEST_TEXT} characters", location=path, code=VALUE_TOO_LONG)


def _parts(segment: Segment, path: str, number: int) -> list[str | None]:
    """The first components at ``path``; a null in the place of the whole field is the null of each."""
    found = segment.components(path)[:number]
    for part in found:
        if part is not None and len(part) > LONGEST_TEXT:
            raise _too_long(f"{segment.id}-{path}")
    missing = NULL if len(found) == 1 and found[0] is NULL else None
    return [*found, *[missing] * (number - len(found))]


def _birth_date(segment: Segment) -> date | Unsaid | None:
    found = _said(segment.get("7"), "PID-7")
    if found is None or isinstance(found, Unsaid):
        return found
    match = _DATE.match(found)
    try:
        return date(int(match[1]), int(match[2]), int(match[3])) if match else UNSAID
    except ValueError:
        return UNSAID


def _email(segment: Segment) -> str | Unsaid | None:
    for path in ("13.4", "13[2].4", "13[3].4"):
        found = _said(segment.get(path), "PID-13")
        if isinstance(found, str) and "@" in found:
            return found
    return None if segment.get("13") is NULL or segment.get("13.4") is NULL else UNSAID


def _address(segment: Segment) -> Address | Unsaid | None:
    parts = _parts(segment, "11", 6)
    if parts[0] is NULL:
        return None
    line, _, *others = map(_stripped, parts)
    return Address(line, *others) if line or any(others) else UNSAID
