"""The outcome of an operator's replay."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class ReplayOutcome(StrEnum):
    """The outcome of a kept message."""

    PROCESSED = "processed"
    FAILED = "failed"
    UNREADABLE = "still unreadable"
    NOT_WAITING = "not waiting"
    """There is no such message, or it does not wait."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """The outcome of one replay, and the reason where the message was not processed."""

    outcome: ReplayOutcome
    reason: str | None = None

    @property
    def is_processed(self) -> bool:
        return self.outcome is ReplayOutcome.PROCESSED

    def detail(self) -> dict[str, str]:
        """The text for the audit."""
        return {"outcome": str(self.outcome), **({} if self.reason is None else {"reason": self.reason})}

    def __str__(self) -> str:
        return str(self.outcome) if self.reason is None else f"{self.outcome}: {self.reason}"


PROCESSED: Final = Replayed(ReplayOutcome.PROCESSED)
