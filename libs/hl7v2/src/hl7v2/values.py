"""Values from which fields are built: text, which is escaped, and the values that are written as they are."""

from collections.abc import Sequence
from typing import Final, TypeAlias


class _Null(str):
    """The HL7 null: the sender asks to delete the value. Sending no value is different."""

    __slots__ = ()


class Raw(str):
    """Text that is already encoded, with its delimiters and escapes."""

    __slots__ = ()


class Repeat(tuple["Leaf | Components", ...]):
    """The repetitions of one field."""

    __slots__ = ()


NULL: Final = _Null('""')

Leaf: TypeAlias = str | int | bytes | None
"""Bytes are written as they are, like ``Raw``: a field of a message with the same delimiters and character set."""
Components: TypeAlias = Sequence["Leaf | Sequence[Leaf]"]
Value: TypeAlias = Leaf | Components | Repeat


def raw(encoded: str) -> Raw:
    """Write ``encoded`` as it is, e.g. ``raw("Roe^Jane")``; it must not hold a field separator or a line end."""
    return Raw(encoded)


def repeat(*repetitions: Leaf | Components) -> Repeat:
    """A repeating field: ``repeat(["4711", None, None, "NORTHSIDE"], ["0815"])``."""
    return Repeat(repetitions)
