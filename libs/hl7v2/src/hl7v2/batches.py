"""The batch protocol (HL7 chapter 2, 2.10.3): FHS and BHS before messages, BTS and FTS behind them."""

from typing import Final

from hl7v2.delimiters import delimiters
from hl7v2.errors import Hl7Error
from hl7v2.message import Message

_HEADERS: Final = (b"FHS", b"BHS")
_WRAPPERS: Final = (*_HEADERS, b"BTS", b"FTS")
_MARKS: Final = b"\xef\xbb\xbf\x0b \t\r\n"
"""Bytes that may stand before the first segment."""


def unwrapped(data: bytes) -> bytes:
    """``data``, or the one message that a batch holds.

    Raises Hl7Error for a batch of none or several messages. The error's ``part`` is a header to answer, under the
    batch's control id (BHS-11, else FHS-11) or the first message's MSH-10.
    """
    if not data.lstrip(_MARKS).startswith(_HEADERS):
        return data
    lines = data.lstrip(_MARKS).splitlines(keepends=True)
    inner = [line for line in lines if line[:3] not in _WRAPPERS]
    messages = sum(line[:3] == b"MSH" for line in inner)
    if messages == 1 and inner[0][:3] == b"MSH":
        return b"".join(inner)
    why = (
        "a batch of several messages is not accepted: send the messages one by one"
        if messages
        else "the batch is empty"
    )
    raise Hl7Error("200", "BHS", why, part=_header(lines))


def _header(lines: list[bytes]) -> Message | None:
    found = {line[:3]: line.rstrip(b"\r\n") for line in reversed(lines)}
    first = found.get(b"BHS") or found[b"FHS"]
    try:
        found_delimiters = delimiters(first[3:4], first.split(first[3:4], 2)[1])
    except (Hl7Error, IndexError, ValueError):
        return None
    split = found_delimiters.field
    fields = [*first.split(split), *[b""] * 12]
    header = [*found.get(b"MSH", b"").split(split), *[b""] * 12]
    file_id = [*found.get(b"FHS", b"").split(split), *[b""] * 12][10]
    number = fields[10] or file_id or header[9]
    answered = [b"MSH", *fields[1:7], b"", header[8] or b"BAT", number, header[10] or b"P", header[11] or b"2.3.1"]
    return Message.parse(split.join(answered) + b"\r", require_header=False)
