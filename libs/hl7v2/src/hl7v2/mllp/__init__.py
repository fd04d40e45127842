"""HL7's minimal lower layer protocol over asyncio: ``start_server`` and ``Client``."""

from hl7v2.mllp.budget import DEFAULT_MAX_BYTES_IN_FLIGHT, largest_frame_bytes
from hl7v2.mllp.client import Client
from hl7v2.mllp.errors import AckMismatch, AckTimeout, ConnectionLost, MllpError
from hl7v2.mllp.framing import DEFAULT_MAX_FRAME_BYTES, FrameReader, Oversized, Unfinished, frame
from hl7v2.mllp.server import Event, EventName, Handler, OnEvent, Peer, Server, start_server
from hl7v2.mllp.tls import client_context, server_context

__all__ = [
    "DEFAULT_MAX_BYTES_IN_FLIGHT",
    "DEFAULT_MAX_FRAME_BYTES",
    "AckMismatch",
    "AckTimeout",
    "Client",
    "ConnectionLost",
    "Event",
    "EventName",
    "FrameReader",
    "Handler",
    "MllpError",
    "OnEvent",
    "Oversized",
    "Peer",
    "Server",
    "Unfinished",
    "client_context",
    "frame",
    "largest_frame_bytes",
    "server_context",
    "start_server",
]
