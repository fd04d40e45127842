"""What a service shows of itself: logs, traces and metrics, without patient data."""

from chassis.observe import meters
from chassis.observe.declarations import Counter, Declared, Gauge, Histogram, declared_in
from chassis.observe.masking import listed, shown, words_of
from chassis.observe.metrics import Metrics
from chassis.observe.redaction import blotted
from chassis.observe.tracing import current_traceparent

__all__ = [
    "Counter",
    "Declared",
    "Gauge",
    "Histogram",
    "Metrics",
    "blotted",
    "current_traceparent",
    "declared_in",
    "listed",
    "meters",
    "shown",
    "words_of",
]
