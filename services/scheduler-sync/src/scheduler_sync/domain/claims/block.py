"""A time of a resource that PowerServer has blocked: a reservation, a closed room, a service of the machine."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID, uuid5

from scheduler_sync.domain.slots import Slot

_BLOCKS: Final = UUID("0f2c6f0e-8a3e-5c4b-9a51-7d0b6d1f4e23")


def block_id(site: str, number: str) -> UUID:
    """The id of the block that PowerServer knows by ``number``."""
    return uuid5(_BLOCKS, f"{site}:{number}")


@dataclass(frozen=True, slots=True)
class Block:
    """``slot`` is None once the time is opened; ``heard_at`` is PowerServer's time of the newest message."""

    id: UUID
    facility: str
    resource: str
    slot: Slot | None
    heard_at: datetime

    def hear(self, facility: str, resource: str | None, slot: Slot | None, *, heard_at: datetime) -> "Block":
        """After a message that is news."""
        kept = self.resource if resource is None else resource
        return replace(self, facility=facility, resource=kept, slot=slot, heard_at=heard_at)
