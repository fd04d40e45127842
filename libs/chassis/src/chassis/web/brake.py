"""Slows down guessing of the console's password, without locking out people who know it.

Each source has a few free tries; then every wrong try lengthens the wait before the next one. Wrong tries are forgotten
after a time, and not at a right try: a guesser behind an operator's address would get new tries with each page that the
operator loads. Many sources at once have fewer tries each.
"""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

TRIES: Final = 5
TRIES_UNDER_PRESSURE: Final = 1
FIRST_SECONDS: Final = 2.0
LONGEST_SECONDS: Final = 60.0
FORGOTTEN_SECONDS: Final = 900.0
PRESSURE_A_MINUTE: Final = 100
MOST_SOURCES: Final = 1000
_LONGEST_DOUBLING: Final = 16
_NETWORK_BITS: Final = 64


@dataclass(slots=True)
class _Wrong:
    count: int
    last_at: float
    again_at: float


@dataclass
class Brake:
    """Remembers wrong tries, of at most ``MOST_SOURCES`` sources. ``now``: seconds of a clock that never goes back.

    Nothing in it awaits: no other request runs between asking for the wait and counting the try, so simultaneous tries
    are all counted.
    """

    now: Callable[[], float] = time.monotonic
    _sources: "OrderedDict[str, _Wrong]" = field(default_factory=OrderedDict, init=False)
    _level: float = field(default=0.0, init=False)
    _level_at: float = field(default=0.0, init=False)

    def wait_seconds(self, address: str) -> float:
        """Seconds until a client at ``address`` may try again; 0 when it may try now."""
        known = self._sources.get(source_of(address))
        return 0.0 if known is None else max(0.0, known.again_at - self.now())

    def wrong(self, address: str) -> None:
        """Counts a wrong try."""
        now, source = self.now(), source_of(address)
        self._level = max(0.0, self._level - (now - self._level_at) * PRESSURE_A_MINUTE / 60) + 1
        self._level_at = now
        known = self._sources.pop(source, None)
        count = 1 if known is None or now - known.last_at > FORGOTTEN_SECONDS else known.count + 1
        tries = TRIES if self._level <= PRESSURE_A_MINUTE else TRIES_UNDER_PRESSURE
        doublings = min(count - tries, _LONGEST_DOUBLING)
        pause = min(FIRST_SECONDS * 2**doublings, LONGEST_SECONDS) if doublings >= 0 else 0.0
        self._sources[source] = _Wrong(count, now, now + pause)
        if len(self._sources) > MOST_SOURCES:
            self._sources.popitem(last=False)

    def __len__(self) -> int:
        return len(self._sources)


def source_of(address: str) -> str:
    """The source behind an address: for IPv6 a whole network, because one machine has all addresses of it."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, _NETWORK_BITS), strict=False))
