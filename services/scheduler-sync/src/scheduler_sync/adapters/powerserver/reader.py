"""Reads SIU and ORM as one command, whichever of the two brings a booking: the placer number joins them. Reads ADT.

Only the fields of ``table`` are read; the others are counted. A message that breaks the standard is Malformed (answered
AR). A message that this site does not know is NeedsSetup (answered AE, kept, and replayed after the fix).
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from chassis.errors import Malformed
from hl7v2 import Message
from scheduler_sync.adapters.powerserver import coverage, orders, patients, schedule, values
from scheduler_sync.adapters.powerserver.coverage import Coverage, Key
from scheduler_sync.adapters.powerserver.places import compiled
from scheduler_sync.adapters.powerserver.values import DATA_TYPE_ERROR, LONGEST_TEXT, VALUE_TOO_LONG, Reading
from scheduler_sync.commands import AboutPatients, BlockTime, ChangeAppointmentByStaff
from scheduler_sync.ports import Resources
from scheduler_sync.site import SiteFile

MOST_SEGMENTS: Final = 1000
MOST_BYTES: Final = 256 * 1024
"""Most segments that are read. An appointment with more would not fit into an event."""
_LOOKED_AT_BYTES: Final = 4 * MOST_SEGMENTS  # a message of fewer bytes has fewer segments
Command = ChangeAppointmentByStaff | BlockTime | AboutPatients
_READ: Final = ("PID", "MRG", "PV1", "SCH", "AIS", "AIG", "AIL", "ORC", "OBR", "NTE")
_WORDS: Final = frozenset({("NTE", 3), ("SCH", 6)})
"""Free text: the beginning of a longer one is kept."""
UNSUPPORTED_MESSAGE_TYPE: Final = "200"
UNSUPPORTED_PROCESSING_ID: Final = "202"

_FRAGMENTS: Final = ((b"DSC", "DSC-1"), (b"ADD", "ADD-1"))
_COVERAGE: Final = Coverage()


@dataclass(slots=True)
class PassedOver:
    """The unused fields of messages, by segment and field, and the number of repaired texts."""

    keys: list[Key] = field(default_factory=list)
    repairs: int = 0


def read(
    message: Message,
    site: SiteFile,
    resources: Resources,
    *,
    received_at: datetime,
    passed_over: PassedOver | None = None,
) -> Command:
    """A PowerServer message as a command. Raises Malformed, NeedsSetup, Transient.

    ``passed_over`` collects the unused parts of the message.
    """
    if message.size > _LOOKED_AT_BYTES:
        _check_extent(message)
    reading = Reading(message, site)
    if message.size > LONGEST_TEXT:
        _check_lengths(reading)
    kind = values.code_at(reading.msh, 9)
    if kind not in ("SIU", "ORM", "ADT"):
        raise Malformed("MSH-9.1: only SIU, ORM and ADT are taken", location="MSH-9.1", code=UNSUPPORTED_MESSAGE_TYPE)
    _check_processing_id(reading)
    _check_whole(reading)
    places = compiled(site.mapping)
    command: Command
    if kind == "ADT":
        command = patients.read(reading, places.siu.email, received_at)
    elif kind == "SIU":
        command = schedule.read(reading, places.siu, resources, received_at)
    else:
        command = orders.read(reading, places.orm, resources, received_at)
    if passed_over is not None:
        passed_over.keys += _COVERAGE.unread(kind, reading.segments, site.mapping)
        if reading.ignored:
            passed_over.keys += [coverage.key_of(segment, number) for segment, number in reading.ignored]
        passed_over.repairs += reading.repairs
    return command


def _check_extent(message: Message) -> None:
    number, size = message.extent(*_READ)
    if number > MOST_SEGMENTS or size > MOST_BYTES:
        what = f"{', '.join(_READ)}: together more than {MOST_SEGMENTS} segments or {MOST_BYTES // 1024} KiB"
        raise Malformed(what, location="", code=VALUE_TOO_LONG)


def _check_lengths(reading: Reading) -> None:
    """Names, codes and parts of addresses are far shorter. A longer value would reach pages and other systems."""
    mapped = compiled(reading.site.mapping).segments
    for name in dict.fromkeys((*_READ, *mapped)):
        for place, segment in enumerate(reading.all(name.encode()), 1):
            if len(segment.to_bytes()) <= LONGEST_TEXT:
                continue
            for number in segment.filled():
                if (name, number) in _WORDS:
                    continue
                if any(len(part) > LONGEST_TEXT for parts in segment.repetitions(number) for part in parts):
                    where = f"{values.nth(name, place)}-{number}"
                    what = f"{where} is longer than {LONGEST_TEXT} characters"
                    raise Malformed(what, location=where, code=VALUE_TOO_LONG)


def _check_processing_id(reading: Reading) -> None:
    found = values.code_at(reading.msh, 11)
    if found is not None and found not in reading.site.hl7.processing_ids:
        raise Malformed(
            "MSH-11: messages of this processing id are not taken on this line",
            location="MSH-11",
            code=UNSUPPORTED_PROCESSING_ID,
        )


def _check_whole(reading: Reading) -> None:
    places = [(reading.msh, 14, "MSH-14")]
    for name, where in _FRAGMENTS:
        if found := reading.all(name):
            places.append((found[0], 1, where))
    for segment, number, where in places:
        if values.code_at(segment, number) is not None:
            raise Malformed(f"{where}: a message in fragments is not taken", location=where, code=DATA_TYPE_ERROR)
