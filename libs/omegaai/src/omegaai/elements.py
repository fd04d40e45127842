"""Reads FHIR elements as RamSoft writes them; errors name the path of the unreadable element.

Seen in its payloads: codes in upper case, empty strings for absent elements, references in lower case, ``urn:uuid``
without the colon, numbers and booleans as text, and foreign properties, which are ignored.
"""

import json
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from chassis.errors import Malformed
from chassis.values import OUT_OF_RANGE, is_in_range, whole_number

Json = dict[str, Any]
LONGEST_IDENTIFIER: Final = 255
EXTENSION_ROOTS: Final = (
    "http://www.ramsoft.com/fhir/StructureDefinition/",
    "http://www.ramsoft.com/fhir/extension/",
    "http://www.ramsoft.com/fhir/us/core/StructureDefinition/",
    "http://hl7.org/fhir/us/core/StructureDefinition/",
)


def malformed(path: str, why: str) -> Malformed:
    return Malformed(f"{path}: {why}", location=path)


def text(parent: Json, name: str) -> str | None:
    """The text of an element; absent, null and empty are the same."""
    value = parent.get(name)
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, str):
        return value.strip() or None
    return str(value) if isinstance(value, int | float) else None


def code(parent: Json, name: str) -> str | None:
    """A code, in FHIR's lower case."""
    found = text(parent, name)
    return found.lower().replace("_", "-") if found else None


def instant(parent: Json, name: str, path: str) -> datetime | None:
    """An instant with its offset; Malformed at ``path.name`` for anything else."""
    found = text(parent, name)
    if found is None:
        return None
    try:
        at = datetime.fromisoformat(found)
    except ValueError:
        raise malformed(f"{path}.{name}", "is not an instant") from None
    if at.tzinfo is None:
        raise malformed(f"{path}.{name}", "has no zone offset")
    if not is_in_range(at):
        raise malformed(f"{path}.{name}", OUT_OF_RANGE)
    return at


def items(parent: Json, name: str) -> list[Json]:
    """The objects of a list; a single object counts as a list of one object."""
    value = parent.get(name)
    if isinstance(value, dict):
        return [value]
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def storable(value: Any, path: str) -> None:
    """Malformed at ``path`` for a value that cannot be stored: a NUL, half a surrogate pair, an infinite number."""
    try:
        written = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise malformed(path, "holds a number that is not finite") from None
    written = written.replace("\\\\", "")  # an escaped backslash, not an escape
    if "\\u0000" in written or not _is_unicode(written):
        raise malformed(path, "holds a character that cannot be kept")


def identifier(value: str, path: str) -> str:
    """``value`` when it is short enough for an identifier (FHIR: 64), else Malformed: indexes hold identifiers."""
    if len(value) > LONGEST_IDENTIFIER:
        raise malformed(path, f"is longer than {LONGEST_IDENTIFIER} characters")
    return value


def shown(value: str) -> str:
    """``value`` fit to be stored and shown: half surrogate pairs and NULs are replaced, and a long value is cut."""
    return value[:LONGEST_IDENTIFIER].encode("utf-8", "replace").decode().replace("\x00", "?")


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def child(parent: Json, name: str) -> Json:
    value = parent.get(name)
    return value if isinstance(value, dict) else {}


def reference(value: Json) -> tuple[str, str] | None:
    """A reference as (Type, id), whichever case its type is written in; None without one."""
    found = text(value, "reference")
    if found is None:
        return None
    parts = [part for part in found.split("/") if part]
    if "_history" in parts:
        parts = parts[: parts.index("_history")]
    if len(parts) < 2:
        return None
    kind = next((known for known in _TYPES if known.lower() == parts[-2].lower()), parts[-2])
    return kind, parts[-1]


def uuid(value: str | None) -> UUID | None:
    """A UUID out of ``urn:uuid:…``, ``urn:uuid…`` or the bare one."""
    if value is None:
        return None
    bare = value.strip().lower().removeprefix("urn:uuid").removeprefix(":")
    try:
        return UUID(bare)
    except ValueError:
        return None


def extension(parent: Json, name: str) -> Any:
    """The value of an extension by the last part of its URL, under any root seen in the field, or bare;

    None without one.
    """
    found = extension_item(parent, name)
    return None if found is None else _first_value(found)


def extension_item(parent: Json, name: str) -> Json | None:
    """The extension itself, as a part of ``parent``; found as ``extension`` finds it."""
    return next((one for one in items(parent, "extension") if _matches(text(one, "url") or "", name)), None)


def integer(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return whole_number(value) if isinstance(value, str) else None


def boolean(value: object) -> bool | None:
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(value.strip().lower()) if isinstance(value, str) else None


def _matches(url: str, name: str) -> bool:
    bare = next((url.removeprefix(root) for root in EXTENSION_ROOTS if url.startswith(root)), url)
    return bare.rsplit("/", 1)[-1].lower() == name.lower()


def _first_value(one: Json) -> Any:
    """The first value in an extension or in nested ones, outer before inner; they may nest as deep as JSON allows."""
    waiting = [one]
    while waiting:
        inner = waiting.pop()
        for key, value in inner.items():
            if key.startswith("value"):
                if isinstance(value, dict):
                    return value.get("code") or value.get("text") or value.get("display")
                return value
        waiting += reversed(items(inner, "extension"))
    return None


def clean(value: Any) -> Any:
    """What others wrote, without empty elements and with references in FHIR's case; None when nothing is left."""
    if isinstance(value, dict):
        kept = {name: cleaned for name, one in value.items() if (cleaned := clean(one)) is not None}
        if isinstance(kept.get("reference"), str) and (found := reference(kept)) is not None:
            kept["reference"] = "/".join(found)
        return kept or None
    if isinstance(value, list):
        return [cleaned for one in value if (cleaned := clean(one)) is not None] or None
    return None if value == "" else value


def without_empty(values: Json) -> Json:
    return {name: value for name, value in values.items() if value not in (None, "", [], {})}


_TYPES: Final = (
    "Patient",
    "Appointment",
    "HealthcareService",
    "Organization",
    "Task",
    "ImagingStudy",
    "DiagnosticReport",
)
