"""Lossless, tolerant HL7 v2 (ER7) codec; MLLP is in ``hl7v2.mllp``."""

from hl7v2.ack import Ack, AckCode, build_ack, parse_ack
from hl7v2.batches import unwrapped
from hl7v2.errors import ERROR_CODES, AckError, Hl7Error
from hl7v2.message import Message, readable_part
from hl7v2.segment import Segment
from hl7v2.timestamps import format_timestamp, parse_timestamp
from hl7v2.values import NULL, Raw, Repeat, Value, raw, repeat

__all__ = [
    "ERROR_CODES",
    "NULL",
    "Ack",
    "AckCode",
    "AckError",
    "Hl7Error",
    "Message",
    "Raw",
    "Repeat",
    "Segment",
    "Value",
    "build_ack",
    "format_timestamp",
    "parse_ack",
    "parse_timestamp",
    "raw",
    "readable_part",
    "repeat",
    "unwrapped",
]
