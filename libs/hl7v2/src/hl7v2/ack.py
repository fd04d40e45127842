"""Acknowledgements (HL7 chapter 2, 2.9): AA, AE, AR of the original mode, CA, CE, CR of the enhanced one."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias, get_args

from hl7v2.errors import ERROR_CODES, AckError, Hl7Error
from hl7v2.message import Message
from hl7v2.segment import Segment
from hl7v2.timestamps import format_timestamp
from hl7v2.values import Value, raw, repeat

AckCode: TypeAlias = Literal["AA", "AE", "AR", "CA", "CE", "CR"]

_CODES: Final = frozenset(get_args(AckCode))
_DEFAULT_VERSION: Final = "2.3.1"
_LOCATION: Final = re.compile(r"(\w{3})(?:\[(\d+)\])?(?:-(\d+)(?:\[(\d+)\])?(?:\.(\d+)(?:\.(\d+))?)?)?")
_ERROR_TABLE: Final = "HL70357"
_LINE_END: Final = re.compile(r"[\r\n]")


@dataclass(frozen=True, slots=True)
class Ack:
    """What a partner answered: MSA-1, MSA-2, its words for people, and each error."""

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

    MSA-2 is the request's MSH-10 to the byte. Errors stand in one repeating ERR-1 up to version 2.4 and in an ERR
    segment each from 2.5 on. ``request`` is None for what could not be read at all: then MSA-2 is empty. ``control_id``
    is the acknowledgement's own MSH-10, ``at`` its MSH-7 (aware; the present when not given).
    """
    version = (request.version if request else "") or _DEFAULT_VERSION
    trigger = request.trigger if request else ""
    structure = ["ACK", trigger or None, "ACK" if _at_least(version, 2, 4) and trigger else None]
    header: dict[int, Value] = {
        7: _now(at),
        9: structure,
        10: control_id,
        11: "P",
        12: version,
    }
    if request:
        header |= {3: _same(request, 5), 4: _same(request, 6), 5: _same(request, 3), 6: _same(request, 4)}
        header[11] = _same(request, 11) or "P"
        header[12] = _same(request, 12) or version
        ack = Message.build(
            header, charset=_charset(request), encoding_characters=_all_delimiters(request.encoding_characters)
        )
    else:
        ack = Message.build(header)
    ack.add("MSA", {1: code, 2: _same(request, 10) if request else None, 3: _writable(ack, text)})
    if _at_least(version, 2, 5):
        for error in errors:
            words = _words(ack, error)
            coded = [error.code, ERROR_CODES.get(error.code), _ERROR_TABLE]
            ack.add("ERR", {2: _location(error.location), 3: coded, 4: error.severity, 8: words})
    elif errors:
        located = [
            [*_location(error.location, parts=3), [error.code, _words(ack, error), _ERROR_TABLE]] for error in errors
        ]
        ack.add("ERR", {1: repeat(*located)})
    return ack


def parse_ack(data: bytes) -> Ack:
    """Read a partner's answer; Hl7Error when it is no acknowledgement or its MSA-1 is none of the six codes."""
    message = Message.parse(data, require_header=False)
    code = (message.get("MSA-1") or "").strip().upper()
    if code not in _CODES:
        raise Hl7Error("101", "MSA-1", "there is no acknowledgement code in the answer", message=message)
    errors = [error for segment in message.segments("ERR") for error in _errors(segment)]
    texts = [message.get("MSA-3"), *(error.text for error in errors)]
    return Ack(
        code=code,  # type: ignore[arg-type]  # checked against the six above
        control_id=message.get("MSA-2") or "",
        text=next((text for text in texts if text), None),
        errors=tuple(errors),
    )


def _errors(segment: Segment) -> list[AckError]:
    if segment.get("3") is not None or segment.get("2") is not None:
        text = segment.get("8") or segment.get("7") or segment.get("3.2") or segment.get("3.9") or ""
        place = [segment.get(f"2.{part}") for part in range(1, 7)]
        return [AckError(segment.get("3.1") or "", _path(place), text, segment.get("4") or "E")]
    found = []
    for number in range(1, min(segment.count("1"), 100) + 1):
        at = f"1[{number}]"
        place = [segment.get(f"{at}.{part}") for part in (1, 2, 3)]
        found.append(AckError(segment.get(f"{at}.4.1") or "", _path(place), segment.get(f"{at}.4.2") or ""))
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


def _location(path: str, parts: int = 6) -> list[str | None]:
    match = _LOCATION.fullmatch(path)
    if match is None:
        return [None] * parts
    segment, sequence, field, repetition, component, subcomponent = match.groups()
    return [segment, sequence or "1", field, (repetition or "1") if field else None, component, subcomponent][:parts]


def _words(ack: Message, error: AckError) -> str | None:
    return _writable(ack, error.text or ERROR_CODES.get(error.code))


def _writable(message: Message, text: str | None) -> str | None:
    """``text`` with what the sender's character set lacks replaced: an answer must not fail over its words."""
    if text is None:
        return None
    return text.encode(message.codec, "replace").decode(message.codec)


def _same(request: Message, field: int) -> Value:
    found = request.raw(f"MSH-{field}")
    return None if found is None else raw(_LINE_END.sub("", _writable(request, found) or ""))


def _all_delimiters(declared: str) -> str:
    """The request's delimiters, those that it leaves out supplied: ERR needs every level."""
    for usual in "^~\\&"[len(declared) - 1 :]:
        declared += next(char for char in (usual, *"^~\\&!*%$") if char not in declared)
    return declared


def _charset(request: Message) -> str:
    return "" if request.charset == "ASCII" else request.charset


def _now(at: datetime | None) -> str:
    return format_timestamp(at or datetime.now(UTC))


def _at_least(version: str, *wanted: int) -> bool:
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    return numbers >= wanted
