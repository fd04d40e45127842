"""Character sets: what MSH-18 declares, and what the bytes really are."""

from datetime import UTC, datetime

import pytest

from hl7v2 import Hl7Error, Message

NAMES = {
    "ASCII": ("ascii", "Roe"),
    "8859/1": ("latin-1", "Müßé"),
    "8859/2": ("iso8859-2", "Łuczyński Ęż"),
    "8859/5": ("iso8859-5", "Татьяна"),
    "8859/6": ("iso8859-6", "محمد"),
    "8859/9": ("iso8859-9", "Şahin Ğ İ"),
    "8859/15": ("iso8859-15", "Œuvre €"),
    "UNICODE UTF-8": ("utf-8", "Ünï łß 漢字 🏥"),
    "UNICODE UTF-16": ("utf-16-be", "Ünï 漢字 🏥"),
    "GB 18030-2000": ("gb18030", "漢字～｜"),
    "BIG-5": ("big5", "許功蓋"),
    "KS X 1001": ("euc_kr", "김철수"),
}


def text_of(name: str, declared: str) -> str:
    return (
        f"MSH|^~\\&|A|B|C|D|2026||ADT^A08|1|P|2.5.1||||||{declared}\rPID|1||4711||{name}^Jane\rNTE|1||a\\T\\b {name}\r"
    )


@pytest.mark.parametrize("declared", NAMES)
def test_declared_character_set_is_read_and_written(declared: str):
    codec, name = NAMES[declared]
    data = text_of(name, declared).encode(codec)
    message = Message.parse(data)
    assert message.to_bytes() == data
    assert message.charset == declared
    assert message.get("PID-5") == name
    assert message.get("NTE-3") == f"a&b {name}"
    message.set("PID-5.2", name[::-1])
    assert message.to_bytes() == text_of(name, declared).replace("Jane", name[::-1]).encode(codec)


@pytest.mark.parametrize("declared", NAMES)
def test_new_message_in_every_character_set(declared: str):
    name = NAMES[declared][1]
    message = Message.new(
        version="2.5.1", type="ADT^A08", control_id="1", sending=("A", "B"), receiving=("C", "D"),
        at=datetime(2026, 11, 25, tzinfo=UTC), charset=declared,
    )  # fmt: skip
    message.add("PID", {5: [name, "x|y"]})
    again = Message.parse(message.to_bytes())
    assert again.get("PID-5") == name
    assert again.get("PID-5.2") == "x|y"
    assert again.charset == declared
    assert again.to_bytes() == message.to_bytes()


@pytest.mark.parametrize(
    ("declared", "codec", "actual", "name"),
    [
        ("8859/1", "utf-8", "UNICODE UTF-8", "Müller"),
        ("8859/15", "utf-8", "UNICODE UTF-8", "é"),
        ("8859/2", "utf-8", "UNICODE UTF-8", "Łuczyński"),
        ("8859/5", "utf-8", "UNICODE UTF-8", "Татьяна"),
        ("8859/5", "iso8859-5", "8859/5", "ТА"),
        ("8859/2", "iso8859-2", "8859/2", "CIĘŻKI"),
        ("UNICODE UTF-8", "latin-1", "8859/1", "Müller"),
        ("ASCII", "utf-8", "UNICODE UTF-8", "Müller"),
        ("ASCII", "latin-1", "8859/1", "Müller"),
        ("", "utf-8", "UNICODE UTF-8", "Müller"),
        ("", "latin-1", "8859/1", "Müller"),
        ("UNICODE UTF-16", "utf-8", "UNICODE UTF-8", "Müller"),
        ("UNICODE", "utf-16-le", "UNICODE UTF-16", "Müller"),
        ("8859/1", "utf-16-le", "UNICODE UTF-16", "Müller"),
        ("KLINGON", "utf-8", "UNICODE UTF-8", "Müller"),
        ("UTF-8", "utf-8", "UNICODE UTF-8", "Müller"),
        ("ISO-8859-1", "latin-1", "8859/1", "Müller"),
        ("ISO8859-5", "iso8859-5", "8859/5", "Татьяна"),
        ("ISO_IR 100", "latin-1", "8859/1", "Müller"),
        ("8859/1~UNICODE UTF-8", "latin-1", "8859/1", "Müller"),
    ],
)
def test_what_is_really_there_wins(declared: str, codec: str, actual: str, name: str):
    data = text_of(name, declared).encode(codec)
    message = Message.parse(data)
    assert message.charset == actual
    assert message.get("PID-5") == name
    assert message.to_bytes() == data


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("mark", ["\ufeff", ""])
def test_utf_16_with_and_without_its_mark(codec: str, mark: str):
    data = (mark + text_of("Ünï 🏥", "UNICODE UTF-16")).encode(codec)
    message = Message.parse(data)
    assert message.get("PID-5") == "Ünï 🏥"
    message.set("PID-5.2", "ł")
    assert message.to_bytes() == data.decode(codec).replace("Jane", "ł").encode(codec)


@pytest.mark.parametrize("data", [b"\xff\xfeM\x00S", "\ufeffMSH|^~\\&|".encode("utf-16-le") + b"\x00\xd8\x01\x00"])
def test_broken_utf_16_is_refused(data: bytes):
    with pytest.raises(Hl7Error):
        Message.parse(data)


def test_field_in_another_character_set_spoils_no_other():
    data = text_of("Müller", "UNICODE UTF-8").encode() + "ZZZ|Österreich\r".encode("latin-1")
    data = data.replace(b"Jane", "Zoë".encode())
    message = Message.parse(data)
    assert message.to_bytes() == data
    assert message.get("ZZZ-1") == "Österreich"


def test_large_text_is_checked_in_pieces():
    name = "Müller" * 400_000
    message = Message.parse(text_of(name, "UNICODE UTF-8").encode())
    assert message.charset == "UNICODE UTF-8"
    assert message.get("PID-5") == name


def test_changing_msh_18_turns_the_whole_message():
    message = Message.parse(text_of("Müller", "8859/1").encode("latin-1"))
    held = message.segments("PID")[0]
    message.set("MSH-18", "UNICODE UTF-8")
    held.set("5.2", "Łucja")
    assert message.to_bytes() == text_of("Müller", "UNICODE UTF-8").replace("Jane", "Łucja").encode()
    message.set("MSH-18", "UNICODE UTF-16")
    assert message.to_bytes()[:2] == b"\xfe\xff"
    assert Message.parse(message.to_bytes()).get("PID-5.2") == "Łucja"
    assert Message.parse(message.to_bytes()).get("MSH-18") == "UNICODE UTF-16"


def test_changing_msh_18_to_what_cannot_hold_the_message_changes_nothing():
    data = text_of("Łucja", "UNICODE UTF-8").encode()
    message = Message.parse(data)
    with pytest.raises(Hl7Error):
        message.set("MSH-18", "8859/1")
    with pytest.raises(ValueError, match="0211"):
        message.set("MSH-18", "KLINGON")
    assert message.to_bytes() == data
