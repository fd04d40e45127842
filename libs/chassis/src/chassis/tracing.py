"""Spans, and the W3C trace context that rides in outbox rows, deliveries and Kafka headers.

A trace begins where an input arrives and goes on in whatever the input causes: the rows keep the ``traceparent`` of the
span in which they were staged, and whoever works on a row starts its span there. Names and attributes are types,
topics and opaque ids; an exception is noted by its type alone, because its text may hold a patient's data.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

__all__ = ["SpanKind", "begin", "context_of", "current_traceparent", "failed", "inside", "is_on", "span", "use"]

_PROPAGATOR = TraceContextTextMapPropagator()
_tracer: Tracer | None = None
"""None where no provider was set up: nothing is spent on spans then. OpenTelemetry itself would ask the environment."""


def use(provider: TracerProvider) -> None:
    """Makes ``provider`` the process's: spans begin to be made."""
    global _tracer  # noqa: PLW0603 (as OpenTelemetry's provider, one for the process)
    trace.set_tracer_provider(provider)
    _tracer = provider.get_tracer("chassis")


def is_on() -> bool:
    """Whether spans are made. For hot paths: asking is cheaper than naming a span that nobody makes."""
    return _tracer is not None


def current_traceparent() -> str | None:
    """The current span as a ``traceparent``; None outside of a trace."""
    if _tracer is None:
        return None
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def context_of(traceparent: str | None) -> Context | None:
    """The context that a stored ``traceparent`` stands for, to start a span in; None for none."""
    return _PROPAGATOR.extract({"traceparent": traceparent}) if traceparent else None


def begin(name: str, kind: SpanKind, attributes: Mapping[str, str | int]) -> Span | None:
    """A root span for an input that has just arrived; the caller ends it. None where nothing is traced."""
    return None if _tracer is None else _tracer.start_span(name, Context(), kind, attributes)


@contextmanager
def inside(span: Span | None) -> Iterator[None]:
    """Makes a span that is already open the current one; its owner ends it."""
    if span is None:
        yield
        return
    with trace.use_span(span, end_on_exit=False, record_exception=False, set_status_on_exception=False):
        yield


@contextmanager
def span(
    name: str, kind: SpanKind, attributes: Mapping[str, str | int], *, traceparent: str | None = None
) -> Iterator[None]:
    """A span around a piece of work that a row or record asked for; a root span where that has no ``traceparent``."""
    if _tracer is None:
        yield
        return
    started = _tracer.start_span(name, context=context_of(traceparent) or Context(), kind=kind, attributes=attributes)
    with trace.use_span(started, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield
        except BaseException as error:
            failed(started, error)
            raise


def failed(span: Span | None, error: BaseException) -> None:
    """Marks a span as failed, with the error's type."""
    if span is not None:
        span.set_status(StatusCode.ERROR, type(error).__name__)
