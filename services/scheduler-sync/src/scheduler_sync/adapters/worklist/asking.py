"""The questions to the worklist and their answers, as they pass between the service and the process that asks."""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from scheduler_sync.domain.reconciliation import may_be_cut
from scheduler_sync.domain.reconciliation.planning import HOURS


@dataclass(frozen=True, slots=True)
class Asked:
    """One question. ``day`` is YYYYMMDD, ``time`` a range HHMMSS-HHMMSS; empty matches everything."""

    station: str = ""
    day: str = ""
    time: str = ""
    accession: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """A scheduled procedure step; texts as DICOM has them, empty where the worklist leaves them out."""

    placer: str
    accession: str
    step_id: str
    station: str
    day: str
    time: str
    offset: str
    patient_id: str

    @property
    def identity(self) -> tuple[str, ...]:
        return self.placer, self.accession, self.step_id, self.station, self.day, self.time


@dataclass(frozen=True, slots=True)
class Answer:
    """The steps of one question. ``is_cut``: there may be more. ``unreadable``: items without order number or start."""

    steps: tuple[Step, ...] = ()
    unreadable: int = 0
    is_cut: bool = False

    def to_line(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_line(cls, line: str | bytes) -> "Answer":
        values: dict[str, Any] = json.loads(line)
        return cls(tuple(Step(**one) for one in values["steps"]), values["unreadable"], values["is_cut"])


@dataclass(frozen=True, slots=True)
class Part:
    """What one C-FIND gave. ``has_failed``: it ended with a failure, or without a status."""

    steps: list[Step] = field(default_factory=list)
    unreadable: int = 0
    has_failed: bool = False

    @property
    def number(self) -> int:
        return len(self.steps) + self.unreadable


def whole_answer(asked: Asked, find: Callable[[Asked], Part]) -> Answer:
    """Asks; an answer that may be cut short is asked again, an hour at a time."""
    first = find(asked)
    if not asked.day or not may_be_cut(first.number, has_failed=first.has_failed):
        return Answer(tuple(first.steps), first.unreadable, first.has_failed)
    parts = [find(one) for one in _by_hour(asked)]
    steps = {step.identity: step for part in (first, *parts) for step in part.steps}
    is_cut = any(may_be_cut(part.number, has_failed=part.has_failed) for part in parts)
    return Answer(tuple(steps.values()), max(first.unreadable, sum(part.unreadable for part in parts)), is_cut)


def _by_hour(asked: Asked) -> Iterable[Asked]:
    for begins, ends in HOURS:
        yield Asked(asked.station, asked.day, f"{begins:%H%M%S}-{ends:%H%M%S}")
