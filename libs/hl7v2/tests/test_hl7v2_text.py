"""Text for people, the parts of fields, and batches."""

import pytest

from hl7v2 import Hl7Error, Message, readable_part, unwrapped
from hl7v2.charsets import repaired

HEAD = rb"MSH|^~\&|RAMSOFT|FAC01|||20261201||SIU^S12|C1|P|2.3.1" + b"\r"


def note(value: bytes) -> Message:
    return Message.parse(HEAD + b"NTE|1||" + value + b"\r")


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (rb"a\.br\b", "a b"), (rb"\H\bold\N\ b", "bold b"), (rb"a\.sp+3\b\.in-4\c", "a bc"), (rb"\.ce\a\.BR\b", " a b"),
        (rb"a\E\H\E\b", r"a\H\b"), (rb"a\T\b\X41\c", "a&bAc"), (rb"C:\temp\file", r"C:\temp\file"),
        (rb"a\Zsite1\b", "ab"),
        (rb"a\C2842\b\M242A\c", "abc"), (rb"a\b", r"a\b"), (rb"\.br\ ", "  "), (rb"\.fi\\.nf\a", "a"),
    ],
)  # fmt: skip
def test_what_lays_text_out_is_no_part_of_it(written: bytes, text: str) -> None:
    segment = note(written).segments("NTE")[0]
    assert segment.parts(3, as_text=True) == [text]
    assert segment.to_bytes() == b"NTE|1||" + written + b"\r"


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        (b"", []), (b"a^b", ["a", "b"]), (b"a&x^b", ["a", "b"]), (b'""', ['""']), (b'a^""^', ["a", '""', ""]),
        (b"a^b~c", ["a", "b"]), (b"~c", []), (rb"a\S\b^c", ["a^b", "c"]),
    ],
)  # fmt: skip
def test_parts_are_the_components_of_the_first_repetition(written: bytes, parts: list[str]) -> None:
    assert note(written).segments("NTE")[0].parts(3) == parts


def test_repetitions_keep_their_places() -> None:
    assert note(b"~a^b~~c").segments("NTE")[0].repetitions(3) == [[], ["a", "b"], [], ["c"]]


def test_a_shape_tells_which_fields_are_filled() -> None:
    message = note(b"a")
    header, segment = message.segments()
    assert (segment.filled(), header.filled()) == ((1, 3), (2, 3, 4, 7, 9, 10, 11, 12))
    assert segment.shape() == note(b"other").segments("NTE")[0].shape() != note(b"").segments("NTE")[0].shape()


@pytest.mark.parametrize(
    ("charset", "text", "mended"),
    [
        ("8859/1", "O\x92Q\x80", "O’Q€"), ("8859/2", "\x8aimek", "Šimek"), ("8859/5", "\x80", "Ђ"),
        ("ASCII", "a\r\nb\tc", "a  b c"),
        ("8859/1", "a\x81\x00\x07b", "ab"), ("UNICODE UTF-8", "م‌ن\xa0é", "م‌ن\xa0é"),
    ],
)  # fmt: skip
def test_control_characters_are_what_windows_means_by_them_or_none(charset: str, text: str, mended: str) -> None:
    assert repaired(text, charset) == mended


def test_a_batch_of_one_is_its_message() -> None:
    assert unwrapped(HEAD) is HEAD
    assert unwrapped(b"\xef\xbb\xbfFHS|^~\\&\rBHS|^~\\&\r" + HEAD + b"PID|1\rBTS|1\rFTS|1\r") == HEAD + b"PID|1\r"


@pytest.mark.parametrize(
    ("before", "number"),
    [
        (b"BHS|^~\\&|A|B|||||||B1\r", "B1"),
        (b"FHS|^~\\&|A|B|||||||F1\rBHS|^~\\&|A|B\r", "F1"),
        (b"BHS|^~\\&|A|B\r", "C1"),
    ],
)
def test_a_batch_of_several_is_refused_under_a_number_that_its_sender_knows(before: bytes, number: str) -> None:
    with pytest.raises(Hl7Error) as caught:
        unwrapped(before + HEAD + HEAD + b"BTS|2\r")
    assert readable_part(caught.value) is not None
    assert (readable_part(caught.value).control_id, readable_part(caught.value).get("MSH-3")) == (number, "A")


@pytest.mark.parametrize("data", [b"BHS|^~\\&|A|B|||||||B1\rBTS|0\r", b"BHS", b"BHS\r", b"FHS|||\r" + HEAD + HEAD])
def test_a_batch_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(Hl7Error):
        unwrapped(data)
