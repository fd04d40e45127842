"""Faults on demand: each rule spoils the next messages of a target until its count is used up or it is cleared."""

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from hl7v2 import AckCode
from powerserver_sim.rules import Refused

MODES: Final[Mapping[str, frozenset[str]]] = {
    "mllp-in": frozenset({"nack", "late-ack", "wrong-ack", "no-ack", "cut", "slow"}),
    "mllp-out": frozenset({"duplicate", "reorder", "drop", "cut"}),
}
_NACKS: Final[Mapping[str, AckCode]] = {"AE": "AE", "AR": "AR", "CE": "CE", "CR": "CR"}


@dataclass(slots=True)
class Fault:
    """One rule: `count` None lasts until cleared; `seconds` is for slow and late-ack, `status` for nack."""

    target: str
    mode: str
    count: int | None = 1
    probability: float = 1.0
    seconds: float = 1.0
    status: AckCode = "AE"


class Misbehaviour:
    """The active rules, oldest first."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._random = random.Random()  # noqa: S311 - chaos, not secrets

    def add(self, given: Mapping[str, Any]) -> dict[str, Any]:
        fault = _read(given)
        self._faults.append(fault)
        return asdict(fault)

    def clear(self) -> None:
        self._faults.clear()

    def list(self) -> "list[dict[str, Any]]":
        return [asdict(fault) for fault in self._faults]

    def take(self, target: str) -> Fault | None:
        """The fault that hits this message, if one does."""
        for fault in self._faults:
            if fault.target == target and self._random.random() < fault.probability:
                if fault.count is not None:
                    fault.count -= 1
                    if fault.count == 0:
                        self._faults.remove(fault)
                return fault
        return None


def _read(given: Mapping[str, Any]) -> Fault:
    target, mode = given.get("target"), given.get("mode")
    if not isinstance(target, str) or target not in MODES:
        raise Refused("invalid", f"target is one of {', '.join(MODES)}.", field="target")
    if not isinstance(mode, str) or mode not in MODES[target]:
        raise Refused("invalid", f"mode is one of {', '.join(sorted(MODES[target]))}.", field="mode")
    count, status = given.get("count", 1), given.get("status")
    if status is not None and status not in _NACKS:
        raise Refused("invalid", f"status is one of {', '.join(_NACKS)}.", field="status")
    fault = Fault(target, mode, status=_NACKS[status or "AE"])
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
        raise Refused("invalid", "count is a whole number from 1, or null.", field="count")
    fault.count = count
    for name in ("probability", "seconds"):
        value = given.get(name)
        if value is not None:
            if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
                raise Refused("invalid", f"{name} is a number from 0.", field=name)
            setattr(fault, name, float(value))
    return fault
