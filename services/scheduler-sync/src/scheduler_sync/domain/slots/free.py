"""Free slots by bit masks: a bit for each five minutes, a big integer for each resource.

What a page offers and what a booking checks is this one function. It only shows: the claim decides.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from scheduler_sync.domain.slots.hours import Hours

STEP_MINUTES: Final = 5
GRID_MINUTES: Final = 15
_MINUTE: Final = timedelta(minutes=1)
_STEP_SECONDS: Final = 60 * STEP_MINUTES


@dataclass(frozen=True, slots=True)
class Busy:
    """What stands on a resource: the claims' starts and ends in epoch minutes, and how many may stand at once."""

    starts: Sequence[int] = ()
    ends: Sequence[int] = ()
    capacity: int = 1

    def has_room(self, start: datetime, end: datetime) -> bool:
        """Whether fewer than ``capacity`` claims stand at every minute from ``start`` until ``end``."""
        first, last = int(start.timestamp() // 60), int(-(-end.timestamp() // 60))
        stands = [span for span in zip(self.starts, self.ends, strict=True) if span[0] < last and span[1] > first]
        steps = [(max(at, first), 1) for at, _ in stands] + [(until, -1) for _, until in stands]
        count = 0
        for _, step in sorted(steps):
            count += step
            if count >= self.capacity:
                return False
        return True


@dataclass(frozen=True, slots=True)
class Length:
    """How long an exam takes, and the time that the resource needs before and after it, in minutes."""

    minutes: int
    before: int = 0
    after: int = 0

    @property
    def exam(self) -> timedelta:
        return timedelta(minutes=self.minutes)

    def claimed(self, start: datetime) -> tuple[datetime, datetime]:
        """What an exam from ``start`` claims: its slot, widened by the buffers."""
        return start - self.before * _MINUTE, start + self.exam + self.after * _MINUTE


def free_starts(
    hours: Hours, busy: Busy, length: Length, begin: datetime, end: datetime, *, grid_minutes: int = GRID_MINUTES
) -> list[datetime]:
    """The possible starts from ``begin``, of exams that end by ``end``: in UTC, in order, on the zone's grid."""
    margin = timedelta(minutes=length.before)
    origin = _floor(int((begin - margin).timestamp()))  # the instant of bit 0
    size = _steps(int((end + timedelta(minutes=length.after)).timestamp()), origin, up=True)
    if size <= 0 or begin >= end:
        return []
    exam, before, after = _up(length.minutes), _up(length.before), _up(length.after)
    everything = (1 << size) - 1
    open_bits = _open(hours, origin, size)
    window = _filled(_steps(int(begin.timestamp()), origin, up=True), _steps(int(end.timestamp()), origin, up=False))
    starts = _runs(open_bits & window, exam)
    if not starts:
        return []
    unclaimed = everything & ~_full(busy, origin, size)
    starts &= _runs(unclaimed, before + exam + after) << before
    starts &= _grid(hours.zone, origin, size, grid_minutes)
    return [datetime.fromtimestamp(origin + bit * _STEP_SECONDS, UTC) for bit in _bits(starts)]


def is_free(hours: Hours, busy: Busy, length: Length, start: datetime, *, grid_minutes: int = GRID_MINUTES) -> bool:
    """Whether ``free_starts`` would offer ``start``."""
    end = start + _up(length.minutes) * STEP_MINUTES * _MINUTE
    return free_starts(hours, busy, length, start, end, grid_minutes=grid_minutes) == [start.astimezone(UTC)]


def _full(busy: Busy, origin: int, size: int) -> int:
    """The bits at which as many claims stand as may. Counted in unary: level k has a 1 where more than k claims stand.

    Each level is a text of digits: a claim writes its few digits, which is cheaper than arithmetic on a long integer.
    """
    levels = [bytearray(b"0" * size) for _ in range(busy.capacity)]
    first = origin // 60
    if busy.capacity == 1:
        [level] = levels
        ones = b"1" * size
        for start, end in zip(busy.starts, busy.ends, strict=True):
            low, high = (start - first) // STEP_MINUTES, -((first - end) // STEP_MINUTES)
            if low < 0 or high > size:
                low, high = max(low, 0), min(high, size)
            if low < high:
                level[low:high] = ones[: high - low]
        return int(level[::-1], 2)
    for start, end in zip(busy.starts, busy.ends, strict=True):
        low, high = max((start - first) // STEP_MINUTES, 0), min(-((first - end) // STEP_MINUTES), size)
        if low >= high:
            continue
        carry = b"1" * (high - low)
        for level in levels:
            stood = bytes(level[low:high])
            if b"1" not in stood:
                level[low:high] = carry
                break
            digits, width = (int(carry, 2), int(stood, 2)), high - low
            level[low:high] = f"{digits[0] | digits[1]:0{width}b}".encode()
            carry = f"{digits[0] & digits[1]:0{width}b}".encode()
            if b"1" not in carry:
                break
    return int(levels[-1][::-1], 2)


@lru_cache(maxsize=512)
def _open(hours: Hours, origin: int, size: int) -> int:
    """The bits that are open as a whole."""
    begin = datetime.fromtimestamp(origin, UTC)
    end = begin + timedelta(seconds=size * _STEP_SECONDS)
    found = 0
    for opens, closes in hours.spans(begin, end):
        found |= _between(opens, closes, origin, size, inwards=True)
    for opens, closes in hours.closed_spans(begin, end):
        found &= ~_between(opens, closes, origin, size, inwards=False)
    return found


@lru_cache(maxsize=64)
def _grid(zone: ZoneInfo, origin: int, size: int, grid_minutes: int) -> int:
    """The bits at which the wall clock shows a multiple of ``grid_minutes`` since the hour."""
    found, at = 0, origin
    end = origin + size * _STEP_SECONDS
    while at < end:
        offset = _offset(zone, at)
        until = min(at + 24 * 3600, end)
        if _offset(zone, until) != offset:
            until = min(at + _STEP_SECONDS, end)
        steps = grid_minutes // STEP_MINUTES
        first = -((at + offset) // _STEP_SECONDS) % steps
        number = (until - at) // _STEP_SECONDS
        if number > first:
            found |= _every(steps, number - first) << ((at - origin) // _STEP_SECONDS + first)
        at = until
    return found


def _offset(zone: ZoneInfo, at: int) -> int:
    offset = datetime.fromtimestamp(at, zone).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


def _every(steps: int, size: int) -> int:
    """A bit in each of ``steps``, from the lowest, below ``size``."""
    number = -(-size // steps)
    return ((1 << number * steps) - 1) // ((1 << steps) - 1)


def _runs(bits: int, length: int) -> int:
    """The bits from which ``length`` bits stand in a row."""
    have = 1
    while have < length:
        step = min(have, length - have)
        bits &= bits >> step
        have += step
    return bits


def _between(start: datetime, end: datetime, origin: int, size: int, *, inwards: bool) -> int:
    low = _steps(int(start.timestamp()), origin, up=inwards)
    high = _steps(int(end.timestamp()), origin, up=not inwards)
    return _filled(max(low, 0), min(high, size))


def _filled(low: int, high: int) -> int:
    return 0 if high <= low else ((1 << (high - low)) - 1) << low


def _steps(at: int, origin: int, *, up: bool) -> int:
    return -((origin - at) // _STEP_SECONDS) if up else (at - origin) // _STEP_SECONDS


def _up(minutes: int) -> int:
    """Minutes as steps; a step that is begun counts whole."""
    return -(-minutes // STEP_MINUTES)


def _floor(at: int) -> int:
    return at - at % _STEP_SECONDS


def _bits(bits: int) -> Iterator[int]:
    """The places of the set bits, read off the binary text."""
    text = bin(bits)[:1:-1]
    place = text.find("1")
    while place >= 0:
        yield place
        place = text.find("1", place + 1)


def forget() -> None:
    """Forgets the masks of hours and grids, so that a measurement makes them anew."""
    _open.cache_clear()
    _grid.cache_clear()


def busy_of(spans: Iterable[tuple[datetime, datetime]], capacity: int = 1) -> Busy:
    """``spans`` as ``Busy``: an instant within a minute counts as the whole minute."""
    found = [(int(start.timestamp() // 60), int(-(-end.timestamp() // 60))) for start, end in spans]
    return Busy([start for start, _ in found], [end for _, end in found], capacity)
