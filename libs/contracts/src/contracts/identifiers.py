"""UUID version 7 (RFC 9562): sortable by time of making, also within one millisecond of one process."""

import os
import threading
import time
from uuid import UUID

_VERSION_AND_VARIANT = (0x7 << 76) | (0x2 << 62)
_lock = threading.Lock()
_last_tick = 0


def uuid7() -> UUID:
    """A new UUID version 7.

    The 12 bits after the milliseconds count on (RFC 9562 §6.2, method 1) from the clock's fraction of a millisecond,
    so that identifiers of one process ascend strictly, whatever the clock does; 62 bits are random.
    """
    global _last_tick  # noqa: PLW0603 - one order for the whole process is the point
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    tick = milliseconds << 12 | (rest << 12) // 1_000_000
    with _lock:
        if tick <= _last_tick:
            tick = _last_tick + 1
        _last_tick = tick
    random_bits = int.from_bytes(os.urandom(8)) >> 2
    return UUID(int=(tick >> 12) << 80 | (tick & 0xFFF) << 64 | _VERSION_AND_VARIANT | random_bits)
