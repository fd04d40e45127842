"""The codes of a status (SCH-25, ORC-16, ORC-5), by the site file."""

from typing import TypeVar

from chassis.errors import NeedsSetup
from chassis.observe import shown, words_of
from hl7v2 import Segment
from scheduler_sync.adapters.powerserver import values
from scheduler_sync.adapters.powerserver.places import At, Finder
from scheduler_sync.adapters.powerserver.values import Reading
from scheduler_sync.domain.appointment import WorkflowStep

T = TypeVar("T")


def _step(
    reading: Reading, at: At, segment: Segment, value: str | None, name: str | None, *, order: int
) -> WorkflowStep | None:
    """The workflow step of an order value, or of a name.

    A status that the site does not know needs set-up (``reading.waits_for``); the rest of the event takes effect.
    """
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
    reading.ignore(segment.id, at.field)
    where = f"{values.nth(segment.id, order)}-{at.name.partition('-')[2]}"
    reading.waits_for = NeedsSetup(f"{where}: {unknown} is not in the site file", setting=setting)
    return None


def found(reading: Reading, status: Finder[T], code: Finder[T], parts: T, number: int = 1) -> WorkflowStep | None:
    """The step at the first filled place of ``status``, else of ``code`` (HL7 table 0038: ``hl7.order_statuses``).

    ``number``: that of the order, for the text of an error.
    """
    for at, segment in status.each(reading, parts):
        # A whole field is ``order value^name^99PS``; one component is an order value or a name.
        value, name = at.text(segment), values.code_at(segment, at.field, 2) if at.is_whole else None
        if value is not None or name is not None:
            return _step(reading, at, segment, value, name, order=number)
    for at, segment in code.each(reading, parts):
        if (word := at.text(segment)) is not None:
            known = reading.site.hl7.order_statuses.get(word.upper())
            if known is not None:
                return known
            reading.ignore(segment.id, at.field)
    return None
