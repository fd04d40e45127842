"""What fields are made of when a message is built: text that gets escaped, and the few things that do not."""

from collections.abc import Sequence
from typing import Final, TypeAlias


class _Null(str):
    """The HL7 null: the sender asks to delete the value, which is not the same as sending none."""

    __slots__ = ()


class Raw(str):
    """Text that is already encoded, delimiters and escapes in it."""

    __slots__ = ()


class Repeat(tuple["Leaf | Components", ...]):
    """The repetitions of one field."""

    __slots__ = ()


NULL: Final = _Null('""')

Leaf: TypeAlias = str | int | bytes | None
"""Bytes are taken as they are, like ``Raw``: a field of a message with the same delimiters and character set."""
Components: TypeAlias = Sequence["Leaf | Sequence[Leaf]"]
Value: TypeAlias = Leaf | Components | Repeat


def raw(encoded: str) -> Raw:
    """Take ``encoded`` as it is, e.g. ``raw("Roe^Jane")``; it may hold no field separator and no line end."""
    return Raw(encoded)


def repeat(*repetitions: Leaf | Components) -> Repeat:
    """A repeating field: ``repeat(["4711", None, None, "NORTHSIDE"], ["0815"])``."""
    return Repeat(repetitions)
