"""Decides which side is right where a link and OmegaAI's Appointment differ."""

from scheduler_sync.domain.reconciliation.judging import (
    STATE_OF_UNANNOUNCED,
    Announced,
    Judgement,
    Remote,
    adopted,
    judge,
    noted,
)

__all__ = ["STATE_OF_UNANNOUNCED", "Announced", "Judgement", "Remote", "adopted", "judge", "noted"]
