"""The roster: which services and simulators there are, and what each says of itself in its own folder.

``roster.members`` reads ``services/*/service.toml`` and ``simulators/*/simulator.toml``. Everything else that names a
member is derived from it at run time, or made by ``python -m roster generate``.
"""

from roster.members import ROOT, Member, Place, Roster, RosterError, Target, read, roster

__all__ = ["ROOT", "Member", "Place", "Roster", "RosterError", "Target", "read", "roster"]
