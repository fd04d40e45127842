"""The topics: one per event, with several partitions from the first day.

A key's partition depends on the number of partitions: changing it would break the order of an aggregate's events.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

_DAY_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as it is created: ``name`` follows the installation's prefix, ``retention_ms`` is in milliseconds."""

    name: str
    producer: str
    partitions: int = 6
    retention_ms: int = 30 * _DAY_MS
    cleanup_policy: Literal["delete", "compact"] = "delete"
    key: Literal["aggregate_id"] = "aggregate_id"


def _by_name(*topics: Topic) -> Mapping[str, Topic]:
    return MappingProxyType({topic.name: topic for topic in topics})


TOPICS: Mapping[str, Topic] = _by_name(
    Topic("patient.registered", producer="scheduler-sync"),
    Topic("patient.updated", producer="scheduler-sync"),
    Topic("patient.merged", producer="scheduler-sync"),
    Topic("appointment.scheduled", producer="scheduler-sync"),
    Topic("appointment.requested", producer="scheduler-sync"),
    Topic("appointment.confirmed", producer="scheduler-sync"),
    Topic("appointment.rescheduled", producer="scheduler-sync"),
    Topic("appointment.progressed", producer="scheduler-sync"),
    Topic("appointment.cancelled", producer="scheduler-sync"),
    Topic("resource.linked", producer="scheduler-sync"),
    Topic("resource.drifted", producer="scheduler-sync"),
)
