"""Spans of time on resources."""

from scheduler_sync.domain.slots.slot import Slot

__all__ = ["Slot"]
