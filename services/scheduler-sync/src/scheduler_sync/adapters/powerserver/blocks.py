"""SIU about a blocked time: S23 and S24, or another event with a status of the mapping's ``blocked_statuses``."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final

from chassis.errors import Malformed, NeedsSetup
from scheduler_sync.adapters.powerserver import slots, values
from scheduler_sync.adapters.powerserver.groups import Parts
from scheduler_sync.adapters.powerserver.places import SiuPlaces
from scheduler_sync.adapters.powerserver.places import facility as facility_of
from scheduler_sync.adapters.powerserver.places import zone as zone_of_message
from scheduler_sync.adapters.powerserver.values import Reading
from scheduler_sync.commands import BlockTime
from scheduler_sync.domain.appointment import Action
from scheduler_sync.ports import Resources

BLOCKS: Final = "S23"
OPENS: Final = "S24"
_CANCELS: Final = "S15"


def is_one(reading: Reading, places: SiuPlaces, trigger: str, parts: Parts) -> bool:
    """Whether the message is about a blocked time. A cancellation without a patient can be about nothing else."""
    if trigger in {BLOCKS, OPENS}:
        return True
    if trigger == _CANCELS and reading.first(b"PID") is None:
        return True
    return _is_blocked(reading, places, parts)


def _is_blocked(reading: Reading, places: SiuPlaces, parts: Parts) -> bool:
    words = reading.site.mapping.blocked_words
    for at, segment in places.status.each(reading, parts):
        found = [at.text(segment), values.code_at(segment, at.field, 2) if at.is_whole else None]
        if any(found):
            return any(word is not None and word.upper() in words for word in found)
    return False


def read(
    reading: Reading,
    places: SiuPlaces,
    resources: Resources,
    received_at: datetime,
    *,
    trigger: str,
    parts: Parts,
    span: Callable[[], tuple[datetime | None, datetime | None]],
) -> BlockTime:
    """The command; ``span`` reads start and end. Malformed, NeedsSetup, Transient."""
    sch = parts.sch
    number = None if sch is None else values.code_at(sch, 1) or values.code_at(sch, 2)
    if number is None:
        raise Malformed("SCH-1 is missing", location="SCH-1", code=values.REQUIRED_FIELD_MISSING)
    if len([one for one in parts.resources if one.action is not Action.REMOVE]) > 1:
        raise NeedsSetup(
            "AIG: the message blocks several resources at once",
            setting="PowerServer: send one message for each resource",
        )
    code, facility = facility_of(reading, places.facility, parts)
    made = slots.made(reading, facility, received_at, zone_of_message(reading, places.time_zone, parts))
    block = BlockTime(
        name=f"SIU^{trigger}",
        number=values.identifier(number, "SCH-1"),
        facility=code,
        said_at=made.earliest,
        said_until=made.latest,
    )
    if trigger in {OPENS, _CANCELS}:
        return block
    name = places.resource.text(reading, parts)
    if name is None:
        where = places.resource.ats[0].name if places.resource.ats else "AIG-3"
        raise Malformed(f"{where} is missing", location=where, code=values.REQUIRED_FIELD_MISSING)
    resource = resources.named(code, name)
    start, end = span()
    if start is None:
        raise Malformed("SCH-11.4 is missing", location="SCH-11.4", code=values.REQUIRED_FIELD_MISSING)
    slot, _ = slots.slot(start, end, facility, resource, "SCH-11.5")
    return replace(block, resource=name, slot=slot)
