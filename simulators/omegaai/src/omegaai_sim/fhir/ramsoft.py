"""RamSoft's extensions of FHIR resources, read and written by their names."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

RAMSOFT: Final = "http://www.ramsoft.com/fhir/StructureDefinition/"
Value = tuple[str, Any]
"""The element that holds an extension's value, and the value: `("valueCode", "CT")`."""


def values(resource: Mapping[str, Any], name: str) -> list[Any]:
    """All values of an extension, in their order."""
    return [
        next((value for key, value in one.items() if key.startswith("value")), None)
        for one in resource.get("extension", [])
        if one.get("url") == RAMSOFT + name
    ]


def value(resource: Mapping[str, Any], name: str, default: Any = None) -> Any:
    """The first value of an extension, else `default`."""
    return next((one for one in values(resource, name) if one is not None), default)


def extended(resource: Mapping[str, Any], given: Mapping[str, Sequence[Value]]) -> dict[str, Any]:
    """The resource with these extensions instead of its own of the same names. No value takes one away."""
    urls = {RAMSOFT + name for name in given}
    kept = [one for one in resource.get("extension", []) if one.get("url") not in urls]
    added = [{"url": RAMSOFT + name, element: held} for name, found in given.items() for element, held in found]
    rest = {name: held for name, held in resource.items() if name != "extension"}
    return {**rest, "extension": [*kept, *added]} if kept or added else rest
