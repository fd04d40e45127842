"""Spoils messages: HL7 in bytes, FHIR in values. What it does follows from the given random source alone."""

import copy
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from sync_samples import orm, siu

Json = Any
CASES: Final = Path(__file__).parent / "field_cases"
_EXTREMES: Final = (
    b"", b'""', b"0", b"-1", b"1e309", b"nan", b"inf", b"2147483648", b"999999999", b"999999999.999999",
    b"9" * 20, b"7" * 5000, b"00010101", b"00010101000000", b"00010101000000+1400", b"00010101000000+0000",
    b"00010101000500Z",
    b"99991231235900+0000", b"99991231180000-0500", b"18500101120000", b"22000101000000", b"99991231235959-1200",
    b"99991231", b"99991231240000", b"99991231235960", b"19700101000000", b"00000000", b"20261301", b"20260230120000",
    b"20261201143000+2400", b"20261201143000-0530", b"20261201143000.999999999", b"20260308023000", b"2026120114",
    b"D", b"X", b"U", b"CA", b"S15", b"S26", b"SIU^S13", b"ORM^O01", b"~~~", b"^^^^^^^", b"&&&", b"\\", b"\\\\",
    b"\\X00\\", b"\\XD800\\", b"\\XEDA080\\", b"\\XFF\\", b"\\F\\\\S\\\\T\\\\R\\\\E\\", b"\\.br\\", b"\\C2842\\",
    b"\\M2442\\", b"\\Zxx\\", b"\\X" + b"41" * 300 + b"\\", b"\x00", b"\x1c", b"\x85", b"\xff\xfe", b"\xed\xa0\x80",
    "é".encode(), "Ω١٢٣".encode(), "\U0001f600".encode(), b"A" * 1200, b"B" * 430, b"M99999", b"D999999999", b"^^S0.1",
    b"^^D1", b"min", b"DAYS", b"W", b"30^NOSUCH^99PS", "²".encode(), "٣٠".encode(),
)  # fmt: skip
"""Values at the edges, and beyond, of what a field may hold."""
_CHARSETS: Final = (b"ASCII", b"8859/1", b"8859/15", b"UNICODE UTF-8", b"UNICODE UTF-16", b"BIG-5", b"KS X 1001", b"?")
_CODECS: Final = ("utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "cp1252", "gb18030", "big5")
HUGE: Final = "@@5000 digits@@"
"""Stands for a number of 5,000 digits, which Python does not write."""
_VALUES: Final[tuple[Json, ...]] = (
    None, True, False, "", " ", 0, -1, 1.5, 2**31, 2**63, 2**64, 10**300, 1e308, float("nan"), float("inf"), HUGE, [],
    {}, [[]], [{}], [None], {"reference": 7}, "\ud800", "x\udfff", "\x00", "a\u0000b", "x" * 3000, "é" * 900,
    "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999-14:00", "0001-01-01T00:00:00+14:00",
    "2026-12-01T14:30:00+24:00", "2026-12-01T14:30:00+23:59", "2026-12-01T24:00:00Z", "2026-12-01T14:30:60Z",
    "2026-12-01T14:30:00", "2026-12-01", "2026-W49-2T14:30:00Z", "booked", "PROPOSED", "cancelled", "entered-in-error",
    "Appointment/..", "Appointment/\ud800", "Patient/", "/", "urn:uuid:zz", "7" * 5000, "²", "a/b", "..", "%2e%2e",
)  # fmt: skip


def samples_of_hl7() -> list[bytes]:
    made = [siu(), siu("S13"), siu("S14"), siu("S15"), siu("S26"), orm(), orm("CA"), orm("SC"), orm("XO")]
    return made + [path.read_bytes() for path in sorted(CASES.glob("*.hl7"))]


def spoiled_hl7(source: random.Random, samples: Sequence[bytes]) -> bytes:
    """A sample after one to four changes."""
    raw = source.choice(samples).replace(b"\n", b"\r").replace(b"\r\r", b"\r")
    raw = _with_own_numbers(source, raw)
    for _ in range(source.choice((1, 1, 2, 2, 3, 4))):
        raw = source.choice(_HL7_CHANGES)(source, raw)
    return raw


def spoiled_json(source: random.Random, value: Json) -> Json:
    """A copy of ``value`` in which one to three elements are others, gone, repeated or nested."""
    root = [copy.deepcopy(value)]
    for _ in range(source.choice((1, 1, 2, 3))):
        holder, key = source.choice(list(_places(root)))
        match source.randrange(8):
            case 0 if isinstance(holder, dict):
                del holder[key]
            case 1:
                holder[key] = [holder[key], copy.deepcopy(holder[key])]
            case 2:
                for _ in range(source.choice((1, 3, 70))):
                    holder[key] = {"extension": [holder[key]], "value": holder[key] if len(str(key)) > 99 else 1}
            case 3 if isinstance(holder[key], str):
                at = source.randrange(len(holder[key]) + 1)
                holder[key] = holder[key][:at] + source.choice(("\ud83d", "\x00", "/", "9" * 400)) + holder[key][at:]
            case _:
                holder[key] = copy.deepcopy(source.choice(_VALUES))
    return root[0]


def written(value: Json) -> bytes:
    """JSON as a careless server writes it: NaN, halves of surrogate pairs and all digits."""
    return json.dumps(value).replace(json.dumps(HUGE), "9" * 5000).encode()


def _places(root: Json) -> list[tuple[Json, Any]]:
    found, waiting = [], [root]
    while waiting:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        found += [(holder, key) for key in keys]
        waiting += [holder[key] for key in keys if isinstance(holder[key], dict | list) and holder[key]]
    return found


def _with_own_numbers(source: random.Random, raw: bytes) -> bytes:
    """Mostly another appointment, sometimes another patient, always another control id."""
    lines = raw.split(b"\r")
    header = lines[0].split(b"|")
    if len(header) > 9:
        header[9] = b"M%d" % source.getrandbits(48)
    lines[0] = b"|".join(header)
    raw = b"\r".join(lines)
    if source.random() < 0.8:
        raw = raw.replace(b"P100045", b"P%d" % source.getrandbits(32))
    if source.random() < 0.5:
        raw = raw.replace(b"4711", b"%d" % source.getrandbits(20))
    return raw


def _other_field(source: random.Random, raw: bytes) -> bytes:
    lines = raw.split(b"\r")
    at = source.randrange(len(lines))
    fields = lines[at].split(b"|")
    number = source.randrange(len(fields)) if source.random() < 0.1 else min(len(fields) - 1, source.randrange(1, 30))
    number = max(number, 0)
    new = source.choice(_EXTREMES)
    match source.randrange(4):
        case 0:
            fields[number] = new
        case 1:
            parts = fields[number].split(b"^")
            parts[source.randrange(len(parts))] = new
            fields[number] = b"^".join(parts)
        case 2:
            fields[number] += b"~" + new
        case _:
            place = source.randrange(len(fields[number]) + 1)
            fields[number] = fields[number][:place] + new + fields[number][place:]
    lines[at] = b"|".join(fields)
    return b"\r".join(lines)


def _other_time(source: random.Random, raw: bytes) -> bytes:
    """In the place of a time that is there."""
    time = source.choice((b"20261125093000-0500", b"20261201143000-0500", b"20261201150000-0500", b"19800229"))
    return raw.replace(time, source.choice(_EXTREMES), source.choice((1, -1)))


def _other_lines(source: random.Random, raw: bytes) -> bytes:
    lines = raw.split(b"\r")
    at, other = source.randrange(len(lines)), source.randrange(len(lines))
    match source.randrange(4):
        case 0:
            del lines[at]
        case 1:
            lines.insert(other, lines[at])
        case 2:
            lines[at], lines[other] = lines[other], lines[at]
        case _:
            lines[at] = lines[at].rpartition(b"|")[0]
    return b"\r".join(lines)


def _other_bytes(source: random.Random, raw: bytes) -> bytes:
    at = source.randrange(len(raw) + 1)
    match source.randrange(4):
        case 0:
            return raw[:at] + source.randbytes(source.choice((1, 1, 2, 8))) + raw[at:]
        case 1:
            return raw[:at] + raw[at + source.choice((1, 1, 2, 30)) :]
        case 2:
            return raw[:at] + source.choice(_EXTREMES) + raw[at:]
        case _:
            return raw[:at]


def _other_delimiters(source: random.Random, raw: bytes) -> bytes:
    if source.random() < 0.5:  # declared, and the old ones written
        return raw.replace(b"^~\\&", bytes(source.sample(b"^~\\&#!%@$*?`'", source.randrange(1, 6))), 1)
    old, new = b"|^~\\&", bytes(source.sample(b"|^~\\&#!%@$*?`';:", 5))
    return raw.translate(bytes.maketrans(old, new)) if not set(new) & (set(raw) - set(old)) else raw


def _other_charset(source: random.Random, raw: bytes) -> bytes:
    raw = raw.replace(b"UNICODE UTF-8", source.choice(_CHARSETS))
    if source.random() < 0.5:
        return raw
    return raw.decode("utf-8", "replace").encode(source.choice(_CODECS), "replace")


_HL7_CHANGES: Final[tuple[Callable[[random.Random, bytes], bytes], ...]] = (
    *[_other_field] * 6, *[_other_time] * 3, _other_lines, _other_bytes, _other_delimiters, _other_charset,
)  # fmt: skip
