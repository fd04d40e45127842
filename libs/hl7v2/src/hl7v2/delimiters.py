"""The delimiters of one message (MSH-1, MSH-2) and the escape sequences made of them (HL7 chapter 2, 2.7)."""

import re
from functools import lru_cache
from typing import Final

from hl7v2.errors import Hl7Error

_MUST_BE_HEX: Final = bytes(range(0x20)) + b"\x7f"
"""Control characters would end segments (CR, LF) or MLLP frames (VT, FS)."""
_BLANK: Final = re.compile(rb"\.(?:br|sp|ce|sk)\s*[+-]?\d*", re.IGNORECASE)
_NOTHING: Final = re.compile(rb"[HN]|\.(?:fi|nf|in|ti)\s*[+-]?\d*|[CM][0-9A-F]{4,6}|Z[^\s]*", re.IGNORECASE)
"""Layout sequences (2.7.6, 2.7.7, a site's own Zxx) that plain text does not show; a ``_BLANK`` becomes a blank."""
_LONGEST_SEQUENCE: Final = 100


class Delimiters:
    """Delimiters as single bytes; ``b""`` for a delimiter that the message does not use."""

    __slots__ = (
        "_escape_map", "_known", "_maybe_nul", "_sequences", "_special", "_tokens", "component", "component_text",
        "encoding_characters", "escape", "field", "field_text", "find_special", "repetition", "subcomponent",
    )  # fmt: skip

    def __init__(self, field: bytes, encoding_characters: bytes) -> None:
        self.field = field
        self.field_text = field.decode("latin-1")
        self.encoding_characters = encoding_characters
        padded = [encoding_characters[i : i + 1] for i in range(5)]
        self.component, self.repetition, self.escape, self.subcomponent, truncation = padded
        self.component_text = self.component.decode("ascii") or "\x00"  # a character that no message holds
        others = self.repetition + self.escape + self.subcomponent
        self.find_special = re.compile(b"[" + re.escape(others) + b"]" if others else rb"(?!)").search
        """Finds delimiters and escapes, except those of components and fields."""
        names = {b"F": field, b"S": self.component, b"T": self.subcomponent, b"R": self.repetition, b"E": self.escape}
        if truncation:
            names[b"P"] = truncation
        self._known = {name: char for name, char in names.items() if char}
        e = re.escape(self.escape)
        # No capturing repeated group: its stack would take many times the size of a value full of sequences.
        sequence = e + rb"(?:X([0-9A-Fa-f]+)|([^\s" + e + rb"]+))" + e
        self._sequences = re.compile(sequence if self.escape else rb"(?!)()()")
        divided = b"".join(map(re.escape, (field, self.component, self.repetition, self.subcomponent)))
        self._maybe_nul = re.compile(e + rb"X[0-9A-Fa-f]*?00" if self.escape else rb"(?!)")
        self._tokens = re.compile(e + rb"(?:X([0-9A-Fa-f]++)|[^\s" + e + divided + rb"]++)" + e)
        self._escape_map = {char: self.escape + name + self.escape for name, char in self._known.items()}
        for code in _MUST_BE_HEX:
            self._escape_map[bytes([code])] = self.escape + b"X%02X" % code + self.escape
        self._special = re.compile(b"[" + b"".join(map(re.escape, self._escape_map)) + b"]")

    def unescape(self, value: bytes, codec: str) -> bytes:
        """``value`` with its known sequences resolved; unknown ones (``.br``, ``H``, ``Zxx``) stay as they are."""
        if not self.escape or self.escape not in value:
            return value
        # Not re.sub: its list of parts would also take many times the value's size.
        plain, pairs, position = bytearray(), bytearray(), 0
        for match in self._sequences.finditer(value):
            is_hex = match[1] is not None and len(match[1]) % 2 == 0
            if pairs and (match.start() > position or not is_hex):
                plain += _from_hex(pairs, codec)
                pairs.clear()
            plain += value[position : match.start()]
            position = match.end()
            if is_hex:
                # Adjacent sequences are decoded together: they may be the bytes of one character.
                pairs += match[1]
            else:
                plain += self._known.get(match[2], match[0])
        plain += _from_hex(pairs, codec)
        plain += value[position:]
        return bytes(plain)

    def without_formatting(self, value: bytes) -> bytes:
        """``value``, still encoded, without layout sequences: a blank for a line break, nothing for the others."""
        plain, position = bytearray(), 0
        while (start := value.find(self.escape, position)) >= 0:
            end = value.find(self.escape, start + 1)
            if end < 0:
                break
            body = value[start + 1 : end] if end - start <= _LONGEST_SEQUENCE else b""
            plain += value[position:start]
            position = end + 1
            if _BLANK.fullmatch(body):
                plain += b" "
            elif not _NOTHING.fullmatch(body):
                is_known = body in self._known or self._sequences.fullmatch(value, start, end + 1) is not None
                position = position if is_known else end
                plain += value[start:position]
        plain += value[position:]
        return bytes(plain)

    def escapes_nul(self, encoded: bytes) -> bool:
        """Whether ``unescape`` makes a NUL of any value in ``encoded``, which may be a whole message."""
        if self._maybe_nul.search(encoded) is None:
            return False
        # A sequence never spans a delimiter: values are split before they are unescaped.
        return any(
            (pairs := match[1]) and len(pairs) % 2 == 0 and 0 in bytes.fromhex(pairs.decode("ascii"))
            for match in self._tokens.finditer(encoded)
        )

    def escaped(self, value: bytes, where: str) -> bytes:
        """``value`` as it stands inside a component.

        Raises Hl7Error when a character must be escaped and the message has no escape character.
        """
        if self._special.search(value) is None:
            return value
        if not self.escape:
            raise Hl7Error("102", where, "the value holds delimiters, but MSH-2 declares no escape character")
        return self._special.sub(lambda match: self._escape_map[match[0]], value)


