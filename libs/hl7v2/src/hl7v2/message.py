"""An HL7 v2 message in ER7. Nothing is lost: an unmodified message writes the very bytes that it was read from."""

import codecs
from collections.abc import Mapping
from datetime import datetime
from typing import Final, Self

from hl7v2 import charsets, paths
from hl7v2.charsets import Charset
from hl7v2.delimiters import delimiters
from hl7v2.errors import Hl7Error
from hl7v2.segment import Context, Segment
from hl7v2.timestamps import format_timestamp
from hl7v2.values import Value

MAX_SEGMENTS: Final = 200_000
"""More lines are refused: a message of line ends alone must not take many times its size in memory."""

_BEFORE_MSH: Final = b"\xef\xbb\xbf\x0b \t\r\n\x00"
_FRAME_END: Final = 0x1C


class Message:
    """A message as a list of segments, split into fields only where someone looks."""

    __slots__ = ("_byte_order_mark", "_codec", "_context", "_data", "_lines", "_positions", "_prefix", "_suffix")

    def __init__(self, lines: list[bytes], context: Context, *, data: bytes | None = None) -> None:
        self._lines: list[bytes | Segment] = list(lines)
        self._context = context
        self._data = data
        self._prefix = b""
        self._suffix = b""
        self._codec: str | None = None
        """The codec on the wire where it is not the one that the segments are split in."""
        self._byte_order_mark = b""
        self._positions: dict[bytes, list[int]] | None = None

    @classmethod
    def parse(cls, data: bytes, *, require_header: bool = True) -> Self:
        """Read one message, as tolerantly as can be done without guessing.

        Accepts CR, LF and CRLF, a byte-order mark, UTF-16, line breaks inside a field, a frame that was not unwrapped.
        Hl7Error when it is not HL7: no MSH, odd delimiters, a second MSH, and, unless ``require_header`` is false, no
        MSH-9 or MSH-10.
        """
        data = bytes(data)
        unicode_form = charsets.unicode_form(data)
        body = data if unicode_form is None else _from_utf_16(data, *unicode_form)
        start = body.find(b"MSH", 0, 64)
        if start < 0 or body[:start].strip(_BEFORE_MSH):
            raise Hl7Error("100", "MSH", "the message does not begin with MSH")
        prefix, suffix = body[:start], b""
        if start:
            body = body[start:]
        if _FRAME_END in body[-3:]:
            end = body.rindex(_FRAME_END)
            body, suffix = body[:end], body[end:]
        if body.count(b"\r") + body.count(b"\n") > MAX_SEGMENTS:
            raise Hl7Error("100", "MSH", f"the message has more than {MAX_SEGMENTS} lines")

        separator = body[3:4]
        lines = _segments(body, separator)
        header = lines[0].rstrip(b"\r\n").split(separator, 18)
        found = delimiters(separator, header[1] if len(header) > 1 else b"")
        declared = charsets.named(_first(header[17], found.repetition)) if len(header) > 17 else None
        transcoded = None
        if unicode_form is not None:
            charset = charsets.UTF_16
        elif declared is not None and not declared.splits_as_bytes and (text := _transcoded(body, declared)):
            transcoded, charset = declared, declared
            lines = _segments(text, separator)
        else:
            charset = charsets.actual(body, declared)

        message = cls(lines, Context(found, charset, modified=False), data=data)
        message._prefix, message._suffix = prefix, suffix  # its own class
        if unicode_form is not None:
            message._codec, message._byte_order_mark = unicode_form
        elif transcoded is not None:
            message._codec = transcoded.codec
        if any(line.startswith(b"MSH") for line in lines[1:]):
            raise Hl7Error("100", "MSH[2]", "there is more than one MSH in the message", message=message)
        if require_header:
            for number in (9, 10):
                if len(header) < number or not header[number - 1].strip():
                    raise Hl7Error("101", f"MSH-{number}", "the field is missing", message=message)
        return message

    @classmethod
    def build(cls, header: Mapping[int, Value], *, charset: str = "", encoding_characters: str = "|^~\\&") -> Self:
        """A new message of an MSH alone: ``header`` gives its fields from MSH-3 on, values as in ``Segment.set``.

        ``charset`` is of HL7 table 0211 and goes into MSH-18; empty means ASCII and no MSH-18.
        ``encoding_characters`` begin with the field separator.
        """
        known = charsets.named(charset) if charset else charsets.ASCII
        if known is None:
            raise ValueError(f"not a character set of HL7 table 0211 that is supported: {charset!r}")
        encoded = encoding_characters.encode("ascii")
        found = delimiters(encoded[:1], encoded[1:])
        message = cls([b"MSH" + encoded + b"\r"], Context(found, known, modified=True))
        message._codec, message._byte_order_mark = _wire_form(known)  # its own class
        message._segment(0).fill({**header, **({18: charset} if charset else {})})
        return message

    @classmethod
    def new(
        cls,
        *,
        version: str,
        type: str,  # noqa: A002  # HL7's own word for MSH-9
        control_id: str,
        sending: tuple[str, str],
        receiving: tuple[str, str],
        at: datetime,
        charset: str = "UNICODE UTF-8",
        processing_id: str = "P",
    ) -> Self:
        """A new message. ``type`` is MSH-9 with its parts (``SIU^S14``), ``at`` an aware datetime for MSH-7,
        ``sending`` and ``receiving`` application and facility.
        """
        header: dict[int, Value] = {
            3: sending[0],
            4: sending[1],
            5: receiving[0],
            6: receiving[1],
            7: format_timestamp(at),
            9: type.split("^"),
            10: control_id,
            11: processing_id,
            12: version,
        }
        return cls.build(header, charset=charset)

    def __repr__(self) -> str:
        return f"<Message {self.type}^{self.trigger}, {len(self._lines)} segments>"

    def to_bytes(self) -> bytes:
        """The message as bytes: unmodified, exactly those that it was parsed from."""
        if self._data is not None and not self._context.modified:
            return self._data
        lines = [line if isinstance(line, bytes) else line.to_bytes() for line in self._lines]
        body = self._prefix + b"".join(lines) + self._suffix
        if self._codec is None:
            return body
        return self._byte_order_mark + body.decode("utf-8").encode(self._codec)

    def get(self, path: str) -> str | None:
        """The value at ``PID-3[2].4.1`` or ``OBX[3]-5``, unescaped.

        What is left out of the path is 1, as HL7 reads a component where it expected a plain value: ``PID-3`` is
        ``PID[1]-3[1].1.1``. None when absent or empty; NULL when the sender sent ``""``.
        """
        segment_id, number, place = paths.in_message(path)
        segment = self._find(segment_id, number)
        return None if segment is None else segment.get_at(place)

    def raw(self, path: str) -> str | None:
        """The encoded text at the path with its delimiters and escapes; without a repetition, all repetitions."""
        segment = self._find(*paths.in_message(path)[:2])
        return None if segment is None else segment.raw(path.partition("-")[2])

    def require(self, path: str) -> str:
        """As ``get``; Hl7Error 101 naming the path when there is no value (the HL7 null is none)."""
        value = self.get(path)
        if value is None or value == '""':
            raise Hl7Error("101", path, "the field is missing", message=self)
        return value

    def set(self, path: str, value: Value) -> None:
        """Put ``value`` at the path, in a segment that is there (LookupError otherwise); see ``Segment.set``.

        Setting MSH-18 turns the whole message into the new character set.
        """
        segment_id, number, place = paths.in_message(path)
        segment = self._find(segment_id, number)
        if segment is None:
            raise LookupError(f"the message has no {path.partition('-')[0]}: add it first")
        if segment_id == b"MSH" and place.field == 18:
            self._change_charset(str(value or ""))
        segment.set_at(place, value)

    def segments(self, segment_id: str | None = None) -> list[Segment]:
        """The segments of this name in their order, or all of them."""
        if segment_id is None:
            return [self._segment(position) for position in range(len(self._lines))]
        return [self._segment(position) for position in self._index().get(segment_id.encode("ascii", "replace"), ())]

    def add(self, segment_id: str, fields: Mapping[int, Value] | None = None) -> Segment:
        """Append a segment; ``fields`` by number, values as in ``Segment.set``: text is escaped, a list is components."""
        if len(segment_id) != 3 or not segment_id.isascii() or not segment_id.isalnum():
            raise ValueError(f"not a segment name: {segment_id!r}")
        first, last = self._segment(0), self._segment(len(self._lines) - 1)
        end = first.line_end or b"\r"
        if not last.line_end:
            last.line_end = end
        segment = Segment(segment_id.encode("ascii") + end, self._context)
        segment.fill(dict(fields or {}))
        self._lines.append(segment)
        self._positions = None
        self._context.modified = True
        return segment

    @property
    def type(self) -> str:
        """MSH-9.1, e.g. SIU; empty when absent."""
        return self.get("MSH-9.1") or ""

    @property
    def trigger(self) -> str:
        """MSH-9.2, e.g. S12; empty when absent."""
        return self.get("MSH-9.2") or ""

    @property
    def control_id(self) -> str:
        """MSH-10; empty when absent."""
        return self.get("MSH-10") or ""

    @property
    def version(self) -> str:
        """MSH-12.1, e.g. 2.3.1; empty when absent."""
        return self.get("MSH-12") or ""

    @property
    def charset(self) -> str:
        """The character set (HL7 table 0211) that the bytes are really in; MSH-18 holds what was declared."""
        return self._context.charset.name

    @property
    def codec(self) -> str:
        """Python's codec for ``charset``."""
        return self._context.charset.codec

    @property
    def encoding_characters(self) -> str:
        """The delimiters, field separator first: ``|^~\\&``."""
        found = self._context.delimiters
        return (found.field + found.encoding_characters).decode("ascii")

    def _index(self) -> dict[bytes, list[int]]:
        if self._positions is None:
            positions: dict[bytes, list[int]] = {}
            for position, line in enumerate(self._lines):
                segment_id = line[:3] if isinstance(line, bytes) else line.id_bytes
                positions.setdefault(segment_id, []).append(position)
            self._positions = positions
        return self._positions

    def _find(self, segment_id: bytes, number: int) -> Segment | None:
        positions = self._index().get(segment_id, ())
        return self._segment(positions[number - 1]) if number <= len(positions) else None

    def _segment(self, position: int) -> Segment:
        line = self._lines[position]
        if isinstance(line, bytes):
            line = self._lines[position] = Segment(line, self._context)
        return line

    def _change_charset(self, name: str) -> None:
        charset = charsets.named(name) if name else charsets.ASCII
        if charset is None:
            raise ValueError(f"not a character set of HL7 table 0211 that is supported: {name!r}")
        texts = [self._context.decoded(segment.to_bytes()) for segment in self.segments()]
        target = Context(self._context.delimiters, charset, modified=True)
        self._lines = [target.encoded(text, text[:3]) for text in texts]
        self._context.change_charset(charset)
        self._codec, self._byte_order_mark = _wire_form(charset)


