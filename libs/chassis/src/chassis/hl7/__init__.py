"""HL7 v2 over MLLP: the listener commits before it acknowledges; the sender maps acknowledgements to our errors.

Also the listener's journal, and the operator's commands on it.
"""

from chassis.hl7.inbound import Hl7Listener, MllpLimits, refusal
from chassis.hl7.journal import InboundHl7
from chassis.hl7.outbound import Hl7Sender, MllpClient, OutboundSettings, control_id
from chassis.hl7.replay import JournalRow, kept_message, list_journal, replay_edited, replay_message

__all__ = [
    "Hl7Listener",
    "Hl7Sender",
    "InboundHl7",
    "JournalRow",
    "MllpClient",
    "MllpLimits",
    "OutboundSettings",
    "control_id",
    "kept_message",
    "list_journal",
    "refusal",
    "replay_edited",
    "replay_message",
]
