"""Preflight: every prerequisite of the guide, found or missing, what was seen and when, and where to set it."""

from scheduler_sync.preflight.here import MllpOut
from scheduler_sync.preflight.lines import Line, State
from scheduler_sync.preflight.run import Preflight, UnknownCheckError

__all__ = ["Line", "MllpOut", "Preflight", "State", "UnknownCheckError"]
