"""HL7 v2 over MLLP: the listener that commits before it acknowledges."""

from chassis.hl7.inbound import Hl7Listener, InboundHl7, MllpLimits, refusal

__all__ = [
    "Hl7Listener",
    "InboundHl7",
    "MllpLimits",
    "refusal",
]
