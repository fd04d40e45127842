"""Why the scheduling API refuses a call: every reason at once, and what is free instead."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self, TypeVar, cast

from scheduler_sync.ports import Offer

T = TypeVar("T")


class Code(StrEnum):
    """The kind of a reason, as FHIR's IssueType has it."""

    INVALID = "invalid"
    REQUIRED = "required"
    VALUE = "value"
    NOT_FOUND = "not-found"
    TOO_COSTLY = "too-costly"
    RULE = "business-rule"
    CONFLICT = "conflict"
    DUPLICATE = "duplicate"
    SUPPRESSED = "suppressed"


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason. ``where`` is the parameter or element; no value of the request stands in ``text``."""

    code: Code
    text: str
    where: str = ""


class Refused(Exception):  # noqa: N818 (an answer, no fault)
    """The call is answered with these reasons."""

    def __init__(self, *problems: Problem, offers: Sequence[Offer] = (), facility: str = "") -> None:
        super().__init__("; ".join(one.text for one in problems))
        self.problems = problems
        self.offers = offers
        self.facility = facility

    @property
    def status(self) -> int:
        """404: unknown; 409: a taken time or key; 422: a rule; 400: a request that is not clear."""
        codes = {one.code for one in self.problems}
        if codes & {Code.INVALID, Code.REQUIRED, Code.VALUE}:
            return 400
        if codes == {Code.NOT_FOUND}:
            return 404
        return 409 if codes & {Code.CONFLICT, Code.DUPLICATE} else 422


class Reasons:
    """Collects why a call cannot be read: ``with Reasons() as read``; at its end it raises every reason at once."""

    def __init__(self) -> None:
        self._problems: list[Problem] = []

    def __enter__(self) -> Self:
        return self

    def __call__(self, reader: Callable[[], T]) -> T:
        """What ``reader`` gives. A refused value is None until the end of the block, which raises."""
        try:
            return reader()
        except Refused as refused:
            self._problems += refused.problems
            return cast("T", None)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None and self._problems:
            raise Refused(*self._problems)


def invalid(where: str, text: str) -> Refused:
    """A parameter that cannot be read."""
    return Refused(Problem(Code.INVALID, text, where))
