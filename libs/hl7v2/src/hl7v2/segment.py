"""A segment of a message: its bytes, split into fields when someone looks."""

from typing import Final

from hl7v2 import paths
from hl7v2.charsets import Charset
from hl7v2.delimiters import Delimiters
from hl7v2.errors import Hl7Error
from hl7v2.paths import Place
from hl7v2.values import NULL, Leaf, Raw, Repeat, Value

MAX_FIELDS: Final = 1000
"""Fields above are kept but not addressed: a segment of separators alone must not take eight times its size."""

_LINE_ENDS: Final = b"\r\n"
_NULL_BYTES: Final = b'""'
_HEADERS: Final = frozenset({b"MSH", b"FHS", b"BHS"})


class Context:
    """What all segments of one message share."""

    __slots__ = ("charset", "codec", "delimiters", "modified")

    def __init__(self, delimiters: Delimiters, charset: Charset, *, modified: bool) -> None:
        self.delimiters = delimiters
        self.charset = charset
        self.codec = charset.working_codec
        self.modified = modified

    def change_charset(self, charset: Charset) -> None:
        """Write in another character set from now on; the segments must be turned by the caller."""
        self.charset = charset
        self.codec = charset.working_codec
        self.modified = True

    def decoded(self, value: bytes) -> str:
        """Text of ``value``; what breaks the character set is read as 8859/1, for a reader that wants to go on."""
        try:
            return value.decode(self.codec)
        except UnicodeDecodeError:
            return value.decode("latin-1")

    def encoded(self, text: str, where: str) -> bytes:
        """``text`` in the working character set; Hl7Error when the message's own cannot hold it."""
        try:
            on_the_wire = text.encode(self.charset.codec)
            return text.encode("utf-8") if not self.charset.splits_as_bytes else on_the_wire
        except UnicodeEncodeError:
            # The original error would carry the value.
            raise Hl7Error("102", where, f"the value cannot be written in {self.charset.name} (MSH-18)") from None


