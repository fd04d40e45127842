"""XTN as facts: e-mail addresses and phone numbers."""

from typing import Final

from hl7v2 import NULL, Segment
from scheduler_sync.adapters.powerserver.values import Reading
from scheduler_sync.domain.patient import UNSAID, Unsaid

_MOST_REPETITIONS: Final = 20
_NO_PHONE: Final = frozenset({"FX", "MD", "BP", "INTERNET", "X.400"})
"""XTN-3 of entries that are not for calls."""
_NO_CALL: Final = frozenset({"NET", "BPN", "EMR"})
"""XTN-2: network addresses, pagers, and emergency contacts, who are other people."""
_SECOND_BEST: Final = frozenset({"WPN", "ASN"})


def read(reading: Reading, segment: Segment, number: int) -> tuple[str | Unsaid | None, str | Unsaid | None]:
    """E-mail and phone of a field (XTN), each the first valid one; a phone at work when there is no other."""
    found: dict[str, str | None] = {}
    at = segment.id, number
    for parts in segment.repetitions(number, as_text=True)[:_MOST_REPETITIONS]:
        if not any(parts):
            continue
        kind, contact = _contact(reading, at, parts)
        is_used = True
        if len(parts) > 3 and kind != "email":
            is_used = _take(found, "email", email(reading, parts[3]) if parts[3] != NULL else None, parts[3])
        if kind == "both":
            found.setdefault("email", None)
            found.setdefault("phone", None)
        elif kind:
            is_used &= _take(found, kind, contact, parts[0] or NULL)
        elif contact:
            is_used = False
        if not is_used:
            reading.ignore(*at)
    phone = found.get("phone", UNSAID)
    return found.get("email", UNSAID), phone if isinstance(phone, str) else found.get("at work", phone)


def _take(found: dict[str, str | None], kind: str, contact: str | None, written: str) -> bool:
    """The first of a kind; whether it is used. The null of one deletes it, unless another repetition has one."""
    if contact is None:
        if written == NULL:
            found.setdefault(kind, None)
        return True
    is_first = found.get(kind) is None
    if is_first:
        found[kind] = contact
    return is_first


def _contact(reading: Reading, at: tuple[str, int], parts: list[str]) -> tuple[str, str | None]:
    """The kind of a repetition (email, phone, at work, the null of both, or none), and its e-mail address or number."""
    if parts == [NULL]:
        return "both", None
    use, equipment = upper(parts, 1), upper(parts, 2)
    address = email(reading, parts[0]) or (email(reading, parts[3]) if len(parts) > 3 else None)
    if use == "NET" or equipment in {"INTERNET", "X.400"} or email(reading, parts[0]):
        return "email", address
    if use in _NO_CALL or equipment in _NO_PHONE:
        return "", parts[0]
    if parts[0] == NULL:
        return "phone", None
    number = _phone(reading, at, parts)
    if number is None:
        return "", None
    return ("at work" if use in _SECOND_BEST else "phone"), number


def email(reading: Reading, written: str) -> str | None:
    return reading.clean(written).removeprefix("mailto:") if "@" in written else None


def _phone(reading: Reading, at: tuple[str, int], parts: list[str]) -> str | None:
    """XTN-1, else XTN-12, else XTN-5 to XTN-8 together; None without a digit in it."""
    for written in (parts[0], *parts[11:12]):
        if written and written != NULL:
            number = reading.clean(written)
            if any(char.isdecimal() for char in number):
                return number
            reading.ignore(*at)
    if len(parts) < 7:
        return None
    country, area, local, extension = (
        "" if part == NULL else reading.clean(part) for part in [*parts[4:8], "", "", ""][:4]
    )
    if not any(char.isdecimal() for char in local):
        return None
    if country:
        country = "+" + country.lstrip("+").lstrip("0")
    return " ".join(part for part in (country, area, local, extension and f"ext. {extension}") if part)


def upper(parts: list[str], place: int) -> str:
    return parts[place].strip().upper() if place < len(parts) else ""
