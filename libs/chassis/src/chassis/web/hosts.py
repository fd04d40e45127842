"""The host names that a page answers to.

Another site may point its own name at our address (DNS rebinding). A browser then takes our pages for that site's, and
the site's script reads them and acts on them. The name in Host is the one thing that the site cannot choose.
"""

import ipaddress
import re
import socket
from typing import Final

_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_HOST: Final = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[^\[\]:/@\s]+))(?::\d{1,5})?")


def name_in(host: str) -> str | None:
    """The name in a Host header, without the port, in small letters; None when the header is not valid."""
    found = _HOST.fullmatch(host)
    if found is None:
        return None
    six, name = found["six"], found["name"]
    if six is None:
        return str(name).lower().removesuffix(".")
    try:
        return str(ipaddress.ip_address(six))
    except ValueError:
        return None


class OwnNames:
    """``service`` is the name by which containers and pods reach the service, ``bound`` the address it listens on."""

    def __init__(self, service: str, bound: str, allowed: str) -> None:
        given = {name for word in allowed.split(",") if (name := name_in(word.strip())) is not None}
        named = {service, socket.gethostname(), bound} - {"", "0.0.0.0", "::"}
        self._names = _LOOPBACK | given | {name.lower() for name in named}
        # No other name below the service's: anybody may own service.example. Nobody can own a name that ends in svc.
        label = re.escape(service.lower() or "-")  # no label is a single dash
        self._in_cluster = re.compile(rf"{label}\.[a-z0-9-]+\.svc(?:\.cluster\.local)?")

    def have(self, host: str) -> bool:
        """Whether the value of a Host header is one of our names, with or without a port."""
        name = name_in(host)
        return name is not None and (name in self._names or self._in_cluster.fullmatch(name) is not None)
