"""SIU and ORM to one command. Whichever of the two brings a booking, the placer number is what joins it.

Only the fields of ``table`` are read; the others are counted. What breaks the standard is Malformed (answered AR),
what this site does not know is NeedsSetup (answered AE, kept, and replayed after the fix).
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from chassis.errors import Malformed
from hl7v2 import Message
from scheduler_sync.adapters.powerserver import coverage, orders, schedule, values
from scheduler_sync.adapters.powerserver.coverage import Coverage, Key
from scheduler_sync.adapters.powerserver.values import DATA_TYPE_ERROR, Reading
from scheduler_sync.messages import ChangeAppointmentByStaff
from scheduler_sync.ports import Resources
from scheduler_sync.site import SiteFile

UNSUPPORTED_MESSAGE_TYPE: Final = "200"
UNSUPPORTED_PROCESSING_ID: Final = "202"

_FRAGMENTS: Final = ((b"DSC", "DSC-1"), (b"ADD", "ADD-1"))
_COVERAGE: Final = Coverage()


@dataclass(slots=True)
class PassedOver:
    """What of messages nobody uses, by segment and field, and how many of their texts were repaired."""

    keys: list[Key] = field(default_factory=list)
    repairs: int = 0


def read(
    message: Message,
    site: SiteFile,
    resources: Resources,
    *,
    received_at: datetime,
    passed_over: PassedOver | None = None,
) -> ChangeAppointmentByStaff:
    """The command that a message of PowerServer is. Raises Malformed, NeedsSetup, Transient.

    ``passed_over`` takes up what of a message that was read nobody uses.
    """
    reading = Reading(message, site)
    kind = values.code(reading.msh.parts(9), 1)
    if kind not in ("SIU", "ORM"):
        raise Malformed("MSH-9.1: only SIU and ORM are taken", location="MSH-9.1", code=UNSUPPORTED_MESSAGE_TYPE)
    _check_processing_id(reading)
    _check_whole(reading)
    read_it = schedule.read if kind == "SIU" else orders.read
    command = read_it(reading, resources, received_at)
    if passed_over is not None:
        passed_over.keys += _COVERAGE.unread(kind, reading.segments, site.hl7.orm_resource_field)
        if reading.ignored:
            passed_over.keys += [coverage.key_of(segment, number) for segment, number in reading.ignored]
        passed_over.repairs += reading.repairs
    return command


def _check_processing_id(reading: Reading) -> None:
    found = values.code(reading.msh.parts(11), 1)
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
        if values.code(segment.parts(number), 1) is not None:
            raise Malformed(f"{where}: a message in fragments is not taken", location=where, code=DATA_TYPE_ERROR)
