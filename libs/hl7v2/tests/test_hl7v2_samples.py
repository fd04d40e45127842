"""Messages from elsewhere: they come back byte for byte, and two other codecs read the same values out of them."""

import contextlib
import re
from pathlib import Path

import hl7
import hl7apy.parser
import pytest

from hl7v2 import NULL, Hl7Error, Message

SAMPLES = sorted((Path(__file__).parent / "data").glob("*.hl7"))
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def on_the_wire(data: bytes) -> bytes:
    return re.sub(rb"\r?\n", b"\r", data.removeprefix(BYTE_ORDER_MARK)).rstrip(b"\r") + b"\r"


def trimmed(value: str | None) -> str | None:
    """The other codecs drop trailing blanks, this one keeps them."""
    return (value or "").rstrip() or None


@pytest.fixture(params=SAMPLES, ids=lambda path: path.stem)
def sample(request: pytest.FixtureRequest) -> bytes:
    return request.param.read_bytes()


def test_all_samples_are_here():
    assert len(SAMPLES) == 31


def test_unmodified_sample_comes_back_byte_for_byte(sample: bytes):
    assert Message.parse(sample).to_bytes() == sample


def test_sample_written_from_its_parts_is_the_same_too(sample: bytes):
    message = Message.parse(sample)
    for segment in message.segments():
        segment.get("1")
    message.set("MSH-10", message.control_id)
    assert message.to_bytes() == sample


def test_change_touches_one_field_only(sample: bytes):
    message = Message.parse(sample)
    before = message.control_id.encode()
    message.set("MSH-10", "CHANGED-0001")
    assert message.to_bytes() == sample.replace(b"|" + before, b"|CHANGED-0001", 1)


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n"])
def test_every_line_end_gives_the_same_segments(sample: bytes, end: bytes):
    wire = on_the_wire(sample)
    message = Message.parse(wire.replace(b"\r", end))
    assert message.to_bytes() == wire.replace(b"\r", end)
    assert [s.id for s in message.segments()] == [s.id for s in Message.parse(wire).segments()]
    assert message.get("PID-5.1") == Message.parse(wire).get("PID-5.1")


def test_python_hl7_reads_the_same_fields(sample: bytes):
    wire = on_the_wire(sample)
    theirs = hl7.parse(wire.decode("utf-8"))
    ours = Message.parse(wire)
    seen: dict[str, int] = {}
    compared = 0
    for segment in theirs:
        name = str(segment[0])
        seen[name] = seen.get(name, 0) + 1
        if name == "MSH":
            continue
        for number in range(1, len(segment)):
            field = segment(number)
            for at, repetition in enumerate(field, start=1):
                parts = repetition if isinstance(repetition, hl7.Repetition) else [repetition]
                for component, part in enumerate(parts, start=1):
                    first = part[0] if isinstance(part, hl7.Component) else part
                    path = f"{name}[{seen[name]}]-{number}[{at}].{component}"
                    if first == '""':
                        assert ours.get(path) is NULL, path
                    elif "\\" not in str(first):
                        assert trimmed(ours.get(path)) == trimmed(str(first)), path
                    compared += 1
    assert compared > 20


def test_hl7apy_reads_the_same_header_and_patient(sample: bytes):
    wire = on_the_wire(sample)
    ours = Message.parse(wire)
    lines = wire.decode("utf-8").split("\r")
    for name, fields in (("MSH", range(3, 20)), ("PID", range(1, 31))):
        line = next((line for line in lines if line.startswith(f"{name}|")), None)
        if line is None:
            continue
        theirs = hl7apy.parser.parse_segment(line, version="2.5")
        for number in fields:
            field = getattr(theirs, f"{name}_{number}", None)
            value = field[0].to_er7() if field else ""
            first = re.split(r"[\^&]", value)[0]
            if "\\" not in first and first != '""':
                assert trimmed(ours.get(f"{name}-{number}")) == trimmed(first), f"{name}-{number}"


@pytest.mark.parametrize("cut", range(0, 90, 3))
def test_truncated_sample_is_a_message_or_a_typed_refusal(sample: bytes, cut: int):
    with contextlib.suppress(Hl7Error):
        assert Message.parse(sample[:cut]).to_bytes() == sample[:cut]
