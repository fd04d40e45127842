"""Acknowledgements (HL7 chapter 2, 2.9): AA, AE, AR of the original mode, CA, CE, CR of the enhanced one."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Literal, TypeAlias, get_args

from hl7v2 import lengths
from hl7v2.delimiters import Delimiters, complete
from hl7v2.errors import ERROR_CODES, AckError, Hl7Error
from hl7v2.message import Message
from hl7v2.segment import Segment
from hl7v2.timestamps import format_timestamp
from hl7v2.values import Components, Leaf, repeat

AckCode: TypeAlias = Literal["AA", "AE", "AR", "CA", "CE", "CR"]

_CODES: Final = frozenset(get_args(AckCode))
_DEFAULT_VERSION: Final = "2.3.1"
_LOCATION: Final = re.compile(r"(\w{3})(?:\[(\d+)\])?(?:-(\d+)(?:\[(\d+)\])?(?:\.(\d+)(?:\.(\d+))?)?)?")
_COPIED: Final = (3, 4, 5, 6, 10, 11, 12)
_LONGEST_COPIED_BYTES: Final = 800  # 199 characters (MSH-10 from version 2.7 on) of up to four bytes
_KEPT_BYTES: Final = 200
_LONGEST_CODE: Final = 20
_MOST_ERRORS: Final = 20
"""Errors read from one answer; nobody reads more, and reading an answer of nothing but errors would cost seconds."""
_ERROR_TABLE: Final = "HL70357"
_LONGEST_TEXT: Final = 80
"""Longest MSA-3, in every version that has MSA-3."""
_LONGEST_ERROR: Final = 80
"""Longest repetition of ERR-1, up to version 2.4."""
_MOST_PIECES: Final = 5
"""Repetitions of ERR-1 that one error's text may fill; a longer text is cut."""
_LONGEST_WORDS: Final = 250
"""Longest ERR-8, the text that people are shown."""
_LONGEST_DIAGNOSIS: Final = 2048
"""Longest ERR-7, which takes the text that is too long for ERR-8."""
_NOT_TO_ANSWER: Final = re.compile(rb"[\r\n\x00]")
"""Bytes that a refused request's header may hold, but no message may."""


@dataclass(frozen=True, slots=True)
class Ack:
    """A partner's answer: MSA-1, MSA-2, its text for people, and each error."""

    code: AckCode
    control_id: str
    text: str | None = None
    errors: tuple[AckError, ...] = ()

    @property
    def is_accepted(self) -> bool:
        """AA and CA."""
        return self.code in ("AA", "CA")


def build_ack(
    request: Message | None,
    code: AckCode,
    *,
    control_id: str,
    text: str | None = None,
    errors: Sequence[AckError] = (),
    at: datetime | None = None,
) -> Message:
    """The acknowledgement of ``request``, in its version, delimiters and character set, sender and receiver swapped.

    MSA-2 is the request's MSH-10 to the byte; of header fields above 800 bytes, which no version of HL7 allows, the
    first 200 are copied. Errors stand in one repeating ERR-1 up to version 2.4 and in an ERR segment each from 2.5 on.
    MSA-3 has at most 80 characters: a longer ``text`` ends in ``...`` there and stands whole among the errors, in one
    of its own where none of ``errors`` says it. What is too long for one repetition of ERR-1 goes on in the next.
    ``request`` is None for what could not be read at all: then MSA-2 is empty. ``control_id`` is the acknowledgement's
    own MSH-10, ``at`` its MSH-7 (aware; the present when not given).
    """
    if request is None:
        request = _NOTHING
    found = complete(request.delimiters)
    (header,) = request.segments(most=1)
    received = {field: header.encoded(field) for field in _COPIED}
    together = b"".join(received.values())
    if len(together) > _LONGEST_COPIED_BYTES and max(map(len, received.values())) > _LONGEST_COPIED_BYTES:
        received = {field: _cut(request, value) for field, value in received.items()}
    if _NOT_TO_ANSWER.search(together):
        received = {field: _NOT_TO_ANSWER.sub(b"", value) for field, value in received.items()}
    version = request.version[:_LONGEST_CODE] or _DEFAULT_VERSION
    trigger = request.trigger[:_LONGEST_CODE]
    type_parts = ("ACK", trigger, "ACK") if _has_structure(version) else ("ACK", trigger)
    charset = "" if request.charset == "ASCII" else request.charset

    def text_bytes(value: str | None) -> bytes:
        return found.escaped(_encoded(request, value), "") if value else b""

    fields = [
        *(b"MSH", found.encoding_characters, received[5], received[6], received[3], received[4]),
        *(_now() if at is None else format_timestamp(at).encode("ascii"), b""),
        *(found.component.join(map(text_bytes, type_parts)) if trigger else b"ACK", text_bytes(control_id)),
        *(received[11] or b"P", received[12] or version.encode("ascii", "replace")),
        *(b"", b"", b"", b"", b"", charset.encode("ascii")),
    ]
    if text:
        errors, text = _shared(code, text, errors, found, request)
    lines = [
        found.field.join(fields if charset else fields[:12]) + b"\r",
        found.field.join([b"MSA", code.encode("ascii"), received[10], text_bytes(text)]).rstrip(found.field) + b"\r",
    ]
    ack = request.answered_by(lines, found)
    _add_errors(ack, version, errors)
    return ack


