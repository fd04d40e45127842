"""What a service shows of itself: logs, traces, metrics; and what must not stand in them."""

from chassis.observe.masking import listed, shown, words_of
from chassis.observe.metrics import GaugeName, Metrics
from chassis.observe.redaction import blotted
from chassis.observe.tracing import current_traceparent

__all__ = [
    "GaugeName",
    "Metrics",
    "blotted",
    "current_traceparent",
    "listed",
    "shown",
    "words_of",
]
