"""One trace from an input to the last partner: through the outbox, over Kafka, into another store, to a delivery."""

import asyncio
from collections.abc import Iterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from chassis_bench_domain import Behaviour, event, kafka_settings
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from test_chassis_batch import executor, item

from chassis.deliveries import Delivery, DeliveryWorker, Receipt
from chassis.errors import Permanent, Transient
from chassis.messaging import Consumer, Relay, Subscription, topics
from chassis.observe import Metrics, telemetry, tracing
from chassis.testing import eventually


@pytest.fixture
def spans(monkeypatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_tracer", provider.get_tracer("chassis"))
    yield exporter
    provider.shutdown()


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [one for one in spans.get_finished_spans() if one.name == name]


@asynccontextmanager
async def running(*loops):
    tasks = [asyncio.create_task(loop.run()) for loop in loops]
    try:
        yield
    finally:
        for loop in loops:
            await loop.stop()
        await asyncio.wait_for(asyncio.gather(*tasks), 60)


@pytest.mark.stack
async def test_a_trace_goes_on_through_outbox_kafka_and_delivery(store, kafka_bootstrap, topic_prefix, spans) -> None:
    await topics.ensure({"bootstrap_servers": kafka_bootstrap}, prefix=topic_prefix)
    kafka, metrics, behaviour = kafka_settings(kafka_bootstrap, topic_prefix), Metrics(), Behaviour()
    aggregate = uuid4()

    async def ends_here(_work, message) -> None:
        behaviour.seen.append((message.aggregate_id, message.revision))

    subscription = Subscription("test", ("appointment.scheduled",), behaviour.open_work, behaviour.prefetch, ends_here)

    async def send(_delivery: Delivery) -> Receipt:
        return Receipt({})

    entry = tracing.begin("entry", tracing.SpanKind.SERVER, {})
    assert entry is not None
    with tracing.inside(entry):
        arriving = item(event(aggregate, 1))
        arriving.record.headers.append(("traceparent", tracing.current_traceparent().encode()))
    await executor(store, Behaviour()).run([arriving])
    entry.end()
    loops = (
        Relay(store, kafka, metrics, poll_seconds=0.1),
        Consumer(store, kafka, subscription, metrics=metrics),
        DeliveryWorker(store, "partner", send, metrics=metrics),
    )
    async with running(*loops):

        async def all_done() -> bool:
            return len(named(spans, "process appointment.scheduled")) == 2 and bool(named(spans, "deliver partner"))

        await eventually(all_done, what="the message's way to its end")

    first, second = named(spans, "process appointment.scheduled")
    (delivered,) = named(spans, "deliver partner")
    root = entry.get_span_context()
    assert {one.context.trace_id for one in (first, second, delivered)} == {root.trace_id}
    assert first.parent.span_id == root.span_id
    assert [second.parent.span_id, delivered.parent.span_id] == [first.context.span_id] * 2
    assert named(spans, "publish outbox")[0].attributes["messaging.batch.message_count"] == 1


UNSAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-02"


def test_work_that_its_origin_did_not_sample_has_no_span_and_carries_the_trace_on(spans) -> None:
    with tracing.span("work", tracing.SpanKind.CONSUMER, {}, traceparent=UNSAMPLED):
        assert tracing.current_traceparent() == UNSAMPLED
        with tracing.span("its own", tracing.SpanKind.CONSUMER, {}):
            assert tracing.current_traceparent() not in (None, UNSAMPLED)
        assert tracing.current_traceparent() == UNSAMPLED
        assert telemetry._add_trace(None, "info", {}) == {"trace_id": UNSAMPLED[3:35], "span_id": UNSAMPLED[36:52]}
    assert tracing.current_traceparent() is None
    assert [one.name for one in spans.get_finished_spans()] == ["its own"]


@pytest.mark.parametrize(
    "traceparent",
    [
        UNSAMPLED[:-1] + "3",
        UNSAMPLED.upper(),
        UNSAMPLED + "-00",
        "ff" + UNSAMPLED[2:],
        "00-" + "0" * 32 + "-b7ad6b7169203331-00",
        "00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-00",
        "",
        None,
    ],
)
def test_what_is_sampled_or_no_traceparent_has_a_span(spans, traceparent) -> None:
    with tracing.span("work", tracing.SpanKind.CONSUMER, {}, traceparent=traceparent):
        assert tracing.current_traceparent() != traceparent
    assert len(named(spans, "work")) == 1


def test_a_root_that_is_not_sampled_is_carried_by_what_it_stages(monkeypatch) -> None:
    monkeypatch.setattr(tracing, "_tracer", TracerProvider(sampler=ALWAYS_OFF).get_tracer("chassis"))
    root = tracing.begin("entry", tracing.SpanKind.SERVER, {})
    assert root is not None
    with tracing.inside(root):
        staged = tracing.current_traceparent()
        assert tracing.carried(staged) is not None
    assert f"{root.get_span_context().trace_id:032x}" in staged
    assert tracing.current_traceparent() is None


@pytest.mark.parametrize("error", [Permanent("Roe^Jane"), Transient("Roe^Jane"), ValueError("Roe^Jane")])
def test_a_failed_span_names_the_error_and_nothing_of_its_text(spans, error) -> None:
    with pytest.raises(type(error)), tracing.span("work", tracing.SpanKind.CONSUMER, {"id": "1"}):
        raise error
    (span,) = named(spans, "work")
    assert (span.status.is_ok, span.status.description) == (False, type(error).__name__)
    assert "Roe" not in span.to_json()


def test_nothing_is_begun_where_nothing_is_traced() -> None:
    assert tracing.begin("entry", tracing.SpanKind.SERVER, {}) is None
    with tracing.span("work", tracing.SpanKind.CONSUMER, {}), tracing.inside(None):
        assert tracing.current_traceparent() is None
