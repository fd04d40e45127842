"""Names that are nearly the same: case, blanks, one letter. Exact names alone link; near ones are proposed to a person.

Names are looked up by what is left of them without one letter, so 2,000 names cost about 2,000 look-ups.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MOST_PROPOSED: Final = 3
_LONGEST: Final = 64
"""Longer names are compared by case and blanks alone: a name of n letters has n look-ups."""
_MOST_IN_A_BUCKET: Final = 16
"""Of many names that differ in the same one letter, the first are looked at."""


class Nearness(StrEnum):
    """How two names differ."""

    BLANKS = "blanks"
    CASE = "case"
    CASE_AND_BLANKS = "case and blanks"
    LETTER = "one letter"
    FACILITY = "another facility"


@dataclass(frozen=True, slots=True)
class NearMiss:
    """A name that is nearly the same as another, and how the two differ."""

    name: str
    by: Nearness


def folded(name: str) -> str:
    """The name without what people do not see: case, width, blanks around it and more than one inside."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


class NearNames:
    """Finds the names that are nearly the same as a given one."""

    def __init__(self, names: Iterable[str]) -> None:
        self._by_fold: dict[str, list[str]] = {}
        self._by_rest: dict[str, list[str]] = {}
        for name in dict.fromkeys(names):
            fold = folded(name)
            known = self._by_fold.setdefault(fold, [])
            known.append(name)
            if len(known) == 1 and len(fold) <= _LONGEST:
                for rest in _rests(fold):
                    bucket = self._by_rest.setdefault(rest, [])
                    if len(bucket) < _MOST_IN_A_BUCKET:
                        bucket.append(fold)

    def of(self, name: str) -> Sequence[NearMiss]:
        """At most three names, the nearest first; the name itself is none of them."""
        fold = folded(name)
        found = [NearMiss(one, _difference(name, one)) for one in self._by_fold.get(fold, ()) if one != name]
        found.sort(key=lambda one: (one.by is not Nearness.BLANKS, one.name))
        if len(found) < MOST_PROPOSED and len(fold) <= _LONGEST:
            near: dict[str, None] = {}
            for rest in _rests(fold):
                near.update(dict.fromkeys(self._by_rest.get(rest, ())))
            near.pop(fold, None)
            for one in sorted(near):
                if _is_one_letter_apart(fold, one):
                    found += [NearMiss(other, Nearness.LETTER) for other in self._by_fold[one]]
        return tuple(found[:MOST_PROPOSED])


def _rests(fold: str) -> set[str]:
    return {fold, *(fold[:place] + fold[place + 1 :] for place in range(len(fold)))}


def _difference(one: str, other: str) -> Nearness:
    if unicodedata.normalize("NFKC", one).casefold() == unicodedata.normalize("NFKC", other).casefold():
        return Nearness.CASE
    is_same_case = " ".join(one.split()) == " ".join(other.split())
    return Nearness.BLANKS if is_same_case else Nearness.CASE_AND_BLANKS


def _is_one_letter_apart(one: str, other: str) -> bool:
    """Whether one letter was changed, added or left out, or two neighbours changed places. ``CT 1`` is not ``CT 2``.

    A digit tells machines apart, so names that differ in a digit are no near miss.
    """
    start = 0
    shortest = min(len(one), len(other))
    while start < shortest and one[start] == other[start]:
        start += 1
    end = 0
    while end < shortest - start and one[-1 - end] == other[-1 - end]:
        end += 1
    left, right = one[start : len(one) - end], other[start : len(other) - end]
    if any(letter.isdigit() for letter in left + right):
        return False
    is_turned = len(left) == len(right) == 2 and left == right[::-1]
    return is_turned or (len(left) <= 1 and len(right) <= 1)
