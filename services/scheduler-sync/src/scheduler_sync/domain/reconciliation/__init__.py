"""Decides which side is right where a link and OmegaAI's Appointment differ."""

from scheduler_sync.domain.reconciliation.judging import (
    STATE_OF_UNANNOUNCED,
    Announced,
    Judgement,
    Remote,
    judge,
    noted,
    taken_over,
)

__all__ = ["STATE_OF_UNANNOUNCED", "Announced", "Judgement", "Remote", "judge", "noted", "taken_over"]