def _from_hex(pairs: bytearray, codec: str) -> bytes:
    found = bytes.fromhex(pairs.decode("ascii"))
    try:
        found.decode(codec)
    except UnicodeDecodeError:
        # Some senders write UTF-8 text and escape Latin-1 bytes.
        return found.decode("latin-1").encode(codec, "replace")
    return found


@lru_cache(maxsize=64)
def delimiters(field: bytes, encoding_characters: bytes) -> Delimiters:
    """Check MSH-1 and MSH-2 and return the delimiters that they declare."""
    if not _is_delimiter(field):
        raise Hl7Error("102", "MSH-1", "the field separator is not a printable punctuation character")
    if not encoding_characters:
        raise Hl7Error("101", "MSH-2", "the encoding characters are missing")
    if len(encoding_characters) > 5:
        raise Hl7Error("102", "MSH-2", "there are more than five encoding characters")
    used = [encoding_characters[i : i + 1] for i in range(len(encoding_characters))]
    if not all(map(_is_delimiter, used)) or len({field, *used}) != len(used) + 1:
        raise Hl7Error("102", "MSH-2", "the encoding characters are not different printable punctuation characters")
    return Delimiters(field, encoding_characters)


@lru_cache(maxsize=64)
def complete(found: Delimiters) -> Delimiters:
    """The same delimiters, with defaults for those that the message does not use."""
    declared = found.encoding_characters
    for usual in (b"^", b"~", b"\\", b"&")[len(declared) :]:
        used = found.field + declared
        declared += next(char for char in (usual, b"*", b"!", b"%", b"$", b"@") if char not in used)
    return found if declared == found.encoding_characters else delimiters(found.field, declared)


def _is_delimiter(char: bytes) -> bool:
    return len(char) == 1 and b" " < char < b"\x7f" and not char.isalnum() and char != b'"'
