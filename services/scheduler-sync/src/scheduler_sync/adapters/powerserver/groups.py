"""The segments of a message, sorted into groups: the bookings of an SIU, the orders of an ORM."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from hl7v2 import Segment
from scheduler_sync.adapters.powerserver import values
from scheduler_sync.adapters.powerserver.values import DayAloneError
from scheduler_sync.domain.appointment import Action, WorkflowStep

CANCELLING: Final = frozenset({"CA", "OC", "DC"})
"""The order controls that take an order off."""
BOOKED: Final = frozenset({b"AIS", b"AIG", b"AIL"})
"""The segments of an SIU with an action of their own."""
ENDINGS: Final = frozenset({WorkflowStep.CANCELLED, WorkflowStep.NO_SHOW})


@dataclass(slots=True)
class Part:
    """One segment, its number among those of its name, and its action. ``code`` is the message's text."""

    segment: Segment
    number: int
    action: Action
    code: str

    @property
    def where(self) -> str:
        return values.nth(self.segment.id, self.number)


@dataclass(slots=True)
class Parts:
    """The parts of an SIU."""

    sch: Segment | None
    pv1: Segment | None
    tq1: Sequence[Segment]
    services: list[Part]
    resources: list[Part]
    places: list[Part]

    resource: Part | None
    """The first resource that is not removed, and the first place."""
    place: Part | None


@dataclass(slots=True)
class Order:
    """An ORC and its segments, up to the next ORC."""

    orc: Segment
    number: int
    obr: Segment | None = None
    tq1: list[Segment] = field(default_factory=list)
    notes: list[Segment] = field(default_factory=list)
    others: list[Segment] = field(default_factory=list)
    control: str = ""
    order_number: str | None = None
    step: WorkflowStep | None = None
    start: datetime | None = None
    end: datetime | None = None
    day_alone: DayAloneError | None = None

    @property
    def is_off(self) -> bool:
        return self.control in CANCELLING or self.step in ENDINGS

    def segments(self, name: bytes) -> Sequence[Segment]:
        """The segments of this name that belong to the order."""
        match name:
            case b"ORC":
                return (self.orc,)
            case b"OBR":
                return () if self.obr is None else (self.obr,)
            case b"TQ1":
                return self.tq1
            case b"NTE":
                return self.notes
        return [one for one in self.others if one.id_bytes == name]