def _from_utf_16(data: bytes, codec: str, byte_order_mark: bytes) -> bytes:
    try:
        return data[len(byte_order_mark) :].decode(codec).encode("utf-8")
    except UnicodeError:
        raise Hl7Error("102", "MSH", "the message begins as UTF-16 and does not hold to it") from None


def _wire_form(charset: Charset) -> tuple[str | None, bytes]:
    """How a message that is built here goes out: the codec to turn UTF-8 into, if any, and the byte-order mark."""
    if charset is charsets.UTF_16:
        return "utf-16-be", codecs.BOM_UTF16_BE
    return (None if charset.splits_as_bytes else charset.codec), b""


def _transcoded(body: bytes, declared: Charset) -> bytes | None:
    """The body in UTF-8, or None unless it comes back byte for byte."""
    try:
        text = body.decode(declared.codec)
        return text.encode("utf-8") if text.encode(declared.codec) == body else None
    except UnicodeError:
        return None


def _first(value: bytes, repetition: bytes) -> str:
    return (value.split(repetition, 1)[0] if repetition else value).decode("ascii", "replace")


def _segments(body: bytes, separator: bytes) -> list[bytes]:
    """The lines of the body with their ends; what does not begin like a segment belongs to the one before."""
    lines = body.splitlines(keepends=True)
    for line in lines:
        if line[3:4] != separator or not line[:3].isalnum():
            return _without_continuations(lines, separator)
    return lines


def _without_continuations(lines: list[bytes], separator: bytes) -> list[bytes]:
    groups: list[list[bytes]] = []
    for line in lines:
        name, after = line[:3], line[3:4]
        begins = len(name) == 3 and name.isalnum() and (after == separator or not line[3:].strip(b"\r\n"))
        if begins or not groups:
            groups.append([line])
        else:
            groups[-1].append(line)
    return [b"".join(group) for group in groups]
