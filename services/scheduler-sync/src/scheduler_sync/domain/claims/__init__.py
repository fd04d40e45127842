"""Claims: which times on a resource an appointment has, as a fact of PowerServer's or as a promise to a patient."""

from scheduler_sync.domain.claims.block import Block, block_id
from scheduler_sync.domain.claims.wanted import CLAIMING, Kind, Wanted, wanted_by

__all__ = ["CLAIMING", "Block", "Kind", "Wanted", "block_id", "wanted_by"]
