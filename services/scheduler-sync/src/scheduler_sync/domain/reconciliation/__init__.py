"""Compares links with what the two products show, and decides which side is right."""

from scheduler_sync.domain.reconciliation.comparing import (
    FIELDS,
    Kind,
    Seen,
    Settled,
    Shown,
    Side,
    differing,
    is_shown,
    may_tell_powerserver,
    status_there,
)
from scheduler_sync.domain.reconciliation.judging import (
    STATE_OF_UNANNOUNCED,
    Announced,
    Judgement,
    Remote,
    adopted,
    judge,
    noted,
)
from scheduler_sync.domain.reconciliation.planning import Days, Horizon, asks, may_be_cut

__all__ = [
    "FIELDS",
    "STATE_OF_UNANNOUNCED",
    "Announced",
    "Days",
    "Horizon",
    "Judgement",
    "Kind",
    "Remote",
    "Seen",
    "Settled",
    "Shown",
    "Side",
    "adopted",
    "asks",
    "differing",
    "is_shown",
    "judge",
    "may_be_cut",
    "may_tell_powerserver",
    "noted",
    "status_there",
]
