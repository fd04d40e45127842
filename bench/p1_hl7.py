"""P1: the HL7 codec against python-hl7's parse, over the samples in ``libs/hl7v2/tests/data``.

Both get the same messages as they come over MLLP (CR line ends, no byte-order mark): our codec as bytes, python-hl7 as
decoded text, which favours python-hl7. Each pair is measured back to back; the ratio is the median of the pairs'
ratios.
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hl7

from hl7v2 import Message

SAMPLES = Path(__file__).parents[1] / "libs" / "hl7v2" / "tests" / "data"
PAIRS = 7
SECONDS_PER_MEASUREMENT = 0.25

TYPICAL_FIELDS = (
    ("MSH", 3, 1), ("MSH", 4, 1), ("MSH", 9, 1), ("MSH", 9, 2), ("MSH", 10, 1), ("MSH", 12, 1),
    ("PID", 3, 1), ("PID", 3, 4), ("PID", 5, 1), ("PID", 5, 2), ("PID", 7, 1), ("PID", 8, 1),
)  # fmt: skip
PATHS = tuple(f"{segment}-{field}.{component}" for segment, field, component in TYPICAL_FIELDS)


def wire_messages() -> list[bytes]:
    """The samples as a partner would send them."""
    found = [path.read_bytes() for path in sorted(SAMPLES.glob("*.hl7"))]
    return [data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\r").replace(b"\n", b"\r") for data in found]


def parse_and_write(messages: list[bytes]) -> None:
    for data in messages:
        if Message.parse(data).to_bytes() != data:
            raise AssertionError("a message did not come back byte for byte")


def parse_and_read(messages: list[bytes]) -> None:
    for data in messages:
        message = Message.parse(data)
        for path in PATHS:
            message.get(path)


def parse_change_and_write(messages: list[bytes]) -> None:
    for data in messages:
        message = Message.parse(data)
        message.set("MSH-10", "CHANGED")
        message.to_bytes()


def python_hl7_parse(texts: list[str]) -> None:
    for text in texts:
        hl7.parse(text)


def python_hl7_parse_and_read(texts: list[str]) -> None:
    for text in texts:
        message = hl7.parse(text)
        for segment, field, component in TYPICAL_FIELDS:
            try:
                message.extract_field(segment, 1, field, 1, component)
            except (LookupError, hl7.HL7Exception):
                continue


def python_hl7_parse_change_and_write(texts: list[str]) -> None:
    for text in texts:
        message = hl7.parse(text)
        message.assign_field("CHANGED", "MSH", 1, 10)
        str(message)


def rows() -> list[dict[str, Any]]:
    """The rows of P1; ``ours`` and ``floor`` are messages per second."""
    messages = wire_messages()
    texts = [data.decode("utf-8") for data in messages]
    steps: tuple[tuple[str, Callable[[list[bytes]], None], Callable[[list[str]], None]], ...] = (
        ("parse + byte-exact write, against python-hl7's parse", parse_and_write, python_hl7_parse),
        ("parse + read 12 fields, against the same by python-hl7", parse_and_read, python_hl7_parse_and_read),
        ("parse + set MSH-10 + write, against the same", parse_change_and_write, python_hl7_parse_change_and_write),
    )
    return [
        _row(step, lambda ours=ours: ours(messages), lambda floor=floor: floor(texts), len(messages))
        for step, ours, floor in steps
    ]


def _row(step: str, ours: Callable[[], None], floor: Callable[[], None], count: int) -> dict[str, Any]:
    ours()
    floor()
    pairs = [(_rate(ours, count), _rate(floor, count)) for _ in range(PAIRS)]
    ratio = statistics.median(mine / theirs for mine, theirs in pairs)
    return {
        "id": "P1",
        "step": step,
        "ours": round(statistics.median(mine for mine, _ in pairs), 1),
        "floor": round(statistics.median(theirs for _, theirs in pairs), 1),
        "ratio": round(ratio, 2),
        "mark": 15.0,
        "met": ratio >= 15.0,
    }


def _rate(run: Callable[[], None], count: int) -> float:
    started = time.perf_counter()
    done = 0
    while (passed := time.perf_counter() - started) < SECONDS_PER_MEASUREMENT:
        run()
        done += count
    return done / passed


if __name__ == "__main__":
    print(json.dumps(rows(), indent=2))
