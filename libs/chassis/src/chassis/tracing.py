"""Spans, and the W3C trace context that rides in outbox rows, deliveries and Kafka headers.

A trace begins where an input arrives and goes on in whatever the input causes: the rows keep the ``traceparent`` of the
span in which they were staged, and whoever works on a row starts its span there. Names and attributes are types,
topics and opaque ids; an exception is noted by its type alone, because its text may hold a patient's data.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

__all__ = ["SpanKind", "begin", "context_of", "current_traceparent", "failed", "inside", "span"]

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


def begin(name: str, kind: SpanKind, attributes: Mapping[str, str | int]) -> Span | None:
    """A root span for an input that has just arrived; the caller ends it. None where nothing is traced."""
    tracer = _tracer()
    return None if tracer is None else tracer.start_span(name, Context(), kind, attributes)


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
    tracer = _tracer()
    if tracer is None:
        yield
        return
    started = tracer.start_span(name, context=context_of(traceparent) or Context(), kind=kind, attributes=attributes)
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


def _tracer() -> Tracer | None:
    """None where no provider was set up: then nothing is spent on spans."""
    provider = trace.get_tracer_provider()
    return _tracer_of(provider) if isinstance(provider, TracerProvider) else None


@lru_cache(maxsize=1)
def _tracer_of(provider: TracerProvider) -> Tracer:
    return provider.get_tracer("chassis")
