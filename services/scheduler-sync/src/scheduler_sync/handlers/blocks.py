"""PowerServer blocked a time of a resource, or opened it."""

from scheduler_sync.arrivals import Arrivals
from scheduler_sync.commands import BlockTime, Origin
from scheduler_sync.domain.appointment import Outcome
from scheduler_sync.domain.claims import Block, block_id
from scheduler_sync.handlers.effects import Effects
from scheduler_sync.handlers.patients import not_of_the_future
from scheduler_sync.ports import Blocks
from scheduler_sync.site import SiteFile


def block_time(
    command: BlockTime, *, blocks: Blocks, origin: Origin, site: SiteFile, arrivals: Arrivals, effects: Effects
) -> None:
    """Claims the blocked time, or releases it. A block is never refused: promises lose their place to it.

    Idempotent by PowerServer's time of the message: an older one changes nothing, in whatever order they arrive.
    """
    command = not_of_the_future(command, origin, effects.clock, effects.meters)
    identifier = block_id(site.site, command.number)
    known = blocks.by_id(identifier)
    heard_at = None if known is None else known.heard_at
    key = ("block", identifier)
    said_at = arrivals.in_order(key, heard_at, command.said_at, origin.connection)
    if heard_at is not None and command.latest(said_at) < heard_at:
        effects.meters.outcome(origin.source, Outcome.STALE)
        return
    before = known or Block(identifier, command.facility, "", None, said_at)
    newest = said_at if heard_at is None else max(said_at, heard_at)
    after = before.hear(command.facility, command.resource, command.slot, heard_at=newest)
    blocks.save(after, origin)
    arrivals.note(key, origin.connection, after.heard_at)
    is_news = known is None or (known.facility, known.resource, known.slot) != (
        after.facility,
        after.resource,
        after.slot,
    )
    effects.meters.outcome(origin.source, Outcome.APPLIED if is_news else Outcome.UNCHANGED)
