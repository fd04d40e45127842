"""PowerServer's resources, as its messages tell of them."""

from typing import Final

from scheduler_sync.commands import Origin, TakeGridRows
from scheduler_sync.ports import GridRecords

ACTOR: Final = "PowerServer (MFN)"


def take_grid_rows(command: TakeGridRows, *, records: GridRecords, origin: Origin) -> None:
    """Keeps what PowerServer says; the comparison with OmegaAI follows within seconds."""
    for row in command.rows:
        records.hear(row, actor=ACTOR, now=origin.received_at)