def _shared(
    code: AckCode, text: str, errors: Sequence[AckError], found: Delimiters, request: Message
) -> tuple[Sequence[AckError], str]:
    """The errors and MSA-3. A text too long for MSA-3 is cut there and stands whole among the errors."""
    short = lengths.fitted(text, _LONGEST_TEXT, found, request.working_codec)
    if short == text or any(text in _said_by(error) for error in errors):
        return errors, short
    is_good = code in ("AA", "CA")
    return [*errors, AckError("0" if is_good else "207", "", text, "I" if is_good else "E")], short


def _said_by(error: AckError) -> tuple[str, str]:
    """An error's text, alone and after its location, as ``str`` of an Hl7Error gives it."""
    return error.text, f"{error.location}: {error.text}"


def _cut(request: Message, value: bytes) -> bytes:
    """The beginning of an oversized value; no character and no escape sequence is cut in two."""
    if len(value) <= _LONGEST_COPIED_BYTES:
        return value
    kept = value[:_KEPT_BYTES].decode(request.working_codec, "ignore").encode(request.working_codec, "ignore")
    escape = request.delimiters.escape
    return kept[: kept.rindex(escape)] if escape and kept.count(escape) % 2 else kept


def _now() -> bytes:
    return _second(int(time.time()))


@lru_cache(maxsize=1)
def _second(since_1970: int) -> bytes:
    """MSH-7, built once per second: it has whole seconds, and many acknowledgements leave within one second."""
    return format_timestamp(datetime.fromtimestamp(since_1970, UTC)).encode("ascii")


def _add_errors(ack: Message, version: str, errors: Sequence[AckError]) -> None:
    if _has_error_segments(version):
        for error in errors:
            words = _words(error)
            shown = ack.fitted(words, _LONGEST_WORDS)
            whole = None if shown == words else _escaped(ack, ack.fitted(words, _LONGEST_DIAGNOSIS))
            coded = [error.code, ERROR_CODES.get(error.code), _ERROR_TABLE]
            place = _location(error.location)
            ack.add("ERR", {2: place, 3: coded, 4: error.severity, 7: whole, 8: _escaped(ack, shown)})
    elif errors:
        located: list[Components] = [
            [*_location(error.location)[:3], (error.code, _escaped(ack, piece), _ERROR_TABLE)]
            for error in errors
            for piece in _pieces(ack, error)
        ]
        ack.add("ERR", {1: repeat(*located)})


def _pieces(ack: Message, error: AckError) -> list[str]:
    """An error's text in parts that each fit into a repetition of ERR-1; all but the last end with a blank."""
    words, place = _words(error), _location(error.location)[:3]
    around = sum(len(str(part or "")) for part in (*place, error.code, _ERROR_TABLE)) + 5  # and the delimiters
    room = max(_LONGEST_ERROR - around, 0)
    found: list[str] = []
    while len(found) < _MOST_PIECES - 1:
        end = lengths.split(words, room, ack.delimiters, ack.working_codec)
        blank = words.rfind(" ", 0, end)
        if end == len(words) or blank <= 0:
            break
        found.append(words[: blank + 1])
        words = words[blank + 1 :]
    return [*found, ack.fitted(words, room)]


