"""Measures how the cost of a function grows with its input: processor time at n and at 4n."""

import gc
import time
from collections.abc import Callable
from functools import partial

MOST_TIMES = 6
"""The limit of the cost of four times the input. Linear work costs four times as much, quadratic sixteen times."""
_WORTH_MEASURING_SECONDS = 0.002
_LARGEST = 2**18

Work = Callable[[], object]


def seconds(prepare: Callable[[], Work], runs: int = 3) -> float:
    """The least processor time of this thread for the work, without ``prepare``."""
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
    """The ratio of the cost at 4n to the cost at n, and n: the first that takes 2 ms, or a quarter of a million.

    Work with a bounded cost takes less at any n; its ratio is then to 2 ms.
    """
    size = start
    while seconds(partial(prepare, size), 1) < _WORTH_MEASURING_SECONDS and size < _LARGEST:
        size *= 2
    ratio = float("inf")
    for _ in range(5):  # other processes may keep the machine busy
        once = max(seconds(partial(prepare, size)), _WORTH_MEASURING_SECONDS)
        ratio = min(ratio, seconds(partial(prepare, 4 * size)) / once)
        if ratio <= MOST_TIMES:
            break
    return ratio, size
