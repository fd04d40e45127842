"""A NUL sent as an escape sequence is found exactly where reading a value would give a NUL."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hl7v2 import Hl7Error, Message, readable_part
from hl7v2.message import MAX_HEADER_BYTES

_PARTS = ["\\", "X", "00", "0", "41", "0041", "H", ".br", "E", "|", "^", "&", "~", " ", "x", "\r", "NTE|1|"]


def parsed(text: str, encoding: str = "^~\\&", codec: str = "utf-8") -> Message:
    return Message.parse(f"MSH|{encoding}|A|B|C|D|2026||SIU^S12|1|P|2.3.1\rNTE|1|{text}\r".encode(codec))


def values(message: Message) -> list[str | None]:
    """Every value of the message, each read as a program reads it."""
    found: list[str | None] = []
    for segment in message.segments()[1:]:
        for field in range(1, 30):
            for repetition in range(1, max(segment.count(str(field)), 1) + 1):
                for component in range(1, 12):
                    found += segment.components(f"{field}[{repetition}].{component}")
                    found.append(segment.get(f"{field}[{repetition}].{component}"))
    return found


@given(st.lists(st.sampled_from(_PARTS), max_size=12).map("".join))
@example("\\X00\\")
@example("\\H\\X00\\")
@example("a\\b|c\\X00\\")
@example("\\X0\\00\\")
@example("\\X4100\\")
@example("\\X410041\\")
@example("\\X 00\\")
def test_it_is_found_where_a_value_has_one(text: str) -> None:
    message = parsed(text)
    assert message.holds_escaped_nul == any("\x00" in value for value in values(parsed(text)) if value)


@pytest.mark.parametrize(
    ("text", "encoding", "is_there"),
    [
        ("!X00!", "^~!&", True),
        ("\\X00\\", "^~!&", False),
        ("!X00!", "^~\\&", False),
        ("\\X00\\", "^~", False),
        ("!X41!!X00!", "^~!&", True),
        ("!X410!", "^~!&", False),
    ],
)
def test_the_escape_character_is_the_messages_own(text: str, encoding: str, is_there: bool) -> None:  # noqa: FBT001
    message = parsed(text, encoding)
    assert message.holds_escaped_nul is is_there
    value = message.get("NTE-2") or ""
    assert ("\x00" in value) is is_there


@pytest.mark.parametrize("codec", ["utf-16", "utf-8"])
def test_it_is_found_in_every_form_of_unicode(codec: str) -> None:
    assert parsed("\\X00\\", codec=codec).holds_escaped_nul
    assert not parsed("\\X01\\", codec=codec).holds_escaped_nul


def test_a_header_beyond_all_measure_is_refused_with_what_addresses_the_answer() -> None:
    raw = b"MSH|^~\\&|RAMSOFT|FAC01|SUITE|N|2026||SIU^S12|" + b"9" * MAX_HEADER_BYTES + b"|P|2.3.1\rNTE|1\r"
    with pytest.raises(Hl7Error) as caught:
        Message.parse(raw)
    assert (caught.value.code, caught.value.location) == ("104", "MSH")
    assert readable_part(caught.value) is not None
    assert readable_part(caught.value).get("MSH-3") == "RAMSOFT"
    assert len(readable_part(caught.value).control_id) < 5000


def test_extent_counts_segments_and_their_bytes() -> None:
    message = parsed("x\rNTE|2|yy\rZDS|1")
    assert message.extent("NTE") == (2, len(b"NTE|1|x\r") + len(b"NTE|2|yy\r"))
    assert message.extent("NTE", "ZDS", "PID")[0] == 3
    assert message.extent("PID") == (0, 0)
