"""A segment of a message: its bytes, split into fields on first access."""

from collections.abc import Mapping
from itertools import compress
from typing import Final

from hl7v2 import paths
from hl7v2.delimiters import Delimiters
from hl7v2.encoding import Context, encode_component, encode_field, encode_leaf, encode_repetition
from hl7v2.errors import Hl7Error
from hl7v2.paths import Place
from hl7v2.values import NULL, Value

MAX_FIELDS: Final = 1000
"""Fields above this number are kept but not addressed: a segment of separators must not take eight times its size."""

_LAST_FIELD: Final = MAX_FIELDS - 1
_LINE_ENDS: Final = b"\r\n"
NULL_BYTES: Final = b'""'
_NUMBERS: Final = tuple(range(MAX_FIELDS + 1))
_NUMBERS_OF_HEADERS: Final = tuple(range(1, MAX_FIELDS + 2))
"""In a header segment (MSH, FHS, BHS) the first field is the field separator itself."""
LARGEST_AS_TEXTS: Final = 64 * 2**10
"""Bytes of a segment that is decoded as a whole. A larger one holds a document, which nobody may need as text."""
_USUAL: Final = b"^~\\&|"
"""The usual MSH-2, and the field separator after it: the delimiters themselves, which are not split into texts."""
_AFTER_USUAL: Final = 8
_HEADERS: Final = frozenset({b"MSH", b"FHS", b"BHS"})


