"""The rules of self-scheduling against one slot; what the store's claims decide stands in the desk."""

from datetime import datetime, timedelta
from typing import Final

from scheduler_sync.domain.appointment import AppointmentLink
from scheduler_sync.domain.patient import Patient
from scheduler_sync.domain.slots import Busy, Length
from scheduler_sync.rooms import Room
from scheduler_sync.scheduling.problems import Code, Problem

_MINUTE: Final = timedelta(minutes=1)


def closed(room: Room, *, is_moving: bool, position: tuple[float, float] | None = None) -> list[Problem]:
    """The rules that keep patients from this resource at any time."""
    rules, resource = room.rules, room.resource
    reasons = rules.against_patients(resource.modality, is_open=resource.self_scheduling, is_moving=is_moving)
    found = [Problem(Code.SUPPRESSED, why) for why in reasons]
    if position is not None and rules.is_too_far(*position):
        found.append(Problem(Code.RULE, "the facility takes patients from its surroundings alone", "position"))
    return found


def out_of_time(room: Room, length: Length, start: datetime, now: datetime) -> list[Problem]:
    """The rules against this time, whoever has it."""
    rules, found = room.rules, list[Problem]()
    if start < now + rules.notice_minutes * _MINUTE:
        why = f"starts less than {rules.notice_minutes} minutes from now, or is past"
        found.append(Problem(Code.RULE, why, "start"))
    if start + length.exam > now + timedelta(days=rules.horizon_days):
        found.append(Problem(Code.RULE, f"is more than {rules.horizon_days} days ahead", "start"))
    if start.astimezone(room.hours.zone).minute % rules.grid_minutes or start.second or start.microsecond:
        found.append(Problem(Code.RULE, f"does not begin on the facility's {rules.grid_minutes} minutes", "start"))
    elif not room.is_free(Busy(), length, start):
        found.append(Problem(Code.RULE, "the resource is not open for the whole time", "start"))
    return found


def is_taken(busy: Busy, start: datetime, end: datetime) -> Problem:
    """Says how many stand in the way, and nothing of who they are."""
    first, last = start.timestamp() / 60, end.timestamp() / 60
    stand = sum(at < last and until > first for at, until in zip(busy.starts, busy.ends, strict=True))
    how_many = f"{stand} others have a part of it"
    of_places = f", of {busy.capacity} places" if busy.capacity > 1 else ""
    return Problem(Code.CONFLICT, f"the time is taken: {how_many}{of_places}", "start")


def beside(
    moved: AppointmentLink | None, room: Room, start: datetime, end: datetime
) -> list[tuple[datetime, datetime]]:
    """The parts of a span that the appointment to be moved does not have already."""
    if moved is None or moved.slot is None or room.resource.name != moved.resource:
        return [(start, end)]
    own_start = moved.slot.start - room.rules.before_minutes * _MINUTE
    own_end = moved.slot.end + room.rules.after_minutes * _MINUTE
    parts = [(start, min(end, own_start)), (max(start, own_end), end)]
    return [part for part in parts if part[0] < part[1]]


def confirms(room: Room, patient: Patient) -> bool:
    """Whether the facility's rules confirm a booking whose time is free.

    The suite does not know yet which forms are complete: that rule never holds.
    """
    holds = {"known-patient": patient.fhir_id is not None, "slot-free": True, "form-complete": False}
    return bool(room.rules.auto_confirm) and all(holds[rule] for rule in room.rules.auto_confirm)
