"""The number of bytes that the connections of one server may hold together."""

from typing import Final

DEFAULT_MAX_BYTES_IN_FLIGHT: Final = 80 * 2**20
FREE_BYTES: Final = 16 * 2**10
"""Bytes that each connection may always hold, so that large messages elsewhere never block an ordinary message."""
_SMALL_BYTES: Final = 2**20
_RESERVED_PART: Final = 8


class Budget:
    """Counts held bytes. One eighth is reserved for frames of up to 1 MiB, so that a few large frames never fill it."""

    __slots__ = ("_limit_of_large_bytes", "limit_bytes", "used_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._limit_of_large_bytes = largest_frame_bytes(limit_bytes)
        self.used_bytes = 0

    def limit_for(self, frame_bytes: int) -> int:
        """The total that all connections may hold when a frame of this size is admitted."""
        return self.limit_bytes if frame_bytes <= _SMALL_BYTES else self._limit_of_large_bytes


def largest_frame_bytes(limit_bytes: int) -> int:
    """The largest frame that a budget of ``limit_bytes`` can ever admit."""
    return limit_bytes - limit_bytes // _RESERVED_PART