class Segment:
    """One segment. Until a field is set, it writes back exactly the bytes that it was read from."""

    __slots__ = ("_context", "_fields", "_offset", "_raw", "_texts", "id_bytes", "line_end")

    def __init__(self, line: bytes, context: Context) -> None:
        self._context = context
        self._raw = content = line.rstrip(_LINE_ENDS)
        self.line_end = line[len(content) :]
        self._fields: list[bytes] | None = None
        self._texts: list[str] | None = None
        self.id_bytes = line[:3]
        self._offset = 1 if self.id_bytes in _HEADERS else 0

    @property
    def id(self) -> str:
        """The segment's name: PID, OBX, ZDS."""
        return self.id_bytes.decode("ascii", "replace")

    @property
    def delimiters(self) -> Delimiters:
        """The delimiters of the message."""
        return self._context.delimiters

    def __repr__(self) -> str:
        return f"<Segment {self.id}>"

    def replace(self, line: bytes) -> None:
        """Take ``line`` (with its end) as the segment's bytes."""
        content = line.rstrip(_LINE_ENDS)
        self._raw = content
        self.line_end = line[len(content) :]
        self._fields = self._texts = None

    def to_bytes(self) -> bytes:
        """The segment with its line end, in the message's working character set."""
        content = self._raw if self._fields is None else self._context.delimiters.field.join(self._fields)
        return content + self.line_end

    def get(self, path: str) -> str | None:
        """The value at ``3[2].4.1``; parts that the path leaves out are 1.

        None when absent or empty, NULL for ``""``.
        """
        return self.get_at(paths.in_segment(path))

    def raw(self, path: str) -> str | None:
        """The encoded text at the path, with delimiters and escapes; without a repetition, all repetitions."""
        found = self._bytes_at(paths.in_segment(path))
        return self._context.decoded(found) if found else None

    def components(self, path: str) -> list[str | None]:
        """The components of one repetition (or, for ``5.1``, the subcomponents of one component), unescaped."""
        field, repetition, component, subcomponent = paths.in_segment(path)
        found = self._bytes_at(Place(field, repetition or 1, component, subcomponent))
        if not found:
            return []
        delimiters = self._context.delimiters
        subdivider, value = delimiters.subcomponent, self._value
        parts = _split(found, delimiters.component if component is None else subdivider)
        return [value(_pick(part, subdivider, 1) if subdivider in part else part) if part else None for part in parts]

    def parts(self, field: int, *, as_text: bool = False) -> list[str]:
        """The components of a field's first repetition, each by its first subcomponent.

        An empty component is ``""``, the HL7 null is its two quotes. With ``as_text``, for people to read: layout
        sequences are removed and a blank stands for a line break.
        """
        texts = self._texts
        if texts is None:
            texts = self._split_texts()
        if texts:
            text = texts[field] if field < len(texts) else ""
            return text.split(self._context.delimiters.component_text) if text else []
        fields = self._fields or self._split_fields()
        index = field - self._offset
        found = fields[index] if index < len(fields) else b""
        if not found:
            return []
        context = self._context
        delimiters = context.delimiters
        if delimiters.find_special(found) is None:
            try:
                return found.decode(context.codec).split(delimiters.component_text)
            except UnicodeDecodeError:
                pass
        return self._parts(_pick(found, delimiters.repetition, 1), as_text=as_text)

    def part(self, field: int, number: int) -> str:
        """The component ``number`` that ``parts`` gives of the field; ``""`` where it has no such component."""
        texts = self._texts
        if texts is None:
            texts = self._split_texts()
        if texts:
            text = texts[field] if field < len(texts) else ""
            if number == 1:
                return text.partition(self._context.delimiters.component_text)[0]
            found = text.split(self._context.delimiters.component_text, number)
        else:
            found = self.parts(field)
        return found[number - 1] if number <= len(found) else ""

    def repetitions(self, field: int, *, as_text: bool = False) -> list[list[str]]:
        """As ``parts``, for each repetition."""
        if self._texts:
            parts = self.parts(field, as_text=as_text)
            return [parts] if parts else []
        found = self._field(field)
        if not found:
            return []
        repetition = self._context.delimiters.repetition
        if not repetition or repetition not in found:
            return [self.parts(field, as_text=as_text)]
        return [self._parts(one, as_text=as_text) for one in _split(found, repetition)]

    def _parts(self, repetition: bytes, *, as_text: bool) -> list[str]:
        if not repetition:
            return []
        delimiters = self._context.delimiters
        if as_text and delimiters.escape and delimiters.escape in repetition:
            repetition = delimiters.without_formatting(repetition)
        subdivider = delimiters.subcomponent
        split = _split(repetition, delimiters.component)
        return [self._value(_pick(part, subdivider, 1)) or "" for part in split]

    def shape(self) -> bytes:
        """The segment's name and a byte per field that says whether it is filled: equal for segments of one layout."""
        texts = () if self._offset else self._texts
        return self.id_bytes + bytes(map(bool, texts or self._fields or self._split_fields()))

    def filled(self) -> tuple[int, ...]:
        """The numbers of the fields that are not empty."""
        numbers = _NUMBERS_OF_HEADERS if self._offset else _NUMBERS
        return tuple(compress(numbers, self._fields or self._split_fields()))[1:]

    def count(self, path: str) -> int:
        """The number of repetitions of the field; 0 for an empty field."""
        field = self._field(paths.in_segment(path).field)
        repetition = self._context.delimiters.repetition
        if not field or not repetition or (self._offset and field == self._context.delimiters.encoding_characters):
            return 1 if field else 0
        return field.count(repetition) + 1

    def set(self, path: str, value: Value) -> None:
        """Put ``value`` at the path: text is escaped, a list is components, ``repeat(…)`` repetitions, None empties.

        A path without repetition and component replaces the whole field. Raises Hl7Error when the value cannot be
        written in the message's character set or with its delimiters.
        """
        self.set_at(paths.in_segment(path), value)

    def get_at(self, place: Place) -> str | None:
        """As ``get``, for a parsed path."""
        number, repetition, component, subcomponent = place
        if self._offset and number <= 2:
            return self._header_field(place)
        texts = self._texts
        if texts is None:
            texts = self._split_texts()
        if not texts or number >= MAX_FIELDS:
            return self._read_at(number, repetition or 1, component or 1, subcomponent or 1)
        text = texts[number] if number < len(texts) else ""
        if text == NULL and (repetition or 1) == 1:
            return NULL  # and so is each part of the field
        if (repetition or 1) > 1 or (subcomponent or 1) > 1:
            return None
        separator = self._context.delimiters.component_text
        if component is None or component == 1:
            return text.partition(separator)[0] or None
        found = text.split(separator, component)
        return found[component - 1] or None if component <= len(found) else None

    def _read_at(self, number: int, repetition: int, component: int, subcomponent: int) -> str | None:
        """As ``get_at``, where the fields have to be read as bytes."""
        part = self._field(number)
        if not part:
            return None
        delimiters = self._context.delimiters
        part = _pick(part, delimiters.repetition, repetition)
        if part == NULL_BYTES:
            return NULL
        return self._value(_pick(_pick(part, delimiters.component, component), delimiters.subcomponent, subcomponent))

    def set_at(self, place: Place, value: Value) -> None:
        """As ``set``, for a parsed path."""
        if self._offset and place.field <= 2:
            raise ValueError("the delimiters of a message cannot be changed")
        where = f"{self.id}-{place.field}"
        if place.subcomponent is not None:
            new = encode_leaf(value, self._context, where)
        elif place.component is not None:
            new = encode_component(value, self._context, where)
        elif place.repetition is not None:
            new = encode_repetition(value, self._context, where)
        else:
            new = encode_field(value, self._context, self.id, place.field)
        delimiters = self._context.delimiters
        fields = self._split_fields()
        index = place.field - self._offset
        if place.field > _LAST_FIELD:
            raise ValueError(f"{where}: the last field that can be set is {_LAST_FIELD}")
        fields.extend([b""] * (index + 1 - len(fields)))
        levels = (
            (delimiters.repetition, place.repetition or (None if place.component is None else 1)),
            (delimiters.component, place.component),
            (delimiters.subcomponent, place.subcomponent),
        )
        self._texts = []
        fields[index] = _replaced(fields[index], [(char, n) for char, n in levels if n is not None], new, where)
        self._context.modified = True

    def fill(self, values: Mapping[int, Value]) -> None:
        """Set several whole fields at once."""
        fields = self._split_fields()
        self._texts = []
        first = 3 if self._offset else 1
        highest = max(values, default=first)
        if highest > _LAST_FIELD or min(values, default=first) < first:
            raise ValueError(f"{self.id}: fields that can be set are numbered from {first} to {_LAST_FIELD}")
        fields.extend([b""] * (highest - self._offset + 1 - len(fields)))
        for number, value in values.items():
            fields[number - self._offset] = encode_field(value, self._context, self.id, number)
        while not fields[-1]:
            fields.pop()
        self._context.modified = True

    def encoded(self, field: int) -> bytes:
        """The bytes of a field with all its repetitions, in the message's working character set."""
        return self._field(field)

    def _header_field(self, place: Place) -> str | None:
        """MSH-1 and MSH-2: the delimiters themselves; these fields have no parts."""
        whole = all(part in (None, 1) for part in place[1:])
        return self._context.decoded(self._field(place.field)) if whole else None

    def _split_fields(self) -> list[bytes]:
        if self._fields is None:
            self._fields = self._raw.split(self._context.delimiters.field, MAX_FIELDS)
        return self._fields

    def _split_texts(self) -> list[str]:
        """The fields as texts, by their numbers; of a header the name stands twice, for MSH-1 is the separator.

        None where the segment is large, a field was set, or one is more than components.
        """
        context, content = self._context, self._raw
        delimiters = context.delimiters
        found: list[str] = []
        begin = _AFTER_USUAL if self._offset else 0
        is_usual = not begin or content[4:9] == _USUAL
        if is_usual and len(content) <= LARGEST_AS_TEXTS and delimiters.find_special(content, begin) is None:
            try:
                found = content.decode(context.codec).split(delimiters.field_text, MAX_FIELDS)
                if begin:
                    found[1:2] = found[0], delimiters.component_text
            except UnicodeDecodeError:
                pass
        self._texts = found
        return found

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

    def _value(self, encoded: bytes) -> str | None:
        if not encoded:
            return None
        if encoded == NULL_BYTES:
            return NULL
        context = self._context
        escape = context.delimiters.escape
        if escape and escape in encoded:
            encoded = context.delimiters.unescape(encoded, context.codec)
        try:
            return encoded.decode(context.codec)
        except UnicodeDecodeError:
            return context.decoded(encoded)


def _split(value: bytes, char: bytes) -> list[bytes]:
    return value.split(char, MAX_FIELDS) if char else [value]


def _pick(value: bytes, char: bytes, number: int) -> bytes:
    if not char or char not in value:
        return value if number == 1 else b""
    parts = value.split(char, number)
    return parts[number - 1] if number <= len(parts) else b""


def _replaced(old: bytes, levels: list[tuple[bytes, int]], new: bytes, where: str) -> bytes:
    if not levels:
        return new
    (char, number), deeper = levels[0], levels[1:]
    if not char:
        if number > 1:
            raise Hl7Error("102", where, "the message declares no delimiter for this level (MSH-2)")
        return _replaced(old, deeper, new, where)
    parts = old.split(char, number)
    parts.extend([b""] * (number - len(parts)))
    parts[number - 1] = _replaced(parts[number - 1], deeper, new, where)
    return char.join(parts)