class Segment:
    """One segment. It writes back the bytes that it was read from, field by field, until a field is set."""

    __slots__ = ("_context", "_fields", "_offset", "_raw", "id_bytes", "line_end")

    def __init__(self, line: bytes, context: Context) -> None:
        content = line.rstrip(_LINE_ENDS)
        self._context = context
        self._raw = content
        self.line_end = line[len(content) :]
        self._fields: list[bytes] | None = None
        self.id_bytes = content[:3]
        self._offset = 1 if self.id_bytes in _HEADERS else 0

    @property
    def id(self) -> str:
        """The segment's name: PID, OBX, ZDS."""
        return self.id_bytes.decode("ascii", "replace")

    def __repr__(self) -> str:
        return f"<Segment {self.id}>"

    def to_bytes(self) -> bytes:
        """The segment with its line end, in the message's working character set."""
        content = self._raw if self._fields is None else self._context.delimiters.field.join(self._fields)
        return content + self.line_end

    def get(self, path: str) -> str | None:
        """The value at ``3[2].4.1``; what is left out of the path is 1. None when absent or empty, NULL for ``""``."""
        return self.get_at(paths.in_segment(path))

    def raw(self, path: str) -> str | None:
        """The text at the path as it is encoded, delimiters and escapes included; without a repetition, all of them."""
        found = self._bytes_at(paths.in_segment(path))
        return self._context.decoded(found) if found else None

    def components(self, path: str) -> list[str | None]:
        """The components of one repetition (or, for ``5.1``, the subcomponents of one component), unescaped."""
        place = paths.in_segment(path)
        found = self._bytes_at(place._replace(repetition=place.repetition or 1))
        delimiters = self._context.delimiters
        char = delimiters.component if place.component is None else delimiters.subcomponent
        return [self._value(self._first(part)) for part in _split(found, char)] if found else []

    def count(self, path: str) -> int:
        """How many repetitions the field has; an empty field has none."""
        field = self._field(paths.in_segment(path).field)
        return len(_split(field, self._context.delimiters.repetition)) if field else 0

    def set(self, path: str, value: Value) -> None:
        """Put ``value`` at the path: text is escaped, a list is components, ``repeat(…)`` repetitions, None empties.

        A path without a repetition and component replaces the whole field; Hl7Error when the value cannot be written in
        the message's character set or with its delimiters.
        """
        self.set_at(paths.in_segment(path), value)

    def get_at(self, place: Place) -> str | None:
        """As ``get``, for a path that is parsed already."""
        field = self._field(place.field)
        if not field:
            return None
        if self._offset and place.field <= 2:
            return self._context.decoded(field) if place[1:] in ((None, None, None), (1, 1, 1)) else None
        delimiters = self._context.delimiters
        part = _pick(field, delimiters.repetition, place.repetition or 1)
        if part == _NULL_BYTES:
            return NULL
        part = _pick(part, delimiters.component, place.component or 1)
        return self._value(_pick(part, delimiters.subcomponent, place.subcomponent or 1))

    def set_at(self, place: Place, value: Value) -> None:
        """As ``set``, for a path that is parsed already."""
        if self._offset and place.field <= 2:
            raise ValueError("the delimiters of a message cannot be changed")
        where = f"{self.id}-{place.field}"
        if place.component is None:
            new = self._encoded_field(value, where) if place.repetition is None else self._encoded_parts(value, where)
        elif place.subcomponent is None:
            new = self._encoded_component(value, where)
        else:
            new = self._encoded_leaf(value, where)
        delimiters = self._context.delimiters
        fields = self._split_fields()
        index = place.field - self._offset
        if index >= MAX_FIELDS:
            raise Hl7Error("102", where, f"fields above {MAX_FIELDS} cannot be set")
        fields.extend([b""] * (index + 1 - len(fields)))
        levels = (
            (delimiters.repetition, place.repetition or (None if place.component is None else 1)),
            (delimiters.component, place.component),
            (delimiters.subcomponent, place.subcomponent),
        )
        fields[index] = _replaced(fields[index], [(char, n) for char, n in levels if n is not None], new, where)
        self._context.modified = True

    def fill(self, values: dict[int, Value]) -> None:
        """Set whole fields of a new segment."""
        for number, value in values.items():
            self.set_at(Place(number, None, None, None), value)

    def _split_fields(self) -> list[bytes]:
        if self._fields is None:
            self._fields = self._raw.split(self._context.delimiters.field, MAX_FIELDS)
        return self._fields

    def _field(self, number: int) -> bytes:
        fields = self._fields or self._split_fields()
        index = number - self._offset
        if index == 0:
            return self._context.delimiters.field
        return fields[index] if index < len(fields) and index < MAX_FIELDS else b""

    def _bytes_at(self, place: Place) -> bytes:
        found = self._field(place.field)
        delimiters = self._context.delimiters
        if self._offset and place.field <= 2:
            return found
        if place.repetition is not None or place.component is not None:
            found = _pick(found, delimiters.repetition, place.repetition or 1)
        if place.component is not None:
            found = _pick(found, delimiters.component, place.component)
        if place.subcomponent is not None:
            found = _pick(found, delimiters.subcomponent, place.subcomponent)
        return found

    def _first(self, part: bytes) -> bytes:
        return _pick(part, self._context.delimiters.subcomponent, 1)

    def _value(self, encoded: bytes) -> str | None:
        if not encoded:
            return None
        if encoded == _NULL_BYTES:
            return NULL
        return self._context.decoded(self._context.delimiters.unescape(encoded, self._context.codec))

    def _encoded_field(self, value: Value, where: str) -> bytes:
        if not isinstance(value, Repeat):
            return self._encoded_parts(value, where)
        parts = [self._encoded_parts(part, where) for part in value]
        return _joined(parts, self._context.delimiters.repetition, where)

    def _encoded_parts(self, value: Value, where: str) -> bytes:
        if value is None or isinstance(value, str | int):
            return self._encoded_leaf(value, where)
        if isinstance(value, Repeat):
            raise TypeError(f"{where}: repetitions inside a repetition")
        return _joined([self._encoded_component(v, where) for v in value], self._context.delimiters.component, where)

    def _encoded_component(self, value: Value, where: str) -> bytes:
        if value is None or isinstance(value, str | int):
            return self._encoded_leaf(value, where)
        return _joined([self._encoded_leaf(v, where) for v in value], self._context.delimiters.subcomponent, where)

    def _encoded_leaf(self, value: Value | Leaf, where: str) -> bytes:
        if value is None:
            return b""
        if not isinstance(value, str | int):
            raise TypeError(f"{where}: a list where only text can stand")
        delimiters = self._context.delimiters
        encoded = self._context.encoded(str(value), where)
        if not isinstance(value, Raw):
            return delimiters.escaped(encoded)
        if delimiters.field in encoded or b"\r" in encoded or b"\n" in encoded:
            raise ValueError(f"{where}: raw text may hold no field separator and no line end")
        return encoded


def _split(value: bytes, char: bytes) -> list[bytes]:
    return value.split(char, MAX_FIELDS) if char else [value]


def _pick(value: bytes, char: bytes, number: int) -> bytes:
    if not char or char not in value:
        return value if number == 1 else b""
    parts = value.split(char, number)
    return parts[number - 1] if number <= len(parts) else b""


def _joined(parts: list[bytes], char: bytes, where: str) -> bytes:
    while parts and not parts[-1]:
        parts.pop()
    if len(parts) > 1 and not char:
        raise Hl7Error("102", where, "the message declares no delimiter for this level (MSH-2)")
    return char.join(parts)


def _replaced(old: bytes, levels: list[tuple[bytes, int]], new: bytes, where: str) -> bytes:
    if not levels:
        return new
    (char, number), deeper = levels[0], levels[1:]
    if not char:
        if number > 1:
            raise Hl7Error("102", where, "the message declares no delimiter for this level (MSH-2)")
        return _replaced(old, deeper, new, where)
    parts = old.split(char)
    parts.extend([b""] * (number - len(parts)))
    parts[number - 1] = _replaced(parts[number - 1], deeper, new, where)
    return char.join(parts)
