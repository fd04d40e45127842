"""ADT: a patient is registered, changed, merged or deleted, with or without an appointment."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from chassis.errors import Malformed, NeedsSetup
from chassis.observe import shown, words_of
from hl7v2 import Segment
from scheduler_sync.adapters.powerserver import person, slots, values
from scheduler_sync.adapters.powerserver.identity import identifiers
from scheduler_sync.adapters.powerserver.places import At
from scheduler_sync.adapters.powerserver.values import Reading
from scheduler_sync.commands import AboutPatients, ChangePatientByStaff, DeletePatient, Merge, MergePatients
from scheduler_sync.site import SiteFacility

UNSUPPORTED_EVENT_CODE: Final = "201"
CHANGES: Final = frozenset({"A04", "A08", "A28", "A31"})
"""A visitor is registered or changed (A04, A08), or a person (A28, A31). All have the same facts."""


MERGES: Final = frozenset({"A39", "A40"})
DELETION: Final = "A23"


def read(reading: Reading, email_places: Sequence[At], received_at: datetime) -> AboutPatients:
    """The command. Malformed, NeedsSetup."""
    trigger = _trigger(reading)
    if trigger not in CHANGES | MERGES | {DELETION}:
        raise Malformed("MSH-9.2: this ADT event is not taken", location="MSH-9.2", code=UNSUPPORTED_EVENT_CODE)
    merges = _merges(reading, email_places) if trigger in MERGES else ()
    patient = None if merges else person.facts(reading, email_places)
    made = slots.made(reading, _facility(reading), received_at)
    name = f"ADT^{trigger}"
    if patient is None:
        return MergePatients(name, merges, made.earliest, made.latest)
    command = DeletePatient if trigger == DELETION else ChangePatientByStaff
    return command(name, patient, made.earliest, made.latest)


def _merges(reading: Reading, email_places: Sequence[At]) -> tuple[Merge, ...]:
    """Each PID with the MRG that follow it. A number of both is the former one: some lists keep it."""
    found: list[tuple[Segment, list[Segment]]] = []
    for segment in reading.segments:
        if segment.id_bytes == b"PID":
            found.append((segment, []))
        elif segment.id_bytes == b"MRG" and found:
            found[-1][1].append(segment)
    if not found:
        raise Malformed("PID-3.1 is missing", location="PID-3.1", code=values.REQUIRED_FIELD_MISSING)
    merges = []
    for place, (pid, ended) in enumerate(found, 1):
        if not ended:
            where = f"{values.nth('MRG', place)}-1.1"
            raise Malformed(f"{where} is missing", location=where, code=values.REQUIRED_FIELD_MISSING)
        survivor = person.of_segment(reading, pid, email_places if len(found) == 1 else ())
        former = tuple(dict.fromkeys(one for mrg in ended for one in identifiers(reading, mrg)))
        kept = tuple(one for one in survivor.identifiers if one not in former)
        if not kept:
            raise Malformed("MRG-1: names the surviving record itself", location="MRG-1", code=values.DATA_TYPE_ERROR)
        merges.append(Merge(replace(survivor, identifiers=kept), former))
    return tuple(merges)


def _trigger(reading: Reading) -> str | None:
    """MSH-9.2, else EVN-1, where versions before 2.3 have it alone."""
    return values.code_at(reading.msh, 9, 2) or values.code(values.parts(reading.first(b"EVN"), 1), 1)


def _facility(reading: Reading) -> SiteFacility:
    """The facility whose zone MSH-7 has: PV1-3.4 or MSH-4; any, where the site has one zone or MSH-7 an offset.

    A patient belongs to no facility, so an unknown facility matters only for the time.
    """
    facilities = reading.site.facilities
    named = [values.code(values.parts(reading.first(b"PV1"), 3), 4), values.code_at(reading.msh, 4)]
    known = next((facilities[one] for one in named if one in facilities), None)
    if known is not None:
        return known
    if len({one.time_zone for one in facilities.values()}) == 1 or _has_offset(reading):
        return next(iter(facilities.values()))
    found = shown(next((one for one in named if one), ""), words_of(facilities))
    raise NeedsSetup(
        f"MSH-7: has no zone, and facility {found!r} is not in the site file", setting=f"facilities.{found or 'MSH-4'}"
    )


def _has_offset(reading: Reading) -> bool:
    """Whether MSH-7 needs no zone: it has one, or it is missing."""
    found = values.code_at(reading.msh, 7)
    return found is None or found[-5:-4] in {"+", "-"}
