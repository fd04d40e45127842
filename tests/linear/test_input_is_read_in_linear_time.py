"""Every reader of outside data takes at most linear time, whatever the input.

Each entry is one reader and one hostile kind of input: ``prepare(n)`` makes about n bytes (or characters, or items) and
returns the work to measure. A reader that needs another order of magnitude for four times the input would stop the
service.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import yaml
from measuring import MOST_TIMES, Work, growth

from chassis.errors import Permanent, UnusableAnswer
from chassis.hl7 import InboundHl7
from chassis.http import parse_json
from chassis.observe.redaction import redact, redact_text
from contracts.catalogue import parse
from contracts.errors import ContractError
from contracts.examples import EXAMPLES
from hl7v2 import Hl7Error, Message, build_ack, parse_ack, parse_timestamp, readable_part
from hl7v2.mllp import FrameReader
from notifier.adapters.letters import Letter, Letterhead, LetterWriter
from notifier.adapters.smtp import without_addresses
from notifier.domain.appointment import Appointment, Facility
from notifier.domain.facility_time import is_known_zone
from notifier.domain.recipient import Recipient
from omegaai import elements
from omegaai.client import Found
from omegaai.feed import ChangeFeed
from scheduler_sync.adapters.omegaai import reader as omegaai
from scheduler_sync.adapters.powerserver import reader as powerserver
from scheduler_sync.resources import ResourceDirectory
from scheduler_sync.site import SiteFileError, load

SITE_FILE = Path(__file__).resolve().parents[2] / "deploy/site/northside.yaml"
SITE = load(SITE_FILE)
AT = datetime(2026, 11, 25, 15, 30, tzinfo=UTC)
MSH = b"MSH|^~\\&|RAMSOFT|FAC01|SUITE|N|20261125093000-0500||SIU^S12|C1|P|2.3.1\r"
SCH = b"SCH|P1|A1|||||CT^CT||30|min|^^30^20261201143000-0500^20261201150000-0500||||||||||||||30^SCHEDULED\r"
PID = b"PID|1|4711|4711^^^NORTHSIDE||Roe^Jane||19800229|F\r"


def refusing(work: Callable[[], object]) -> Work:
    """The work; a refusal counts as a good end."""

    def refused() -> object:
        try:
            return work()
        except (Hl7Error, Permanent, UnusableAnswer, ContractError, SiteFileError, ValueError) as error:
            return error

    return refused


def times(unit: bytes, n: int) -> bytes:
    return unit * max(n // len(unit), 1)


def json_of(text: str) -> object:
    return parse_json(text.encode(), if_deep=lambda value: value)


# ---- HL7 -----------------------------------------------------------------------------------------------------------

_CONTENTS = {
    "one field": b"x", "lines": b"NTE|1\r", "line ends": b"\r",
    "lines that go on": b"NTE|1||x\ry\r", "two ends": b"\r\n",
    "separators": b"|", "repetitions": b"~", "components": b"^", "subcomponents": b"&", "escapes": b"\\",
    "hex": b"00", "hex that ends": b"\\X00\\", "odd hex": b"\\X0\\", "letters": b"\\X41\\", "other escapes": b"\\H\\",
    "hex after another": b"\\H\\X00\\H", "Latin-1": b"\xe9", "UTF-8": "é".encode(), "blanks": b" ",
}  # fmt: skip


def parsing(unit: bytes, head: bytes = b"NTE|1||\\X", charset: bytes = b"") -> Callable[[int], Work]:
    def prepare(n: int) -> Work:
        header = MSH.rstrip(b"\r") + b"||||||" + charset + b"\r" if charset else MSH
        raw = header + head + times(unit, n)
        return refusing(lambda: InboundHl7.of(raw, AT))

    return prepare


def parsing_utf_16(n: int) -> Work:
    raw = (MSH + b"NTE|1||" + times(b"\\X00", n)).decode().encode("utf-16")
    return refusing(lambda: InboundHl7.of(raw, AT))


def looking(unit: bytes, look: Callable[[Message], object]) -> Callable[[int], Work]:
    def prepare(n: int) -> Work:
        message = Message.parse(MSH + b"PID|1||" + times(unit, n))
        return refusing(lambda: look(message))

    return prepare


def look_everywhere(message: Message) -> object:
    segment = message.segments("PID")[0]
    parts = [message.get(f"PID-3{place}") for place in ("", "[2]", "[9].9", ".3.3", "[50].1.2")]
    return parts, segment.components("3"), segment.components("3.1"), segment.count("3"), segment.raw("3[40]")


def writing(n: int) -> Work:
    message = Message.parse(MSH)
    return lambda: message.add("NTE", {3: "|^~\\&\r" * (n // 6)})


def answering(unit: bytes, before: bytes = b"", after: bytes = b"\r") -> Callable[[int], Work]:
    def prepare(n: int) -> Work:
        raw = b"MSH|^~\\&|A|B|C|D|2026||ACK|1|P|2.5\rMSA|AE|1|" + before + times(unit, n) + after
        return refusing(lambda: parse_ack(raw))

    return prepare


def refusing_a_header(n: int) -> Work:
    try:
        message = Message.parse(MSH.replace(b"C1", b"9" * n).replace(b"2.3.1", b"2." * n))
    except Hl7Error as error:
        message = readable_part(error)
    return lambda: build_ack(message, "AE", control_id="1").to_bytes()


def frames(unit: bytes, read_bytes: int, head: bytes = b"\x0bMSH|", most: int = 2**26) -> Callable[[int], Work]:
    def prepare(n: int) -> Work:
        data = head + times(unit, n)
        reads = [data[start : start + read_bytes] for start in range(0, len(data), read_bytes)]

        def feed() -> None:
            reader = FrameReader(most)
            for read in reads:
                reader.feed(read)
                if reader.ends_in_bare_fs and len(read) > 1:
                    reader.flush_bare_fs()

        return feed

    return prepare


_FRAMES = {
    "one frame": b"x", "tiny frames": b"\x0bM\x1c\r", "VT": b"\x0b", "restarts": b"\x0bMSH|", "FS": b"\x1c",
    "FS x": b"\x1cx", "FS LF": b"\x0bM\x1c\n", "FS VT": b"M\x1c\x0b",
    "line ends": b"\r\n", "empty frames": b"\x0b\x1c\r",
}  # fmt: skip


def powerserver_reads(unit: bytes, before: bytes = b"", kind: bytes = b"SIU^S12") -> Callable[[int], Work]:
    directory = ResourceDirectory(lambda: SITE)

    def prepare(n: int) -> Work:
        raw = MSH.replace(b"SIU^S12", kind) + SCH + PID + before + times(unit, n)
        message = Message.parse(raw)
        return refusing(lambda: powerserver.read(message, SITE, directory, received_at=AT))

    return prepare


def status_of_many_digits(n: int) -> Work:
    message = Message.parse(MSH + SCH.replace(b"30^SCHEDULED", b"9" * n) + PID + b"AIL|1|A|^^^FAC01\r")
    return refusing(lambda: powerserver.read(message, SITE, ResourceDirectory(lambda: SITE), received_at=AT))


# ---- FHIR, the feed ------------------------------------------------------------------------------------------------


def found(**body: object) -> Found:
    return Found({"id": "1", "status": "booked", "meta": {"versionId": "1"}, **body}, "1")


def nested_extensions(n: int) -> Work:
    value: dict[str, object] = {"url": "Duration", "valueInteger": 30}
    for _ in range(n):
        value = {"url": "Duration", "extension": [value]}
    service = found(name="CT", providedBy={"reference": "Organization/1"}, extension=[value])

    def read() -> None:
        assert omegaai.healthcare_service(service).duration_minutes == 30

    return read


def without_a_value(n: int) -> Work:
    value: dict[str, object] = {"url": "Duration"}
    for _ in range(n):
        value = {"url": "Duration", "extension": [value, {"url": "x"}]}
    return lambda: elements.extension({"extension": [value]}, "Duration")


def appointment(**body: Callable[[int], object]) -> Callable[[int], Work]:
    def prepare(n: int) -> Work:
        resource = found(**{name: make(n) for name, make in body.items()})
        return refusing(lambda: omegaai.appointment(resource, "1"))

    return prepare


def fed(record: str) -> Callable[[int], Work]:
    def prepare(n: int) -> Work:
        feed = ChangeFeed.__new__(ChangeFeed)
        feed._wake = lambda: None
        data = record * (n // len(record))
        return refusing(lambda: feed._take(data))

    return prepare


# ---- mails, logs, messages, settings -------------------------------------------------------------------------------


def letter(text: str) -> Callable[[int], Work]:
    head = Letterhead("a@b.example", "N", "N", "https://p.example", "https://m.example/?q={address}", 30)
    writer = LetterWriter(head)

    def prepare(n: int) -> Work:
        long = text * (n // len(text))
        place = Facility(long, "America/Toronto", long, long)
        made = Appointment(uuid4(), uuid4(), 1, "appointment.scheduled", "scheduled", "patient", AT, AT, place)
        one = Letter("please-confirm", "en", "jane@example.org", long, made, "key")
        writer.write(Letter("please-confirm", "en", "j@example.org", "J", made, "key"), AT)
        return lambda: writer.write(one, AT)

    return prepare


def address(text: str) -> object:
    return Recipient(UUID(int=1), 1, "Jane", text, "en").mail_address


def over(read: Callable[[str], object], unit: str) -> Callable[[int], Work]:
    """A reader of text that repeats ``unit`` many times."""

    def prepare(n: int) -> Work:
        text = unit * max(n // len(unit), 1)
        return refusing(lambda: read(text))

    return prepare


def a_list_in_lists(n: int) -> Work:
    value: list[object] = []
    for _ in range(n):
        value = [value, value]
    return lambda: redact(value)


def over_items(make: Callable[[int], object]) -> Callable[[int], Work]:
    def prepare(n: int) -> Work:
        value = make(n)
        return lambda: redact(value)

    return prepare


def event(unit: bytes) -> Callable[[int], Work]:
    raw = next(iter(EXAMPLES.values())).to_bytes()

    def prepare(n: int) -> Work:
        long = raw[:-1] + b',"x":' + times(unit, n) + b"1}"
        return refusing(lambda: parse(long))

    return prepare


def site(**changes: Callable[[int], object]) -> Callable[[int], Work]:
    def prepare(n: int) -> Work:
        values = yaml.safe_load(SITE_FILE.read_text("utf-8")) | {name: make(n // 16) for name, make in changes.items()}
        path = Path("/dev/shm" if Path("/dev/shm").is_dir() else "/tmp") / f"site-{uuid4()}.yaml"  # noqa: S108 (removed)
        path.write_text(yaml.safe_dump(values))

        def read() -> object:
            return load(path)

        return refusing(read)

    return prepare


ENTRIES: dict[str, Callable[[int], Work]] = {
    **{f"HL7 parsed: {name}": parsing(unit) for name, unit in _CONTENTS.items()},
    **{
        f"HL7 parsed, GB 18030: {name}": parsing(_CONTENTS[name], charset=b"GB 18030-2000") for name in ("UTF-8", "hex")
    },
    "HL7 parsed, 8859/2": parsing("é".encode(), charset=b"8859/2"),
    "HL7 parsed, UTF-16": parsing_utf_16,
    "HL7 parsed: header": parsing(b"9", head=b"MSH|^~\\&|"),
    "HL7 parsed: no MSH": over(lambda text: Message.parse(text.encode()), "\x0b"),
    **{f"HL7 read: {name}": looking(unit, look_everywhere) for name, unit in _CONTENTS.items() if b"\r" not in unit},
    "HL7 NUL looked for": looking(b"00", lambda message: message.holds_escaped_nul),
    "HL7 extent": looking(b"\rNTE|1", lambda message: message.extent("NTE", "PID")),
    "HL7 written": writing,
    "HL7 times": over(lambda text: parse_timestamp(text, UTC), "2"),
    "HL7 times of blanks": over(lambda text: parse_timestamp(text, UTC), " "),
    "HL7 answered": refusing_a_header,
    "ACK read: text": answering(b"x"),
    "ACK read: errors": answering(b"ERR|^^^207\r", before=b"\r"),
    "ACK read: places in one error": answering(b"PID^1^3^207~", before=b"\rERR|"),
    "ACK read: a long place": answering(b"9", before=b"\rERR||", after=b"|207\r"),
    **{f"frames: {name}": frames(unit, 2**18) for name, unit in _FRAMES.items()},
    **{f"frames in reads of 7 bytes: {name}": frames(unit, 7) for name, unit in _FRAMES.items()},
    **{
        f"frames byte for byte: {name}": frames(_FRAMES[name], 1) for name in ("one frame", "tiny frames", "VT", "FS x")
    },
    "frames: too large": frames(b"x", 4096, most=1000),
    "frames: too large and full of VT": frames(b"\x0b" + b"x" * 30, 4096, most=1000),
    "frames: junk": frames(b" x", 4096, head=b""),
    "SIU: studies": powerserver_reads(b"AIS|1|A|CT^Head\r"),
    "SIU: groups": powerserver_reads(b"AIL|1|A|^^^FAC01\r"),
    "SIU: identifiers": powerserver_reads(b"4711^^^OTHER~", before=b"AIL|1|A|^^^FAC01\rPID|1||"),
    "SIU: status": status_of_many_digits,
    "ORM: orders": powerserver_reads(b"ORC|NW|P1\rOBR|1|P1|ACC|CT\r", kind=b"ORM^O01"),
    "ORM: orders of many": powerserver_reads(b"ORC|NW|P1\rORC|NW|P2\r", kind=b"ORM^O01"),
    "FHIR: nested extensions": nested_extensions,
    "FHIR: nested extensions without a value": without_a_value,
    "FHIR: identifiers": appointment(identifier=lambda n: [{"system": "x", "value": "y" * 9}] * (n // 20)),
    "FHIR: a long identifier": appointment(identifier=lambda n: [{"value": "urn:uuid:" * (n // 9)}]),
    "FHIR: participants": appointment(participant=lambda n: [{"actor": {"reference": "A/1"}}] * (n // 20)),
    "FHIR: a long reference": appointment(participant=lambda n: [{"actor": {"reference": "a/" * n}}]),
    "FHIR: a long instant": appointment(start=lambda n: "2" * n),
    "FHIR: a long number": over(elements.integer, "9"),
    "JSON: lists in lists": over(json_of, "["),
    "JSON: objects in objects": over(json_of, '{"a":'),
    "JSON: strings in lists": over(json_of, '["a"'),
    "JSON: a string without an end": over(lambda text: json_of("[" * 100_000 + '"' + text), '\\"'),
    "feed: records": fed('{"type":1}\x1e'),
    "feed: empty records": fed("\x1e"),
    "mail: words": letter("word "),
    "mail: one word": letter("é"),
    "mail: lines": letter("\r\n"),
    "mail: markup": letter("<&\"'"),
    "mail: reply": over(without_addresses, "<a@"),
    "mail: reply without an address": over(without_addresses, "a"),
    "mail: reply of blanks": over(without_addresses, " \n"),
    "mail: address of many labels": over(address, "a@a.a."),
    "mail: address in Unicode": over(address, "é@é"),
    "mail: address of blanks": over(address, " "),
    "mail: zone": over(is_known_zone, "+1"),
    **{
        f"log: {name}": over(redact_text, unit)
        for name, unit in {"one word": "a", "carets": "a^", "at": "a@", "digits": "2026", "segments": "PID|"}.items()
    },
    "log: a wide mapping": over_items(lambda n: {str(k): "x" for k in range(n // 8)}),
    "log: a list in lists": a_list_in_lists,
    "log: a long key": over(lambda text: redact({text: 1}), "a@"),
    "log: a long number": over_items(lambda n: 1 << n),
    "event: a long text": event(b'"\\u0041",'),
    "event: lists in lists": event(b"["),
    "site file: facilities": site(issuers=lambda n: {f"I{k}": "urn:x" for k in range(n)}),
    "site file: a wrong key": site(status_names=lambda n: {f"S{k}": 30 for k in range(n)} | {"X": "x"}),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_reader_takes_linear_time(name: str) -> None:
    ratio, size = growth(ENTRIES[name])
    assert ratio <= MOST_TIMES, f"four times {size} cost {ratio:.1f} times as much"


def test_quadratic_work_is_found() -> None:
    ratio, _ = growth(lambda n: lambda: [sum(range(n)) for _ in range(n)])
    assert ratio > MOST_TIMES
