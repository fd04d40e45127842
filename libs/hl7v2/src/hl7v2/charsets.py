"""Character sets: HL7 table 0211, and the set that the bytes are really in.

The codec splits bytes only in sets whose delimiters are single ASCII bytes. Other sets (UTF-16, GB 18030, BIG-5) are
turned into UTF-8 on the way in and back on the way out.
"""

import codecs
import re
from dataclasses import dataclass
from typing import Final

_CHUNK_BYTES: Final = 2**20
_NOT_ALPHANUMERIC: Final = re.compile(r"[^A-Z0-9]")
_C1_CONTROLS: Final = bytes(range(0x80, 0xA0))


@dataclass(frozen=True, slots=True)
class Charset:
    """A character set: its name in table 0211, Python's codec, and whether its delimiters are single ASCII bytes."""

    name: str
    codec: str
    splits_as_bytes: bool = True
    is_one_byte: bool = False

    @property
    def working_codec(self) -> str:
        """The codec in which the message is split.

        ASCII is read as UTF-8, because hex escapes may hold other characters.
        """
        return "utf-8" if self.codec == "ascii" or not self.splits_as_bytes else self.codec


ASCII: Final = Charset("ASCII", "ascii")
UTF_8: Final = Charset("UNICODE UTF-8", "utf-8")
UTF_16: Final = Charset("UNICODE UTF-16", "utf-16", splits_as_bytes=False)
LATIN_1: Final = Charset("8859/1", "latin-1", is_one_byte=True)

_CHARSETS: Final = (
    ASCII,
    UTF_8,
    UTF_16,
    LATIN_1,
    *(Charset(f"8859/{part}", f"iso8859-{part}", is_one_byte=True) for part in (2, 3, 4, 5, 6, 7, 8, 9, 15)),
    Charset("GB 18030-2000", "gb18030", splits_as_bytes=False),
    Charset("BIG-5", "big5", splits_as_bytes=False),
    Charset("KS X 1001", "euc_kr"),
)
_ALIASES: Final = {
    "ISOIR6": "ASCII", "USASCII": "ASCII",
    "UTF8": "UNICODE UTF-8", "ISOIR192": "UNICODE UTF-8",
    "UNICODE": "UNICODE UTF-16", "UTF16": "UNICODE UTF-16",
    "ISOIR100": "8859/1", "LATIN1": "8859/1", "ISOIR101": "8859/2", "LATIN2": "8859/2", "ISOIR144": "8859/5",
    "ISOIR127": "8859/6", "ISOIR126": "8859/7", "ISOIR138": "8859/8", "ISOIR148": "8859/9", "ISOIR203": "8859/15",
    "GB18030": "GB 18030-2000", "BIG5": "BIG-5", "KSX1001": "KS X 1001",
}  # fmt: skip
_BY_KEY: Final = {
    **{_NOT_ALPHANUMERIC.sub("", charset.name.upper()): charset for charset in _CHARSETS},
    **{f"ISO{_NOT_ALPHANUMERIC.sub('', c.name)}": c for c in _CHARSETS if c.is_one_byte},
    **{alias: charset for alias, name in _ALIASES.items() for charset in _CHARSETS if charset.name == name},
}

_LETTERS_BESIDE_LETTERS: Final = frozenset({"8859/2", "8859/4", "8859/5"})
"""One-byte sets in which two letters side by side (Polish ĘŻ, Cyrillic ТА) may look like one UTF-8 character."""


_WINDOWS: Final = {
    "8859/2": "cp1250", "8859/4": "cp1257", "8859/5": "cp1251", "8859/6": "cp1256", "8859/7": "cp1253",
    "8859/8": "cp1255", "8859/9": "cp1254",
}  # fmt: skip
"""Windows' sets have letters and quotes where ISO's have control characters; senders that declare ISO use them."""
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")


def repaired(text: str, charset: str) -> str:
    """``text`` without control characters.

    Each becomes the character that Windows has in its place, a blank for a line's end, or nothing. ``charset`` is the
    message's by table 0211. All other characters stay.
    """
    codec = _WINDOWS.get(charset, "cp1252")
    return _CONTROL.sub(lambda found: _in_windows(found[0], codec), text)


def _in_windows(control: str, codec: str) -> str:
    if control in "\t\n\r\x0b\x0c":
        return " "
    if control < "\x80":
        return ""
    try:
        return control.encode("latin-1").decode(codec)
    except UnicodeDecodeError:
        return ""


def named(name: str | None) -> Charset | None:
    """The character set that MSH-18 names, by table 0211 or a spelling seen in the field; None when it is unknown."""
    return _BY_KEY.get(_NOT_ALPHANUMERIC.sub("", name.upper())) if name else None


def decodes(body: bytes, codec: str) -> bool:
    """Whether ``body`` is valid in ``codec``, checked in pieces so that its text is never held whole."""
    try:
        if len(body) <= _CHUNK_BYTES:
            body.decode(codec)
            return True
        decoder = codecs.getincrementaldecoder(codec)()
        view = memoryview(body)
        for start in range(0, len(body), _CHUNK_BYTES):
            decoder.decode(view[start : start + _CHUNK_BYTES])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def actual(body: bytes, declared: Charset | None) -> Charset:
    """The character set that ``body`` is in, given the one that it declares.

    The declaration holds unless the bytes speak against it: bytes that are no valid UTF-8 are not UTF-8, and text in a
    one-byte set practically never forms valid UTF-8 by chance.
    """
    if body.isascii():
        return declared if declared and declared is not UTF_16 else ASCII
    if declared and declared.is_one_byte:
        doubtful = declared.name in _LETTERS_BESIDE_LETTERS and len(body.translate(None, _C1_CONTROLS)) == len(body)
        return UTF_8 if not doubtful and decodes(body, "utf-8") else declared
    if declared and declared is not UTF_16 and declared is not ASCII and _comes_back(body, declared):
        return declared
    return UTF_8 if decodes(body, "utf-8") else LATIN_1


def _comes_back(body: bytes, charset: Charset) -> bool:
    if charset.splits_as_bytes:
        return decodes(body, charset.codec)
    try:
        return body.decode(charset.codec).encode(charset.codec) == body
    except UnicodeError:
        return False


def unicode_form(data: bytes) -> tuple[str, bytes] | None:
    """The UTF-16 codec with its byte order, and the byte-order mark (perhaps empty), when ``data`` is UTF-16."""
    head = data[:4]
    if head[:2] == codecs.BOM_UTF16_LE:
        return "utf-16-le", codecs.BOM_UTF16_LE
    if head[:2] == codecs.BOM_UTF16_BE:
        return "utf-16-be", codecs.BOM_UTF16_BE
    if head == b"M\x00S\x00":
        return "utf-16-le", b""
    if head == b"\x00M\x00S":
        return "utf-16-be", b""
    return None
