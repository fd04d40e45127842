"""Masks the parts of a message in reasons, and so in lists, logs and answers to partners: codes stay, names do not.

A reason shows the value that the set-up does not know, because a person has to add that value. A sender may put
anything there. So a value is shown only when it has the shape of a code or consists of words that the set-up knows. Any
other value is masked; only ``needs-setup show`` shows it, audited.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any, ClassVar, Final, Protocol, TypeVar

from chassis.observe.redaction import redact_text

MASKED: Final = "[masked]"
LONGEST: Final = 64
_MOST_DIGITS: Final = 5
"""More digits are rather a patient's number than a room's."""
_CODE: Final = re.compile(r"[A-Za-z0-9._/#+:()-]+(?: [A-Za-z0-9._/#+:()-]+)*")
_PART: Final = re.compile(r"[A-Za-z0-9]+")
_OBJECT_ID: Final = re.compile(r"(?:urn:oid:)?[0-2](?:\.\d+){3,}")
_MESSAGE_ID: Final = re.compile(r"[A-Za-z0-9._:/#+-]+")
_MESSAGE_TYPE: Final = re.compile(r"[A-Z0-9]{3}(?:\^[A-Z0-9]{3}(?:\^[A-Z0-9_]{1,16})?)?")
_PLACE: Final = re.compile(
    r"message|[A-Z][A-Z0-9]{2}[-^.\[\]\d]{0,24}"
    r"|(?:Appointment|Bundle|HealthcareService|Location|Organization|Patient|Practitioner|Schedule|Slot|Task)"
    r"(?:\.[a-z][A-Za-z]*|\[\d+\])*"
)
_LONGEST_ROOM_NUMBER: Final = 3


def shown(value: str, known: Collection[str] = ()) -> str:
    """``value`` when it is a code, else ``MASKED``. ``known``: words of the set-up, in capitals.

    One word is a code unless it is written as a name is (Wilhelmina). Of several words, with any separators, one has to
    be known or a room's number, and at most one may be unknown.
    """
    if value.upper() in known or (len(value) <= LONGEST and _OBJECT_ID.fullmatch(value)):
        return value
    if len(value) > LONGEST or _CODE.fullmatch(value) is None or redact_text(value) != value:
        return MASKED
    if sum(sign.isdecimal() for sign in value) > _MOST_DIGITS:
        return MASKED
    parts = _PART.findall(value)
    strange = [part for part in parts if part.isalpha() and len(part) > 1 and part.upper() not in known]
    if not strange:
        return value
    if len(parts) == 1:
        return MASKED if _is_written_as_a_name(parts[0]) else value
    is_backed = any(part.upper() in known for part in parts) or (
        any(part.isdecimal() and len(part) <= _LONGEST_ROOM_NUMBER for part in parts)
        and not any(_is_written_as_a_name(part) for part in strange)
    )
    return value if is_backed and len(strange) <= 1 else MASKED


def _is_written_as_a_name(word: str) -> bool:
    return word.isalpha() and word not in {word.upper(), word.lower()}


def words_of(texts: Iterable[str]) -> frozenset[str]:
    """The texts and their words, in capitals, for the argument ``known``."""
    texts = [text.upper() for text in texts]
    return frozenset(texts) | {word for text in texts for word in text.split()}


def place(value: str) -> str:
    """The place that a partner reports as wrong: a segment with its field, or a path of elements."""
    return value if len(value) <= LONGEST and _PLACE.fullmatch(value) else MASKED


def message_id(value: str) -> str:
    """An id of a message in a list (MSH-10): it has a digit, or is one word that is not written as a name is."""
    if len(value) > LONGEST or _MESSAGE_ID.fullmatch(value) is None:
        return MASKED
    has_digit = any(sign.isdecimal() for sign in value)
    return value if has_digit or (value.isalpha() and not _is_written_as_a_name(value)) else MASKED


def message_type(value: str) -> str:
    """MSH-9 in a list."""
    return value if not value or _MESSAGE_TYPE.fullmatch(value) else MASKED


class Listed(Protocol):
    """A value from the sender's header, in a row of a list."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def sender(self) -> str: ...
    @property
    def control_id(self) -> str: ...
    @property
    def type(self) -> str: ...


L = TypeVar("L", bound=Listed)


def listed(row: L) -> L:
    """A row of the HL7 journal as lists show it: values from the sender's header are shown only as codes."""
    return replace(
        row,
        sender="|".join(part and shown(part) for part in row.sender.split("|")),
        control_id=message_id(row.control_id) if row.control_id else row.control_id,
        type=message_type(row.type),
    )
