"""A bookable device or room of a facility."""

from scheduler_sync.domain.resource.resource import Resource

__all__ = ["Resource"]
