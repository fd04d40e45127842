"""The studies of an appointment, and the effect of a message on them.

A message gives the whole list, or changes to it: an order concerns only its own study, and a segment's action code (HL7
table 0206) adds, removes or keeps one.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum


@dataclass(frozen=True, slots=True)
class Study:
    """A study type on the appointment, with its own start (aware) and length in minutes where they are known.

    ``order_number`` is the accession number of its order, ``is_done`` whether that order is completed. ``study_uid`` is
    the DICOM Study Instance UID, ``procedure_codes`` are those of the procedures that the study type stands for.
    """

    code: str
    description: str
    start: datetime | None = None
    minutes: int | None = None
    order_number: str | None = None
    is_done: bool = False
    procedure_codes: tuple[str, ...] = ()
    study_uid: str | None = None

    @property
    def end(self) -> datetime | None:
        """The end by its length; None when start or length is not known."""
        if self.start is None or self.minutes is None:
            return None
        return self.start + timedelta(minutes=self.minutes)


class Action(Enum):
    """The effect of a message on one study. CHANGE and CANCEL concern an order that was there before."""

    SET = "set"
    REMOVE = "remove"
    KEEP = "keep"
    CHANGE = "change"
    CANCEL = "cancel"


_OF_AN_ORDER = frozenset({Action.CHANGE, Action.CANCEL})
TAKES_OFF = frozenset({Action.REMOVE, Action.CANCEL})


@dataclass(frozen=True, slots=True)
class StudyChange:
    """One study's change. A removal may name its study by the order number alone (``code`` is empty then)."""

    action: Action
    study: Study


def changed(known: tuple[Study, ...], changes: Sequence[StudyChange]) -> tuple[Study, ...]:
    """``known`` after ``changes``: unchanged studies stay, in their order."""
    after = list(known)
    shared = _shared_numbers(changes)
    for change in changes:
        place = _place_of_change(after, change, shared)
        if change.action in TAKES_OFF:
            if is_of_all(change.study):
                after.clear()
            elif place is not None:
                del after[place]
        elif place is None:
            if change.study.code:
                after.append(change.study)
        elif change.action is not Action.KEEP:
            after[place] = _merged(after[place], change.study)
    return tuple(after)


def whole(known: tuple[Study, ...], said: Sequence[Study]) -> tuple[Study, ...]:
    """``said`` in the place of ``known``. Facts of a study that this kind of message does not carry stay."""
    left = list(known)
    after = []
    for study in said:
        place = _place(left, study)
        after.append(study if place is None else _merged(left.pop(place), study))
    return tuple(after)


def unknown_removals(known: tuple[Study, ...], numbers: Sequence[str], changes: Sequence[StudyChange]) -> bool:
    """Whether a cancelled order belongs to another appointment. ``numbers`` are all orders that this one ever had.

    For an appointment without known studies, no order is foreign.
    """
    shared = _shared_numbers(changes)
    return bool(known) and any(
        change.action in TAKES_OFF
        and not is_of_all(change.study)
        and change.study.order_number not in numbers
        and _place_of_change(known, change, shared) is None
        for change in changes
    )


def _shared_numbers(changes: Sequence[StudyChange]) -> frozenset[str]:
    """Numbers under which the message has several studies, which are then told apart by their codes."""
    numbers = [number for change in changes if (number := change.study.order_number) is not None]
    return frozenset(number for number in numbers if numbers.count(number) > 1) if len(numbers) > 1 else frozenset()


def _place_of_change(studies: Sequence[Study], change: StudyChange, shared: Container[str]) -> int | None:
    wanted = change.study
    if wanted.order_number in shared:
        same = (wanted.order_number, wanted.code)
        return next((place for place, one in enumerate(studies) if (one.order_number, one.code) == same), None)
    place = _place(studies, wanted)
    if place is None and change.action in _OF_AN_ORDER and len(studies) == 1:
        # Where one of the two has no number, the only study is meant.
        return 0 if studies[0].order_number is None or wanted.order_number is None else None
    return place


def is_of_all(study: Study) -> bool:
    """Whether a removal names no study: then it concerns all of them."""
    return not study.code and not study.order_number


def span(studies: Sequence[Study]) -> tuple[datetime, datetime] | None:
    """From the earliest start to the latest end; None when a study has no times of its own."""
    starts = [study.start for study in studies if study.start is not None]
    ends = [end for study in studies if (end := study.end) is not None]
    if not studies or len(starts) < len(studies) or len(ends) < len(studies):
        return None
    return min(starts), max(ends)


def _place(studies: Sequence[Study], wanted: Study) -> int | None:
    """The place of ``wanted``: by its order number, else by its code where one of the two has no number."""
    if wanted.order_number is not None:
        same = [place for place, one in enumerate(studies) if one.order_number == wanted.order_number]
        by_code = [place for place in same if studies[place].code == wanted.code]
        if by_code:
            return by_code[0]
        if len(same) == 1:
            return same[0]
    for place, one in enumerate(studies):
        if one.code == wanted.code and (one.order_number is None or wanted.order_number is None):
            return place
    return None


def _merged(known: Study, said: Study) -> Study:
    is_same = said.code in {known.code, ""}
    return replace(
        said,
        code=said.code or known.code,
        description=said.description or known.description,
        order_number=said.order_number or known.order_number,
        is_done=said.is_done or (known.is_done and is_same),
        procedure_codes=said.procedure_codes or (known.procedure_codes if is_same else ()),
        study_uid=said.study_uid or known.study_uid,
    )
