"""Properties of any message and any bytes."""

import contextlib
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chassis.testing.depth import DEPTH
from hl7v2 import Hl7Error, Message, build_ack, parse_ack, readable_part

SAMPLES = [path.read_bytes() for path in sorted((Path(__file__).parent / "data").glob("*.hl7"))]
HEADER = b"MSH|^~\\&|A|B|C|D|2026||ADT^A08|1|P|2.5\r"

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
leaves = st.one_of(st.none(), texts, st.integers(0, 99999))
mutations = st.tuples(st.floats(0, 1), st.integers(0, 2), st.binary(max_size=6))
lines = st.lists(st.binary(max_size=60).filter(lambda b: not b.startswith(b"MSH")), max_size=8)


def exercise(data: bytes) -> None:
    """Reads a message in every way; only Hl7Error may come out."""
    try:
        message = Message.parse(data)
    except Hl7Error as error:
        if readable_part(error) is None:
            return
        message = readable_part(error)
    assert message.to_bytes() == data
    for segment in message.segments():
        for path in ("1", "3", "3[2].4.1", "5.1.2", "18", "999"):
            segment.get(path)
            segment.raw(path)
        segment.components("3")
        segment.count("3")
    repr(message)
    ack = build_ack(message, "AE", control_id="1", errors=[Hl7Error("101", "PID-3", "x").as_ack_error()])
    assert parse_ack(ack.to_bytes()).code == "AE"
    message.set("MSH-3", message.raw("MSH-3") and None)
    with contextlib.suppress(Hl7Error):
        assert Message.parse(message.to_bytes(), require_header=False).get("MSH-3") is None


@given(st.binary(max_size=300))
@example(b"MSH")
@example(b"MSH\r")
@example(b"\xff\xfe")
@example(b"MSH|^~\\&|\x1c\r")
def test_any_bytes_are_a_message_or_a_typed_refusal(data: bytes):
    exercise(data)


@given(st.binary(max_size=120), lines)
def test_any_bytes_after_a_header(tail: bytes, more: list[bytes]):
    exercise(HEADER + tail)
    exercise(b"MSH|^~\\&" + tail + b"\r".join(more))
    exercise(HEADER + b"\r".join(more))


@given(
    st.sampled_from(SAMPLES), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 2), st.binary(max_size=6)), max_size=8)
)
@settings(max_examples=DEPTH.examples(200))
def test_mutated_samples(sample: bytes, changes: list[tuple[float, int, bytes]]):
    data = bytearray(sample)
    for where, removed, inserted in changes:
        at = int(where * len(data))
        data[at : at + removed] = inserted
    exercise(bytes(data))


@given(st.sampled_from(SAMPLES), st.sampled_from(["utf-16-le", "utf-16-be", "utf-16"]), st.data())
def test_mutated_utf_16(sample: bytes, codec: str, data: st.DataObject):
    wire = bytearray(sample.decode("utf-8-sig").encode(codec))
    exercise(bytes(wire))
    at = data.draw(st.integers(0, len(wire) - 1))
    wire[at : at + 1] = data.draw(st.binary(max_size=3))
    exercise(bytes(wire))


@given(texts, st.sampled_from(["PID-5", "PID-5.2", "PID-5[3].2.4", "MSH-3", "ZZZ-1"]))
def test_what_is_set_is_got_and_nothing_else_changes(value: str, path: str):
    message = Message.new(
        version="2.5", type="ADT^A08", control_id="1", sending=("A", "B"), receiving=("C", "D"),
        at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    message.add("PID", {3: "4711", 6: "x"})
    message.add("ZZZ")
    message.set(path, value)
    again = Message.parse(message.to_bytes())
    assert again.get(path) == (value or None)
    assert [s.id for s in again.segments()] == ["MSH", "PID", "ZZZ"]
    assert (again.get("PID-3"), again.get("PID-6"), again.control_id) == ("4711", "x", "1")
    assert again.to_bytes() == message.to_bytes()


@given(st.lists(st.lists(leaves, min_size=1, max_size=4), min_size=1, max_size=3))
def test_built_fields_are_read_back(components: list[list[str | int | None]]):
    message = Message.parse(HEADER.replace(b"2.5\r", b"2.5||||||UNICODE UTF-8\r"))
    message.add("ZZZ", {2: components, 3: "end"})
    again = Message.parse(message.to_bytes())
    for c, subcomponents in enumerate(components, start=1):
        for s, value in enumerate(subcomponents, start=1):
            wanted = None if value is None or value == "" else str(value)
            assert again.get(f"ZZZ-2.{c}.{s}") == wanted
    assert again.get("ZZZ-3") == "end"


@pytest.mark.parametrize(
    "tail",
    [
        b"\r" * 8_000_000,
        b"A|\n" * 3_000_000,
        b"x\n" * 150_000,
        b"OBX|" + b"|" * 8_000_000,
        b"OBX|1|||^^" + b"~" * 8_000_000,
        b"OBX|1|||" + b"^" * 8_000_000,
        b"OBX|1|||" + b"&" * 8_000_000,
        b"OBX|1|||" + b"\\" * 1_000_000,
        b"OBX|1|||" + b"\\X41\\" * 500_000,
        b"OBX|1|||" + b"\\F" * 500_000,
        b"OBX|1|||" + b"A" * 8_000_000,
    ],
    ids=lambda tail: repr(tail[:12]),
)
def test_memory_is_bounded_by_the_size_of_the_message(tail: bytes):
    data = HEADER + tail
    tracemalloc.start()
    try:
        with contextlib.suppress(Hl7Error):
            message = Message.parse(data)
            for path in ("OBX-1", "OBX-4", "OBX-4[2].2.2", "OBX-4.3", "OBX-5", "OBX-999", "NTE-3"):
                message.get(path)
            message.set("MSH-3", "x")
            message.to_bytes()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * len(data) + 2**25
