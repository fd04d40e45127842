"""HL7 v2 over MLLP: the listener that commits before it acknowledges, its journal, and the operator's part of it."""

from chassis.hl7.inbound import Hl7Listener, MllpLimits, refusal
from chassis.hl7.journal import InboundHl7
from chassis.hl7.replay import JournalRow, kept_message, list_journal, replay_message

__all__ = [
    "Hl7Listener",
    "InboundHl7",
    "JournalRow",
    "MllpLimits",
    "kept_message",
    "list_journal",
    "refusal",
    "replay_message",
]
