"""How the cost of a piece of work grows with its input: processor time at n and at 4n."""

import gc
import time
from collections.abc import Callable
from functools import partial

MOST_TIMES = 6
"""Four times the input may cost so many times as much. Linear work costs four times, quadratic sixteen."""
_WORTH_MEASURING_SECONDS = 0.002
_LARGEST = 2**18

Work = Callable[[], object]


def seconds(prepare: Callable[[], Work], runs: int = 3) -> float:
    """The least processor time of this thread for the work; what ``prepare`` does is not counted."""
    least = float("inf")
    for _ in range(runs):
        work = prepare()
        gc.disable()
        try:
            begun = time.thread_time()
            work()
            least = min(least, time.thread_time() - begun)
        finally:
            gc.enable()
    return least


def growth(prepare: Callable[[int], Work], start: int = 256) -> tuple[float, int]:
    """How many times as much 4n costs as n, and the n: the first that takes 2 ms, or a quarter of a million.

    Work that is bounded whatever its input costs less than that at any n; the ratio is then to 2 ms.
    """
    size = start
    while seconds(partial(prepare, size), 1) < _WORTH_MEASURING_SECONDS and size < _LARGEST:
        size *= 2
    ratio = float("inf")
    for _ in range(5):  # the machine may be busy with other things
        once = max(seconds(partial(prepare, size)), _WORTH_MEASURING_SECONDS)
        ratio = min(ratio, seconds(partial(prepare, 4 * size)) / once)
        if ratio <= MOST_TIMES:
            break
    return ratio, size
