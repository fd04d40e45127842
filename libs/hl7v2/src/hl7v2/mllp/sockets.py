"""TCP options: the kernel's probes detect a partner that vanished silently."""

import asyncio
import contextlib
import socket
from typing import Final

_OPTIONS: Final = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4), ("TCP_NODELAY", 1))


def keep_alive(transport: asyncio.BaseTransport) -> None:
    """Probe an idle connection after a minute, and send acknowledgements at once."""
    sock = transport.get_extra_info("socket")
    if sock is None:
        return
    # Some platforms lack some of these options.
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _OPTIONS:
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
