"""SIU and ORM to one command. Whichever of the two brings a booking, the placer number is what joins it.

Only the fields of ``table`` are read; the others are counted. What breaks the standard is Malformed (answered AR),
what this site does not know is NeedsSetup (answered AE, kept, and replayed after the fix).
"""

from collections.abc import Callable
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

_COVERAGE: Final = Coverage()


def read(
    message: Message,
    site: SiteFile,
    resources: Resources,
    *,
    received_at: datetime,
    count: Callable[[list[Key], int], None] | None = None,
) -> ChangeAppointmentByStaff:
    """The command that a message of PowerServer is. Raises Malformed, NeedsSetup, Transient.

    ``count`` is told what of a message that was read was passed over, and how many of its texts were repaired.
    """
    reading = Reading(message, site)
    kind = values.code(reading.msh.parts(9), 1)
    if kind not in ("SIU", "ORM"):
        raise Malformed("MSH-9.1: only SIU and ORM are taken", location="MSH-9.1", code=UNSUPPORTED_MESSAGE_TYPE)
    _check_processing_id(reading)
    _check_whole(reading)
    read_it = schedule.read if kind == "SIU" else orders.read
    command = read_it(reading, resources, received_at)
    if count is not None:
        passed_over = [coverage.key_of(segment, number) for segment, number in reading.ignored]
        count(passed_over + _COVERAGE.unread(kind, reading.segments, site.hl7.orm_resource_field), reading.repairs)
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
    fragment = ((b"DSC", "DSC-1"), (b"ADD", "ADD-1"))
    places = [(reading.msh, 14, "MSH-14"), *((one, 1, where) for name, where in fragment for one in reading.all(name))]
    for segment, number, where in places:
        if values.code(segment.parts(number), 1) is not None:
            raise Malformed(f"{where}: a message in fragments is not taken", location=where, code=DATA_TYPE_ERROR)
