"""HL7 v2 over MLLP: the listener commits before it acknowledges; the sender maps acknowledgements to our errors."""

from chassis.hl7.inbound import Hl7Listener, InboundHl7, MllpLimits, refusal
from chassis.hl7.outbound import Hl7Sender, MllpClient, OutboundSettings, control_id

__all__ = [
    "Hl7Listener",
    "Hl7Sender",
    "InboundHl7",
    "MllpClient",
    "MllpLimits",
    "OutboundSettings",
    "control_id",
    "refusal",
]
