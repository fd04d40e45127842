"""The roster: the list of services and simulators, each described by a file in its own folder.

``roster.members`` reads ``services/*/service.toml`` and ``simulators/*/simulator.toml``. Every other mention of a
member is derived from these at run time, or made by ``python -m roster generate``.
"""

from roster.members import ROOT, Member, Place, Roster, RosterError, Target, read, roster

__all__ = ["ROOT", "Member", "Place", "Roster", "RosterError", "Target", "read", "roster"]
