"""The counts of a process.

A metric is declared first: the chassis' own in ``meters``, a service's in its ``metrics``.
"""

from collections.abc import Callable
from types import ModuleType

import prometheus_client
from prometheus_client import CollectorRegistry

from chassis.observe import meters
from chassis.observe.declarations import Counter, Declared, Gauge, Histogram, declared_in


class Metrics:
    """One per process; ``registry`` is the content of /metrics."""

    def __init__(self, *modules: ModuleType) -> None:
        """``modules`` declare a service's own metrics; /metrics shows them and the chassis' from the start on.

        A metric that is declared elsewhere is shown once it is used.
        """
        self.registry = CollectorRegistry()
        self._counters: dict[Counter, prometheus_client.Counter] = {}
        self._gauges: dict[Gauge, prometheus_client.Gauge] = {}
        self._histograms: dict[Histogram, prometheus_client.Histogram] = {}
        for module in (meters, *modules):
            for one in declared_in(module):
                self._register(one)

    def count(self, what: Counter, amount: float = 1, **labels: str) -> None:
        counter = self._counter(what)
        (counter.labels(**labels) if labels else counter).inc(amount)

    def counter(self, what: Counter, **labels: str) -> Callable[[float], None]:
        """The function that adds to the counter of these labels, for hot paths."""
        return self._counter(what).labels(**labels).inc

    def set(self, what: Gauge, value: float, **labels: str) -> None:
        if what not in self._gauges:
            self._register(what)
        gauge = self._gauges[what]
        (gauge.labels(**labels) if labels else gauge).set(value)

    def observe(self, what: Histogram, value: float, **labels: str) -> None:
        if what not in self._histograms:
            self._register(what)
        histogram = self._histograms[what]
        (histogram.labels(**labels) if labels else histogram).observe(value)

    def value(self, what: Counter | Gauge | str, **labels: str) -> float:
        """The value of a counter or gauge; 0 where it was never set."""
        name = what if isinstance(what, str) else what.name
        return self.registry.get_sample_value(name, labels) or 0.0

    def _counter(self, what: Counter) -> prometheus_client.Counter:
        if what not in self._counters:
            self._register(what)
        return self._counters[what]

    def _register(self, what: Declared) -> None:
        """Raises ``ValueError`` where two declarations share a name."""
        match what:
            case Counter():
                self._counters[what] = prometheus_client.Counter(
                    what.name, what.meaning, what.labels, registry=self.registry
                )
            case Gauge():
                self._gauges[what] = prometheus_client.Gauge(
                    what.name, what.meaning, what.labels, registry=self.registry
                )
            case Histogram():
                self._histograms[what] = prometheus_client.Histogram(
                    what.name, what.meaning, what.labels, registry=self.registry, buckets=what.buckets
                )
