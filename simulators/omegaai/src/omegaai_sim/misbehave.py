"""Faults on demand: each rule spoils the next requests of a target until its count is used up or it is cleared."""

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

MODES: Final[Mapping[str, frozenset[str]]] = {
    "fhir": frozenset({"status", "slow", "accept-then-timeout", "cut", "redirect", "page", "endless"}),
    "token": frozenset({"status", "refuse", "redirect", "page", "endless"}),
    "feed": frozenset({"drop", "duplicate", "reorder", "cut"}),
}


class FaultError(ValueError):
    """An order that is not understood; the text names the field."""


@dataclass(slots=True)
class Fault:
    """``count`` None lasts until cleared; ``status`` is for status, ``seconds`` for slow and accept-then-timeout."""

    target: str
    mode: str
    count: int | None = 1
    probability: float = 1.0
    seconds: float = 2.0
    status: int = 503


class Misbehaviour:
    """The orders in force, oldest first."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._random = random.Random()  # noqa: S311 (chaos, not secrets)

    def add(self, given: Mapping[str, Any]) -> dict[str, Any]:
        fault = _fault(given)
        self._faults.append(fault)
        return asdict(fault)

    def clear(self) -> None:
        self._faults.clear()

    def all(self) -> list[dict[str, Any]]:
        return [asdict(fault) for fault in self._faults]

    def take(self, target: str) -> Fault | None:
        """The fault that hits this request, if one does."""
        for fault in self._faults:
            if fault.target == target and self._random.random() < fault.probability:
                if fault.count is not None:
                    fault.count -= 1
                    if fault.count <= 0:
                        self._faults.remove(fault)
                return fault
        return None


def _fault(given: Mapping[str, Any]) -> Fault:
    target, mode = str(given.get("target")), str(given.get("mode"))
    if target not in MODES:
        raise FaultError(f"target is one of {', '.join(MODES)}")
    if mode not in MODES[target]:
        raise FaultError(f"mode of {target} is one of {', '.join(sorted(MODES[target]))}")
    fault = Fault(target, mode)
    if "count" in given:
        fault.count = None if given["count"] is None else _number(given, "count", 1, 1_000_000_000)
    if given.get("status") is not None:
        fault.status = _number(given, "status", 400, 599)
    for name in ("probability", "seconds"):
        value = given.get(name)
        if value is not None:
            if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
                raise FaultError(f"{name} is a number from 0")
            setattr(fault, name, float(value))
    return fault


def _number(given: Mapping[str, Any], name: str, low: int, high: int) -> int:
    value = given[name]
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise FaultError(f"{name} is a whole number from {low} to {high}")
    return value
