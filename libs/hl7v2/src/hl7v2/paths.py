"""Paths into a message: ``PID-3``, ``PID-3[2].4.1``, ``OBX[3]-5.1``; inside a segment only ``3[2].4.1``."""

import re
from functools import lru_cache
from typing import Final, NamedTuple

_WITHIN: Final = r"(\d{1,4})(?:\[(\d{1,4})\])?(?:\.(\d{1,4})(?:\.(\d{1,4}))?)?"
_IN_SEGMENT: Final = re.compile(_WITHIN)
_IN_MESSAGE: Final = re.compile(r"([A-Za-z][A-Za-z0-9]{2})(?:\[(\d{1,6})\])?-" + _WITHIN)


class Place(NamedTuple):
    """A place in a segment: all numbers count from 1; None means not given."""

    field: int
    repetition: int | None
    component: int | None
    subcomponent: int | None


@lru_cache(maxsize=4096)
def in_segment(path: str) -> Place:
    """Read ``3[2].4.1``; ValueError for anything else."""
    match = _IN_SEGMENT.fullmatch(path)
    if match is None:
        raise ValueError(f"not a path inside a segment: {path!r}")
    return _place(path, match.groups())


@lru_cache(maxsize=4096)
def in_message(path: str) -> tuple[bytes, int, Place]:
    """Read ``OBX[3]-5.1`` as segment name, segment number from 1, and the place; ValueError for anything else."""
    match = _IN_MESSAGE.fullmatch(path)
    if match is None:
        raise ValueError(f"not a path into a message: {path!r}")
    number = int(match[2] or 1)
    if number == 0:
        raise ValueError(f"paths count from 1: {path!r}")
    return match[1].encode("ascii"), number, _place(path, match.groups()[2:])


def _place(path: str, groups: tuple[str | None, ...]) -> Place:
    numbers = [None if group is None else int(group) for group in groups]
    if 0 in numbers:
        raise ValueError(f"paths count from 1: {path!r}")
    field, repetition, component, subcomponent = numbers
    assert field is not None  # noqa: S101  # the expression demands it
    return Place(field, repetition, component, subcomponent)
