"""S8: a patient is planted in everything that can fail, and looked for in everything that an operator sees."""

import json
import subprocess
import sys
from uuid import UUID, uuid4

import pytest
from chassis_bench_domain import Behaviour, event
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import generate_latest
from test_chassis_batch import executor, item

from chassis import deliveries
from chassis.messaging import dead_letters
from chassis.observe import Metrics, meters
from chassis.observe.redaction import redact_text

CANARIES = ("Kanariová", "Wilhelmina", "MRN-777123", "wilhelmina@canary.example", "(416)555-9931", "19561103")
HL7 = (
    "PID|1||MRN-777123^^^NORTHSIDE||Kanariová^Wilhelmina||19561103|F|||||(416)555-9931^PRN^PH^wilhelmina@canary.example"
)


def found_in(text: str) -> list[str]:
    return [canary for canary in CANARIES if canary in text]


LOGS = """
import logging, sys, structlog
from chassis.observe import telemetry
from chassis.settings import TelemetrySettings
HL7 = sys.argv[1]
telemetry.configure("canary", TelemetrySettings(log_level="DEBUG"))
log = structlog.get_logger("ours")
log.warning("something", patient=HL7, raw=HL7.encode(), email="wilhelmina@canary.example", note=f"see {HL7}")
log.info("nested", detail={"name": "Kanariová", "list": [HL7, {"birth_date": "19561103"}]})
logging.getLogger("aiokafka.theirs").warning("bad record %r", HL7)
logging.getLogger("theirs").error("Mail to wilhelmina@canary.example, phone (416)555-9931 failed")
try:
    int(HL7)
except ValueError:
    log.exception("failed")
    logging.getLogger("theirs").exception("failed as well")
"""


def test_no_log_line_holds_a_patient_whoever_logs_it() -> None:
    done = subprocess.run([sys.executable, "-c", LOGS, HL7], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 6
    assert found_in(done.stdout + done.stderr) == []
    assert [line["exception"] for line in lines if "exception" in line] == ["ValueError", "ValueError"]
    assert {line["service"] for line in lines} == {"canary"}


@pytest.mark.parametrize("text", [HL7, "Kanariová^Wilhelmina^A", "a wilhelmina@canary.example b", "on 19561103"])
def test_texts_are_redacted(text) -> None:
    assert found_in(redact_text(text)) == []


def test_times_and_ids_stay_readable() -> None:
    looks_like_a_phone_number = UUID("e0365605-4844-43bf-82d7-db5ff744ee93")
    for identifier in (looks_like_a_phone_number, *(uuid4() for _ in range(2000))):
        text = f"link {identifier} at 2026-11-25T04:00:35Z took 12 ms on port 12575"
        assert redact_text(text) == text


@pytest.mark.parametrize(
    "number", ["(416)555-9931", "416-555-9931", "+1 416 555 9931", "+1-416-555-9931", "416.555.9931"]
)
def test_phone_numbers_do_not(number: str) -> None:
    assert "9931" not in redact_text(f"call {number}, or phone:{number}")


@pytest.mark.stack
async def test_nothing_that_an_operator_lists_or_measures_holds_a_patient(store) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    class Leaks(Behaviour):
        async def handle(self, work, message):
            await super().handle(work, message)
            raise LookupError(HL7)

    message = event(uuid4(), 1)
    with provider.get_tracer("t").start_as_current_span("batch"):
        await executor(store, Leaks()).run([item(message)])
    assert trace.get_current_span().get_span_context().is_valid is False
    letters = await dead_letters.list_dead_letters(store)
    assert letters[0].reason == "bug: LookupError"
    await store.pool.execute(
        "INSERT INTO deliveries (id, destination, key, kind, payload, idempotency_key, last_error)"
        " VALUES ($1, 'partner', $1, 'k', $2, 'i', 'bug: ValueError')",
        uuid4(),
        HL7.encode(),
    )
    metrics = Metrics()
    metrics.count(meters.REVISION_GAPS, type="x")
    shown = [
        str(letters),
        str(await deliveries.list_deliveries(store, state=None, destination=None, limit=9)),
        str([span.to_json() for span in exporter.get_finished_spans()]),
        generate_latest(metrics.registry).decode(),
    ]
    assert [found_in(text) for text in shown] == [[]] * 4
