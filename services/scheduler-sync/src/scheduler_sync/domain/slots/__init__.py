"""Spans of time on resources: the slots of appointments, and those that are free."""

from scheduler_sync.domain.slots.free import GRID_MINUTES, Busy, Length, busy_of, free_starts, is_free
from scheduler_sync.domain.slots.hours import Hours, Opening, openings_of
from scheduler_sync.domain.slots.slot import Slot

__all__ = [
    "GRID_MINUTES",
    "Busy",
    "Hours",
    "Length",
    "Opening",
    "Slot",
    "busy_of",
    "free_starts",
    "is_free",
    "openings_of",
]
