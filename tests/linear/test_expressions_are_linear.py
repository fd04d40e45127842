"""No regular expression takes more than linear time on any text of its own characters.

The test finds new expressions itself. For an expression inside an object or a function, it says where to enter it.
"""

import re

import pytest
from expressions import everywhere, of_module, slow_texts, uses

from chassis.web.hosts import OwnNames
from hl7v2.delimiters import delimiters

_OF_OBJECTS = {
    ("hl7v2.delimiters", name): [getattr(delimiters(b"|", encoding), name) for encoding in (b"^~\\&", b"^~!&#", b"^~")]
    for name in ("_maybe_nul", "_sequences", "_special", "_tokens")
} | {
    ("hl7v2.delimiters", "find_special"): [delimiters(b"|", b"^~\\&").find_special.__self__],
    ("hl7v2.ack", "_numbers()"): [re.compile(r"\d{1,4}")],
    ("chassis.web.hosts", "_in_cluster"): [OwnNames("form-router", "127.0.0.1", "")._in_cluster],
}
"""Expressions that are no module's attribute."""


@pytest.mark.parametrize("place", everywhere(), ids=".".join)
def test_expression_takes_linear_time(place: tuple[str, str]) -> None:
    found = of_module(*place) or _OF_OBJECTS.get(place, [])
    assert found, f"enter {place} in _OF_OBJECTS: it is not at the module's top level"
    slow = [text for pattern in found for text in slow_texts(pattern, uses(*place))]
    assert slow == []


@pytest.mark.parametrize(
    "careless",
    [
        rb"\\X(?:[0-9A-Fa-f]{2})*?00(?:[0-9A-Fa-f]{2})*\\",
        r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+",
        r"[^\s|^]+\^[^\s|]+\^[^\s|]*",
        r"(?i)(postgresql|postgres)://[^@\s]+@",
        r"<?[^\s<>@]+@[^\s<>@]+>?",
    ],
)
def test_careless_expression_is_found(careless: str | bytes) -> None:
    assert next(slow_texts(re.compile(careless)), None) is not None


def test_every_place_is_found() -> None:
    names = {name for _, name in everywhere()}
    assert {"_PATTERNS", "_tokens", "_numbers()", "_TIMESTAMP"} <= names
