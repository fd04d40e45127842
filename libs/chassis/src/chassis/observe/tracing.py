"""Spans, and the W3C trace context in outbox rows, deliveries and Kafka headers.

A trace begins where an input arrives and continues in its effects: rows keep the ``traceparent`` of the span in which
they were staged, and the span of later work on the row begins there. Names and attributes are types, topics and opaque
ids. An exception is recorded by its type alone, because its text may hold patient data. Most traces are not sampled:
they get no spans here, and their ``traceparent`` is passed on unchanged.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar, Token

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

__all__ = [
    "SpanKind", "begin", "carried", "context_of", "current_traceparent", "failed", "inside", "is_on", "span", "use",
]  # fmt: skip

_PROPAGATOR = TraceContextTextMapPropagator()
_NOT_SAMPLED = re.compile("00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f][02468ace]")
"""A valid ``traceparent`` of an unsampled trace (W3C Trace Context, 3.2.2.5: bit 0 of the flags)."""
_carried: ContextVar[str | None] = ContextVar("carried", default=None)
"""The ``traceparent`` of the present work, where the trace is not sampled."""
_tracer: Tracer | None = None
"""None where no provider was set up: then no span costs anything. OpenTelemetry itself would read the environment."""


def use(provider: TracerProvider) -> None:
    """Sets ``provider`` for the process: from now on spans are made."""
    global _tracer  # noqa: PLW0603 (as OpenTelemetry's provider, one for the process)
    trace.set_tracer_provider(provider)
    _tracer = provider.get_tracer("chassis")


def is_on() -> bool:
    """Whether spans are made. For hot paths: asking is cheaper than building a span's name."""
    return _tracer is not None


def current_traceparent() -> str | None:
    """The current span as a ``traceparent``; None outside of a trace."""
    if _tracer is None:
        return None
    if (unrecorded := _carried.get()) is not None:
        return unrecorded
    return _traceparent_of(trace.get_current_span())


def _traceparent_of(span: Span) -> str | None:
    context = span.get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def context_of(traceparent: str | None) -> Context | None:
    """The context of a stored ``traceparent``, to start a span in; None for none."""
    return _PROPAGATOR.extract({"traceparent": traceparent}) if traceparent else None


def begin(name: str, kind: SpanKind, attributes: Mapping[str, str | int]) -> Span | None:
    """A root span for an input that has just arrived; the caller ends it. None where tracing is off."""
    return None if _tracer is None else _tracer.start_span(name, Context(), kind, attributes)


def inside(span: Span | None) -> AbstractContextManager[None]:
    """Makes an open span the current one; its owner ends it."""
    if span is None:
        return nullcontext()
    return _in_use(span, end_on_exit=False) if span.is_recording() else _Carried(_traceparent_of(span))


def carried(traceparent: str | None) -> AbstractContextManager[None] | None:
    """Runs work whose ``traceparent`` is not sampled, and passes it on to the effects.

    None where the trace is sampled, or where there is no ``traceparent``. For hot paths, as ``is_on``: ``span`` asks by
    itself.
    """
    return _Carried(traceparent) if traceparent and _NOT_SAMPLED.fullmatch(traceparent) else None


class _Carried(AbstractContextManager[None]):
    __slots__ = ("_token", "_traceparent")

    def __init__(self, traceparent: str | None) -> None:
        self._traceparent = traceparent
        self._token: Token[str | None] | None = None

    def __enter__(self) -> None:
        self._token = _carried.set(self._traceparent)

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _carried.reset(self._token)


@contextmanager
def _in_use(span: Span, *, end_on_exit: bool) -> Iterator[None]:
    with (
        _Carried(None),
        trace.use_span(span, end_on_exit=end_on_exit, record_exception=False, set_status_on_exception=False),
    ):
        yield


def span(
    name: str, kind: SpanKind, attributes: Mapping[str, str | int], *, traceparent: str | None = None
) -> AbstractContextManager[None]:
    """A span around work on a row or record; a root span where that has no ``traceparent``."""
    if _tracer is None:
        return nullcontext()
    if (unrecorded := carried(traceparent)) is not None:
        return unrecorded
    started = _tracer.start_span(name, context=context_of(traceparent) or Context(), kind=kind, attributes=attributes)
    return _recorded(started)


@contextmanager
def _recorded(started: Span) -> Iterator[None]:
    with _in_use(started, end_on_exit=True):
        try:
            yield
        except BaseException as error:
            failed(started, error)
            raise


def failed(span: Span | None, error: BaseException) -> None:
    """Marks a span as failed, with the error's type."""
    if span is not None:
        span.set_status(StatusCode.ERROR, type(error).__name__)
