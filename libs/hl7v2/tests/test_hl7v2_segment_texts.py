"""A plain segment is split into texts once; its values are those of a segment that is split field by field."""

import random

import pytest

from hl7v2 import Hl7Error, Message, Segment

_PIECES = ("a", "Ü", "|", "|", "^", "^", "~", "\\", "&", '""', "\\T\\", " ")
_PLAIN = ("a", "b", "Ü", "|", "|", "^", "^", '""', " ")


def _field_by_field(message: bytes, number: int) -> Segment:
    """The segment with an escape in a field of its own at the end, so that no field of it is read as a text."""
    return Message.parse(message[:-1] + b"|\\T\\\r").segments()[number]


@pytest.mark.parametrize("charset", ["UNICODE UTF-8", "8859/1"])
@pytest.mark.parametrize("pieces", [_PIECES, _PLAIN])
def test_a_field_has_the_same_parts_either_way(charset: str, pieces: tuple[str, ...]) -> None:
    chance = random.Random(f"{charset}{pieces}")
    for _ in range(150):
        body = "".join(chance.choice(pieces) for _ in range(40))
        raw = f"MSH|^~\\&|A|B^C|||20300101||SIU^S12|1|P|2.5||||||{charset}\rPID|{body}\r"
        encoded = raw.encode("utf-8" if charset.startswith("UNICODE") else "latin-1")
        segment, other = Message.parse(encoded).segments()[1], _field_by_field(encoded, 1)
        for field in range(1, body.count("|") + 2):
            for as_text in (False, True):
                assert segment.parts(field, as_text=as_text) == other.parts(field, as_text=as_text)
                assert segment.repetitions(field, as_text=as_text) == other.repetitions(field, as_text=as_text)
            assert segment.shape() == other.shape()[:-1]
            parts = segment.parts(field)
            for number in (1, 2, 3):
                assert segment.part(field, number) == (parts[number - 1] if number <= len(parts) else "")
            for path in ("", "[1]", "[2]", ".1", ".2", ".3", "[1].2", "[2].1", ".1.1", ".1.2", ".2.1"):
                assert segment.get(f"{field}{path}") == other.get(f"{field}{path}"), (body, field, path)


@pytest.mark.parametrize("delimiters", ["^~\\&", "^", "^~", "^~\\&#", "@~\\&"])
def test_a_header_has_the_same_values_either_way(delimiters: str) -> None:
    component = delimiters[0]
    raw = f"MSH|{delimiters}|A{component}B||C|D|20300101||SIU{component}S12|1|P|2.5".encode()
    by_texts, by_fields = Message.parse(raw + b"\r"), Message.parse(raw + b"\r")
    by_fields.set("MSH-11", "P")  # of a segment with a field that was set, no field is read as a text
    segment, other = by_texts.segments()[0], by_fields.segments()[0]
    assert segment.shape() == other.shape()
    for field in range(1, 16):
        assert segment.parts(field if field > 2 else 3) == other.parts(field if field > 2 else 3)
        for path in ("", ".1", ".2", ".1.1", ".1.2", "[1]", "[2]"):
            assert segment.get(f"{field}{path}") == other.get(f"{field}{path}"), (field, path)


def test_a_value_that_is_set_is_read_after_its_segment_was() -> None:
    message = Message.parse(b"MSH|^~\\&|A|B|||20300101||SIU^S12|1|P|2.5\rPID|1||7^^^X\r")
    msh, pid = message.segments()
    assert (msh.part(9, 2), pid.part(3, 4)) == ("S12", "X")
    pid.set("3.4", "Y&Z")
    msh.set("9.2", "S13")
    assert (msh.part(9, 2), pid.part(3, 4), pid.parts(3)) == ("S13", "Y&Z", ["7", "", "", "Y&Z"])
    pid.fill({5: ["Roe", "Jane"]})
    assert pid.part(5, 2) == "Jane"
    pid.replace(b"PID|2||8\r")
    assert (pid.part(3, 1), pid.part(3, 4)) == ("8", "")


def test_a_message_tells_whether_a_null_may_stand_in_it() -> None:
    header = "MSH|^~\\&|A|B|||20300101||SIU^S12|1|P|2.5\r"
    for text, has_null in (("PID|1||7\r", False), ('PID|1||""\r', True)):
        for codec in ("utf-8", "utf-16"):
            assert Message.parse((header + text).encode(codec)).has_null() is has_null
    message = Message.parse(header.encode() + b"PID|1||7\r")
    message.segments()[1].set("3", '""')
    assert message.has_null()
    with pytest.raises(Hl7Error):
        Message.parse(b"PID|1")
