"""Finds free ports, and the wanted ports that are taken, with their holders."""

import contextlib
import itertools
import random
import socket
from collections.abc import Iterable, Iterator

import psutil

from local_stack.processes import Process
from roster.members import port_variable

_PORTS = range(15_000, 30_000)
_places = itertools.count(random.SystemRandom().randrange(len(_PORTS)))


def free_port() -> int:
    """A port that is free, and that no other call of this process gets.

    It lies below the range from which a system takes the ports of outgoing connections: one of these could take it
    before the program that it is for listens. Each process begins at another place of the range.
    """
    for place in itertools.islice(_places, len(_PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port := _PORTS[place % len(_PORTS)]))
            return port
    raise OSError(f"no port from {_PORTS.start} to {_PORTS.stop - 1} is free")


def taken(wanted: Iterable[Process]) -> Iterator[str]:
    """A line for each port that another program listens on, with the program where it can be found out."""
    for process in wanted:
        for role, port in process.ports.items():
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    name = process.name if role in {"", "HTTP"} else f"{process.name}.{role.lower()}"
                    whose = f"{process.name} {role}".strip()
                    yield (
                        f"Port {port} ({whose}) is taken{_listener(port)}: "
                        f"stop that, or set {port_variable(name)} to a free one."
                    )


def _listener(port: int) -> str:
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
            if listens and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return ""
