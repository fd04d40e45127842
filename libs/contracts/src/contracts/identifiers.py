"""UUID version 7 (RFC 9562): sortable by creation time, also within one millisecond of one process."""

import os
import struct
import threading
import time
from collections import deque
from typing import Final
from uuid import UUID, SafeUUID

_VERSION_AND_VARIANT = (0x7 << 76) | (0x2 << 62)
_lock = threading.Lock()
_last_tick = 0
_AT_ONCE: Final = 64
_random: Final[deque[int]] = deque()
_set: Final = object.__setattr__


def uuid7() -> UUID:
    """A new UUID version 7.

    The 12 bits after the milliseconds start at the clock's fraction of a millisecond and count up (RFC 9562 §6.2,
    method 1). So identifiers of one process ascend strictly, whatever the clock does; 62 bits are random.
    """
    global _last_tick  # noqa: PLW0603 - one order for the whole process is the point
    tick = (time.time_ns() << 12) // 1_000_000  # milliseconds, with 12 bits of their fraction
    with _lock:
        if tick <= _last_tick:
            tick = _last_tick + 1
        _last_tick = tick
        random_bits = _random.popleft() if _random else _more_random()
    found = object.__new__(UUID)  # without __init__: its six ways to give the number take longer than the rest
    _set(found, "int", (tick >> 12) << 80 | (tick & 0xFFF) << 64 | _VERSION_AND_VARIANT | random_bits)
    _set(found, "is_safe", SafeUUID.unknown)
    return found


def _more_random() -> int:
    """62 random bits. One system call gets the random bits of several identifiers."""
    several = os.urandom(8 * _AT_ONCE)
    _random.extend(number >> 2 for (number,) in struct.iter_unpack("=Q", several))
    return _random.popleft()


os.register_at_fork(after_in_child=_random.clear)  # two processes must not share the remaining bits
