"""Versions of OmegaAI's resources. FHIR gives them no order; versions that are numbers have one."""

from typing import Final

_LONGEST: Final = 64


def is_older(version: str, than: str | None) -> bool:
    """Whether both are numbers, and ``version`` is the lower one."""
    value, other = _number(version), None if than is None else _number(than)
    return value is not None and other is not None and value < other


def has_seen(known: str | None, version: str) -> bool:
    """Whether who knows the version ``known`` has seen ``version``: it is the same one, or a former one."""
    return known == version or (known is not None and is_older(version, known))


def before(version: str) -> str | None:
    """The version before ``version``; None where it is no number."""
    value = _number(version)
    return None if value is None else str(value - 1)


def _number(version: str) -> int | None:
    """A version as a number; FHIR allows 64 characters, and Python does not read numbers of any length."""
    return int(version) if len(version) <= _LONGEST and version.isdecimal() else None