def parse_ack(data: bytes) -> Ack:
    """Read a partner's answer, with its first 20 errors.

    Raises Hl7Error when the bytes are no acknowledgement or MSA-1 is none of the six codes.
    """
    message = Message.parse(data, require_header=False)
    code = (message.get("MSA-1") or "").strip().upper()
    if code not in _CODES:
        raise Hl7Error("101", "MSA-1", "there is no acknowledgement code in the answer", part=message)
    errors = [error for segment in message.segments("ERR", most=_MOST_ERRORS) for error in _errors(segment)]
    texts = [message.get("MSA-3"), *(error.text for error in errors)]
    said = next((text for text in texts if text), None)
    return Ack(
        code=code,  # type: ignore[arg-type]  # checked against the six above
        control_id=message.get("MSA-2") or "",
        text=said and _whole(said, [one for error in errors for one in _said_by(error)]),
        errors=tuple(errors),
    )


def _whole(text: str, others: Sequence[str]) -> str:
    """``text``, or the longer text in ``others`` that begins with ``text``."""
    if not text.endswith(lengths.CUT):
        return text
    beginning = text.removesuffix(lengths.CUT)
    return next((one for one in others if one.startswith(beginning)), text)


def _errors(segment: Segment) -> list[AckError]:
    if segment.get("3") is not None or segment.get("2") is not None:
        text = segment.get("8") or segment.get("7") or segment.get("3.2") or segment.get("3.9") or ""
        text = _whole(text, [segment.get("7") or ""])
        place = [segment.get(f"2.{part}") for part in range(1, 7)]
        return [AckError(segment.get("3.1") or "", _path(place), text, segment.get("4") or "E")]
    found: list[AckError] = []
    for number in range(1, min(segment.count("1"), _MOST_ERRORS) + 1):
        at = f"1[{number}]"
        place = [segment.get(f"{at}.{part}") for part in (1, 2, 3)]
        error = AckError(segment.get(f"{at}.4.1") or "", _path(place), segment.get(f"{at}.4.2") or "")
        before = found[-1] if found else None
        if before and (before.code, before.location) == (error.code, error.location) and before.text.endswith(" "):
            found[-1] = replace(before, text=before.text + error.text)  # a text that was split over several repetitions
        else:
            found.append(error)
    return found


def _path(place: Sequence[str | None]) -> str:
    segment, sequence, field, repetition, component, subcomponent = [*place, None, None, None][:6]
    if not segment:
        return ""
    path = segment if sequence in (None, "1") else f"{segment}[{sequence}]"
    if field:
        path += f"-{field}"
        path += f"[{repetition}]" if repetition not in (None, "1") else ""
        path += f".{component}" if component else ""
        path += f".{subcomponent}" if component and subcomponent else ""
    return path


def _location(path: str) -> list[Leaf]:
    """Segment, its number, field, repetition, component, subcomponent (ERL); all empty when ``path`` is no path."""
    match = _LOCATION.fullmatch(path)
    if match is None:
        return [None] * 6
    segment, sequence, field, repetition, component, subcomponent = match.groups()
    return [segment, sequence or "1", field, (repetition or "1") if field else None, component, subcomponent]


def _words(error: AckError) -> str:
    return error.text or ERROR_CODES.get(error.code, "")


def _escaped(ack: Message, text: str) -> bytes:
    return ack.delimiters.escaped(_encoded(ack, text), "")


def _encoded(message: Message, text: str) -> bytes:
    """``text``, with the characters replaced that the message's set lacks: an answer must not fail over its text."""
    if text.isascii():
        return text.encode("ascii")
    codec = message.codec
    return text.encode(codec, "replace").decode(codec).encode(message.working_codec, "replace")


@lru_cache(maxsize=64)
def _has_structure(version: str) -> bool:
    return _numbers(version) >= (2, 4)


@lru_cache(maxsize=64)
def _has_error_segments(version: str) -> bool:
    return _numbers(version) >= (2, 5)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d{1,4}", version)[:2])


_NOTHING: Final = Message.build({})
"""Stands for a request that could not be read at all."""
