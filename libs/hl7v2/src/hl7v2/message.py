"""An HL7 v2 message in ER7. Nothing is lost: an unmodified message is written with the bytes that it was read from."""

import codecs
from collections.abc import Mapping
from datetime import datetime
from typing import Final, Self

from hl7v2 import charsets, lengths, paths
from hl7v2.charsets import Charset
from hl7v2.delimiters import Delimiters, delimiters
from hl7v2.encoding import Context
from hl7v2.errors import Hl7Error
from hl7v2.segment import NULL_BYTES, Segment
from hl7v2.timestamps import format_timestamp
from hl7v2.values import Value

MAX_SEGMENTS: Final = 200_000
"""More lines are refused: a message of nothing but line ends must not take many times its size in memory."""
MAX_HEADER_BYTES: Final = 64 * 2**10
"""A longer MSH is refused: answers, journals and indexes hold its fields."""

_KEPT_HEADER_BYTES: Final = 4096
_BEFORE_MSH: Final = b"\xef\xbb\xbf\x0b \t\r\n\x00"
_MAX_BYTES_BEFORE_MSH: Final = 64
_FRAME_END: Final = b"\x1c"
_NUL: Final = b"\x00"


class Message:
    """A message as a list of segments; a segment is split into fields when one of them is read."""

    __slots__ = ("_byte_order_mark", "_codec", "_context", "_data", "_lines", "_positions", "_prefix", "_suffix")

    def __init__(self, lines: list[bytes], context: Context, *, data: bytes | None = None) -> None:
        self._lines: list[bytes | Segment] = list(lines)
        self._context = context
        self._data = data
        self._prefix = b""
        self._suffix = b""
        self._codec: str | None = None
        """The codec on the wire, when it differs from the codec in which segments are split."""
        self._byte_order_mark = b""
        self._positions: dict[bytes, list[int]] | None = None

    @classmethod
    def parse(cls, data: bytes, *, require_header: bool = True) -> Self:
        """Read one message, as tolerantly as possible without guessing.

        Accepts CR, LF and CRLF, a byte-order mark, UTF-16, line breaks inside a field, and bytes still in their MLLP
        frame.

        Raises Hl7Error when the bytes are not HL7: no MSH, odd delimiters, a second MSH, a NUL (never text, and refused
        by databases), an MSH above ``MAX_HEADER_BYTES``, or no MSH-9 or MSH-10 unless ``require_header`` is false.
        """
        data = bytes(data)
        unicode_form = charsets.unicode_form(data)
        prefix, body, suffix = _unwrapped(data if unicode_form is None else _from_utf_16(data, *unicode_form))
        if body.count(b"\r") + body.count(b"\n") > MAX_SEGMENTS:
            raise Hl7Error("100", "MSH", f"the message has more than {MAX_SEGMENTS} lines")
        separator = body[3:4]
        if not separator:
            raise Hl7Error("101", "MSH-1", "the field separator is missing")
        lines = _segments(body, separator)
        if len(lines[0]) > MAX_HEADER_BYTES:
            head = cls.parse(lines[0][:_KEPT_HEADER_BYTES], require_header=False)
            raise Hl7Error("104", "MSH", f"the segment is longer than {MAX_HEADER_BYTES} bytes", part=head)
        header = lines[0].rstrip(b"\r\n").split(separator, 18)
        found = delimiters(separator, header[1] if len(header) > 1 else b"")

        wire: tuple[str | None, bytes] = (None, b"")
        if unicode_form is not None:
            charset, wire = charsets.UTF_16, unicode_form
        else:
            charset = charsets.actual(body, _declared(header, found))
            if not charset.splits_as_bytes:
                wire = (charset.codec, b"")
                lines = _segments(body.decode(charset.codec).encode("utf-8"), separator)

        message = cls(lines, Context(found, charset, modified=False), data=data)
        message._prefix, message._suffix = prefix, suffix
        message._codec, message._byte_order_mark = wire
        if body.count(b"MSH") > 1:
            message._refuse_second_header()
        if require_header:
            message._require(header, 9, 10)
        if _NUL in body:
            message._refuse_nul()
        return message

    @classmethod
    def build(cls, header: Mapping[int, Value], *, charset: str = "", encoding_characters: str = "|^~\\&") -> Self:
        """A new message of an MSH alone.

        ``header`` gives the fields from MSH-3 on, with values as in ``Segment.set``. ``charset`` is of HL7 table 0211
        and goes into MSH-18; empty means ASCII and no MSH-18. ``encoding_characters`` begin with the field separator.
        """
        known = charsets.named(charset) if charset else charsets.ASCII
        if known is None:
            raise ValueError(f"not a character set of HL7 table 0211 that is supported: {charset!r}")
        encoded = encoding_characters.encode("ascii")
        found = delimiters(encoded[:1], encoded[1:])
        message = cls([b"MSH" + encoded + b"\r"], Context(found, known, modified=True))
        message._codec, message._byte_order_mark = _wire_form(known)  # its own class
        message._segment(0).fill({**header, 18: charset or None})
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

    def has_null(self) -> bool:
        """Whether the HL7 null (two quotes) may stand in a field."""
        if self._data is not None and self._codec is None and not self._context.modified:
            return NULL_BYTES in self._data
        return any(NULL_BYTES in _bytes_of(line) for line in self._lines)

    def to_bytes(self) -> bytes:
        """The message as bytes; an unmodified message gives exactly the bytes that it was parsed from."""
        if self._data is not None and not self._context.modified:
            return self._data
        lines = [_bytes_of(line) for line in self._lines]
        body = self._prefix + b"".join(lines) + self._suffix
        if self._codec is None:
            return body
        return self._byte_order_mark + body.decode("utf-8").encode(self._codec)

    def get(self, path: str) -> str | None:
        """The unescaped value at ``PID-3[2].4.1`` or ``OBX[3]-5``.

        None when the value is absent or empty, NULL when the sender sent ``""``. Parts that the path leaves out are 1,
        as HL7 reads a component where a plain value was expected: ``PID-3`` is ``PID[1]-3[1].1.1``.
        """
        segment_id, number, place = paths.in_message(path)
        # A message begins with its only MSH, so its values need no index.
        is_header = segment_id == b"MSH" and number == 1
        segment = self._segment(0) if is_header else self._find(segment_id, number)
        return None if segment is None else segment.get_at(place)

    def raw(self, path: str) -> str | None:
        """The encoded text at the path, with delimiters and escapes; without a repetition, all repetitions."""
        segment = self._find(*paths.in_message(path)[:2])
        return None if segment is None else segment.raw(path.partition("-")[2])

    def require(self, path: str) -> str:
        """As ``get``, but raises Hl7Error 101 with the path when there is no value (the HL7 null counts as none)."""
        value = self.get(path)
        if value is None or value == '""':
            raise Hl7Error("101", path, "the field is missing", part=self)
        return value

    def set(self, path: str, value: Value) -> None:
        """Put ``value`` at the path; see ``Segment.set``. LookupError when the message has no such segment.

        Setting MSH-18 turns the whole message into the new character set.
        """
        segment_id, number, place = paths.in_message(path)
        segment = self._find(segment_id, number)
        if segment is None:
            raise LookupError(f"the message has no {path.partition('-')[0]}: add it first")
        if segment_id == b"MSH" and place.field == 18:
            self._change_charset(str(value or ""))
        segment.set_at(place, value)

    def segments(self, segment_id: str | None = None, *, most: int | None = None) -> list[Segment]:
        """The segments of this name in their order, or all segments; at most the first ``most`` when given."""
        if segment_id is None:
            context = self._context
            if most is None:
                self._lines = [Segment(line, context) if line.__class__ is bytes else line for line in self._lines]
                return list(self._lines)  # type: ignore[arg-type]  # segments by now
            return [self._segment(position) for position in range(len(self._lines))[:most]]
        positions = self._index().get(segment_id.encode("ascii", "replace"), [])
        return [self._segment(position) for position in positions[:most]]

    def add(self, segment_id: str, fields: Mapping[int, Value] | None = None) -> Segment:
        """Append a segment; ``fields`` by number, values as in ``Segment.set``: text is escaped, a list is parts."""
        if len(segment_id) != 3 or not segment_id.isascii() or not segment_id.isalnum():
            raise ValueError(f"not a segment name: {segment_id!r}")
        first, last = self._segment(0), self._segment(len(self._lines) - 1)
        end = first.line_end or b"\r"
        if not last.line_end:
            last.line_end = end
        segment = Segment(segment_id.encode("ascii") + end, self._context)
        if fields:
            segment.fill(fields)
        self._lines.append(segment)
        self._positions = None
        self._context.modified = True
        return segment

    def length(self, text: str) -> int:
        """The number of characters that ``text`` takes in this message, escapes included."""
        return lengths.encoded_length(text, self.delimiters, self.working_codec)

    def fitted(self, text: str, most: int) -> str:
        """``text`` if it takes at most ``most`` characters, escapes included, else its beginning with ``...``."""
        return lengths.fitted(text, most, self.delimiters, self.working_codec)

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
    def working_codec(self) -> str:
        """Python's codec for the bytes of segments and fields.

        It differs from ``codec`` where that set has delimiters of several bytes (UTF-16).
        """
        return self._context.codec

    @property
    def delimiters(self) -> Delimiters:
        """The delimiters that MSH-1 and MSH-2 declare."""
        return self._context.delimiters

    @property
    def holds_escaped_nul(self) -> bool:
        """Whether any value, when read, holds a NUL that was sent as an escape sequence (``X00``)."""
        delimiters = self._context.delimiters
        if self._data is not None and self._codec is None and not self._context.modified:
            return delimiters.escapes_nul(self._data)
        return any(delimiters.escapes_nul(_bytes_of(line)) for line in self._lines)

    @property
    def size(self) -> int:
        """The size in bytes of what was parsed; 0 for a message that was made here."""
        return len(self._data or b"")

    def extent(self, *segment_ids: str) -> tuple[int, int]:
        """The number of segments that have one of these names, and their total size in bytes."""
        index = self._index()
        found = [position for name in segment_ids for position in index.get(name.encode("ascii"), ())]
        return len(found), sum(len(_bytes_of(self._lines[position])) for position in found)

    def answered_by(self, lines: list[bytes], found: Delimiters) -> "Message":
        """A new message of ``lines`` (MSH first, ends included), in this message's character set and byte order."""
        answer = Message(lines, Context(found, self._context.charset, modified=True))
        answer._codec, answer._byte_order_mark = self._codec, self._byte_order_mark
        return answer

    def _refuse_second_header(self) -> None:
        for line in self._lines[1:]:
            if line[:3] == b"MSH":  # type: ignore[index]  # no segment has been looked at yet
                raise Hl7Error("100", "MSH[2]", "there is more than one MSH in the message", part=self)

    def _require(self, header: list[bytes], *numbers: int) -> None:
        for number in numbers:
            if len(header) < number or not header[number - 1].strip():
                raise Hl7Error("101", f"MSH-{number}", "the field is missing", part=self)

    def _refuse_nul(self) -> None:
        for line in self._lines:
            if _NUL in line:  # type: ignore[operator]  # no segment has been looked at yet
                where = bytes(line[:3]).decode("ascii", "replace")  # type: ignore[index]
                raise Hl7Error("102", where, "the segment holds a NUL character", part=self)

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
        lines = [target.encoded(text, text[:3]) for text in texts]
        for segment, line in zip(self.segments(), lines, strict=True):
            segment.replace(line)
        self._context.change_charset(charset)
        self._codec, self._byte_order_mark = _wire_form(charset)


