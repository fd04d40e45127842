"""How many random cases the suite tries: ``SUITE_DEPTH=ci`` at each change, ``full`` before a release."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Depth:
    """``patience``: factor for the time limits of a test."""

    name: str
    deaths_at_each_point: int
    model_steps: int
    mutation_seconds: float
    simulation_seeds: int
    simulation_seconds: float
    examples_factor: int
    patience: int

    def examples(self, usual: int) -> int:
        """The number of examples of a property-based test that tries ``usual`` at each change."""
        return usual * self.examples_factor

    def as_json(self) -> dict[str, object]:
        return asdict(self)


DEPTHS: Final[Mapping[str, Depth]] = {
    "ci": Depth("ci", 100, 50_000, 10.0, 2_000, 100.0, 1, 1),
    "full": Depth("full", 1_000, 1_000_000, 600.0, 100_000, 7_200.0, 20, 40),
}


def chosen(environment: Mapping[str, str]) -> Depth:
    """Raises ``ValueError`` for an unknown depth: a slip would silently try too little."""
    name = environment.get("SUITE_DEPTH") or "ci"
    if name not in DEPTHS:
        raise ValueError(f"SUITE_DEPTH={name}: known are {', '.join(DEPTHS)}")
    return DEPTHS[name]


DEPTH: Final = chosen(os.environ)
