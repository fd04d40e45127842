"""The W3C trace context that rides in outbox rows, deliveries and Kafka headers."""

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_PROPAGATOR = TraceContextTextMapPropagator()


def current_traceparent() -> str | None:
    """The current span as a ``traceparent``; None outside of a trace."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def context_of(traceparent: str | None) -> Context | None:
    """The context that a stored ``traceparent`` stands for, to start a span in; None for none."""
    return _PROPAGATOR.extract({"traceparent": traceparent}) if traceparent else None
