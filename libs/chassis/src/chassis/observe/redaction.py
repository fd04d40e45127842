"""The last check of every log line: nothing that looks like a patient leaves the process.

Code does not log patient data in the first place; this module catches the rest, above all texts of libraries. A canary
test plants names and numbers and looks for them everywhere. The cost is bounded: a text is cut before it is searched,
each expression takes linear time, and only so many nested values are looked at.
"""

import re
from collections.abc import Iterable, Mapping, MutableMapping
from itertools import islice
from typing import Any, Final

REDACTED: Final = "[redacted]"
CUT: Final = "…"
_MOST_CHARACTERS: Final = 2000
_MOST_AFTER_THE_CUT: Final = 500
"""How far behind the cut a text is searched: a word that crosses the cut must be seen whole to be recognised."""
_MOST_ITEMS: Final = 100
_MOST_IN_ALL: Final = 1000
_DEEPEST: Final = 8
_LONGEST_KEY: Final = 100

_PRIVATE_KEYS: Final = frozenset({
    "name", "family", "given", "middle", "patient", "patient_name", "birth_date", "birthdate", "dob", "email", "e_mail",
    "mail", "to", "phone", "telephone", "address", "mrn", "ssn", "patient_number", "accession_number", "accession",
    "placer_number", "filler_number", "value", "payload", "raw", "body", "password", "secret", "token", "authorization",
    "identifier", "identifiers", "content",
})  # fmt: skip
# Each begins where a run of its characters begins, and gives none of them back: otherwise every place of a long run
# would be tried, and the rest of the run read from each.
_PATTERNS: Final = (
    re.compile(r"(?<![\w.+-])[\w.+-]++@[\w-]++(?:\.[\w-]++)++"),  # e-mail
    re.compile(r"(?:MSH|PID|PV1|ORC|OBR|OBX|SCH|NK1|IN1|GT1|ZDS|MRG)\|\S*+[^\n\r\x1c\"']*+"),  # HL7 segments
    re.compile(r"(?<![^\s|^])[^\s|^]++\^[^\s|]+\^[^\s|]*+"),  # HL7 components, such as names
    re.compile(r"\b(?:19|20)\d{2}-?(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12]\d|3[01])\b(?![T\d])"),  # dates that may be births
    # Phone numbers, and not the digits of an opaque id.
    re.compile(r"(?<![\w-])\+?(?:\d{1,3}[ .-])?\(?\d{3}\)?[ .-]?\d{3}[ .-]\d{4}(?![\w-])"),
    re.compile(r"(?i)postgres(?:ql)?://(?:(?!postgres(?:ql)?://)[^@\s])++@"),  # credentials in a URL
)


def redact_text(text: str) -> str:
    """``text`` without anything that looks like patient data, cut to fit a log line."""
    return blotted(text, _PATTERNS, longest=_MOST_CHARACTERS, blot=REDACTED)


def blotted(text: str, patterns: Iterable[re.Pattern[str]], *, longest: int, blot: str) -> str:
    """The first ``longest`` characters of ``text``, with ``blot`` for each match of the patterns.

    The text is cut before it is searched. A word that crosses the cut is recognised when it ends within 500 characters;
    a longer word is left out, because it cannot be recognised.
    """
    window = text[: longest + _MOST_AFTER_THE_CUT]
    end = len(window)
    if len(text) > longest:
        end = longest
        if len(text) > len(window) and not any(map(str.isspace, window[longest:])):
            end = max((position for position in range(longest) if window[position].isspace()), default=-1) + 1
    spans = sorted(found.span() for pattern in patterns for found in pattern.finditer(window))
    parts, position = [], 0
    for start, stop in spans:
        if start >= end:
            break
        if start >= position:
            parts += [window[position:start], blot]
        position = max(position, stop)
    parts.append(window[position:end])
    return "".join(parts) + (CUT if end < len(text) else "")


def redact(value: Any, key: str = "") -> Any:
    """Redacts a logged value. A private key's value goes whole, bytes become their length, texts are cut by pattern.

    Of nested values a log line keeps a limited number.
    """
    return _Redaction().of(value, key, 0)


class _Redaction:
    """One value with everything in it."""

    def __init__(self) -> None:
        self._left = _MOST_IN_ALL

    def of(self, value: Any, key: str, depth: int) -> Any:  # noqa: PLR0911 (one line per kind of value)
        if key.lower() in _PRIVATE_KEYS:
            return REDACTED
        if isinstance(value, str):
            return redact_text(value)
        if isinstance(value, bytes | bytearray | memoryview):
            return f"[{len(value)} bytes]"
        if isinstance(value, Mapping):
            return self._mapping(value, depth)
        if isinstance(value, list | tuple | set | frozenset):
            return self._items(value, depth)
        if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 128:
            return f"[a number of {value.bit_length()} bits]"
        if value is None or isinstance(value, bool | int | float):
            return value
        return redact_text(str(value))

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> Any:
        if depth >= _DEEPEST:
            return f"[{len(value)} items]"
        found = {}
        for name, item in islice(value.items(), self._room(len(value))):
            key = str(name)
            shown = blotted(key, _PATTERNS, longest=_LONGEST_KEY, blot=REDACTED)
            found[shown] = self.of(item, key[:_LONGEST_KEY], depth + 1)
        if len(value) > len(found):
            found[CUT] = f"[{len(value)} items]"
        return found

    def _items(self, value: Any, depth: int) -> Any:
        if depth >= _DEEPEST:
            return f"[{len(value)} items]"
        found = [self.of(item, "", depth + 1) for item in islice(value, self._room(len(value)))]
        return found if len(found) == len(value) else [*found, f"[{len(value)} items]"]

    def _room(self, wanted: int) -> int:
        """How many of so many items may be looked at; each is counted once."""
        room = min(wanted, _MOST_ITEMS, self._left)
        self._left -= room
        return room


def processor(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Structlog's last processor before the renderer."""
    for name in list(event):
        if name not in {"timestamp", "level", "logger"}:
            event[name] = redact(event[name], name)
    return event
