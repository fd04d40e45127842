"""A booking of PowerServer's took a time that was held for a patient: the patient is told, with free slots."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID

from scheduler_sync.commands import Origin
from scheduler_sync.domain.appointment import Announcement, Decision, Outcome, System
from scheduler_sync.events import appointment_event
from scheduler_sync.handlers.effects import Effects, history_entry
from scheduler_sync.ports import Conflict, Displaced, Work

DISPLACED: Final = "PowerServer booked the time that the patient asks for; staff and patient have to find another"
TAKEN: Final = "the time that the patient asks for was taken already; staff and patient have to find another"
BLOCKED: Final = "PowerServer blocked the time that the patient asks for; staff and patient have to find another"
_NO_CAUSE: Final = UUID(int=0)


async def tell_displaced(work: Work, displaced: Sequence[Displaced], *, effects: Effects) -> None:
    """Publishes each request that lost its place, with alternatives, and notes a conflict.

    The request stays open: staff may still confirm it, and the patient may ask for another time. Runs in the
    transaction of the booking, and once: afterwards the link has no claim that it could lose.
    """
    for one in displaced:
        await _tell(one, work=work, effects=effects)


async def _tell(one: Displaced, *, work: Work, effects: Effects) -> None:
    before, cause, now = one.link, one.cause, effects.clock.now()
    asked = before.requested_slot or before.slot
    if asked is None:
        return
    offers = await work.claims.alternatives(before, asked)
    after = replace(before, requested_slot=None, revision=before.revision + 1)
    why = BLOCKED if one.block is not None else TAKEN if cause is None else DISPLACED
    changed = () if before.requested_slot is None else ("requested_slot",)
    decision = Decision(after, Outcome.APPLIED, None, Announcement.REQUESTED, changed=changed, conflict=why)
    source, cause_id = (System.POWERSERVER, _NO_CAUSE) if cause is None else (cause.source, cause.cause_id)
    origin = Origin(source, "the time was taken" if cause is None else cause.message, cause_id, now)
    if one.block is not None:
        origin, cause_id = replace(one.block, received_at=now), one.block.journal_id
    work.links.save(after)
    work.outgoing.publish(
        appointment_event(
            Announcement.REQUESTED,
            before,
            after,
            effects.site().facilities,
            by="staff",
            occurred_at=now,
            cause_id=cause_id,
            lost=asked,
            offers=offers,
        )
    )
    sent = () if after.slot is None else (effects.tell_omegaai(after, work),)
    work.links.note(history_entry(before, decision, origin, deliveries=sent, outcome="displaced"))
    work.links.note_conflict(Conflict(after.id, now, source, cause_id, why))
    effects.meters.conflict(source, Outcome.APPLIED)
