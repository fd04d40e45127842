"""How a metric is declared: an object with its name, meaning and labels. An undeclared metric cannot be counted."""

from types import ModuleType
from typing import Final

import prometheus_client

SIZES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500)
"""Buckets of a histogram that counts things."""
SECONDS: Final = prometheus_client.Histogram.DEFAULT_BUCKETS


class Declared:
    """``meaning`` is the help text on /metrics."""

    __slots__ = ("labels", "meaning", "name")

    def __init__(self, name: str, meaning: str, *labels: str) -> None:
        self.name, self.meaning, self.labels = name, meaning, labels


class Counter(Declared):
    """A value that only grows. Its name ends in ``_total``."""

    __slots__ = ()


class Gauge(Declared):
    """A value that rises and falls."""

    __slots__ = ()


class Histogram(Declared):
    """Counts how many values were at most as large as each of ``buckets``."""

    __slots__ = ("buckets",)

    def __init__(self, name: str, meaning: str, *labels: str, buckets: tuple[float, ...] = SECONDS) -> None:
        super().__init__(name, meaning, *labels)
        self.buckets = buckets


def declared_in(module: ModuleType) -> tuple[Declared, ...]:
    """The metrics that ``module`` declares."""
    return tuple(one for one in vars(module).values() if isinstance(one, Declared))
