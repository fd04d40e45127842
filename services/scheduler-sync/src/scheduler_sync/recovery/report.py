"""The report of a recovery, in counts and lines: opaque ids only."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from scheduler_sync.domain.reconciliation import Judgement

SHOWN: Final = 50


@dataclass(slots=True)
class Report:
    """Filled during the recovery. ``open_differences`` are for a person."""

    began_at: datetime | None = None
    last_moment: datetime | None = None
    records: int = 0
    unreadable: int = 0
    patients: int = 0
    links: int = 0
    renumbered: int = 0
    floor: int | None = None
    appointments: int = 0
    foreign: int = 0
    from_omegaai: int = 0
    judged: Counter[Judgement] = field(default_factory=Counter)
    told_powerserver: int = 0
    deliveries_let_go: int = 0
    open_differences: list[str] = field(default_factory=list)

    @property
    def has_found_something(self) -> bool:
        healed = self.judged.total() - self.judged[Judgement.EQUAL]
        return bool(self.patients or self.links or self.renumbered or self.from_omegaai or healed)

    def counts(self) -> dict[str, object]:
        """For the audit."""
        return {
            "records": self.records,
            "patients": self.patients,
            "links": self.links,
            "appointments": self.appointments,
            **{str(judgement): self.judged[judgement] for judgement in Judgement},
            "open": len(self.open_differences),
        }

    def lines(self) -> Iterator[str]:
        """The report in sentences, from the first reading to the person's last task."""
        until = "nothing" if self.last_moment is None else f"{self.last_moment:%Y-%m-%d %H:%M:%S} UTC"
        yield f"the store held                 {until}"
        yield f"records read from the topics   {self.records}, unreadable {self.unreadable}"
        yield f"patients rebuilt               {self.patients}"
        yield f"appointments rebuilt           {self.links} from the topics, {self.from_omegaai} from OmegaAI alone"
        yield f"events given a new revision    {self.renumbered}"
        if self.floor is not None:
            yield f"revisions begin at             {self.floor}: the topics do not reach back to the store's time"
        yield f"Appointments of ours compared  {self.appointments} of {self.appointments + self.foreign} in OmegaAI"
        for judgement in Judgement:
            yield f"  {judgement:<29}{self.judged[judgement]}"
        yield f"deliveries let go              {self.deliveries_let_go}: OmegaAI was compared instead"
        yield f"patients' acts told again      {self.told_powerserver}: PowerServer does nothing where it shows them"
        for line in self.open_differences[:SHOWN]:
            yield f"  open: {line}"
        if len(self.open_differences) > SHOWN:
            yield f"  open: and {len(self.open_differences) - SHOWN} more"
        if self.last_moment is not None and self.began_at is not None:
            yield (
                "What PowerServer sent since then, and no event came of, nobody here can know. Have it send again what "
                f"it sent between {until} and {self.began_at:%Y-%m-%d %H:%M:%S} UTC; what is known changes nothing."
            )
        else:
            yield "What PowerServer sent, and no event came of, nobody here can know: have it send its open orders."
