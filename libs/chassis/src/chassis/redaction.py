"""The last look at what is about to be logged: nothing that looks like a patient leaves the process.

Code does not log patients' data in the first place; this catches what slips through, most of all in texts that come
from libraries. A canary test plants names and numbers and looks for them everywhere.
"""

import re
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

REDACTED: Final = "[redacted]"
_MOST_CHARACTERS: Final = 2000

_PRIVATE_KEYS: Final = frozenset({
    "name", "family", "given", "middle", "patient", "patient_name", "birth_date", "birthdate", "dob", "email", "e_mail",
    "mail", "to", "phone", "telephone", "address", "mrn", "ssn", "patient_number", "accession_number", "accession",
    "placer_number", "filler_number", "value", "payload", "raw", "body", "password", "secret", "token", "authorization",
    "identifier", "identifiers", "content",
})  # fmt: skip
_PATTERNS: Final = (
    re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),  # e-mail
    re.compile(r"(?:MSH|PID|PV1|ORC|OBR|OBX|SCH|NK1|IN1|GT1|ZDS|MRG)\|[^\s]*(?:[^\n\r\x1c\"']*)"),  # HL7 segments
    re.compile(r"[^\s|^]+\^[^\s|]+\^[^\s|]*"),  # HL7 components, such as names
    re.compile(r"\b(?:19|20)\d{2}-?(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12]\d|3[01])\b(?![T\d])"),  # dates that may be births
    re.compile(r"\+?\(?\d{3}\)?[ .-]?\d{3}[ .-]\d{4}\b"),  # phone numbers
    re.compile(r"(?i)(postgresql|postgres)://[^@\s]+@"),  # credentials in a URL
)


def redact_text(text: str) -> str:
    """``text`` without what looks like a patient's data, cut to a length that fits a log line."""
    for pattern in _PATTERNS:
        text = pattern.sub(REDACTED, text)
    return text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + "…"


def redact(value: Any, key: str = "") -> Any:  # noqa: PLR0911 (one line per kind of value)
    """The same for any logged value: private keys whole, bytes by their length, texts by pattern."""
    if key.lower() in _PRIVATE_KEYS:
        return REDACTED
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"[{len(value)} bytes]"
    if isinstance(value, Mapping):
        return {str(name): redact(item, str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return redact_text(str(value))


def processor(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Structlog's last processor before the renderer."""
    for name in list(event):
        if name not in {"timestamp", "level", "logger"}:
            event[name] = redact(event[name], name)
    return event
