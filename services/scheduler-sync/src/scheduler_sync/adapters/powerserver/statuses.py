"""The codes of a status (SCH-25, ORC-16, ORC-5), by the site file."""

from chassis.errors import NeedsSetup
from chassis.observe import shown, words_of
from hl7v2 import Segment
from scheduler_sync.adapters.powerserver import values
from scheduler_sync.adapters.powerserver.values import Reading
from scheduler_sync.domain.appointment import WorkflowStep


def step(reading: Reading, segment: Segment, field: int, where: str) -> WorkflowStep | None:
    """The workflow step of ``order value^name^99PS`` in ``field``; None when it is empty.

    A status that the site does not know needs set-up (``reading.waits_for``); the rest of the event takes effect.
    """
    parts = segment.parts(field)
    value, name = values.code(parts, 1), values.code(parts, 2)
    if value is None and name is None:
        return None
    site = reading.site
    number = value if value is not None and value.isdecimal() else None
    if number is not None:
        found = site.statuses.get(int(number)) if len(number) < 10 else None
    else:
        found = site.step_of_name.get((name or value or "").upper())
    if found is not None:
        return found
    if number is not None:
        named = shown(number)
        unknown, setting = f"status {named}", f"statuses.{named}"
    else:
        named = shown(name or value or "", words_of([*site.status_names, *site.statuses.values()]))
        unknown, setting = f"status name {named!r}", f"status_names.{named}"
    reading.ignore(segment.id, field)
    reading.waits_for = NeedsSetup(f"{where}: {unknown} is not in the site file", setting=setting)
    return None


def step_of_order(reading: Reading, orc: Segment, where: str) -> WorkflowStep | None:
    """ORC-16, else what ORC-5 (HL7 table 0038) means at this site."""
    word = orc.parts(16)
    if values.code(word, 1) is not None or values.code(word, 2) is not None:
        return step(reading, orc, 16, f"{where}-16")
    code = values.code(orc.parts(5), 1)
    found = reading.site.hl7.order_statuses.get(code.upper()) if code else None
    if code and found is None:
        reading.ignore("ORC", 5)
    return found