def _bytes_of(line: bytes | Segment) -> bytes:
    return line if isinstance(line, bytes) else line.to_bytes()


def _from_utf_16(data: bytes, codec: str, byte_order_mark: bytes) -> bytes:
    try:
        return data[len(byte_order_mark) :].decode(codec).encode("utf-8")
    except UnicodeError:
        raise Hl7Error("102", "MSH", "the message begins as UTF-16, but later bytes are not UTF-16") from None


def _wire_form(charset: Charset) -> tuple[str | None, bytes]:
    """How a new message is written: the codec to convert UTF-8 into, if any, and the byte-order mark."""
    if charset is charsets.UTF_16:
        return "utf-16-be", codecs.BOM_UTF16_BE
    return (None if charset.splits_as_bytes else charset.codec), b""


def _unwrapped(body: bytes) -> tuple[bytes, bytes, bytes]:
    """The bytes before MSH (a byte-order mark, white space, a VT), the message, and the end of a frame, if any."""
    start = body.find(b"MSH", 0, _MAX_BYTES_BEFORE_MSH)
    if start < 0 or body[:start].strip(_BEFORE_MSH):
        raise Hl7Error("100", "MSH", "the message does not begin with MSH")
    end = body.rindex(_FRAME_END) if _FRAME_END in body[-3:] else len(body)
    return body[:start], body[start:end], body[end:]


def _declared(header: list[bytes], found: Delimiters) -> Charset | None:
    """The first repetition of MSH-18."""
    if len(header) < 18 or not header[17]:
        return None
    name = header[17].split(found.repetition, 1)[0] if found.repetition else header[17]
    return charsets.named(name.decode("ascii", "replace"))


def _segments(body: bytes, separator: bytes) -> list[bytes]:
    """The lines of the body with their ends; a line that does not begin like a segment continues the line before."""
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


def readable_part(error: Hl7Error) -> Message | None:
    """The part of the message that was readable in spite of ``error``: its header names the sender to answer.

    None without.
    """
    return error.part if isinstance(error.part, Message) else None
