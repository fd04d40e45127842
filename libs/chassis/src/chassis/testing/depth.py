"""How many random cases the suite tries: ``SUITE_DEPTH=ci`` at each change, ``full`` before a release."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Depth:
    """``contest_rounds``: slots that 200 ask for at once. ``patience``: factor for the time limits of a test."""

    name: str
    deaths_at_each_point: int
    model_steps: int
    mutation_seconds: float
    simulation_seeds: int
    simulation_seconds: float
    contest_rounds: int
    examples_factor: int
    patience: int

    def examples(self, usual: int) -> int:
        """The number of examples of a property-based test that tries ``usual`` at each change."""
        return usual * self.examples_factor

    def as_json(self) -> dict[str, object]:
        return asdict(self)


DEPTHS: Final[Mapping[str, Depth]] = {
    "ci": Depth(
        "ci",
        deaths_at_each_point=100,
        model_steps=50_000,
        mutation_seconds=10.0,
        simulation_seeds=600,
        simulation_seconds=60.0,
        contest_rounds=1,
        examples_factor=1,
        patience=1,
    ),
    "full": Depth(
        "full",
        deaths_at_each_point=400,
        model_steps=400_000,
        mutation_seconds=240.0,
        simulation_seeds=15_000,
        simulation_seconds=1_500.0,
        contest_rounds=25,
        examples_factor=5,
        patience=20,
    ),
}
"""``full`` takes a core for about an hour: each kind of search gets some minutes.

``make simulate SEEDS=…``, ``MODEL_STEPS`` and ``MUTATION_SECONDS`` go further.
"""


def chosen(environment: Mapping[str, str]) -> Depth:
    """Raises ``ValueError`` for an unknown depth: a slip would silently try too little."""
    name = environment.get("SUITE_DEPTH") or "ci"
    if name not in DEPTHS:
        raise ValueError(f"SUITE_DEPTH={name}: known are {', '.join(DEPTHS)}")
    return DEPTHS[name]


DEPTH: Final = chosen(os.environ)
